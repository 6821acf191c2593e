//! The wire contract of FunLess Mesh: what `funless/**/*.proto` says, as Rust.
//!
//! One module per package. The protobufs carry the documentation; this crate only hands out the
//! code that `build.rs` generates from them, and their descriptors for server reflection.

// The generated code is documented in the protobufs, not by rustdoc's rules.
#![allow(missing_docs, unreachable_pub, unused_qualifications)]
#![allow(clippy::all, clippy::too_many_lines)]

mod codec;
mod method;

pub use codec::Codec;
pub use method::{Execute, Invoke, Method};

/// Reasons of errors.
pub mod error {
    pub mod v1 {
        tonic::include_proto!("funless.error.v1");
    }
}

/// The state of bindings.
pub mod binding {
    pub mod v1 {
        tonic::include_proto!("funless.binding.v1");
    }
}

/// What could not be done and is kept.
pub mod deadletter {
    pub mod v1 {
        tonic::include_proto!("funless.deadletter.v1");
    }
}

/// Modules, functions, code, bindings, scripts, subjects, and the watch over them.
pub mod registry {
    pub mod v1 {
        tonic::include_proto!("funless.registry.v1");
    }
}

/// Invocations, and the workers that take them.
pub mod scheduler {
    pub mod v1 {
        tonic::include_proto!("funless.scheduler.v1");
    }
}

/// Execution on a worker.
pub mod worker {
    pub mod v1 {
        tonic::include_proto!("funless.worker.v1");
    }
}

/// Event sources.
pub mod connector {
    pub mod v1 {
        tonic::include_proto!("funless.connector.v1");
    }
}

/// What functions log.
pub mod log {
    pub mod v1 {
        tonic::include_proto!("funless.log.v1");
    }
}

/// What invocations cost.
pub mod receipt {
    pub mod v1 {
        tonic::include_proto!("funless.receipt.v1");
    }
}

/// Sinks.
pub mod sink {
    pub mod v1 {
        tonic::include_proto!("funless.sink.v1");
    }
}

/// What is reserved for a function that names no capacity, in KB.
pub const DEFAULT_CAPACITY_KB: u64 = 64;

/// The encoded `FileDescriptorSet` of all packages.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/funless.bin"));
