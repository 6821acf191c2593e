use std::collections::BTreeSet;
use std::fmt::Debug;

use mesh::config::{ServiceConfig, of_settings};
use serde_json::{Value, json};

use super::*;

const ONE: Shape = Shape { is_mesh: false, workers: 1, has_database_url: false };
const SIX: Shape = Shape { is_mesh: true, workers: 1, has_database_url: false };

/// Keys that `fl up` refuses in every shape, with what they contain.
const REFUSED: [&str; 11] = [
    "server.listen",
    "server.admin_listen",
    "server.secret",
    "server.insecure",
    "server.tls",
    "server.client_tls",
    "server.stop_with_parent",
    "grpc_listen",
    "advertise",
    "egress.allow",
    "egress.mesh_ports",
];
/// The same, of one service each. Endpoints of other services are among them.
const REFUSED_OF: [(&str, &str); 13] = [
    ("registry", "admin_token"),
    ("registry", "guest_token"),
    ("registry", "encryption_key"),
    ("sink", "registry"),
    ("scheduler", "registry"),
    ("scheduler", "sink"),
    ("worker", "registry"),
    ("worker", "schedulers"),
    ("connector", "registry"),
    ("connector", "scheduler"),
    ("gateway", "registry"),
    ("gateway", "scheduler"),
    ("gateway", "connector"),
];
/// Keys that have no effect in one process.
const REFUSED_IN_ONE: [&str; 2] = ["server.drain_timeout_s", "telemetry"];

/// Values of all kinds; one of them is valid for each key, and not its default.
const VALUES: [&str; 20] = [
    "1",
    "7",
    "70000",
    "1000000000",
    "0.5",
    "true",
    "false",
    "\"127.0.0.1:9\"",
    "\"http://127.0.0.1:9\"",
    "[\"http://127.0.0.1:9\"]",
    "\"sqlite::memory:\"",
    "\"json\"",
    "\"prometheus\"",
    "{zone=\"edge\"}",
    "[\"*.example.org:443\"]",
    "[9]",
    "{shop={deny=[\"h\"]}}",
    "{\"shop/order\"={deny=[\"h\"]}}",
    "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
    "[\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"]",
];

/// What is there already: some keys go together. A secret that is replaced cannot be seen to differ.
fn base(service: &str, key: &str) -> Value {
    let server = json!({
        "tls": { "cert": "c", "key": "k" },
        "client_tls": { "cert": "c", "key": "k" },
    });
    match service {
        "registry" if key != "encryption_key" => {
            json!({ "server": server, "encryption_key": "ab".repeat(32) })
        }
        "scheduler" => json!({ "server": server, "prometheus_url": "http://p:9090" }),
        "sink" | "worker" | "connector" => {
            json!({ "server": server, "egress": { "proxy": "http://p:3128" } })
        }
        _ => json!({ "server": server }),
    }
}

/// All keys of a service, as the errors about unknown ones list them. Tables are those that have such errors.
fn keys<C: ServiceConfig>(table: &str) -> Vec<String> {
    let unknown = format!("{table}no_such_key=1");
    let error = of_settings::<C>(&base(C::NAME, ""), &[unknown]).err().expect("there is no such key");
    let (_, expected) = error.split_once("expected one of ").expect("what was expected");
    expected.split(", ").map(|name| format!("{table}{name}")).collect()
}

fn all_keys<C: ServiceConfig>() -> Vec<String> {
    let mut tables = vec!["server", "server.tls", "server.client_tls", "telemetry"];
    let keys_of_service = keys::<C>("");
    tables.extend(["egress"].into_iter().filter(|table| keys_of_service.iter().any(|key| key == table)));
    let nested = tables.iter().flat_map(|table| keys::<C>(&format!("{table}.")));
    let all: Vec<_> = keys_of_service.iter().cloned().chain(nested).collect();
    all.into_iter().filter(|key| !tables.contains(&key.as_str())).collect()
}

fn is_within(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn should_be_refused(service: &str, key: &str, shape: Shape) -> bool {
    let of_one = REFUSED_IN_ONE.iter().filter(|_| !shape.is_mesh);
    REFUSED.iter().chain(of_one).any(|refused| is_within(key, refused))
        || REFUSED_OF.contains(&(service, key))
        || (service, key) == ("gateway", "sink")
        // In one process, only the gateway has sockets.
        || (key == "server.max_connections_per_address" && service != "gateway" && !shape.is_mesh)
}

/// A value that changes the configuration of a service.
fn effective_value<C: ServiceConfig + Debug>(key: &str) -> &'static str {
    let read =
        |set: &[String]| of_settings::<C>(&base(C::NAME, key), set).map(|config| format!("{config:?}"));
    let before = read(&[]).expect("the base is valid");
    let is_effective = |value: &&str| read(&[format!("{key}={value}")]).is_ok_and(|after| after != before);
    let value = VALUES.into_iter().find(is_effective);
    value.unwrap_or_else(|| panic!("{}.{key}: no value has an effect; add one to VALUES", C::NAME))
}

fn variable(service: &str, key: &str) -> String {
    format!("FUNLESS_{service}_{}", key.replace('.', "__")).to_uppercase()
}

fn walk<C: ServiceConfig + Debug>() {
    let all = all_keys::<C>();
    assert!(all.len() > 20, "{}: {all:?}", C::NAME);
    for key in &all {
        // Each service alone honours each key.
        let value = effective_value::<C>(key);
        let flag = Setting::of_flag(&format!("{}.{key}={value}", C::NAME)).expect("well-formed");
        let variable = variable(C::NAME, key);
        let of_environment =
            Setting::of_variable(&variable, value.into()).expect("well-formed").expect("ours");
        for shape in [ONE, SIX] {
            for (setting, origin) in
                [(&flag, format!("--set {}.{key}: ", C::NAME)), (&of_environment, variable.clone() + ": ")]
            {
                assert_eq!((setting.service, setting.key.as_str()), (C::NAME, key.as_str()));
                match (setting.check(shape), should_be_refused(C::NAME, key, shape)) {
                    (Ok(()), false) => {}
                    (Err(error), true) => {
                        let error = error.to_string();
                        assert!(error.starts_with(&origin) && error.len() > origin.len() + 10, "{error}");
                    }
                    (outcome, _) => panic!("{origin}{outcome:?} in {shape:?}"),
                }
            }
        }
    }
}

/// In one process, in six, and by itself each service honours each of its keys, or refuses it with words.
#[test]
fn each_key_of_each_service_is_honoured_or_refused() {
    walk::<registry_svc::Config>();
    walk::<sink_svc::Config>();
    walk::<scheduler_svc::Config>();
    walk::<worker_svc::Config>();
    walk::<connector_svc::Config>();
    walk::<gateway_svc::Config>();
    let services = REFUSED_OF.iter().map(|(service, _)| *service).collect::<BTreeSet<_>>();
    assert_eq!(services, SERVICES.into_iter().collect());
}

fn is_taken(setting: &str, shape: Shape) -> bool {
    Setting::of_flag(setting).is_ok_and(|setting| setting.check(shape).is_ok())
}

#[test]
fn a_setting_is_honoured_or_refused() {
    // The setting; whether six processes take it; whether one does.
    let cases = [
        ("worker.max_concurrent=64", true, true),
        ("gateway.server.tls={cert=\"c\", key=\"k\"}", false, false),
        ("gateway.server={max_concurrent=3}", false, false),
        ("gateway.telemetry={log=\"debug\"}", true, false),
        ("sink.server.drain_timeout_s=3", true, false),
        ("sink.server.drain_timeout_s=300", false, false),
        ("worker.name=pi", true, true),
        ("registry.database_url=sqlite::memory:", true, true),
        ("worker.max_concurrent", false, false),
        ("max_concurrent=64", false, false),
        ("broker.max_concurrent=64", false, false),
    ];
    for (setting, in_six, in_one) in cases {
        assert_eq!((is_taken(setting, SIX), is_taken(setting, ONE)), (in_six, in_one), "{setting}");
    }
    assert!(!is_taken("worker.name=pi", Shape { workers: 2, ..SIX }));
    let has_database_url = Shape { has_database_url: true, ..SIX };
    assert!(!is_taken("registry.database_url=sqlite::memory:", has_database_url));
    assert!(is_taken("sink.database_url=sqlite::memory:", has_database_url), "it is about one service");
}

#[test]
fn the_last_value_of_a_key_wins() {
    let settings = ["worker.memory_bytes=1", "sink.memory_bytes=2", "worker.memory_bytes=3", "worker.name=4"];
    let settings = settings.map(|text| Setting::of_flag(text).expect("well-formed"));
    let overrides = Overrides(settings.into());
    assert_eq!(overrides.value("worker", "memory_bytes"), Some("3"));
    assert_eq!(overrides.value("worker", "tag"), None);
}

#[test]
fn variables_of_no_service_are_refused() {
    for variable in ["FUNLESS_WORKR_NAME", "FUNLESS_NAME"] {
        let error = Setting::of_variable(variable, "hunter2".into()).expect_err(variable).to_string();
        assert!(error.starts_with(variable) && !error.contains("hunter2"), "{error}");
    }
    assert!(Setting::of_variable("HOME", "/".into()).expect("not ours").is_none());
}

#[test]
fn variables_name_files_with_values() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tag");
    std::fs::write(&path, "kitchen\n").expect("a file");
    let setting = Setting::of_variable("FUNLESS_WORKER_TAG_FILE", path.clone().into_os_string());
    let setting = setting.expect("a file").expect("a setting");
    assert_eq!((setting.service, setting.key.as_str(), setting.value.as_str()), ("worker", "tag", "kitchen"));
    let digits = folder.path().join("digits");
    std::fs::write(&digits, "0042").expect("a file");
    let text = Setting::of_variable("FUNLESS_WORKER_TAG_FILE", digits.into_os_string()).expect("a file");
    let plain = Setting::of_variable("FUNLESS_WORKER_TAG", "0042".into()).expect("text");
    let settings: Vec<_> = text.into_iter().chain(plain).collect();
    let error = check_once(&settings).expect_err("two values").to_string();
    assert!(error.starts_with("FUNLESS_WORKER_TAG: tag of the worker is set twice"), "{error}");
    assert_eq!(Overrides(settings).of("worker"), [r#"tag="0042""#, "tag=0042"]);
    let refused = Setting::of_variable("FUNLESS_REGISTRY_ADMIN_TOKEN_FILE", path.into_os_string());
    let problem = refused.expect("a file").expect("a setting").problem(ONE).expect("it is refused");
    assert!(problem.contains("tokens"), "{problem}");
}

#[test]
fn a_refusal_does_not_show_the_value() {
    for text in ["registry.server.secret=hunter2", "nonsense=hunter2"] {
        let outcome = Setting::of_flag(text).and_then(|setting| setting.check(ONE));
        let error = outcome.expect_err("no effect").to_string();
        assert!(error.contains(&text[..8]) && !error.contains("hunter2"), "{error}");
    }
}
