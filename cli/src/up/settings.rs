//! How the services of the mesh are configured, as a file would say it. The same for one process and for
//! six.

use serde_json::{Value, json};

use super::{Databases, encryption_key};
use crate::args::Up;
use crate::profile::Profile;
use mesh::auth::Secret;

/// The services, as `--set` names them.
pub const SERVICES: [&str; 6] = ["registry", "sink", "scheduler", "worker", "connector", "gateway"];

/// What of `server`, a table of every service, means something to services that share a process: the sockets,
/// the drain and the trust between services are then the process' own.
const SERVER_KEYS_OF_ONE_PROCESS: [&str; 1] = ["server.max_concurrent"];

/// Where services find each other: endpoints.
pub struct Places {
    pub registry: String,
    pub scheduler: String,
    pub connector: String,
    pub sink: String,
}

/// What `fl up` says to its services.
pub struct Settings<'a> {
    options: &'a Up,
    profile: &'a Profile,
    places: Places,
    databases: Databases,
    encryption_key: Secret,
}

impl<'a> Settings<'a> {
    /// What `options` say to services at these places.
    pub fn new(options: &'a Up, profile: &'a Profile, places: Places) -> anyhow::Result<Self> {
        for setting in &options.set {
            check(setting, options.mesh)?;
        }
        let (databases, encryption_key) = (Databases::of(options)?, encryption_key(options)?);
        Ok(Self { options, profile, places, databases, encryption_key })
    }

    pub fn registry(&self) -> Value {
        let exposed = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        json!({
            "database_url": self.databases.registry,
            "guest_token": exposed(&self.profile.api_token),
            "admin_token": exposed(&self.profile.admin_token),
            "encryption_key": self.encryption_key.expose(),
        })
    }

    pub fn sink(&self) -> Value {
        json!({ "registry": self.places.registry, "database_url": self.databases.sink })
    }

    pub fn scheduler(&self) -> Value {
        json!({ "registry": self.places.registry, "sink": self.places.sink })
    }

    pub fn worker(&self, name: &str) -> Value {
        json!({
            "name": name,
            "registry": self.places.registry,
            "schedulers": [self.places.scheduler],
            "cache_dir": self.options.data_dir.join("code-cache"),
        })
    }

    pub fn connector(&self) -> Value {
        json!({
            "registry": self.places.registry,
            "scheduler": self.places.scheduler,
            "database_url": self.databases.connector,
        })
    }

    pub fn gateway(&self) -> Value {
        json!({
            "registry": self.places.registry,
            "scheduler": self.places.scheduler,
            "connector": self.places.connector,
            "sink": self.places.sink,
        })
    }

    /// What `--set` says to a service, each as `KEY=VALUE`.
    pub fn set(&self, service: &str) -> Vec<String> {
        let of_service =
            |setting: &String| Some(setting.strip_prefix(service)?.strip_prefix('.')?.to_owned());
        self.options.set.iter().filter_map(of_service).collect()
    }
}

/// Refuses a `--set` that no service would honour.
fn check(setting: &str, is_mesh: bool) -> anyhow::Result<()> {
    let parts = setting.split_once('=').and_then(|(path, _)| path.split_once('.'));
    let Some((service, key)) = parts.filter(|(service, _)| SERVICES.contains(service)) else {
        anyhow::bail!(
            "--set {setting}: expected SERVICE.KEY=VALUE, such as worker.max_concurrent=64; services are {}",
            SERVICES.join(", ")
        );
    };
    // The value may be a secret.
    let flag = format!("--set {service}.{key}");
    let table = key.split('.').next().unwrap_or(key);
    if key == "server.listen" || key == "grpc_listen" {
        anyhow::bail!(
            "{flag}: `fl up` chooses this address; use --http for REST and --grpc for gRPC clients"
        );
    }
    if is_mesh {
        return Ok(());
    }
    match table {
        "server" if !SERVER_KEYS_OF_ONE_PROCESS.contains(&key) => anyhow::bail!(
            "{flag}: services that share one process have no sockets of their own, so this has no effect; \
             set it with `fl up --mesh`, or run {service}-svc by itself"
        ),
        "telemetry" => anyhow::bail!(
            "{flag}: one process has one telemetry; use --log, --otlp-endpoint and --sample-ratio, \
             or `fl up --mesh`"
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_honoured_or_refused() {
        // The setting; whether six processes take it; whether one does.
        let cases = [
            ("worker.max_concurrent=64", true, true),
            ("worker.server.max_concurrent=64", true, true),
            ("gateway.server.tls.cert=/tmp/cert.pem", true, false),
            ("gateway.server.tls={cert=\"c\", key=\"k\"}", true, false),
            ("gateway.server={max_concurrent=3}", true, false),
            ("registry.server.secret=s", true, false),
            ("sink.server.drain_timeout_s=3", true, false),
            ("worker.server.operators=off", true, false),
            ("worker.telemetry.queued_spans=64", true, false),
            ("gateway.server.listen=0.0.0.0:80", false, false),
            ("gateway.grpc_listen=0.0.0.0:80", false, false),
            ("worker.max_concurrent", false, false),
            ("max_concurrent=64", false, false),
            ("broker.max_concurrent=64", false, false),
        ];
        for (setting, in_six, in_one) in cases {
            assert_eq!(
                (check(setting, true).is_ok(), check(setting, false).is_ok()),
                (in_six, in_one),
                "{setting}"
            );
        }
    }

    #[test]
    fn a_refusal_does_not_show_the_value() {
        let error = check("registry.server.secret=hunter2", false).expect_err("no effect").to_string();
        assert!(error.contains("registry.server.secret") && !error.contains("hunter2"), "{error}");
    }
}
