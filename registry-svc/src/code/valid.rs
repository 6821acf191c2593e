//! What makes code valid.

use proto::registry::v1::CodeKind;
use wasmparser::WasmFeatures;

/// The features that wasmtime 48 accepts by default when built like the workers build it: without garbage
/// collection, and therefore without exceptions. In addition, an instance has exactly one memory, which is
/// not shared and has 32-bit addresses, because host calls can address nothing else.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::WASM3
    .difference(WasmFeatures::GC_TYPES)
    .difference(WasmFeatures::EXCEPTIONS)
    .difference(WasmFeatures::THREADS)
    .difference(WasmFeatures::MULTI_MEMORY)
    .difference(WasmFeatures::MEMORY64);

/// What is known of a valid binary.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Valid {
    pub(super) kind: CodeKind,
    /// The size with which its memory begins, in bytes. Of a component: with which all memories begin.
    pub(super) memory_bytes: u64,
}
