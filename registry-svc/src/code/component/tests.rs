//! Components that are accepted, and that are refused with the reason.

use super::super::validate::validate;
use super::*;

/// A component with this export, these further imports, and these core modules.
fn component(export: &str, imports: &str, modules: &str) -> String {
    let function = if export.contains("run") {
        r#"(func $entry (result (result)) (canon lift (core func $main "run")))
           (instance $exported (export "run" (func $entry)))"#
    } else {
        r#"(func $entry (param "request" (own $request)) (param "response-out" (own $response))
             (canon lift (core func $main "handle")))
           (instance $exported (export "handle" (func $entry)))"#
    };
    format!(
        r#"(component
        (import "wasi:http/types@0.2.0" (instance $types
            (export "incoming-request" (type (sub resource)))
            (export "response-outparam" (type (sub resource)))))
        (alias export $types "incoming-request" (type $request))
        (alias export $types "response-outparam" (type $response))
        {imports}
        {modules}
        (core module $main
            (func (export "handle") (param i32 i32))
            (func (export "run") (result i32) (i32.const 0)))
        (core instance $main (instantiate $main))
        {function}
        (export "{export}" (instance $exported)))"#
    )
}

const HTTP: &str = "wasi:http/incoming-handler@0.2.3";
const RUN: &str = "wasi:cli/run@0.2.0";

fn check(text: &str) -> Result<Valid, String> {
    let binary = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    validate(&binary).map_err(|invalid| invalid.to_string())
}

#[track_caller]
fn assert_refused(text: &str, expected: &str) {
    let error = check(text).expect_err(text);
    assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
}

#[test]
fn components_are_recognised_by_what_they_export() {
    let known = r#"
        (import "wasi:io/error@0.2.1" (instance (export "error" (type (sub resource)))))
        (import "wasi:cli/exit@0.2.99" (instance (export "exit" (func (param "status" (result))))))
        (import "wasi:config/store@0.2.0-rc.1" (instance))"#;
    for (export, kind) in [(HTTP, CodeKind::HttpComponent), (RUN, CodeKind::CommandComponent)] {
        for imports in ["", known] {
            let expected = Ok(Valid { kind, memory_bytes: 0 });
            assert_eq!(check(&component(export, imports, "")), expected, "{export} {imports}");
        }
    }
}

#[test]
fn what_no_worker_can_link_is_refused_by_its_name() {
    for (imports, expected) in [
        (
            r#"(import "wasi:keyvalue/store@0.2.0-draft" (instance))"#,
            "imports `wasi:keyvalue/store@0.2.0-draft`, which does not exist for components",
        ),
        (r#"(import "now" (func))"#, "imports `now`, which does not exist for components"),
        (
            r#"(import "wasi:clocks/wall-clock@0.2.0" (func))"#,
            "imports `wasi:clocks/wall-clock@0.2.0`, which does not exist for components",
        ),
        (
            r#"(import "wasi:clocks/wall-clock@0.3.0" (instance))"#,
            "imports `wasi:clocks/wall-clock@0.3.0`, which exists only in version 0.2",
        ),
        (
            r#"(import "wasi:config/store@0.2.0-draft" (instance))"#,
            "imports `wasi:config/store@0.2.0-draft`, which exists only in version 0.2.0-rc.1",
        ),
        (
            r#"(import "wasi:cli/exit@0.2.0" (instance (export "leave" (func))))"#,
            "imports `leave` of `wasi:cli/exit@0.2.0`, which does not exist",
        ),
    ] {
        assert_refused(&component(HTTP, imports, ""), expected);
    }
}

#[test]
fn components_without_an_entry_are_refused() {
    const NEITHER: &str =
        "exports neither `wasi:http/incoming-handler` nor `wasi:cli/run`, in version 0.2 of WASI";
    assert_refused("(component)", NEITHER);
    assert_refused(&component("example:http/handler@1.0.0", "", ""), NEITHER);
    assert_refused(&component("wasi:http/incoming-handler@0.2.0-draft", "", ""), NEITHER);
    assert_refused(r#"(component (import "f" (func $f)) (export "run" (func $f)))"#, NEITHER);
    for name in ["wasi:http/handler@0.3.0", "wasi:cli/run@0.3.0"] {
        let expected = format!("exports `{name}`, and components of WASI 0.3 cannot run yet");
        assert_refused(&component(name, "", ""), &expected);
    }
    let other_type = format!(r#"(component (instance $empty) (export "{HTTP}" (instance $empty)))"#);
    let expected = "exports `wasi:http/incoming-handler@0.2.3` with another type than that of WASI 0.2";
    assert_refused(&other_type, expected);
    let function = format!(r#"(component (import "f" (func $f)) (export "{HTTP}" (func $f)))"#);
    assert_refused(&function, expected);
}

#[test]
fn limits_hold_for_all_core_modules() {
    let modules = |count: usize, fields: &str| format!("(core module {fields})").repeat(count);
    let memory = check(&component(RUN, "", &modules(1, "(memory 3)")));
    assert_eq!(memory, Ok(Valid { kind: CodeKind::CommandComponent, memory_bytes: 3 << 16 }));
    let nested = format!("(component {})", modules(1, "(memory 2)"));
    let memory = check(&component(RUN, "", &nested)).map(|valid| valid.memory_bytes);
    assert_eq!(memory, Ok(2 << 16));
    for (modules, expected) in [
        (modules(2, "(memory 1)"), "can never run: it has 2 memories in all core modules; the limit is 1"),
        (modules(1, "(memory 1)") + &nested, "it has 2 memories in all core modules; the limit is 1"),
        (
            modules(1, "")
                + &modules(1, "(table 1 funcref)(table 1 funcref)").repeat(2)
                + &modules(1, "(table 1 funcref)"),
            "it has 5 tables in all core modules; the limit is 4",
        ),
        (
            modules(1, "") + &modules(1, "(table 100001 funcref)"),
            "can never run: in core module 1, table 0 has 100001 elements; the limit is 100000",
        ),
        (modules(1, "(memory 1 (pagesize 1))"), "custom page sizes"),
        (
            format!("(core module (func (local {})))", "i32 ".repeat(10_001)),
            "is too complex to compile: in core module 0, function 0 has 10001 locals; the limit is 10000",
        ),
        (
            format!("(core module $m) {}", "(core instance (instantiate $m))".repeat(200)),
            "can never run: it has 201 instances of core modules; the limit is 200",
        ),
    ] {
        assert_refused(&component(RUN, "", &modules), expected);
    }
}

#[test]
fn the_sums_of_a_module_are_those_of_all_core_modules() {
    /// Numbers of two bytes.
    fn leb(number: usize) -> [u8; 2] {
        [(number & 0x7f | 0x80) as u8, (number >> 7) as u8]
    }
    // 60 functions with 10,000 locals each.
    let bodies = [5, 1, 0x90, 0x4e, 0x7f, 0x0b].repeat(60);
    let code = [&[10][..], &leb(bodies.len() + 1), &[60], &bodies].concat();
    let functions = [&[3, 61, 60][..], &[0; 60]].concat();
    let module = [&b"\0asm\x01\0\0\0"[..], &[1, 4, 1, 0x60, 0, 0], &functions, &code].concat();
    let section = [&[1][..], &leb(module.len()), &module].concat();
    let component = |modules| [&b"\0asm\x0d\0\x01\0"[..], &section.repeat(modules)].concat();
    assert_eq!(ComponentOutline::read(&component(1)).map(|outline| outline.core_modules), Ok(1));
    let refused = ComponentOutline::read(&component(2)).map(drop).expect_err("too much");
    let expected = "in core module 1, it has 1010000 locals in all functions; the limit is 1000000";
    assert!(refused.to_string().ends_with(expected), "{refused}");
}

#[test]
fn truncated_and_damaged_components_are_refused() {
    let binary = wat::parse_str(component(HTTP, "", "(component (core module (memory 1)))")).expect("valid");
    for end in 4..binary.len() {
        // The names at its end may be missing.
        let truncated = validate(&binary[..end]);
        assert!(truncated.is_err() || end > binary.len() / 2, "{end}");
    }
    for at in 8..binary.len() {
        let mut damaged = binary.clone();
        damaged[at] ^= 0x55;
        // It may be valid, but never panics.
        let _ = validate(&damaged);
    }
}
