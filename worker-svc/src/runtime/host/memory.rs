//! Access to a guest's memory: the only place where its pointers are dereferenced.

use std::ops::Range;

use wasmtime::{Caller, Extern};

use super::abi::HostCallError;
use super::guest::Guest;

/// A part of a guest's memory, as the guest passed it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    /// The host function that it was passed to.
    pub(super) call: &'static str,
    /// What it is for.
    pub(super) what: &'static str,
    ptr: u32,
    len: u32,
}

impl Region {
    /// `len` bytes from `ptr` on. WebAssembly's integers are unsigned: negative values are large ones.
    pub(super) fn new(call: &'static str, what: &'static str, ptr: i32, len: i32) -> Self {
        Self { call, what, ptr: ptr.cast_unsigned(), len: len.cast_unsigned() }
    }

    /// A buffer of `len` bytes from `ptr` on. No guest has more than 4 GiB.
    pub(super) fn buffer(call: &'static str, what: &'static str, ptr: i32, len: usize) -> Self {
        Self { call, what, ptr: ptr.cast_unsigned(), len: u32::try_from(len).unwrap_or(u32::MAX) }
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Where it is in a memory of `size` bytes.
    fn within(self, size: usize) -> Result<Range<usize>, HostCallError> {
        let Self { call, what, ptr, len } = self;
        let start = ptr as usize;
        match start.checked_add(len as usize) {
            Some(end) if end <= size => Ok(start..end),
            _ => Err(HostCallError::OutOfBounds { call, what, ptr, len, size }),
        }
    }

    /// The bytes, to read and to write, and the guest's state.
    pub(super) fn access<'a>(
        self,
        caller: &'a mut Caller<'_, Guest>,
    ) -> Result<(&'a mut [u8], &'a mut Guest), HostCallError> {
        let known = caller.data().memory;
        // A module's start function runs before there is an instance to look into.
        let memory = known.or_else(|| caller.get_export("memory").and_then(Extern::into_memory));
        let memory = memory.ok_or(HostCallError::NoMemory { call: self.call })?;
        let (bytes, guest) = memory.data_and_store_mut(caller);
        let range = self.within(bytes.len())?;
        Ok((&mut bytes[range], guest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        const SIZE: usize = 65536;
        let cases = [
            (0, 0, Some(0..0)),
            (0, 65536, Some(0..65536)),
            (65535, 1, Some(65535..65536)),
            (65536, 0, Some(65536..65536)),
            (65536, 1, None),
            (65537, 0, None),
            (1, 65536, None),
            (-1, 0, None),
            (-1, 1, None),
            (-1, 2, None),
            (-1, -1, None),
            (2, -1, None),
            (0, i32::MIN, None),
        ];
        for (ptr, len, expected) in cases {
            let found = Region::new("__call", "a thing", ptr, len).within(SIZE);
            assert_eq!(found.ok(), expected, "{ptr} {len}");
        }
    }

    #[test]
    fn the_error_says_what_was_wrong() {
        let error = Region::new("__console_log", "the line", -4, 8).within(65536).expect_err("wraps around");
        assert_eq!(
            error.to_string(),
            "__console_log was given the line out of bounds: 8 bytes at address 4294967292 of a memory of \
             65536 bytes"
        );
    }
}
