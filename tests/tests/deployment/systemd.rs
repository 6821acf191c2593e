//! The systemd unit of the whole mesh: systemd accepts it, it is sandboxed, and its commands run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;
use tests::client::http;
use tests::process::{Running, free_of_mesh, free_port, repository, without_authorities, workspace_binary};

/// How the unit starts `fl`, which systemd finds in /usr/local/bin and /usr/bin.
const INSTALLED_FL: &str = "ExecStart=fl ";
/// The maximum exposure level of the service, from 0, not exposed, to 100.
pub const MOST_EXPOSED: &str = "25";
const START_TIMEOUT: Duration = Duration::from_secs(60);

const UNIT: &str = "funless.service";
const DROP_IN: &str = "tls.conf";
/// The path where systemd looks for the drop-in.
const DROP_IN_PATH: &str = "funless.service.d/tls.conf";

/// The text of a file in deploy/systemd.
pub fn read(file: &str) -> String {
    let path = repository().join("deploy/systemd").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The values of a directive. Lines may be continued with a backslash.
pub fn values(text: &str, directive: &str) -> Vec<String> {
    let text = text.replace("\\\n", "");
    let of_directive = |line: &str| Some(line.strip_prefix(directive)?.strip_prefix('=')?.trim().to_owned());
    text.lines().filter_map(of_directive).collect()
}

/// The arguments of `fl` in the last `ExecStart`.
fn arguments(text: &str) -> Vec<String> {
    let command = values(text, "ExecStart").pop().expect("an ExecStart line");
    let mut words = command.split_whitespace().map(str::to_owned);
    assert_eq!(words.next().as_deref(), Some("fl"), "{command}");
    words.collect()
}

/// Copies the unit, with or without the drop-in, and replaces its `fl` with the one of this workspace.
fn unit(with_drop_in: bool) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fl = format!("ExecStart={} ", workspace_binary("fl").display());
    let copy = |file: &str, to: &str| {
        let path = folder.path().join(to);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, read(file).replace(INSTALLED_FL, &fl)).expect("a file");
        path
    };
    if with_drop_in {
        copy(DROP_IN, DROP_IN_PATH);
    }
    let unit = copy(UNIT, UNIT);
    (folder, unit)
}

/// Runs systemd-analyze; `None` if it is not installed.
pub fn systemd_analyze(arguments: &[&str], unit: &Path) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).arg(unit).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("cannot run systemd-analyze: {error}"),
    }
}

/// What a program has printed.
pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

#[test]
fn systemd_accepts_the_unit() {
    for with_drop_in in [false, true] {
        let (_folder, unit) = unit(with_drop_in);
        let Some(output) = systemd_analyze(&["verify", "--man=no", "--recursive-errors=no"], &unit) else {
            return;
        };
        let said = said(&output);
        assert!(output.status.success() && said.is_empty(), "with drop-in: {with_drop_in}: {said}");
    }
}

#[test]
fn the_service_is_sandboxed() {
    for with_drop_in in [false, true] {
        let (_folder, unit) = unit(with_drop_in);
        let threshold = format!("--threshold={MOST_EXPOSED}");
        let Some(output) = systemd_analyze(&["security", "--offline=true", &threshold], &unit) else {
            return;
        };
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// Also tested on machines without systemd.
#[test]
fn the_service_has_no_privileges() {
    let text = read(UNIT);
    for (directive, expected) in [
        ("DynamicUser", "yes"),
        ("CapabilityBoundingSet", ""),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateDevices", "yes"),
        ("PrivateUsers", "yes"),
        ("RestrictNamespaces", "yes"),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("StateDirectoryMode", "0700"),
        ("UMask", "0077"),
        // An optional file of root's, for secrets and settings.
        ("EnvironmentFile", "-/etc/funless/env"),
    ] {
        assert_eq!(values(&text, directive), [expected], "{directive}");
    }
    // Functions are compiled to machine code, and the worker reads /proc/meminfo.
    for directive in ["MemoryDenyWriteExecute", "ProcSubset"] {
        assert!(values(&text, directive).is_empty(), "the service does not work with {directive}");
        assert!(text.contains(directive), "the unit explains why there is no {directive}");
    }
    for line in text.lines().chain(read(DROP_IN).lines()).filter(|line| !line.starts_with('#')) {
        for secret in ["token", "password", "postgres://"] {
            assert!(
                !line.to_lowercase().contains(secret),
                "secrets belong in files that only root can read: {line}"
            );
        }
    }
}

#[test]
fn all_flags_exist() {
    let help =
        Command::new(workspace_binary("fl")).args(["up", "--help"]).output().expect("failed to run fl");
    let help = said(&help);
    for file in [UNIT, DROP_IN] {
        assert!(!arguments(&read(file)).is_empty(), "{file}");
        for flag in arguments(&read(file)).iter().filter(|argument| argument.starts_with("--")) {
            let exists = help.lines().any(|line| line.split_whitespace().next() == Some(flag));
            assert!(exists, "{file}: `fl up` has no {flag}:\n{help}");
        }
    }
}

/// Starts the service like the unit, with other ports and folders.
#[tokio::test]
async fn the_service_serves_on_loopback_only() {
    let (folder, ports) = (tempfile::tempdir().expect("a temporary folder"), free_ports());
    let mut running = start(&read(UNIT), folder.path(), ports, &[]);
    running
        .ready(START_TIMEOUT, async || answers(&format!("http://127.0.0.1:{}/readyz", ports[2])).await)
        .await;
    let metrics =
        http().get(format!("http://127.0.0.1:{}/metrics", ports[2])).send().await.expect("a response");
    assert!(
        metrics.text().await.expect("a text").contains("service=\"gateway\""),
        "there are metrics of all services"
    );
    assert!(answers(&format!("http://127.0.0.1:{}/docs", ports[0])).await);
    // Either of these would listen on all addresses.
    for argument in arguments(&read(UNIT)) {
        assert!(!argument.contains("0.0.0.0") && !argument.contains("[::]"), "{argument}");
    }
}

/// Starts the service with the drop-in and with settings from the environment.
#[tokio::test]
async fn the_drop_in_serves_tls_on_all_addresses() {
    let (folder, ports) = (tempfile::tempdir().expect("a temporary folder"), free_ports());
    let certificate = certify(folder.path());
    let mut running = start(&read(DROP_IN), folder.path(), ports, &[("FUNLESS_WORKER_NAME", "pi")]);
    running
        .ready(START_TIMEOUT, async || answers(&format!("http://127.0.0.1:{}/readyz", ports[2])).await)
        .await;
    let authority = reqwest::Certificate::from_pem(&certificate).expect("a certificate");
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]).build().expect("a client");
    let url = format!("https://127.0.0.1:{}/docs", ports[0]);
    let page = client.get(&url).send().await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
    assert!(page.status().is_success(), "{url}: {}", page.status());
    assert!(
        arguments(&read(DROP_IN)).iter().any(|argument| argument.starts_with("0.0.0.0:")),
        "it listens on all addresses"
    );
    assert!(!answers(&format!("http://127.0.0.1:{}/docs", ports[0])).await, "plain HTTP is not served");
    let metrics =
        http().get(format!("http://127.0.0.1:{}/metrics", ports[2])).send().await.expect("a response");
    assert!(
        metrics.text().await.expect("a text").contains("worker=\"pi\""),
        "the environment sets the worker's name"
    );
}

async fn answers(url: &str) -> bool {
    http().get(url).send().await.is_ok_and(|page| page.status().is_success())
}

/// Free ports for REST, gRPC and admin.
fn free_ports() -> [u16; 3] {
    std::array::from_fn(|_| free_port())
}

/// Writes the files that `LoadCredential` provides. Returns the certificate, which is self-signed.
fn certify(folder: &Path) -> Vec<u8> {
    let names = ["127.0.0.1".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).expect("a key");
    fs::write(folder.join("cert.pem"), cert.pem()).expect("a file");
    fs::write(folder.join("key.pem"), signing_key.serialize_pem()).expect("a file");
    cert.pem().into_bytes()
}

fn start(text: &str, folder: &Path, ports: [u16; 3], variables: &[(&str, &str)]) -> Running {
    let state = folder.join("state").display().to_string();
    let mut command = Command::new(workspace_binary("fl"));
    for argument in arguments(text) {
        let [rest, grpc, admin] = ports.map(|port| format!(":{port}"));
        let argument = argument.replace(":4000", &rest).replace(":4010", &grpc).replace(":4100", &admin);
        let argument = argument.replace("/var/lib/funless", &state);
        command.arg(argument.replace("${CREDENTIALS_DIRECTORY}", &folder.display().to_string()));
    }
    command.envs(variables.iter().copied());
    without_authorities(&mut command);
    free_of_mesh(&mut command);
    Running::start("fl", &mut command, &folder.join("log"))
}
