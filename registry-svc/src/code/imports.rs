//! The functions that the host provides: the imports that a binary may have, with their types.

use std::fmt;

use wasmparser::{FuncType, ValType};

/// The module of the host calls of FunLess functions.
pub(super) const FL_IMPS: &str = "fl_imps";
/// The module of the WASI preview 1 system interface.
pub(super) const WASI: &str = "wasi_snapshot_preview1";

/// The type of a function: its parameters and results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature<'a>(pub(super) &'a [ValType], pub(super) &'a [ValType]);

/// The type of the function `name` in the host module `module`; `None` if it does not exist.
pub(super) fn known(module: &str, name: &str) -> Option<Signature<'static>> {
    let functions = match module {
        FL_IMPS => FL_IMPS_FUNCTIONS,
        WASI => WASI_FUNCTIONS,
        _ => return None,
    };
    functions.iter().find(|(known, _)| *known == name).map(|(_, signature)| *signature)
}

const I: ValType = ValType::I32;
const L: ValType = ValType::I64;

const FL_IMPS_FUNCTIONS: &[(&str, Signature<'static>)] = &[
    ("__get_input_data", Signature(&[I], &[])),
    ("__insert_response", Signature(&[I, I], &[])),
    ("__insert_error", Signature(&[I, I], &[])),
    ("__console_log", Signature(&[I, I], &[])),
    ("__http_request", Signature(&[I, I, I, I, I, I, I, I, I, I], &[])),
    ("__http_send", Signature(&[I, I, I, I, I, I, I, I], &[I])),
    ("__http_read", Signature(&[I, I], &[I])),
];

const WASI_FUNCTIONS: &[(&str, Signature<'static>)] = &[
    ("args_get", Signature(&[I, I], &[I])),
    ("args_sizes_get", Signature(&[I, I], &[I])),
    ("clock_res_get", Signature(&[I, I], &[I])),
    ("clock_time_get", Signature(&[I, L, I], &[I])),
    ("environ_get", Signature(&[I, I], &[I])),
    ("environ_sizes_get", Signature(&[I, I], &[I])),
    ("fd_advise", Signature(&[I, L, L, I], &[I])),
    ("fd_allocate", Signature(&[I, L, L], &[I])),
    ("fd_close", Signature(&[I], &[I])),
    ("fd_datasync", Signature(&[I], &[I])),
    ("fd_fdstat_get", Signature(&[I, I], &[I])),
    ("fd_fdstat_set_flags", Signature(&[I, I], &[I])),
    ("fd_fdstat_set_rights", Signature(&[I, L, L], &[I])),
    ("fd_filestat_get", Signature(&[I, I], &[I])),
    ("fd_filestat_set_size", Signature(&[I, L], &[I])),
    ("fd_filestat_set_times", Signature(&[I, L, L, I], &[I])),
    ("fd_pread", Signature(&[I, I, I, L, I], &[I])),
    ("fd_prestat_dir_name", Signature(&[I, I, I], &[I])),
    ("fd_prestat_get", Signature(&[I, I], &[I])),
    ("fd_pwrite", Signature(&[I, I, I, L, I], &[I])),
    ("fd_read", Signature(&[I, I, I, I], &[I])),
    ("fd_readdir", Signature(&[I, I, I, L, I], &[I])),
    ("fd_renumber", Signature(&[I, I], &[I])),
    ("fd_seek", Signature(&[I, L, I, I], &[I])),
    ("fd_sync", Signature(&[I], &[I])),
    ("fd_tell", Signature(&[I, I], &[I])),
    ("fd_write", Signature(&[I, I, I, I], &[I])),
    ("path_create_directory", Signature(&[I, I, I], &[I])),
    ("path_filestat_get", Signature(&[I, I, I, I, I], &[I])),
    ("path_filestat_set_times", Signature(&[I, I, I, I, L, L, I], &[I])),
    ("path_link", Signature(&[I, I, I, I, I, I, I], &[I])),
    ("path_open", Signature(&[I, I, I, I, I, L, L, I, I], &[I])),
    ("path_readlink", Signature(&[I, I, I, I, I, I], &[I])),
    ("path_remove_directory", Signature(&[I, I, I], &[I])),
    ("path_rename", Signature(&[I, I, I, I, I, I], &[I])),
    ("path_symlink", Signature(&[I, I, I, I, I], &[I])),
    ("path_unlink_file", Signature(&[I, I, I], &[I])),
    ("poll_oneoff", Signature(&[I, I, I, I], &[I])),
    ("proc_exit", Signature(&[I], &[])),
    ("proc_raise", Signature(&[I], &[I])),
    ("random_get", Signature(&[I, I], &[I])),
    ("sched_yield", Signature(&[], &[I])),
    ("sock_accept", Signature(&[I, I, I], &[I])),
    ("sock_recv", Signature(&[I, I, I, I, I, I], &[I])),
    ("sock_send", Signature(&[I, I, I, I, I], &[I])),
    ("sock_shutdown", Signature(&[I, I], &[I])),
];

impl<'a> From<&'a FuncType> for Signature<'a> {
    fn from(function: &'a FuncType) -> Self {
        Self(function.params(), function.results())
    }
}

/// Formats the type like `(i32, i32) -> i32`.
impl fmt::Display for Signature<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |types: &[ValType]| types.iter().map(ValType::to_string).collect::<Vec<_>>().join(", ");
        match self.1 {
            [result] => write!(f, "({}) -> {result}", list(self.0)),
            results => write!(f, "({}) -> ({})", list(self.0), list(results)),
        }
    }
}
