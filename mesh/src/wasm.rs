//! What workers reserve for an instance of a WebAssembly module. The registry refuses modules that need more.

/// One page of WebAssembly's memory, in bytes.
pub const PAGE_BYTES: u64 = 64 << 10;
/// The memory of one invocation in bytes, unless a worker is configured otherwise.
pub const DEFAULT_MEMORY_BYTES: u64 = 128 << 20;
/// The largest memory of one invocation in bytes that a worker can be configured with.
pub const MAX_MEMORY_BYTES: u64 = 4 << 30;
/// The most tables of a module.
pub const MAX_TABLES: u32 = 4;
/// The most elements of one table.
pub const MAX_TABLE_ELEMENTS: u32 = 100_000;
/// The most that the globals, tables and function references of an instance take, in bytes.
pub const MAX_INSTANCE_BYTES: u32 = 1 << 20;
