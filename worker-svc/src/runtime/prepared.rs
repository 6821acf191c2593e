//! Code that is ready to run.

use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::component::Component;
use wasmtime::{ExternType, InstancePre, Module, ModuleExport};

use super::component::PreparedComponent;
use super::entry::{Entry, exports_function};
use super::host::{Guest, Linkers, WasiUse};
use crate::error::Error;

/// Memory that code takes beside its machine code, in bytes.
const OVERHEAD_BYTES: usize = 16 << 10;

/// Code that is compiled.
pub(crate) enum CompiledCode {
    Module(Module),
    Component(Component),
}

/// Code that is compiled and linked.
pub(crate) struct PreparedCode {
    pub(super) program: Program,
    /// Memory that it takes.
    pub(super) bytes: usize,
    /// The period in which it was last used.
    used_in: AtomicU64,
}

/// What can be instantiated and called.
pub(super) enum Program {
    Module(PreparedModule),
    Component(PreparedComponent),
}

/// A module that is linked.
pub(super) struct PreparedModule {
    pub(super) instance: InstancePre<Guest>,
    pub(super) entry: Entry,
    pub(super) memory: Option<ModuleExport>,
    /// Called before the entry point, if a library exports it.
    pub(super) initialize: Option<ModuleExport>,
    /// Whether it imports WASI.
    wasi: bool,
}

impl PreparedCode {
    /// Links code with the host functions. Fails if it imports others, or has no entry point.
    pub(super) fn link(linkers: &Linkers, compiled: &CompiledCode) -> Result<Self, Error> {
        let (program, image) = match compiled {
            CompiledCode::Module(module) => {
                (Program::Module(PreparedModule::link(linkers, module)?), module.image_range())
            }
            CompiledCode::Component(component) => {
                (Program::Component(PreparedComponent::link(linkers, component)?), component.image_range())
            }
        };
        let bytes = image.end.addr() - image.start.addr() + OVERHEAD_BYTES;
        Ok(Self { program, bytes, used_in: AtomicU64::default() })
    }

    /// What it uses of WASI.
    pub(super) fn wasi(&self) -> WasiUse {
        match &self.program {
            Program::Module(module) => match module.entry {
                Entry::Command(_) => WasiUse::Command,
                Entry::Invoke(_) if module.wasi => WasiUse::Library,
                Entry::Invoke(_) => WasiUse::Nothing,
            },
            Program::Component(component) => component.wasi(),
        }
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

impl PreparedModule {
    fn link(linkers: &Linkers, module: &Module) -> Result<Self, Error> {
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
        let instance = linkers.module.instantiate_pre(module);
        let instance = instance.map_err(|error| Error::CodeUnusable(format!("{error:#}")))?;
        Ok(Self { instance, entry, memory, initialize, wasi })
    }
}
