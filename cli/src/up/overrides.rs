//! What a user says to single services, with `--set` and in the environment: each key is honoured or refused.

use std::collections::HashSet;
use std::env;
use std::ffi::OsString;

use mesh::config::{SERVICES, service_of_variable, value_in_file};

use crate::args::Up;

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
    /// It is the text of a file, even if it consists of digits.
    is_text: bool,
}

/// What decides whether a setting means something.
#[derive(Debug, Clone, Copy)]
struct Shape {
    is_mesh: bool,
    workers: u16,
    has_database_url: bool,
}

impl Overrides {
    /// Those of the command line and of the environment; the former come last and win.
    pub fn new(options: &Up) -> anyhow::Result<Self> {
        let shape = Shape {
            is_mesh: options.mesh,
            workers: options.workers,
            has_database_url: options.database_url.is_some(),
        };
        let mut settings = Vec::new();
        for (name, value) in env::vars_os() {
            settings.extend(Setting::of_variable(&name.to_string_lossy(), value)?);
        }
        check_once(&settings)?;
        for text in &options.set {
            settings.push(Setting::of_flag(text)?);
        }
        settings.iter().try_for_each(|setting| setting.check(shape))?;
        Ok(Self(settings))
    }

    /// Those of a service, each as `KEY=VALUE`.
    pub fn of(&self, service: &str) -> Vec<String> {
        self.those(|setting| setting.service == service)
    }

    /// The same without the environment, which children have themselves: arguments are for all to see.
    pub fn flags_of(&self, service: &str) -> Vec<String> {
        self.those(|setting| setting.service == service && !setting.is_in_environment)
    }

    /// The value of a service's key; the last one wins.
    pub fn value(&self, service: &str, key: &str) -> Option<&str> {
        let found = self.0.iter().rfind(|setting| setting.service == service && setting.key == key);
        found.map(|setting| setting.value.as_str())
    }

    fn those(&self, wanted: impl Fn(&&Setting) -> bool) -> Vec<String> {
        let shown = |Setting { key, value, is_text, .. }: &Setting| match is_text {
            true => format!("{key}={}", serde_json::Value::from(value.as_str())),
            false => format!("{key}={value}"),
        };
        self.0.iter().filter(wanted).map(shown).collect()
    }
}

/// Refuses a key that the environment sets both with its value and with a file.
fn check_once(settings: &[Setting]) -> anyhow::Result<()> {
    let mut keys = HashSet::new();
    for Setting { origin, service, key, .. } in settings {
        anyhow::ensure!(
            keys.insert((service, key)),
            "{origin}: {key} of the {service} is set twice, with its value and with a file; expected one of them"
        );
    }
    Ok(())
}

impl Setting {
    fn of_flag(text: &str) -> anyhow::Result<Self> {
        let parts = text.split_once('=').and_then(|(path, value)| Some((path.split_once('.')?, value)));
        let known = |name| SERVICES.into_iter().find(|service| *service == name);
        let setting = parts.and_then(|((service, key), value)| {
            let service = known(service)?;
            let (origin, key) = (format!("--set {service}.{key}"), key.to_owned());
            let value = value.to_owned();
            Some(Self { origin, service, key, value, is_in_environment: false, is_text: false })
        });
        setting.ok_or_else(|| {
            let path = text.split_once('=').map_or(text, |(path, _)| path);
            anyhow::anyhow!(
                "--set {path}: expected SERVICE.KEY=VALUE, such as worker.max_concurrent=64; services are {}",
                SERVICES.join(", ")
            )
        })
    }

    /// `None` for a variable that is not of a mesh.
    fn of_variable(name: &str, value: OsString) -> anyhow::Result<Option<Self>> {
        let Some((service, key)) = service_of_variable(name).map_err(anyhow::Error::msg)? else {
            return Ok(None);
        };
        if let Some((key, value)) = value_in_file(name, &key, &value).map_err(anyhow::Error::msg)? {
            let is_text = !value.starts_with(['[', '{', '"']);
            let origin = name.to_owned();
            return Ok(Some(Self { origin, service, key, value, is_in_environment: true, is_text }));
        }
        let value = value.into_string().map_err(|_| anyhow::anyhow!("{name}: the value is not UTF-8"))?;
        let origin = name.to_owned();
        Ok(Some(Self { origin, service, key, value, is_in_environment: true, is_text: false }))
    }

    /// Refuses what would have no effect, or contradict what `fl up` does by itself.
    fn check(&self, shape: Shape) -> anyhow::Result<()> {
        match self.problem(shape) {
            Some(problem) => anyhow::bail!("{}: {problem}", self.origin),
            None => Ok(()),
        }
    }

    fn problem(&self, shape: Shape) -> Option<String> {
        if let Some(problem) = self.contradiction(shape) {
            return Some(problem.to_owned());
        }
        let (table, _) = self.key.split_once('.').unwrap_or((&self.key, ""));
        let problem = match (table, self.key.as_str()) {
            ("server", "server.drain_timeout_s") if shape.is_mesh && self.drains_for_too_long() => {
                return Some(format!(
                    "`fl up` kills a service that has not drained in time; expected at most {MAX_DRAIN_TIMEOUT_S}"
                ));
            }
            ("server", "server.max_connections_per_address") if self.service == "gateway" => return None,
            ("server", key) if !shape.is_mesh && key != "server.max_concurrent" => {
                "services that share one process have no sockets of their own, so this has no effect; use \
                 `fl up --mesh`, or run the service by itself"
            }
            ("telemetry", _) if !shape.is_mesh => {
                "one process has one telemetry; use --log, --log-format, --otlp-endpoint and --sample-ratio, or \
                 `fl up --mesh`"
            }
            _ => return None,
        };
        Some(problem.to_owned())
    }

    /// Why it contradicts what `fl up` decides by itself, in one process and in six.
    fn contradiction(&self, shape: Shape) -> Option<&'static str> {
        Some(match (self.service, self.key.as_str()) {
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
            (_, "server.secret" | "server.insecure") => "`fl up` makes a new secret at each start",
            (_, "server.stop_with_parent") => "`fl up` stops its services itself, in order",
            (_, "registry" | "scheduler" | "schedulers" | "connector" | "sink") | ("worker", "advertise") => {
                "the services of `fl up` find each other; to use others, run each service by itself"
            }
            (_, "egress") => "name one key, such as egress.deny",
            (_, "egress.allow") => {
                "use --allow-egress, which is for functions, event sources and sinks alike"
            }
            (_, "egress.mesh_ports") => "`fl up` knows the ports of its mesh",
            ("registry", "admin_token" | "guest_token") => {
                "`fl up` takes its tokens from the file `config` of the data directory; change them there"
            }
            ("registry", "encryption_key") => {
                "`fl up` takes it from the file `encryption-key` of the data directory; change it there"
            }
            ("registry", "database_url") if shape.has_database_url => {
                "--database-url names the registry's database, too; use one of them"
            }
            ("worker", "name") if shape.workers > 1 => "with several workers, `fl up` names them",
            _ => return None,
        })
    }

    fn drains_for_too_long(&self) -> bool {
        self.value.trim().parse::<u64>().is_ok_and(|seconds| seconds > MAX_DRAIN_TIMEOUT_S)
    }
}

#[cfg(test)]
mod tests;
