//! Generated functions, from the registry's check to the outcome of an invocation.

use arbitrary::{Arbitrary as _, Result, Unstructured};
use bytes::Bytes;
use mesh::Reason;
use wasm_smith::{Config, Module};

use crate::worker::{MEMORY_BYTES, Worker};
use crate::{Check, Verdict, assert_message};

/// What functions may import.
const IMPORTS: &str = r#"(module
    (import "fl_imps" "__get_input_data" (func (param i32)))
    (import "fl_imps" "__insert_response" (func (param i32 i32)))
    (import "fl_imps" "__insert_error" (func (param i32 i32)))
    (import "fl_imps" "__console_log" (func (param i32 i32)))
    (import "fl_imps" "__http_read" (func (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func (param i32))))"#;
/// What functions must export.
const EXPORTS: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "__invoke") (param i32) (result i32) (i32.const 0)))"#;

/// Inputs are the choices from which a module is generated.
pub fn open() -> Check {
    let mut worker = Worker::start();
    let config = config();
    Box::new(move |data| {
        let Ok(module) = generate(&config, data) else { return Verdict::Refused };
        match registry_svc::check_code(&module) {
            Ok(memory_bytes) if memory_bytes > MEMORY_BYTES => Verdict::Refused,
            Ok(_) => {
                let code = worker.add(module);
                let ended = worker.run(code, Bytes::from_static(b"{}"));
                worker.remove(code);
                match ended {
                    // Few give a response, but these return.
                    Ok(()) | Err(Reason::GuestExited | Reason::GuestBadResponse) => Verdict::Accepted,
                    Err(_) => Verdict::Refused,
                }
            }
            Err(message) => {
                assert_message(&message);
                let limit =
                    ["is too complex to compile", "can never run"].iter().any(|why| message.starts_with(why));
                assert!(limit, "a valid module is refused: {message}");
                Verdict::Refused
            }
        }
    })
}

fn generate(config: &Config, data: &[u8]) -> Result<Bytes> {
    let mut input = Unstructured::new(data);
    let mut config = config.clone();
    config.max_instructions = input.int_in_range(1..=500)?;
    config.max_funcs = input.int_in_range(1..=20)?;
    config.allow_floats = bool::arbitrary(&mut input)?;
    Ok(Module::new(config, &mut input)?.to_bytes().into())
}

/// What the registry accepts.
fn config() -> Config {
    Config {
        available_imports: Some(wat::parse_str(IMPORTS).expect("well-formed")),
        exports: Some(wat::parse_str(EXPORTS).expect("well-formed")),
        exceptions_enabled: false,
        gc_enabled: false,
        threads_enabled: false,
        memory64_enabled: false,
        // Workers collect no garbage, and so have no references to things outside.
        reference_types_enabled: false,
        // Besides the one that must be exported.
        max_memories: 0,
        max_memory32_bytes: 2 * MEMORY_BYTES,
        max_tables: 4,
        max_table_elements: 10_000,
        ..Config::default()
    }
}
