//! A child process that is started again when it ends, its log lines prefixed with its name.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mesh::backoff::Backoff;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A child that lived this long has not failed at its start.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// How long a child may take to drain before it is killed.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(40);

/// What to run.
#[derive(Debug, Clone)]
pub struct Program {
    /// What people know it by.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// What is said after it, each as `KEY=VALUE`.
    pub set: Vec<String>,
}

/// A supervised program.
#[derive(Debug)]
pub struct Supervised {
    stopping: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Supervised {
    /// Starts the program and keeps it running. `pid` follows its process id.
    pub fn start(program: Program, pid: watch::Sender<Option<u32>>) -> anyhow::Result<Self> {
        let child = spawn(&program)?;
        pid.send_replace(child.id());
        let stopping = CancellationToken::new();
        let task = tokio::spawn(supervise(program, child, pid, stopping.clone()));
        Ok(Self { stopping, task })
    }

    /// Asks the program to drain and waits for its end.
    pub async fn stop(self) {
        self.stopping.cancel();
        let _ = self.task.await;
    }
}

async fn supervise(
    program: Program,
    mut child: Child,
    pid: watch::Sender<Option<u32>>,
    stopping: CancellationToken,
) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    let mut started = Instant::now();
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                tracing::warn!(service = program.name, status, "ended; starting it again");
            }
            () = stopping.cancelled() => return drain(&program.name, child).await,
        }
        pid.send_replace(None);
        if started.elapsed() >= HEALTHY_AFTER {
            backoff.reset();
        }
        child = loop {
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = stopping.cancelled() => return,
            }
            match spawn(&program) {
                Ok(child) => break child,
                Err(error) => tracing::error!(service = program.name, %error, "cannot be started"),
            }
        };
        started = Instant::now();
        pid.send_replace(child.id());
    }
}

async fn drain(name: &str, mut child: Child) {
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(DRAIN_TIMEOUT, child.wait()).await.is_err() {
        tracing::warn!(service = name, "did not drain in time and is killed");
        let _ = child.kill().await;
    }
}

fn spawn(program: &Program) -> anyhow::Result<Child> {
    let mut child = Command::new(&program.path)
        .arg("--config")
        .arg(&program.config)
        .args(program.set.iter().flat_map(|setting| ["--set", setting]))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C reaches this process only, which stops the others in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| {
            format!(
                "cannot run {}; build all services with `cargo build --workspace`",
                program.path.display()
            )
        })?;
    if let Some(lines) = child.stdout.take() {
        tokio::spawn(prefix_lines(program.name.clone(), lines));
    }
    if let Some(lines) = child.stderr.take() {
        tokio::spawn(prefix_lines(program.name.clone(), lines));
    }
    Ok(child)
}

/// Passes the child's lines on until it closes its end of the pipe. Whatever a line holds, the next one is
/// read: a child that nobody reads would block.
async fn prefix_lines(name: String, lines: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(lines).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        eprintln!("{}", with_service(&name, &String::from_utf8_lossy(&line)));
    }
}

/// A log line with the name of its service: the first member of a JSON object, else a prefix.
fn with_service(name: &str, line: &str) -> String {
    match line.strip_prefix('{') {
        Some(members) if line.ends_with('}') => {
            let separator = if members == "}" { "" } else { "," };
            format!(r#"{{"service":"{name}"{separator}{members}"#)
        }
        _ => format!("{name:<10} | {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_service_and_json_stays_json() {
        for (line, expected) in [
            ("INFO started", "worker     | INFO started"),
            ("", "worker     | "),
            ("{not closed", "worker     | {not closed"),
            ("{}", r#"{"service":"worker"}"#),
            (r#"{"level":"INFO"}"#, r#"{"service":"worker","level":"INFO"}"#),
        ] {
            assert_eq!(with_service("worker", line), expected);
        }
    }
}
