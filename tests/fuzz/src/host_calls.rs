//! Host functions, called with any arguments.
//!
//! One function, compiled once, reads its input as a list of calls and makes them.

use std::fmt::Write as _;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;

use crate::worker::Worker;
use crate::{Check, Verdict};

/// The module of WASI.
const WASI: &str = "wasi_snapshot_preview1";
/// Where the function has its response.
const RESPONSE: u32 = 512;
/// Where the function has its input: what pointers may point to, and then the calls.
const INPUT: u32 = 64 << 10;
/// Where the calls begin in the input.
const CALLS: u32 = 1 << 10;
/// The size of the memory with which the function begins, in bytes.
const MEMORY: u32 = 128 << 10;
/// The most calls.
const MAX_CALLS: u32 = 16;

/// All host functions: module, name, a letter for the type of each parameter, and whether it returns something.
/// `i` is i32, `l` is i64.
const FUNCTIONS: &[(&str, &str, &str, bool)] = &[
    ("fl_imps", "__get_input_data", "i", false),
    ("fl_imps", "__insert_response", "ii", false),
    ("fl_imps", "__insert_error", "ii", false),
    ("fl_imps", "__console_log", "ii", false),
    ("fl_imps", "__http_request", "iiiiiiiiii", false),
    ("fl_imps", "__http_send", "iiiiiiii", true),
    ("fl_imps", "__http_read", "ii", true),
    (WASI, "args_get", "ii", true),
    (WASI, "args_sizes_get", "ii", true),
    (WASI, "clock_res_get", "ii", true),
    (WASI, "clock_time_get", "ili", true),
    (WASI, "environ_get", "ii", true),
    (WASI, "environ_sizes_get", "ii", true),
    (WASI, "fd_advise", "illi", true),
    (WASI, "fd_allocate", "ill", true),
    (WASI, "fd_close", "i", true),
    (WASI, "fd_datasync", "i", true),
    (WASI, "fd_fdstat_get", "ii", true),
    (WASI, "fd_fdstat_set_flags", "ii", true),
    (WASI, "fd_fdstat_set_rights", "ill", true),
    (WASI, "fd_filestat_get", "ii", true),
    (WASI, "fd_filestat_set_size", "il", true),
    (WASI, "fd_filestat_set_times", "illi", true),
    (WASI, "fd_pread", "iiili", true),
    (WASI, "fd_prestat_dir_name", "iii", true),
    (WASI, "fd_prestat_get", "ii", true),
    (WASI, "fd_pwrite", "iiili", true),
    (WASI, "fd_read", "iiii", true),
    (WASI, "fd_readdir", "iiili", true),
    (WASI, "fd_renumber", "ii", true),
    (WASI, "fd_seek", "ilii", true),
    (WASI, "fd_sync", "i", true),
    (WASI, "fd_tell", "ii", true),
    (WASI, "fd_write", "iiii", true),
    (WASI, "path_create_directory", "iii", true),
    (WASI, "path_filestat_get", "iiiii", true),
    (WASI, "path_filestat_set_times", "iiiilli", true),
    (WASI, "path_link", "iiiiiii", true),
    (WASI, "path_open", "iiiiillii", true),
    (WASI, "path_readlink", "iiiiii", true),
    (WASI, "path_remove_directory", "iii", true),
    (WASI, "path_rename", "iiiiii", true),
    (WASI, "path_symlink", "iiiii", true),
    (WASI, "path_unlink_file", "iii", true),
    (WASI, "poll_oneoff", "iiii", true),
    (WASI, "proc_exit", "i", false),
    (WASI, "proc_raise", "i", true),
    (WASI, "random_get", "ii", true),
    (WASI, "sched_yield", "", true),
    (WASI, "sock_accept", "iii", true),
    (WASI, "sock_recv", "iiiiii", true),
    (WASI, "sock_send", "iiiii", true),
    (WASI, "sock_shutdown", "ii", true),
];

/// Inputs are lists of calls with what their pointers may point to.
pub fn open() -> Check {
    let mut worker = Worker::start();
    let function = wat::parse_str(function(worker.web_port())).expect("well-formed");
    registry_svc::check_code(&function).expect("the registry accepts every host function");
    let function = worker.add(function.into());
    Box::new(move |data| {
        let ended = calls(&mut Unstructured::new(data)).map(|calls| worker.run(function, calls));
        if let Ok(Ok(())) = ended { Verdict::Accepted } else { Verdict::Refused }
    })
}

/// The function. At address 0 it has a URI. Its response is `null`, unless a call gives another one.
fn function(web_port: u16) -> String {
    let (mut imports, mut arms) = (String::new(), String::new());
    for (index, (module, name, params, returns)) in FUNCTIONS.iter().enumerate() {
        let (mut types, mut arguments, mut size) = (String::new(), String::new(), 0);
        for letter in params.chars() {
            let (kind, bytes) = if letter == 'l' { ("i64", 8) } else { ("i32", 4) };
            let _ = write!(types, " {kind}");
            let _ = write!(arguments, " ({kind}.load offset={size} (local.get $next))");
            size += bytes;
        }
        let result = if *returns { " (result i32)" } else { "" };
        let _ = writeln!(imports, "(import \"{module}\" \"{name}\" (func $f{index} (param{types}){result}))");
        let call = format!("(call $f{index}{arguments})");
        let call = if *returns { format!("(drop {call})") } else { call };
        let _ = writeln!(
            arms,
            "(if (i32.eq (local.get $call) (i32.const {index})) (then {call}
                (local.set $next (i32.add (local.get $next) (i32.const {size})))))"
        );
    }
    let first = INPUT + CALLS;
    format!(
        r#"(module {imports}
        (memory (export "memory") {pages})
        (data (i32.const 0) "http://127.0.0.1:{web_port}/")
        (data (i32.const {RESPONSE}) "null")
        (func (export "__invoke") (param $len i32) (result i32) (local $next i32) (local $call i32)
            (call $f0 (i32.const {INPUT}))
            (call $f1 (i32.const {RESPONSE}) (i32.const 4))
            (local.set $next (i32.const {first}))
            (loop $again
                (local.set $call (i32.load8_u (local.get $next)))
                (local.set $next (i32.add (local.get $next) (i32.const 1)))
                {arms}
                (if (i32.eq (local.get $call) (i32.const 254))
                    (then (drop (memory.grow (i32.load8_u (local.get $next))))))
                (br_if $again (i32.ne (local.get $call) (i32.const 255))))
            (i32.const 0)))"#,
        pages = MEMORY / (64 << 10),
    )
}

/// The input of the function.
fn calls(input: &mut Unstructured<'_>) -> Result<Bytes> {
    let mut calls = Vec::new();
    for _ in 0..input.int_in_range(1..=MAX_CALLS)? {
        let index = input.int_in_range(0..=FUNCTIONS.len())?;
        let Some((_, _, params, _)) = FUNCTIONS.get(index) else {
            calls.extend([254, input.arbitrary()?]);
            continue;
        };
        calls.push(u8::try_from(index).unwrap_or(255));
        for letter in params.chars() {
            let value = argument(input)?;
            match letter {
                'l' => calls.extend((i64::from(value) << input.int_in_range(0..=32)?).to_le_bytes()),
                _ => calls.extend(value.to_le_bytes()),
            }
        }
    }
    calls.push(255);
    let mut bytes = input.bytes(input.len())?.to_vec();
    bytes.resize(CALLS as usize, 0);
    bytes.extend(calls);
    Ok(bytes.into())
}

/// An argument: mostly a pointer or a length that is near a bound.
fn argument(input: &mut Unstructured<'_>) -> Result<i32> {
    let near = i32::from(input.arbitrary::<u8>()?);
    let memory = i32::try_from(MEMORY).unwrap_or(i32::MAX);
    Ok(match input.int_in_range(0..=7)? {
        0 => 0,
        1 => near % 4,
        2 => near,
        3 => i32::try_from(INPUT).unwrap_or(i32::MAX) + near * 4,
        4 => memory - near,
        5 => -1 - near,
        6 => i32::MAX.wrapping_add(near % 8 - 4),
        _ => input.arbitrary()?,
    })
}
