//! The registry's checks of uploaded code.

use crate::{Check, Verdict, assert_message};

/// All of the memory that a module can have, in bytes.
const MAX_MEMORY_BYTES: u64 = 4 << 30;

/// Inputs are binaries.
pub fn open() -> Check {
    Box::new(|data| match registry_svc::check_code(data) {
        Ok(memory_bytes) => {
            assert!(memory_bytes <= MAX_MEMORY_BYTES, "memory of {memory_bytes} bytes");
            Verdict::Accepted
        }
        Err(message) => {
            assert_message(&message);
            Verdict::Refused
        }
    })
}
