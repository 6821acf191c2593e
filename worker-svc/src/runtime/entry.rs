//! The entry point of code. Code is recognised by its exports, as at upload.

use wasmtime::{ExternType, Module, ModuleExport, ValType};

use crate::error::Error;

/// How code is called.
pub(super) enum Entry {
    /// FunLess' `__invoke(input_len) -> 0 or 1`.
    Invoke(ModuleExport),
    /// WASI's `_start()`.
    Command(ModuleExport),
}

impl Entry {
    /// The entry point of `module`. Fails if it has none, or one of a wrong type.
    pub(super) fn of(module: &Module) -> Result<Self, Error> {
        let unusable = |words: &str| Err(Error::CodeUnusable(words.into()));
        if let Some(invoke) = module.get_export_index("__invoke") {
            if !exports_function(module, "__invoke", &[ValType::I32], &[ValType::I32]) {
                return unusable(
                    "its export __invoke is not a function that takes an i32 and returns an i32",
                );
            }
            return Ok(Self::Invoke(invoke));
        }
        if let Some(start) = module.get_export_index("_start") {
            if !exports_function(module, "_start", &[], &[]) {
                return unusable("its export _start is not a function without parameters and results");
            }
            return Ok(Self::Command(start));
        }
        unusable("it exports neither __invoke nor _start")
    }
}

/// Whether `module` exports a function of this type by this name.
pub(super) fn exports_function(module: &Module, name: &str, params: &[ValType], results: &[ValType]) -> bool {
    let Some(ExternType::Func(found)) = module.get_export(name) else { return false };
    let same = |found: &mut dyn Iterator<Item = ValType>, expected: &[ValType]| {
        found.map(|found| found.to_string()).eq(expected.iter().map(ToString::to_string))
    };
    same(&mut found.params(), params) && same(&mut found.results(), results)
}
