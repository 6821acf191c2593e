//! The process that compiles one function: `PROGRAM compile JOB`, started by a worker.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use rustix::process::{
    Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit,
};
use serde::{Deserialize, Serialize};

use crate::runtime::artifacts::compatibility;
use crate::runtime::engine::{self, PoolLayout};

/// The first argument of a program that has to compile.
pub(super) const SUBCOMMAND: &str = "compile";
/// The exit code after an artifact was written. Not 0, which any other program may return.
pub(super) const COMPILED: u8 = 40;
/// The exit code for code that cannot be compiled; the reason is on standard error.
pub(super) const CODE_IS_INVALID: u8 = 41;
/// The exit code if the compilation has reached its memory limit.
pub(super) const OUT_OF_MEMORY: u8 = 42;
/// The exit code for everything else; the reason is on standard error.
const FAILED: u8 = 43;

/// What the process has to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) layout: PoolLayout,
    /// The most memory of an instance, in bytes.
    pub(super) instance_bytes: u64,
    /// What the engine must be compatible with.
    pub(super) engine: String,
    /// The most memory of this process, in bytes.
    pub(super) memory_bytes: u64,
    /// The most CPU time of this process, in seconds.
    pub(super) cpu_s: u64,
    /// The process id of the worker.
    pub(super) worker: u32,
}

/// How a compilation ends without an artifact.
enum Failure {
    Invalid(String),
    OutOfMemory,
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// If these are the arguments with which a worker runs its own program in order to compile a function, compiles it
/// and returns the exit code of the process. Any program that runs a worker has to begin with this.
pub fn compile_if_asked(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != SUBCOMMAND {
        return None;
    }
    let (code, reason) = match compile(arguments.next()) {
        Ok(()) => return Some(ExitCode::from(COMPILED)),
        Err(Failure::Invalid(reason)) => (CODE_IS_INVALID, reason),
        Err(Failure::OutOfMemory) => (OUT_OF_MEMORY, "there is not enough memory".to_owned()),
        Err(Failure::Failed(error)) => (FAILED, format!("{error:#}")),
    };
    let _ = writeln!(io::stderr(), "{reason}");
    Some(ExitCode::from(code))
}

fn compile(job: Option<OsString>) -> Result<(), Failure> {
    let job = job.and_then(|job| job.into_string().ok());
    let job = job.context("compile: expected the job that a worker passes; it is for workers only")?;
    let job: Job = serde_json::from_str(&job).context("compile: the job of a worker")?;
    limit(&job)?;
    let engine = engine::for_compiler(job.layout, job.instance_bytes)?;
    let own = compatibility(&engine).to_string();
    if own != job.engine {
        return Err(anyhow::anyhow!("the compiler's engine is not compatible with the worker's").into());
    }
    let mut code = Vec::new();
    io::stdin().lock().read_to_end(&mut code).context("the code")?;
    let artifact =
        engine.precompile_module(&code).map_err(|error| match error.is::<wasmtime::OutOfMemory>() {
            true => Failure::OutOfMemory,
            false => Failure::Invalid(format!("{error:#}")),
        })?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&artifact).and_then(|()| stdout.flush()).context("the artifact")?;
    Ok(())
}

/// Limits this process, and ends it with the worker.
fn limit(job: &Job) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("the parent's death signal")?;
    let parent = getppid().map(|parent| parent.as_raw_pid().cast_unsigned());
    anyhow::ensure!(parent == Some(job.worker), "the worker has ended");
    // The kernel lets a process with a soft limit know by a signal that the worker recognises.
    let limits = [
        (Resource::Core, 0, 0),
        (Resource::Cpu, job.cpu_s, job.cpu_s + 1),
        // All memory that is written to, however it was allocated.
        (Resource::Data, job.memory_bytes, job.memory_bytes),
    ];
    for (resource, current, maximum) in limits {
        // The worker may have a lower limit already, which nobody can raise.
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit { current: Some(current.min(most)), maximum: Some(maximum.min(most)) };
        setrlimit(resource, limit).with_context(|| format!("the limit {resource:?}"))?;
    }
    // Where memory runs out nevertheless, this process is the one to kill, and not the worker.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::engine::{EngineLimits, with_layout};

    #[test]
    fn only_the_subcommand_compiles() {
        let asked = |line: &str| compile_if_asked(line.split(' ').map(OsString::from)).is_some();
        for (line, expected) in [
            ("worker-svc", false),
            ("worker-svc --set name=compile", false),
            ("fl up compile", false),
            ("fl compile", true),
            ("fl compile {}", true),
        ] {
            assert_eq!(asked(line), expected, "{line}");
        }
    }

    #[test]
    fn what_it_compiles_runs_in_every_layout() {
        for layout in [PoolLayout::Full, PoolLayout::Compact, PoolLayout::OnDemand] {
            for memory_bytes in [1 << 20, (1 << 20) + 1] {
                let limits = EngineLimits { instances: 2, memory_bytes, stack_bytes: 64 << 10 };
                let worker = compatibility(&with_layout(limits, layout).expect("fits"));
                let own = compatibility(&engine::for_compiler(layout, memory_bytes).expect("an engine"));
                assert_eq!(own, worker, "{layout:?}");
            }
        }
    }
}
