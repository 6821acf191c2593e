//! The queries of `Reader` and the statements of `Write`, by table.

pub(super) mod bindings;
pub(super) mod code;
pub(super) mod functions;
pub(super) mod leases;
pub(super) mod modules;
pub(super) mod scripts;
pub(super) mod subjects;

/// The maximum number of ids in one statement, because databases limit the number of bind parameters.
const MAX_IDS: usize = 1000;
