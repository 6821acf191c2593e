//! How a compilation has ended.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;

use super::CompileLimits;
use super::child::{CODE_IS_INVALID, COMPILED, OUT_OF_MEMORY};
use crate::runtime::excerpt;

/// The most of a reason that is kept, in bytes.
const REASON_BYTES: usize = 1 << 10;
/// How Rust's runtime begins its last words when there is no more memory. It aborts then.
const NO_MEMORY: &str = "memory allocation of ";
/// Rust's exit code after a panic.
const PANICKED: u8 = 101;

/// Why code has not been compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CompileError {
    /// The compiler refuses it.
    #[error("{0}")]
    Invalid(String),
    #[error("its compilation needs more memory than {limit} bytes (compile_memory_bytes)")]
    Memory { limit: u64 },
    #[error("its compilation needs more CPU time than {limit_s} s (compile_cpu_s)")]
    CpuTime { limit_s: u64 },
    #[error("the compiler failed on it")]
    Crashed,
    /// The machine may have been busy.
    #[error("its compilation took longer than {} ms (compile_timeout_ms)", limit.as_millis())]
    Timeout { limit: Duration },
    /// By somebody else, such as a kernel that runs out of memory.
    #[error("its compiler was killed by signal {0}")]
    Killed(i32),
    /// The compiler could not do its work, whatever the code.
    #[error("{0}")]
    Platform(String),
}

impl CompileError {
    /// Whether the code is the cause: compiling it again would fail again.
    pub(crate) fn is_of_code(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Memory { .. } | Self::CpuTime { .. } | Self::Crashed => true,
            Self::Timeout { .. } | Self::Killed(_) | Self::Platform(_) => false,
        }
    }

    /// Its name in metrics: one of `COMPILE_FAILURES`.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Memory { .. } => "memory",
            Self::CpuTime { .. } => "cpu_time",
            Self::Crashed => "crashed",
            Self::Timeout { .. } => "timeout",
            Self::Killed(_) => "killed",
            Self::Platform(_) => "platform",
        }
    }
}

/// What the end of the compiler's process means.
pub(super) fn of(status: ExitStatus, stderr: &[u8], limits: CompileLimits) -> Result<(), CompileError> {
    let said = || excerpt::beginning(stderr.trim_ascii(), REASON_BYTES);
    let memory = CompileError::Memory { limit: limits.memory_bytes };
    let crashed = || {
        tracing::warn!(%status, said = said(), "the compiler failed on some code");
        CompileError::Crashed
    };
    let Some(signal) = status.signal() else {
        return match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(COMPILED) => Ok(()),
            Some(CODE_IS_INVALID) => Err(CompileError::Invalid(said())),
            Some(OUT_OF_MEMORY) => Err(memory),
            Some(PANICKED) => Err(crashed()),
            _ => Err(CompileError::Platform(format!("the compiler has ended with {status}: {}", said()))),
        };
    };
    Err(match Signal::from_named_raw(signal) {
        Some(Signal::XCPU) => CompileError::CpuTime { limit_s: limits.cpu_s },
        Some(Signal::ABORT) if said().contains(NO_MEMORY) => memory,
        // A stack overflow is one of these.
        Some(Signal::ABORT | Signal::SEGV | Signal::BUS | Signal::ILL | Signal::FPE | Signal::TRAP) => {
            crashed()
        }
        _ => CompileError::Killed(signal),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::COMPILE_FAILURES;

    #[test]
    fn ends_of_the_process() {
        const LIMITS: CompileLimits =
            CompileLimits { memory_bytes: 1000, cpu_s: 5, timeout: Duration::from_secs(10) };
        let exit = |code: u8| ExitStatus::from_raw(i32::from(code) << 8);
        let signal = |signal: Signal| ExitStatus::from_raw(signal.as_raw());
        let invalid = CompileError::Invalid("bad magic".into());
        let platform = |said: &str| Err(CompileError::Platform(said.into()));
        let cases = [
            (exit(COMPILED), "", Ok(())),
            (exit(0), "usage", platform("the compiler has ended with exit status: 0: usage")),
            (exit(CODE_IS_INVALID), "bad magic\n", Err(invalid)),
            (exit(OUT_OF_MEMORY), "", Err(CompileError::Memory { limit: 1000 })),
            (exit(101), "thread 'main' panicked", Err(CompileError::Crashed)),
            (exit(43), "no stdin", platform("the compiler has ended with exit status: 43: no stdin")),
            (signal(Signal::XCPU), "", Err(CompileError::CpuTime { limit_s: 5 })),
            (
                signal(Signal::ABORT),
                "memory allocation of 4096 bytes failed",
                Err(CompileError::Memory { limit: 1000 }),
            ),
            (signal(Signal::ABORT), "has overflowed its stack", Err(CompileError::Crashed)),
            (signal(Signal::SEGV), "", Err(CompileError::Crashed)),
            (signal(Signal::KILL), "", Err(CompileError::Killed(9))),
        ];
        for (status, stderr, expected) in cases {
            assert_eq!(of(status, stderr.as_bytes(), LIMITS), expected, "{status} {stderr}");
        }
    }

    #[test]
    fn only_what_the_code_causes_is_remembered() {
        let limit = Duration::from_secs(1);
        for (error, of_code) in [
            (CompileError::Invalid(String::new()), true),
            (CompileError::Memory { limit: 1 }, true),
            (CompileError::CpuTime { limit_s: 1 }, true),
            (CompileError::Crashed, true),
            (CompileError::Timeout { limit }, false),
            (CompileError::Killed(9), false),
            (CompileError::Platform(String::new()), false),
        ] {
            assert_eq!(error.is_of_code(), of_code, "{error:?}");
            assert!(COMPILE_FAILURES.contains(&error.label()), "{error:?}");
        }
    }
}
