use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use mesh::config::ServiceConfig;

use super::*;
use crate::args::{Arguments, Command};

/// The targets of `deploy/prometheus`, by the service that the comment behind each names.
fn scraped() -> BTreeMap<String, SocketAddr> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/prometheus.yml");
    let text = std::fs::read_to_string(&file).expect("the file is in the repository");
    let target = |line: &str| {
        let (address, service) = line.trim().strip_prefix("- ")?.split_once(" # ")?;
        Some((service.to_owned(), address.parse().ok()?))
    };
    text.lines().filter_map(target).collect()
}

fn up(flags: &[&str]) -> (tempfile::TempDir, Up) {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().to_str().expect("a text").to_owned();
    let words = ["fl", "up", "--mesh", "--data-dir", &data_dir].into_iter().chain(flags.iter().copied());
    let arguments = Arguments::read(words.map(OsString::from)).expect("valid");
    let Command::Up(up) = arguments.command else { panic!("it is fl up") };
    (folder, up)
}

fn admin_ports(flags: &[&str]) -> BTreeMap<String, SocketAddr> {
    let (_folder, up) = up(flags);
    let plans = plan(&up, &Profile::default()).expect("a plan");
    plans.into_iter().map(|plan| (plan.name, plan.admin)).collect()
}

fn default_of<C: ServiceConfig>() -> (String, SocketAddr) {
    let config = of_settings::<C>(&json!({}), &[]).expect("the defaults are valid");
    let server = config.server();
    (C::NAME.to_owned(), server.admin_listen.address(&server.listen).expect("it has one"))
}

#[test]
fn prometheus_scrapes_where_services_have_their_admin_ports() {
    let scraped = scraped();
    assert_eq!(scraped.len(), 6, "{scraped:?}");
    assert_eq!(scraped, admin_ports(&[]), "fl up --mesh");
    let alone = [
        default_of::<registry_svc::Config>(),
        default_of::<scheduler_svc::Config>(),
        default_of::<worker_svc::Config>(),
        default_of::<connector_svc::Config>(),
        default_of::<sink_svc::Config>(),
        default_of::<gateway_svc::Config>(),
    ];
    assert_eq!(scraped, alone.into_iter().collect(), "six services");
}

#[test]
fn admin_ports_follow_the_first() {
    let ports = admin_ports(&["--admin", "127.0.0.2:5000", "--workers", "3"]);
    let expected = [
        ("gateway", 5000),
        ("registry", 5001),
        ("scheduler", 5002),
        ("worker", 5003),
        ("connector", 5004),
        ("sink", 5005),
        ("worker-2", 5006),
        ("worker-3", 5007),
    ];
    let expected = expected.map(|(name, port)| (name.to_owned(), SocketAddr::from(([127, 0, 0, 2], port))));
    assert_eq!(ports, expected.into());
}

#[test]
fn what_services_would_fail_on_is_refused_before_they_start() {
    for (flags, expected) in [
        (&["--admin", "off"][..], "--admin off: `fl up --mesh` asks"),
        (&["--admin", "127.0.0.1:65534"], "--admin: too few ports follow"),
        (
            &["--set", "worker.nonsense=1"],
            "worker: unknown key nonsense; expected one of server, telemetry, egress, name",
        ),
        (&["--set", "sink.max_outbox_rows=0"], "sink: max_outbox_rows: expected at least 1"),
        (
            &["--set", "gateway.grpc_listen=0.0.0.0:1"],
            "--set gateway.grpc_listen: `fl up` chooses this address",
        ),
        (&["--tls-cert", "/no/cert", "--tls-key", "/no/key"], "tls: no certificates in /no/cert"),
    ] {
        let (_folder, up) = up(flags);
        let error = plan(&up, &Profile::default()).err().expect("it is refused").to_string();
        assert!(error.starts_with(expected), "{flags:?}: {error}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_service_and_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address");
    let admin = format!("127.0.0.1:{}", address.port() - 3);
    let text = address.to_string();
    for (flag, value, whose) in [
        ("--http", &text, "gateway (REST)"),
        ("--grpc", &text, "gateway (gRPC)"),
        ("--admin", &admin, "worker (admin port)"),
    ] {
        // The other ports may be taken, too.
        let free = [("--http", "127.0.0.1:9"), ("--grpc", "127.0.0.1:11"), ("--admin", "127.0.0.1:13")];
        let mut flags: Vec<_> = free.into_iter().filter(|(name, _)| *name != flag).collect();
        flags.push((flag, value));
        let flags: Vec<_> = flags.into_iter().flat_map(|(name, value)| [name, value]).collect();
        let (_folder, up) = up(&flags);
        let plans = plan(&up, &Profile::default()).expect("a plan");
        let error = ports_must_be_free(&up, &plans).await.expect_err("it is taken").to_string();
        let expected = format!("{whose}: cannot listen on {address}: Address already in use");
        assert!(error.starts_with(&expected) && error.contains(&format!("with {flag}")), "{flag}: {error}");
    }
}

#[tokio::test]
async fn services_that_were_left_behind_are_waited_for() {
    let left = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = left.local_addr().expect("an address").to_string();
    let (folder, up) = up(&["--http", &address, "--grpc", "127.0.0.1:11", "--admin", "127.0.0.1:13"]);
    std::fs::write(folder.path().join(MAP_FILE), "{}").expect("a file");
    let plans = plan(&up, &Profile::default()).expect("a plan");
    let (mut free, drained) = (std::pin::pin!(ports_must_be_free(&up, &plans)), async { drop(left) });
    assert!(futures::poll!(&mut free).is_pending(), "it is waited for");
    drained.await;
    free.await.expect("it is free");
}

#[test]
fn egress_is_to_loopback_but_not_to_the_mesh_unless_strict() {
    for (flags, expected) in [
        (&[][..], json!(["127.0.0.0/8", "::1"])),
        (&["--strict"], json!([])),
        (&["--strict", "--allow-egress", "192.168.1.7:1883"], json!(["192.168.1.7:1883"])),
        (&["--allow-egress", "broker.lan"], json!(["127.0.0.0/8", "::1", "broker.lan"])),
    ] {
        let (_folder, up) = up(flags);
        let plans = plan(&up, &Profile::default()).expect("a plan");
        let ports: BTreeSet<_> =
            plans.iter().flat_map(|plan| [plan.listen.port(), plan.admin.port()]).collect();
        let mut connecting = 0;
        for plan in plans.iter().filter(|plan| !plan.config["egress"].is_null()) {
            assert_eq!(plan.config["egress"]["allow"], expected, "{}", plan.name);
            let denied: BTreeSet<u16> =
                serde_json::from_value(plan.config["egress"]["mesh_ports"].clone()).expect("numbers");
            assert!(denied.is_superset(&ports) && denied.contains(&4010), "{}: {denied:?}", plan.name);
            connecting += 1;
        }
        assert_eq!(connecting, 3, "worker, connector and sink");
    }
}
