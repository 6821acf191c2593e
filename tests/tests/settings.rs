//! The configuration of services that run as separate processes.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use tests::process::{Running, free_port, workspace_binary};
use tests::wait;

const SERVICES: [&str; 6] = ["registry", "scheduler", "worker", "gateway", "connector", "sink"];
const TABLES: [&str; 4] = ["server", "server.tls", "server.client_tls", "telemetry"];
/// A value that is invalid for every key, in a file, in the environment and as a flag.
const NONSENSE: &str = "[[[]]]";
const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

fn program(service: &str) -> Command {
    let mut command = Command::new(workspace_binary(&format!("{service}-svc")));
    command.stdin(Stdio::null());
    command
}

/// Runs a command that must fail and returns its standard error.
fn refusal(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().expect("failed to run the service");
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!status.success(), "{command:?}: {said}");
    said
}

/// The keys of a service, as listed in its errors about unknown keys.
fn keys(service: &str) -> Vec<String> {
    let of_table = |table: &str| {
        let said = refusal(program(service).args(["--set", &format!("{table}no_such_key=1")]));
        let (_, expected) = said.trim().split_once("expected one of ").unwrap_or_else(|| panic!("{said}"));
        expected.split(", ").map(|key| format!("{table}{key}")).collect::<Vec<_>>()
    };
    let nested = TABLES.iter().flat_map(|table| of_table(&format!("{table}.")));
    let all = of_table("").into_iter().chain(nested).filter(|key| !TABLES.contains(&key.as_str()));
    all.collect()
}

#[test]
fn every_key_is_read_from_files_the_environment_and_flags() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("config.toml");
    for service in SERVICES {
        let keys = keys(service);
        assert!(keys.len() > 20, "{service}: {keys:?}");
        for key in keys {
            assert!(!key.ends_with("_file"), "{key}: variables that end like this name files");
            let variable = format!("FUNLESS_{service}_{}", key.replace('.', "__")).to_uppercase();
            std::fs::write(&file, format!("{key} = {NONSENSE}\n")).expect("a file");
            let mut text = String::new();
            for command in [
                program(service).arg("--config").arg(&file),
                program(service).env(&variable, NONSENSE),
                program(service).args(["--set", &format!("{key}={NONSENSE}")]),
            ] {
                let said = refusal(command);
                let named = said
                    .strip_prefix(&format!("error: {key}"))
                    .is_some_and(|rest| rest.starts_with([':', '.']));
                assert!(named, "{command:?}: {said}");
                writeln!(text, "{said}").expect("a text");
            }
            assert!(
                text.contains("config.toml") && text.contains("environment"),
                "the errors name the source: {text}"
            );
        }
    }
}

#[test]
fn unknown_variables_are_refused() {
    for service in SERVICES {
        let said = refusal(program(service).env("FUNLESS_REGISTRI_ADMIN_TOKEN", "hunter2"));
        assert!(
            said.starts_with("error: FUNLESS_REGISTRI_ADMIN_TOKEN: nobody reads this variable"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn errors_about_taken_ports_name_the_service_and_key() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address");
    for (service, key) in
        [("registry", "server.listen"), ("scheduler", "server.admin_listen"), ("gateway", "grpc_listen")]
    {
        let mut command = program(service);
        if service != "gateway" {
            command.args(["--set", "server.insecure=true"]);
        }
        if key != "server.listen" {
            command.args(["--set", "server.listen=127.0.0.1:0"]);
        }
        let said = refusal(command.args(["--set", &format!("{key}={address}")]));
        let expected = format!("error: {service}: cannot listen on {address}: Address already in use");
        assert!(said.starts_with(&expected), "{said}");
        assert!(said.trim().ends_with(&format!("choose another address with {key}")), "{said}");
    }
}

#[test]
fn a_service_that_everyone_could_call_does_not_start() {
    for service in SERVICES.into_iter().filter(|service| *service != "gateway") {
        let said = refusal(&mut program(service));
        assert!(said.starts_with("error: server.secret: expected the secret"), "{service}: {said}");
        assert!(
            said.contains(&format!("the port of the {service}")) && said.contains("server.insecure=true"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn the_registry_warns_about_a_weak_token() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listen = format!("server.listen=127.0.0.1:{}", free_port());
    let mut command = program("registry");
    command.args([
        "--set",
        "database_url=sqlite::memory:",
        "--set",
        "server.admin_listen=off",
        "--set",
        "server.insecure=true",
        "--set",
        &listen,
    ]);
    command.env("FUNLESS_REGISTRY_ADMIN_TOKEN", "letmein");
    let running = Running::start("registry", &mut command, &folder.path().join("log"));
    let warned = async || running.log().contains("admin_token has at most").then_some(());
    wait::until("the registry warns about the token", LIMIT, warned).await;
    assert!(!running.log().contains("letmein"));
}
