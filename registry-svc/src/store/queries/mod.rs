//! The queries of `Reader` and the statements of `Write`, by table.

pub(super) mod bindings;
pub(super) mod code;
pub(super) mod functions;
pub(super) mod leases;
pub(super) mod modules;
pub(super) mod scripts;
pub(super) mod subjects;
