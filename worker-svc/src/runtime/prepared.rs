//! Code that is ready to run.

use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::{ExternType, InstancePre, Linker, Module, ModuleExport};

use super::entry::{Entry, exports_function};
use super::host::Guest;
use crate::error::Error;

/// Memory that a module takes beside its machine code, in bytes.
const MODULE_OVERHEAD_BYTES: usize = 16 << 10;

/// Code that is compiled and linked.
pub(crate) struct PreparedCode {
    pub(super) instance: InstancePre<Guest>,
    pub(super) entry: Entry,
    pub(super) memory: Option<ModuleExport>,
    /// Called before the entry point, if a library exports it.
    pub(super) initialize: Option<ModuleExport>,
    /// Whether it imports WASI.
    pub(super) wasi: bool,
    /// Memory that it takes.
    pub(super) bytes: usize,
    /// The period in which it was last used.
    used_in: AtomicU64,
}

impl PreparedCode {
    /// Links `module` with the host functions. Fails if it imports others, or has no entry point.
    pub(super) fn link(linker: &Linker<Guest>, module: &Module) -> Result<Self, Error> {
        let entry = Entry::of(module)?;
        let memory = match module.get_export("memory") {
            Some(ExternType::Memory(_)) => module.get_export_index("memory"),
            _ => None,
        };
        let initialize = match &entry {
            Entry::Invoke(_) if exports_function(module, "_initialize", &[], &[]) => {
                module.get_export_index("_initialize")
            }
            _ => None,
        };
        let wasi = module.imports().any(|import| import.module().starts_with("wasi_"));
        let image = module.image_range();
        let bytes = image.end.addr() - image.start.addr() + MODULE_OVERHEAD_BYTES;
        let instance =
            linker.instantiate_pre(module).map_err(|error| Error::CodeUnusable(format!("{error:#}")))?;
        Ok(Self { instance, entry, memory, initialize, wasi, bytes, used_in: AtomicU64::default() })
    }

    /// It is used in this period.
    pub(super) fn use_in(&self, period: u64) {
        // Written once a period: invocations on other cores keep what they have read.
        if self.used_in() != period {
            self.used_in.store(period, Ordering::Relaxed);
        }
    }

    /// The period in which it was last used.
    pub(super) fn used_in(&self) -> u64 {
        self.used_in.load(Ordering::Relaxed)
    }
}
