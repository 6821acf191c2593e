//! A network namespace for this process, in which all ports are free.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use tests::process::installed;

/// Set in the process that runs in the namespace.
const INSIDE: &str = "TESTS_IN_NAMESPACE";

/// Runs this program again in its own namespace, with the loopback interface up. Returns what is missing if
/// that is not possible.
pub fn enter() -> Option<&'static str> {
    if std::env::var_os(INSIDE).is_some() {
        let up =
            Command::new(installed("ip", &["/usr/sbin", "/sbin"])).args(["link", "set", "lo", "up"]).status();
        assert!(up.is_ok_and(|status| status.success()), "cannot set up the loopback interface");
        return None;
    }
    let can_unshare = Command::new("unshare").args(["--net", "true"]).output();
    if !can_unshare.is_ok_and(|output| output.status.success()) {
        return Some("skipped, needs root and network namespaces");
    }
    let program = std::env::current_exe().expect("the path of this program");
    let arguments = std::env::args_os().skip(1);
    let error = Command::new("unshare").arg("--net").arg(program).args(arguments).env(INSIDE, "1").exec();
    panic!("cannot run in a network namespace: {error}");
}
