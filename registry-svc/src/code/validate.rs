//! Checks at upload whether the workers can run a binary, and detects its kind. It applies the rules of the
//! workers' wasmtime without linking to it.

use proto::registry::v1::CodeKind;
use wasmparser::types::{EntityType, Types};
use wasmparser::{Import, Validator, WasmFeatures};

use super::imports::{self, FL_IMPS, Signature, WASI};
use super::invalid::InvalidCode;
use super::outline::Outline;

const MAGIC: &[u8] = b"\0asm";

const INVOKE: &str = "__invoke";
const START: &str = "_start";
const MEMORY: &str = "memory";

/// The features that wasmtime 48 accepts by default when built like the workers build it: without garbage
/// collection, and therefore without exceptions. In addition, an instance has exactly one memory, which is
/// not shared and has 32-bit addresses, because host calls can address nothing else.
const FEATURES: WasmFeatures = WasmFeatures::WASM3
    .difference(WasmFeatures::GC_TYPES)
    .difference(WasmFeatures::EXCEPTIONS)
    .difference(WasmFeatures::THREADS)
    .difference(WasmFeatures::MULTI_MEMORY)
    .difference(WasmFeatures::MEMORY64);

/// What is known of a valid binary.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Valid {
    pub(super) kind: CodeKind,
    /// The size with which its memory begins, in bytes.
    pub(super) memory_bytes: u64,
}

/// Checks a binary as an upload does. Returns the size with which its memory begins, in bytes, or what is wrong with the
/// binary. For fuzzers.
pub fn check_code(bytes: &[u8]) -> Result<u64, String> {
    validate(bytes).map(|valid| valid.memory_bytes).map_err(|invalid| invalid.to_string())
}

/// Validates a binary that should run on the workers. Its limits are checked first: validation takes time, too.
pub(super) fn validate(bytes: &[u8]) -> Result<Valid, InvalidCode> {
    if bytes.is_empty() {
        return Err(InvalidCode::Empty);
    }
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        return Err(InvalidCode::WrongMagic);
    }
    let outline = Outline::read(bytes)?;
    let types = Validator::new_with_features(FEATURES).validate_all(bytes)?;

    let kind = recognise(&outline, &types)?;
    for import in &outline.imports {
        check_import(kind, import, &types)?;
    }
    Ok(Valid { kind, memory_bytes: outline.memory_bytes })
}

/// Detects the module's kind from its exports.
fn recognise(outline: &Outline<'_>, types: &Types) -> Result<CodeKind, InvalidCode> {
    let export = |name| {
        let export = outline.exports.iter().find(|export| export.name == name)?;
        types.as_ref().entity_type_from_export(export)
    };
    let i32 = &[wasmparser::ValType::I32][..];
    let (kind, name, entry, expected) = match (export(INVOKE), export(START)) {
        (Some(entry), _) => (CodeKind::Funless, INVOKE, entry, Signature(i32, i32)),
        (None, Some(entry)) => (CodeKind::WasiCommand, START, entry, Signature(&[], &[])),
        (None, None) => return Err(InvalidCode::NoEntry),
    };
    if signature(entry, types) != Some(expected) {
        let found = describe(entry, types);
        return Err(InvalidCode::WrongExport { name, found, expected: expected.to_string() });
    }
    match export(MEMORY) {
        Some(EntityType::Memory(_)) => Ok(kind),
        _ => Err(InvalidCode::NoMemory),
    }
}

fn check_import(kind: CodeKind, import: &Import<'_>, types: &Types) -> Result<(), InvalidCode> {
    let (module, name) = (import.module.to_owned(), import.name.to_owned());
    let (kind, modules) = match kind {
        CodeKind::WasiCommand => ("a WASI command", &[WASI][..]),
        CodeKind::Funless | CodeKind::Unspecified => ("a FunLess function", &[FL_IMPS, WASI][..]),
    };
    let known = imports::known(import.module, import.name).filter(|_| modules.contains(&import.module));
    let Some(expected) = known else {
        return Err(InvalidCode::UnknownImport { module, name, kind });
    };
    let found = types.as_ref().entity_type_from_import(import);
    let found = found.ok_or_else(|| InvalidCode::UnknownImport {
        module: module.clone(),
        name: name.clone(),
        kind,
    })?;
    if signature(found, types) == Some(expected) {
        return Ok(());
    }
    let found = describe(found, types);
    Err(InvalidCode::WrongImport { module, name, found, expected: expected.to_string() })
}

fn signature(entity: EntityType, types: &Types) -> Option<Signature<'_>> {
    match entity {
        EntityType::Func(id) | EntityType::FuncExact(id) => Some(types[id].unwrap_func().into()),
        _ => None,
    }
}

fn describe(entity: EntityType, types: &Types) -> String {
    match (signature(entity, types), entity) {
        (Some(signature), _) => signature.to_string(),
        (None, EntityType::Table(_)) => "a table".to_owned(),
        (None, EntityType::Memory(_)) => "a memory".to_owned(),
        (None, EntityType::Global(_)) => "a global".to_owned(),
        (None, _) => "a tag".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"(memory (export "memory") 1)
        (func (export "__invoke") (param i32) (result i32) (i32.const 0))"#;
    const COMMAND: &str = r#"(memory (export "memory") 1) (func (export "_start"))"#;

    fn check(text: &str) -> Result<CodeKind, String> {
        let binary = wat::parse_str(text).expect("valid WebAssembly");
        validate(&binary).map(|valid| valid.kind).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn valid_binaries_are_accepted() {
        let funless = [
            format!("(module {ENTRY})"),
            format!(
                r#"(module
                (import "fl_imps" "__get_input_data" (func (param i32)))
                (import "fl_imps" "__insert_response" (func (param i32 i32)))
                (import "fl_imps" "__insert_error" (func (param i32 i32)))
                (import "fl_imps" "__console_log" (func (param i32 i32)))
                (import "fl_imps" "__http_request"
                    (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
                (import "fl_imps" "__http_send"
                    (func (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
                (import "fl_imps" "__http_read" (func (param i32 i32) (result i32)))
                (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
                {ENTRY})"#
            ),
            format!(r#"(module {ENTRY} (func (export "_start")))"#),
            format!("(module {ENTRY} (func (result i64) i32.const 1 i64.extend_i32_s i64.extend8_s))"),
        ];
        for text in &funless {
            assert_eq!(check(text), Ok(CodeKind::Funless), "{text}");
        }
        let command = format!(
            r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
            {COMMAND})"#
        );
        assert_eq!(check(&command), Ok(CodeKind::WasiCommand));
    }

    #[test]
    fn invalid_binaries_are_refused_with_the_reason() {
        let cases = [
            ("(module)".to_owned(), "exports neither `__invoke` (a FunLess function) nor `_start`"),
            (r#"(module (func (export "_start")))"#.to_owned(), "exports no memory named `memory`"),
            (
                r#"(module (func (export "memory")) (func (export "_start")))"#.to_owned(),
                "exports no memory named `memory`",
            ),
            (
                r#"(module (memory (export "memory") 1) (func (export "__invoke") (param i32)))"#.to_owned(),
                "exports `__invoke` as (i32) -> (); expected (i32) -> i32",
            ),
            (
                r#"(module (memory (export "memory") 1) (global (export "_start") i32 i32.const 0))"#
                    .to_owned(),
                "exports `_start` as a global; expected () -> ()",
            ),
            (
                format!(r#"(module (import "env" "abort" (func)) {ENTRY})"#),
                "imports `env.abort`, which does not exist for a FunLess function",
            ),
            (
                format!(r#"(module (import "fl_imps" "__fly" (func)) {ENTRY})"#),
                "imports `fl_imps.__fly`, which does not exist",
            ),
            (
                format!(r#"(module (import "fl_imps" "__console_log" (func (param i32 i32))) {COMMAND})"#),
                "imports `fl_imps.__console_log`, which does not exist for a WASI command",
            ),
            (
                format!(r#"(module (import "fl_imps" "__console_log" (func (param i32))) {ENTRY})"#),
                "imports `fl_imps.__console_log` as (i32) -> (); expected (i32, i32) -> ()",
            ),
            (
                format!(r#"(module (import "fl_imps" "__console_log" (global i32)) {ENTRY})"#),
                "imports `fl_imps.__console_log` as a global; expected (i32, i32) -> ()",
            ),
            (
                r#"(module (import "env" "memory" (memory 1)) (export "memory" (memory 0))
                    (func (export "_start")))"#
                    .to_owned(),
                "imports `env.memory`, which does not exist",
            ),
            ("(component)".to_owned(), "components are not supported yet"),
            (format!("(module {ENTRY} (memory 1))"), "multiple memories"),
            (format!("(module {ENTRY} (table 1 externref))"), "is not valid WebAssembly"),
            (format!("(module {ENTRY} (func (result i32)))"), "type mismatch"),
        ];
        for (text, expected) in cases {
            let error = check(&text).expect_err(&text);
            assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
        }
    }

    #[test]
    fn memory64_and_shared_memories_are_refused() {
        let memories =
            [("i64 1", "memory64"), ("1 2 shared", "threads"), ("65537", "at most 0x10000 65536-byte pages")];
        for (memory, expected) in memories {
            let text = format!(r#"(module (memory (export "memory") {memory}) (func (export "_start")))"#);
            let error = match wat::parse_str(&text) {
                Ok(binary) => validate(&binary).expect_err(&text).to_string(),
                Err(error) => panic!("{error}"),
            };
            assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_a_module_are_refused() {
        assert_eq!(validate(b""), Err(InvalidCode::Empty));
        for bytes in [&b"#!/bin/sh\n"[..], b"(module)", &[0; 100], b"\x7fELF"] {
            assert_eq!(validate(bytes), Err(InvalidCode::WrongMagic), "{bytes:?}");
        }
        // Every truncated binary is refused without a panic.
        let binary = wat::parse_str(format!("(module {ENTRY})")).expect("valid WebAssembly");
        for end in 1..binary.len() {
            let error = validate(&binary[..end]).expect_err("truncated").to_string();
            assert!(error.contains("is no") || error.contains("exports"), "{error}");
        }
        let truncated = validate(&binary[..binary.len() - 1]).expect_err("truncated").to_string();
        assert!(truncated.contains("unexpected end"), "{truncated}");
        assert!(truncated.contains("at byte"), "{truncated}");
    }
}
