//! What a user says to single services, with `--set` and in the environment: each key is honoured or refused.

use std::env;

use crate::args::Up;

/// The services, as `--set` names them.
pub const SERVICES: [&str; 6] = ["registry", "sink", "scheduler", "worker", "connector", "gateway"];

/// The longest drain, in seconds: the supervisor kills a service that takes longer.
const MAX_DRAIN_TIMEOUT_S: u64 = 30;

/// Settings of single keys, checked.
#[derive(Debug)]
pub struct Overrides(Vec<Setting>);

/// One key of a service and its value, which may be a secret.
#[derive(Debug)]
struct Setting {
    /// How the user said it, without the value.
    origin: String,
    service: &'static str,
    /// Tables and key, with dots.
    key: String,
    value: String,
    is_in_environment: bool,
}

/// What decides whether a setting means something.
#[derive(Debug, Clone, Copy)]
struct Shape {
    is_mesh: bool,
    workers: u16,
}

impl Overrides {
    /// Those of the command line and of the environment; the former come last and win.
    pub fn new(options: &Up) -> anyhow::Result<Self> {
        let shape = Shape { is_mesh: options.mesh, workers: options.workers };
        let mut settings: Vec<_> = env::vars_os()
            .filter_map(|(name, value)| Setting::of_variable(name.to_str()?, value.to_str()?))
            .collect();
        for text in &options.set {
            settings.push(Setting::of_flag(text)?);
        }
        settings.iter().try_for_each(|setting| setting.check(shape))?;
        // Children have the environment themselves, and arguments are for all to see.
        settings.retain(|setting| !(shape.is_mesh && setting.is_in_environment));
        Ok(Self(settings))
    }

    /// Those of a service, each as `KEY=VALUE`.
    pub fn of(&self, service: &str) -> Vec<String> {
        let of_service = self.0.iter().filter(|setting| setting.service == service);
        of_service.map(|setting| format!("{}={}", setting.key, setting.value)).collect()
    }
}

impl Setting {
    fn of_flag(text: &str) -> anyhow::Result<Self> {
        let parts = text.split_once('=').and_then(|(path, value)| Some((path.split_once('.')?, value)));
        let known = |name| SERVICES.into_iter().find(|service| *service == name);
        let setting = parts.and_then(|((service, key), value)| {
            let service = known(service)?;
            let (origin, key) = (format!("--set {service}.{key}"), key.to_owned());
            Some(Self { origin, service, key, value: value.to_owned(), is_in_environment: false })
        });
        setting.ok_or_else(|| {
            let path = text.split_once('=').map_or(text, |(path, _)| path);
            anyhow::anyhow!(
                "--set {path}: expected SERVICE.KEY=VALUE, such as worker.max_concurrent=64; services are {}",
                SERVICES.join(", ")
            )
        })
    }

    /// `None` for a variable that is not of a service.
    fn of_variable(name: &str, value: &str) -> Option<Self> {
        let of_service = |service: &'static str| {
            let key = name.strip_prefix(&format!("FUNLESS_{}_", service.to_uppercase()))?;
            Some((service, key.to_lowercase().replace("__", ".")))
        };
        let (service, key) = SERVICES.into_iter().find_map(of_service)?;
        let (origin, value) = (name.to_owned(), value.to_owned());
        Some(Self { origin, service, key, value, is_in_environment: true })
    }

    /// Refuses what would have no effect, or contradict what `fl up` does by itself.
    fn check(&self, shape: Shape) -> anyhow::Result<()> {
        match self.problem(shape) {
            Some(problem) => anyhow::bail!("{}: {problem}", self.origin),
            None => Ok(()),
        }
    }

    fn problem(&self, shape: Shape) -> Option<String> {
        let table = self.key.split('.').next().unwrap_or_default();
        let problem = match (self.service, self.key.as_str()) {
            (_, "server.listen") | ("gateway", "grpc_listen") => {
                "`fl up` chooses this address; use --http for REST and --grpc for gRPC clients"
            }
            (_, "server.admin_listen") => "use --admin",
            (_, "server") => "name one key, such as server.max_concurrent",
            (_, key) if key.starts_with("server.tls") => {
                "use --tls-cert and --tls-key for the REST and gRPC APIs; other services listen on loopback only"
            }
            (_, key) if key.starts_with("server.client_tls") => {
                "the services of `fl up` talk over loopback, without TLS; to use it, run each service by itself"
            }
            (_, "server.secret") => "`fl up` makes a new secret at each start",
            (_, "server.stop_with_parent") => "`fl up` stops its services itself, in order",
            ("registry", "admin_token" | "guest_token") => {
                "`fl up` takes its tokens from the file `config` of the data directory; change them there"
            }
            ("worker", "name") if shape.workers > 1 => "with several workers, `fl up` names them",
            (_, "server.drain_timeout_s") if shape.is_mesh && self.drains_for_too_long() => {
                return Some(format!(
                    "`fl up` kills a service that has not drained in time; expected at most {MAX_DRAIN_TIMEOUT_S}"
                ));
            }
            (_, key) if !shape.is_mesh && table == "server" && key != "server.max_concurrent" => {
                "services that share one process have no sockets of their own, so this has no effect; use \
                 `fl up --mesh`, or run the service by itself"
            }
            _ if !shape.is_mesh && table == "telemetry" => {
                "one process has one telemetry; use --log, --otlp-endpoint and --sample-ratio, or `fl up --mesh`"
            }
            _ => return None,
        };
        Some(problem.to_owned())
    }

    fn drains_for_too_long(&self) -> bool {
        self.value.trim().parse::<u64>().is_ok_and(|seconds| seconds > MAX_DRAIN_TIMEOUT_S)
    }
}

#[cfg(test)]
mod tests {
    use mesh::config::ServiceConfig;
    use serde_json::json;

    use super::*;

    const ONE: Shape = Shape { is_mesh: false, workers: 1 };
    const SIX: Shape = Shape { is_mesh: true, workers: 1 };
    const TWO_WORKERS: Shape = Shape { is_mesh: true, workers: 2 };

    fn is_taken(setting: &str, shape: Shape) -> bool {
        Setting::of_flag(setting).is_ok_and(|setting| setting.check(shape).is_ok())
    }

    #[test]
    fn a_setting_is_honoured_or_refused() {
        // The setting; whether six processes take it; whether one does.
        let cases = [
            ("worker.max_concurrent=64", true, true),
            ("worker.server.max_concurrent=64", true, true),
            ("gateway.server.tls.cert=/tmp/cert.pem", false, false),
            ("gateway.server.tls={cert=\"c\", key=\"k\"}", false, false),
            ("worker.server.client_tls.ca=ca.pem", false, false),
            ("gateway.server={max_concurrent=3}", false, false),
            ("registry.server.secret=s", false, false),
            ("registry.server.stop_with_parent=false", false, false),
            ("registry.admin_token=t", false, false),
            ("sink.server.drain_timeout_s=3", true, false),
            ("sink.server.drain_timeout_s=300", false, false),
            ("worker.server.admin_listen=off", false, false),
            ("worker.telemetry.queued_spans=64", true, false),
            ("gateway.server.listen=0.0.0.0:80", false, false),
            ("gateway.grpc_listen=0.0.0.0:80", false, false),
            ("worker.name=pi", true, true),
            ("worker.max_concurrent", false, false),
            ("max_concurrent=64", false, false),
            ("broker.max_concurrent=64", false, false),
        ];
        for (setting, in_six, in_one) in cases {
            assert_eq!((is_taken(setting, SIX), is_taken(setting, ONE)), (in_six, in_one), "{setting}");
        }
        assert!(!is_taken("worker.name=pi", TWO_WORKERS));
    }

    /// The keys that a table has, as its error about an unknown one lists them.
    fn keys<C: ServiceConfig>(table: &str) -> Vec<String> {
        let unknown = format!("{table}no_such_key=1");
        let error = mesh::config::of_settings::<C>(&json!({}), &[unknown]).err().expect("it is unknown");
        let (_, expected) = error.split_once("; expected one of ").unwrap_or_else(|| panic!("{error}"));
        expected.split(", ").map(|name| format!("{table}{name}")).collect()
    }

    fn each_key_of<C: ServiceConfig>() {
        let tables = ["", "server.", "telemetry."];
        let all: Vec<_> = tables.iter().flat_map(|table| keys::<C>(table)).collect();
        assert!(all.len() > 15, "{}: {all:?}", C::NAME);
        for key in all.iter().filter(|key| !matches!(key.as_str(), "server" | "telemetry")) {
            for shape in [ONE, SIX] {
                if !is_taken(&format!("{}.{key}=1", C::NAME), shape) {
                    continue;
                }
                // What is taken is read: nonsense is an error that names the key.
                let nonsense = format!("{key}=[[[]]]");
                let error = mesh::config::of_settings::<C>(&json!({}), &[nonsense]).err();
                assert!(
                    error.as_ref().is_some_and(|error| error.contains(key)),
                    "{}.{key}: {error:?}",
                    C::NAME
                );
            }
        }
    }

    #[test]
    fn each_key_of_each_service_is_honoured_or_refused() {
        each_key_of::<registry_svc::Config>();
        each_key_of::<scheduler_svc::Config>();
        each_key_of::<worker_svc::Config>();
        each_key_of::<gateway_svc::Config>();
        each_key_of::<connector_svc::Config>();
        each_key_of::<sink_svc::Config>();
    }

    #[test]
    fn variables_are_settings() {
        let setting = Setting::of_variable("FUNLESS_WORKER_SERVER__MAX_CONCURRENT", "3").expect("a setting");
        assert_eq!((setting.service, setting.key.as_str()), ("worker", "server.max_concurrent"));
        assert!(
            Setting::of_variable("FUNLESS_HOME", "/").is_none()
                && Setting::of_variable("HOME", "/").is_none()
        );
        let refused =
            Setting::of_variable("FUNLESS_GATEWAY_SERVER__LISTEN", "0.0.0.0:80").expect("a setting");
        let error = refused.check(SIX).expect_err("fl up chooses it").to_string();
        assert!(error.starts_with("FUNLESS_GATEWAY_SERVER__LISTEN: "), "{error}");
    }

    #[test]
    fn a_refusal_does_not_show_the_value() {
        for text in ["registry.server.secret=hunter2", "nonsense=hunter2"] {
            let outcome = Setting::of_flag(text).and_then(|setting| setting.check(ONE));
            let error = outcome.expect_err("no effect").to_string();
            assert!(error.contains(&text[..8]) && !error.contains("hunter2"), "{error}");
        }
    }
}
