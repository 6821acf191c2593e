//! Runs `fl up` as a child process on free ports, with its own data directory.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::process::{Child, Command};

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(2);

/// A running mesh. It is killed when this is dropped.
pub struct Fl {
    child: Child,
    /// The REST address.
    pub base: String,
    /// A subject's token.
    pub token: String,
    /// The time from the start of the process to the first response to an authenticated request.
    pub ready_after: Duration,
    _data_dir: TempDir,
}

impl Fl {
    /// Starts `fl up`, or `fl up --mesh`, and waits until it is ready.
    pub async fn start(six_processes: bool) -> anyhow::Result<Self> {
        Self::start_with(six_processes, &[]).await
    }

    /// Like [`Self::start`], with more flags.
    pub async fn start_with(six_processes: bool, flags: &[&str]) -> anyhow::Result<Self> {
        let fl = std::env::current_exe()?.with_file_name("fl");
        let data_dir = tempfile::tempdir()?;
        let (http, grpc) = free_addresses()?;
        let mut command = Command::new(&fl);
        command.arg("up").arg("--data-dir").arg(data_dir.path());
        command.args(["--http", &http, "--grpc", &grpc]);
        if six_processes {
            command.arg("--mesh");
        }
        command.args(flags);
        let started = Instant::now();
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn().with_context(
                || format!("cannot run {}; build it with `cargo build --release --workspace`", fl.display()),
            )?;
        let base = format!("http://{http}");
        let client = reqwest::Client::new();
        let token = loop {
            if started.elapsed() > READY_TIMEOUT {
                bail!("fl up is not ready after {READY_TIMEOUT:?}");
            }
            tokio::time::sleep(READY_POLL).await;
            let Ok(config) = std::fs::read_to_string(data_dir.path().join("config")) else { continue };
            let Some(token) = config.lines().find_map(|line| line.strip_prefix("api_token=")) else {
                continue;
            };
            let page = client.get(format!("{base}/v1/fn")).bearer_auth(token).send().await;
            if page.is_ok_and(|page| page.status().is_success()) {
                break token.to_owned();
            }
        };
        Ok(Self { child, base, token, ready_after: started.elapsed(), _data_dir: data_dir })
    }

    /// The CPU time that the process has used so far.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        /// The unit of `/proc/PID/stat`, the same on all Linux systems.
        const TICKS_PER_S: f64 = 100.0;
        let pid = self.child.id().context("fl has ended")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may contain anything; user and system time are the 14th and 15th fields.
        let (_, fields) = stat.rsplit_once(')').context("cannot parse /proc/PID/stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        Ok(Duration::from_secs_f64(ticks.sum::<Result<f64, _>>()? / TICKS_PER_S))
    }

    /// The resident memory of the process, in KiB.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        let pid = self.child.id().context("fl has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Stops the mesh with SIGTERM and waits until it has exited.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        rustix::process::kill_process(pid.context("fl has ended")?, rustix::process::Signal::TERM)?;
        let status = self.child.wait().await?;
        if !status.success() {
            bail!("fl up ended with {status}");
        }
        Ok(())
    }
}

fn free_addresses() -> anyhow::Result<(String, String)> {
    let (http, grpc) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((http.local_addr()?.to_string(), grpc.local_addr()?.to_string()))
}
