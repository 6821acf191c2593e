//! Input and output of one FunLess function.

use super::abi::HostCallError;
use crate::budget::HeldBytes;

/// The input, and the outputs so far.
pub(super) struct FunctionIo {
    pub(super) input: HeldBytes,
    pub(super) response: Option<HeldBytes>,
    pub(super) error: Option<HeldBytes>,
    output_limit: u64,
}

impl FunctionIo {
    /// Outputs may have `output_limit` bytes each.
    pub(super) fn new(input: HeldBytes, output_limit: u64) -> Self {
        Self { input, response: None, error: None, output_limit }
    }

    /// Refuses an output of `len` bytes if that is over the limit.
    pub(super) fn check_output(&self, len: usize) -> Result<(), HostCallError> {
        if len as u64 > self.output_limit { Err(HostCallError::OutputLimit) } else { Ok(()) }
    }
}
