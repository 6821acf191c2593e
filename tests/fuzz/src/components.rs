//! Components, from the registry's check to the outcome of an invocation.

use bytes::Bytes;

use crate::worker::{MEMORY_BYTES, Worker};
use crate::{Check, Verdict, assert_message};

/// How components begin.
const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";

/// Inputs are components; the beginning may be missing.
pub fn open() -> Check {
    let mut worker = Worker::start();
    Box::new(move |data| {
        let rest = data.strip_prefix(PREAMBLE).unwrap_or(data);
        let component: Bytes = [PREAMBLE, rest].concat().into();
        match registry_svc::check_code(&component) {
            Ok(memory_bytes) if memory_bytes > MEMORY_BYTES => Verdict::Refused,
            Ok(_) => {
                let code = worker.add(component);
                let ended = worker.run_unless_unusable(code, Bytes::from_static(b"{}"));
                worker.remove(code);
                if ended.is_ok() { Verdict::Accepted } else { Verdict::Refused }
            }
            Err(message) => {
                assert_message(&message);
                Verdict::Refused
            }
        }
    })
}
