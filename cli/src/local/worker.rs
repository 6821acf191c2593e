//! A worker without a mesh, which runs one function.

use std::path::{Path, PathBuf};
use std::pin::pin;

use anyhow::anyhow;
use bytes::Bytes;
use mesh::endpoint::Endpoint;
use mesh::receipt::Receipt;
use mesh::{Host, printable};
use proto::registry::v1::{Code, Limits};
use proto::worker::v1::ExecuteRequest;
use proto::worker::v1::execute_response::Outcome;
use serde_json::json;
use worker_svc::{Config, LocalWorker, LogLines, LogReader};

use crate::args::LocalLimits;
use crate::up::allowed_egress;

/// Compiled functions, in the user's cache folder: code that has not changed is not compiled again.
const CACHE_OF_USER: &str = "fl/code";
/// The same without a home directory.
const CACHE_OF_FOLDER: &str = ".funless/code-cache";
/// The most that they take on disk, in bytes.
const CACHE_BYTES: u64 = 256 << 20;
/// And in memory: one function runs at a time.
const LOADED_BYTES: u64 = 64 << 20;

/// A worker, and the function that it runs.
pub struct FunctionRunner {
    worker: LocalWorker,
    /// `module/name`, for restrictions of egress and in the log.
    module: String,
    name: String,
    limits: Limits,
    code: Option<Code>,
}

/// How an invocation ended.
pub struct Ended {
    /// The result, JSON text as the function wrote it; or what went wrong, in the words of the REST API.
    pub result: Result<String, Failure>,
    pub receipt: Receipt,
}

/// Why an invocation has no result.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The function's own error.
    #[error("Error: {0}")]
    Function(String),
    /// It did not run to its end, or could not start.
    #[error("{0}")]
    Run(String),
}

impl FunctionRunner {
    /// A worker for the function with this name.
    pub fn start(module: &str, name: &str, limits: &LocalLimits) -> anyhow::Result<Self> {
        let config = config(limits)?;
        let host = Host::new(&config.server, Endpoint::Local("worker".to_owned()))?;
        let worker = LocalWorker::start(&config, &host)?;
        let memory_bytes = limits.memory.map_or(0, |memory| memory.as_u64());
        let limits = Limits { memory_bytes, ..Limits::default() };
        Ok(Self { worker, module: module.to_owned(), name: name.to_owned(), limits, code: None })
    }

    /// Gives it the function's code. Fails if a mesh would refuse it.
    pub fn load(&mut self, code: Vec<u8>, file: &Path) -> anyhow::Result<()> {
        registry_svc::check_code(&code).map_err(|problem| anyhow!("{} {problem}", file.display()))?;
        self.code = Some(self.worker.give(code.into()));
        Ok(())
    }

    /// Invokes the function, and passes on what it logs while it runs.
    pub async fn invoke(&self, args: &str, mut log: impl FnMut(&str)) -> Ended {
        let request = ExecuteRequest {
            invocation_id: "local".to_owned(),
            module: self.module.clone(),
            function: self.name.clone(),
            code: self.code.clone(),
            limits: Some(self.limits),
            args: Bytes::copy_from_slice(args.as_bytes()),
            ..ExecuteRequest::default()
        };
        let mut reader = self.worker.log();
        let mut executing = pin!(self.worker.execute(request));
        let execution = loop {
            tokio::select! {
                execution = &mut executing => break execution,
                lines = reader.next() => pass_on(lines, &mut log),
            }
        };
        pass_on(LogReader::read(&mut reader), &mut log);
        let result = match execution.outcome {
            Ok(Outcome::Result(result)) => Ok(String::from_utf8_lossy(&result).into_owned()),
            Ok(Outcome::FunctionError(message)) => Err(Failure::Function(message)),
            Err(error) => Err(Failure::Run(error.message)),
        };
        Ended { result, receipt: execution.receipt }
    }

    /// Stops the worker.
    pub async fn stop(self) {
        self.worker.stop().await;
    }
}

fn pass_on(LogLines { lines, missed }: LogLines, log: &mut impl FnMut(&str)) {
    if missed > 0 {
        log(&format!("({missed} lines are left out: they came faster than they were read)"));
    }
    for line in lines {
        log(&printable::line(&line));
    }
}

fn config(limits: &LocalLimits) -> anyhow::Result<Config> {
    let default = Config::default();
    let memory_bytes = limits.memory.map_or(0, |memory| memory.as_u64()).max(default.memory_bytes);
    let timeout_ms = limits.timeout.map_or(default.timeout_ms.into(), |timeout| timeout.as_millis());
    let settings = json!({
        "name": "local",
        "cache_dir": cache_dir(),
        "cache_bytes": CACHE_BYTES,
        "module_cache_bytes": LOADED_BYTES,
        "max_concurrent": 1,
        "max_percent_per_module": 100,
        "compile_threads": 1,
        "memory_bytes": memory_bytes,
        "timeout_ms": u64::try_from(timeout_ms)?,
        "egress": { "allow": allowed_egress(limits.strict, &limits.allow_egress) },
    });
    mesh::config::of_settings(&settings, &[]).map_err(|problem| anyhow!("worker: {problem}"))
}

fn cache_dir() -> PathBuf {
    let given = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let of_user = given.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    of_user.map_or_else(|| CACHE_OF_FOLDER.into(), |cache| cache.join(CACHE_OF_USER))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytesize::ByteSize;

    use super::*;

    #[test]
    fn limits_of_the_command_line() {
        let none = LocalLimits { timeout: None, memory: None, strict: false, allow_egress: Vec::new() };
        let default = config(&none).expect("valid");
        let of_worker = Config::default();
        assert_eq!(
            (default.memory_bytes, default.timeout_ms),
            (of_worker.memory_bytes, of_worker.timeout_ms)
        );
        let allowed =
            |config: &Config| config.egress.allow.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(allowed(&default), ["127.0.0.0/8", "::1"]);

        let rule = "10.0.0.1:80".parse().expect("a rule");
        let (timeout, memory) = (Some(Duration::from_secs(5)), Some(ByteSize::mib(256)));
        let given = LocalLimits { timeout, memory, strict: true, allow_egress: vec![rule] };
        let given = config(&given).expect("valid");
        assert_eq!((given.memory_bytes, given.timeout_ms), (256 << 20, 5000));
        assert_eq!(allowed(&given), ["10.0.0.1:80"]);
    }
}
