//! What can be read and written, by noun: verbs of `Reader` and of `Write`.

pub(super) mod bindings;
pub(super) mod code;
pub(super) mod functions;
pub(super) mod leases;
pub(super) mod modules;
pub(super) mod scripts;
pub(super) mod subjects;
