//! Programs that tests run, and their ports and files.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process, kill_process_group, test_kill_process_group};

use crate::wait;

/// How long a program may take to exit before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(15);
/// The number of log lines printed on a failure.
const SHOWN_LINES: usize = 150;

/// A program that runs until this is dropped. If the test fails, the end of the log is printed.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    stop: Signal,
}

impl Running {
    /// Starts `command` and appends its output to the file `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let out = File::options().create(true).append(true).open(log).expect("failed to open the log");
        let err = out.try_clone().expect("failed to clone the file handle");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot run {name}: {command:?}: {error}"));
        Self { name: name.to_owned(), child, log: log.to_owned(), stop: Signal::TERM }
    }

    /// Sets the signal for a graceful stop. The default is SIGTERM.
    #[must_use]
    pub fn stopped_by(mut self, signal: Signal) -> Self {
        self.stop = signal;
        self
    }

    /// The complete output so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        send_signal(self.child.id(), signal);
    }

    /// The exit status; `None` while the program runs.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("failed to query the child process")
    }

    /// Waits until the program has exited. Panics after `limit`.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} has exited", self.name);
        wait::until(&what, limit, async || self.status()).await
    }

    /// Waits until `ask` returns true. Panics after `limit`, or if the program exits.
    pub async fn ready(&mut self, limit: Duration, mut ask: impl AsyncFnMut() -> bool) {
        let what = format!("{} is ready", self.name);
        wait::until(&what, limit, async || {
            if let Some(status) = self.status() {
                panic!("{} exited during startup: {status}", self.name);
            }
            ask().await.then_some(())
        })
        .await;
    }

    /// Stops the program gracefully, or kills it if that takes too long.
    pub fn stop(&mut self) {
        if self.status().is_some() {
            return;
        }
        self.signal(self.stop);
        let start = Instant::now();
        while self.status().is_none() {
            if start.elapsed() > END_TIMEOUT {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            #[expect(clippy::disallowed_methods, reason = "a drop cannot await")]
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Prints the end of the log.
    #[expect(clippy::print_stderr, reason = "output of a failed test")]
    pub fn show_log(&self) {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        eprintln!("---- last log lines of {}:\n{}\n----", self.name, shown.join("\n"));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_log();
        }
        self.stop();
    }
}

/// Sends a signal to a process. Errors are ignored, because the process may have exited.
pub fn send_signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let _ = kill_process(pid, signal);
}

/// A paused process: it runs no more, but its files and connections stay open. It continues when this is dropped, also
/// if the test fails.
#[derive(Debug)]
pub struct Paused {
    pid: u32,
    /// When the pause began.
    pub since: Instant,
}

impl Paused {
    /// Pauses a process, and waits until it has stopped.
    pub async fn begin(pid: u32) -> Self {
        send_signal(pid, Signal::STOP);
        let this = Self { pid, since: Instant::now() };
        wait::until("the process has stopped", END_TIMEOUT, async || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')).then_some(())
        })
        .await;
        this
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        send_signal(self.pid, Signal::CONT);
    }
}

/// Stops all processes of a process group, and waits until they have ended.
pub async fn stop_group(group: u32) {
    let id = i32::try_from(group).ok().and_then(Pid::from_raw).expect("a process id");
    let _ = kill_process_group(id, Signal::TERM);
    let ended = async || test_kill_process_group(id).is_err().then_some(());
    wait::until(&format!("the process group {group} has ended"), END_TIMEOUT, ended).await;
}

/// A free port of the loopback interface, below the ephemeral port range of Linux, so that no outgoing
/// connection takes it.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Concurrent test binaries start at different ports.
    let start = u16::try_from(std::process::id() * 101 % u32::from(COUNT)).expect("below COUNT");
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (u32::from(start) + u32::from(step)) as u16 % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The first of `count` consecutive free ports.
pub fn free_ports(count: u16) -> u16 {
    loop {
        let first = free_port();
        if (1..count).all(|step| free_port() == first + step) {
            return first;
        }
    }
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the repository").to_owned()
}

/// The path of a program of this workspace, built in the same directory as this one.
pub fn workspace_binary(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("the path of this program");
    // Test binaries are one directory further down.
    let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    beside.unwrap_or_else(|| {
        panic!(
            "{name} not found next to {}; run scripts/test, or `cargo build --workspace` first",
            this.display()
        )
    })
}

/// The path of an installed program, searched in `PATH` and then in these folders.
pub fn installed(name: &str, folders: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&path).chain(folders.iter().map(PathBuf::from));
    let found = candidates.map(|folder| folder.join(name)).find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed; run scripts/test, which installs it"))
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// Hides the machine's CA certificates from a program, which must also work in a bare container.
pub fn without_authorities(command: &mut Command) {
    command.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
}

/// Removes the environment variables that select a mesh.
pub fn free_of_mesh(command: &mut Command) {
    for variable in ["FL_API_HOST", "FL_API_TOKEN", "FL_CONFIG"] {
        command.env_remove(variable);
    }
}
