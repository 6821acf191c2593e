//! Compiles code in processes of their own, within limits: what a compilation costs depends on code that nobody
//! trusts.
//!
//! The process is this program (`child`). It reads the code from its standard input and writes the artifact to its
//! standard output, a file without a name. It ends with the worker, and with the future that waits for it.

pub(crate) mod child;
mod outcome;

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use mesh::hash::{Hash, Hasher};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, Command};

use self::child::{Job, SUBCOMMAND};
pub(crate) use self::outcome::CompileError;
use super::engine::PoolLayout;

/// This program, even if its file has been replaced since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// The most of what the process writes to its standard error that is read.
const STDERR_BYTES: u64 = 16 << 10;

/// The limits of one compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CompileLimits {
    pub(crate) memory_bytes: u64,
    pub(crate) cpu_s: u64,
    pub(crate) timeout: Duration,
}

/// The compiler.
pub(super) struct Compiler {
    program: PathBuf,
    limits: CompileLimits,
    layout: PoolLayout,
    /// The most memory of an instance, in bytes.
    instance_bytes: u64,
    /// What the compiler's engine must be compatible with.
    engine: Hash,
}

impl Compiler {
    /// Compiles for the engine whose compatibility is `engine`, with `program`, by default this one.
    pub(super) fn new(
        program: Option<PathBuf>,
        limits: CompileLimits,
        layout: PoolLayout,
        instance_bytes: u64,
        engine: Hash,
    ) -> Self {
        let program = program.unwrap_or_else(|| THIS_PROGRAM.into());
        Self { program, limits, layout, instance_bytes, engine }
    }

    /// Identifies the compiler and its limits: what one could not compile, another may.
    pub(super) fn identity(&self) -> Hash {
        let CompileLimits { memory_bytes, cpu_s, .. } = self.limits;
        let version = env!("CARGO_PKG_VERSION");
        let mut hasher = Hasher::default();
        hasher.update(self.engine.as_bytes());
        hasher.update(format!("{version} {memory_bytes} {cpu_s} {}", self.instance_bytes).as_bytes());
        hasher.finish()
    }

    /// Compiles `code` and returns the artifact. Dropping the future kills the process.
    pub(super) async fn compile(&self, code: &[u8]) -> Result<File, CompileError> {
        let platform = |error: std::io::Error| CompileError::Platform(error.to_string());
        let artifact = rustix::fs::memfd_create("artifact", rustix::fs::MemfdFlags::CLOEXEC);
        let artifact = File::from(artifact.map_err(|error| platform(error.into()))?);
        let mut child = self.spawn(&artifact).map_err(|error| {
            CompileError::Platform(format!("cannot run {}: {error}", self.program.display()))
        })?;
        let ended = tokio::time::timeout(self.limits.timeout, hand_over_and_wait(&mut child, code)).await;
        let Ok(ended) = ended else {
            child.kill().await.map_err(platform)?;
            return Err(CompileError::Timeout { limit: self.limits.timeout });
        };
        let (status, stderr) = ended.map_err(platform)?;
        outcome::of(status, &stderr, self.limits).map(|()| artifact)
    }

    fn spawn(&self, artifact: &File) -> std::io::Result<Child> {
        let job = Job {
            layout: self.layout,
            instance_bytes: self.instance_bytes,
            engine: self.engine.to_string(),
            memory_bytes: self.limits.memory_bytes,
            cpu_s: self.limits.cpu_s,
            worker: std::process::id(),
        };
        Command::new(&self.program)
            .arg(SUBCOMMAND)
            .arg(serde_json::to_string(&job)?)
            // The worker's has secrets.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(artifact.try_clone()?)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

/// Writes `code` to the process, and returns how it ended and what it wrote to its standard error.
async fn hand_over_and_wait(
    child: &mut Child,
    code: &[u8],
) -> std::io::Result<(std::process::ExitStatus, Vec<u8>)> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let written = async {
        if let Some(mut stdin) = stdin {
            // A process that has ended reads no more: its status tells why.
            let _ = stdin.write_all(code).await;
        }
    };
    let ((), said) = tokio::join!(written, read_stderr(stderr));
    Ok((child.wait().await?, said?))
}

async fn read_stderr(stderr: Option<ChildStderr>) -> std::io::Result<Vec<u8>> {
    let mut said = Vec::new();
    if let Some(mut stderr) = stderr {
        (&mut stderr).take(STDERR_BYTES).read_to_end(&mut said).await?;
        tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
    }
    Ok(said)
}
