//! A worker without a mesh: it runs code that it is given, as any worker does, and tells what it logs.

use std::time::{Duration, Instant};

use bytes::Bytes;
use mesh::hash::Hash;
use mesh::receipt::{Receipt, micros};
use mesh::shutdown::Tasks;
use mesh::{Host, Reason};
use proto::registry::v1::Code;
use proto::worker::v1::ExecuteRequest;
use proto::worker::v1::execute_response::Outcome;

use crate::app::{Executor, executor};
use crate::code_source::{CodeSource, GivenCode};
use crate::config::Config;
use crate::error::Error;
use crate::grpc::ExecutionHandler;
use crate::logs::{Logs, Reader};
use crate::outcome;

/// How long its tasks may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A worker without a mesh.
pub struct LocalWorker {
    execution: ExecutionHandler,
    code: GivenCode,
    logs: Logs,
    tasks: Tasks,
}

/// How an execution ended, and what it cost.
#[derive(Debug)]
pub struct Execution {
    /// The function's result or its own error; or why it has neither.
    pub outcome: Result<Outcome, mesh::Error>,
    /// The cost, also of a failure.
    pub receipt: Receipt,
}

impl LocalWorker {
    /// Starts a worker. What `config` says about schedulers, the registry and its port has no effect.
    pub fn start(config: &Config, host: &Host) -> anyhow::Result<Self> {
        let (code, tasks) = (GivenCode::default(), Tasks::default());
        let Executor { execution, logs, .. } =
            executor(config, host, CodeSource::Given(code.clone()), &[], &tasks)?;
        Ok(Self { execution, code, logs, tasks })
    }

    /// Gives it the code to execute from now on. What it returns goes into requests.
    pub fn give(&self, code: Bytes) -> Code {
        let (hash, size) = (Hash::of(&code), code.len() as u64);
        self.code.set(hash, code);
        Code { hash: hash.to_bytes(), size, ..Code::default() }
    }

    /// Executes a function once. Dropping the future stops it.
    pub async fn execute(&self, request: ExecuteRequest) -> Execution {
        let started = Instant::now();
        let mut receipt = Receipt { attempts: 1, ..Receipt::default() };
        let ended = self.execution.run(request, None, &mut receipt).await;
        receipt.total_us = micros(started.elapsed());
        let outcome = match ended {
            Ok((outcome::Outcome::Result(result), _)) => Ok(Outcome::Result(result)),
            Ok((outcome::Outcome::FunctionError(message), _)) => Ok(Outcome::FunctionError(message)),
            // Here, the caller is the operator.
            Err(Error::Internal(context)) => Err(mesh::Error::new(Reason::Internal, context)),
            Err(error) => Err(error.into()),
        };
        Execution { outcome, receipt }
    }

    /// Reads what functions log from now on.
    pub fn log(&self) -> LogReader {
        let mut reader = self.logs.reader();
        reader.read();
        LogReader(reader)
    }

    /// Stops what runs in the background.
    pub async fn stop(self) {
        self.tasks.stop(STOP_TIMEOUT).await;
    }
}

/// Reads the log of all functions. A slow reader misses lines.
pub struct LogReader(Reader);

/// Lines that were read at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LogLines {
    /// Oldest first.
    pub lines: Vec<String>,
    /// How many lines before these were dropped before they were read.
    pub missed: u64,
}

impl LogReader {
    /// The lines since the last call, possibly none.
    pub fn read(&mut self) -> LogLines {
        let read = self.0.read();
        LogLines { lines: read.lines.iter().map(|line| line.text.clone()).collect(), missed: read.missed }
    }

    /// Waits for lines. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> LogLines {
        self.0.wait().await;
        self.read()
    }
}
