//! Network namespaces.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use tests::process::{installed, is_root};

/// The link's interface in the namespace.
const LINK: &str = "eth0";

/// A network namespace that is linked only to this machine. Dropping it deletes it.
#[derive(Debug)]
pub struct Network {
    name: String,
    /// The address of this machine on the link.
    pub here: Ipv4Addr,
    /// The address of the namespace on the link.
    pub there: Ipv4Addr,
}

/// What is missing to create namespaces. `None`: nothing.
pub fn missing() -> Option<&'static str> {
    if !is_root() {
        return Some("skipped, needs root");
    }
    let probe = Network::named("probe");
    let made = run(&["netns", "add", &probe.name]).is_ok();
    (!made).then_some("skipped, this machine does not allow network namespaces")
}

impl Network {
    /// Creates a namespace.
    pub fn create() -> Self {
        let this = Self::named("hidden");
        let (name, outside) = (this.name.as_str(), this.outside());
        let (here, there) = (format!("{}/30", this.here), format!("{}/30", this.there));
        for arguments in [
            &["netns", "add", name][..],
            &["link", "add", &outside, "type", "veth", "peer", "name", LINK, "netns", name],
            &["address", "add", &here, "dev", &outside],
            &["link", "set", &outside, "up"],
            &["-n", name, "address", "add", &there, "dev", LINK],
            &["-n", name, "link", "set", LINK, "up"],
            &["-n", name, "link", "set", "lo", "up"],
        ] {
            run(arguments).unwrap_or_else(|error| panic!("ip {arguments:?}: {error}"));
        }
        this
    }

    /// Chooses names and addresses. 198.18.0.0/15 is reserved for network tests; concurrent test binaries use
    /// different parts of it.
    fn named(what: &str) -> Self {
        let pid = std::process::id();
        let first = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + pid % (1 << 15) * 4;
        let [here, there] = [1, 2].map(|host| Ipv4Addr::from(first + host));
        Self { name: format!("funless-{what}-{pid}"), here, there }
    }

    /// The name of the link's interface on this machine, at most 15 bytes.
    fn outside(&self) -> String {
        format!("fl{}", std::process::id())
    }

    /// The command that runs a program in the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(ip());
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Sets the link up or down.
    pub fn set_link(&self, up: bool) {
        let state = if up { "up" } else { "down" };
        run(&["-n", &self.name, "link", "set", LINK, state]).expect("the link exists");
    }
}

impl Drop for Network {
    /// Deletes the namespace, and with it the link.
    fn drop(&mut self) {
        let _ = run(&["netns", "delete", &self.name]);
    }
}

fn ip() -> impl AsRef<OsStr> + AsRef<Path> {
    installed("ip", &["/usr/sbin", "/sbin"])
}

fn run(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(ip()).args(arguments).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
