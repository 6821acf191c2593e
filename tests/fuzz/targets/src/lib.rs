//! The fuzzers: one program for each surface.

use std::process::ExitCode;

pub use libfuzzer_sys;

/// Fuzzes the surface with this name: `fuzz_surface!(code)`.
#[macro_export]
macro_rules! fuzz_surface {
    ($surface:ident) => {
        use $crate::libfuzzer_sys;

        static CHECK: std::sync::OnceLock<std::sync::Mutex<fuzz::Check>> = std::sync::OnceLock::new();

        libfuzzer_sys::fuzz_target!(init: $crate::compile_if_asked(), |data: &[u8]| {
            let check = CHECK.get_or_init(|| (fuzz::$surface::open)().into());
            check.lock().expect("a panic ends the process")(data);
        });
    };
}

/// If a worker has started this process to compile a function, does that and ends.
pub fn compile_if_asked() {
    if let Some(code) = worker_svc::compile_if_asked(std::env::args_os()) {
        // There is no other way to read it.
        let number = (0..=u8::MAX).find(|number| ExitCode::from(*number) == code);
        std::process::exit(number.unwrap_or(u8::MAX).into());
    }
}
