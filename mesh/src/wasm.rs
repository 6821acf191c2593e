//! What workers reserve for an instance of a WebAssembly module or component. The registry refuses code that needs more.

/// One page of WebAssembly's memory, in bytes.
pub const PAGE_BYTES: u64 = 64 << 10;
/// The memory of one invocation in bytes, unless a worker is configured otherwise.
pub const DEFAULT_MEMORY_BYTES: u64 = 128 << 20;
/// The largest memory of one invocation in bytes that a worker can be configured with.
pub const MAX_MEMORY_BYTES: u64 = 4 << 30;
/// The most tables of a module, and of all modules in a component.
pub const MAX_TABLES: u32 = 4;
/// The most elements of one table.
pub const MAX_TABLE_ELEMENTS: u32 = 100_000;
/// The most that the globals, tables and function references of an instance take, in bytes.
pub const MAX_INSTANCE_BYTES: u32 = 1 << 20;
/// The most instances of modules in a component. A language's libraries may be modules of their own.
pub const MAX_CORE_INSTANCES: u32 = 200;
/// The most memories of all modules in a component.
pub const MAX_MEMORIES: u32 = 1;
/// The most that the globals, tables and function references of all modules in a component take, in bytes.
pub const MAX_COMPONENT_BYTES: u32 = 2 << 20;
