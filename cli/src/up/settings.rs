//! How the services of the mesh are configured, as a file would say it. The same for one process and for
//! six.

use serde_json::{Value, json};

use super::overrides::Overrides;
use super::{Databases, data_dir};
use crate::args::Up;
use crate::profile::Profile;
use mesh::auth::Secret;

/// Where services find each other: endpoints.
pub struct Places {
    pub registry: String,
    pub scheduler: String,
    pub connector: String,
    pub sink: String,
    /// The ports of the services, for clients and for administrators.
    pub ports: Vec<u16>,
}

/// What may be connected to without --strict.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

/// What `fl up` says to its services.
pub struct Settings<'a> {
    options: &'a Up,
    profile: &'a Profile,
    places: Places,
    databases: Databases,
    encryption_key: Secret,
    overrides: Overrides,
}

impl<'a> Settings<'a> {
    /// What `options` say to services at these places.
    pub fn new(options: &'a Up, profile: &'a Profile, places: Places) -> anyhow::Result<Self> {
        let overrides = Overrides::new(options)?;
        let (databases, encryption_key) =
            (Databases::of(options)?, data_dir::encryption_key(&options.data_dir)?);
        Ok(Self { options, profile, places, databases, encryption_key, overrides })
    }

    pub fn registry(&self) -> Value {
        let exposed = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        let mut settings = json!({
            "database_url": self.databases.registry,
            "guest_token": exposed(&self.profile.api_token),
            "admin_token": exposed(&self.profile.admin_token),
            "encryption_key": self.encryption_key.expose(),
        });
        // The registry accepts what the workers can run. A worker refuses a value that is no number.
        let memory_bytes = self.overrides.value("worker", "memory_bytes");
        if let Some(memory_bytes) = memory_bytes.and_then(|text| text.trim().parse::<u64>().ok()) {
            settings["max_memory_bytes"] = memory_bytes.into();
        }
        settings
    }

    pub fn sink(&self) -> Value {
        json!({
            "registry": self.places.registry,
            "database_url": self.databases.sink,
            "egress": self.egress(),
        })
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
            "egress": self.egress(),
        })
    }

    pub fn connector(&self) -> Value {
        json!({
            "registry": self.places.registry,
            "scheduler": self.places.scheduler,
            "database_url": self.databases.connector,
            "egress": self.egress(),
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

    /// What functions, event sources and sinks may connect to.
    fn egress(&self) -> Value {
        let loopback = LOOPBACK.into_iter().filter(|_| !self.options.strict).map(str::to_owned);
        let allowed = self.options.allow_egress.iter().map(ToString::to_string);
        json!({ "allow": loopback.chain(allowed).collect::<Vec<_>>(), "mesh_ports": self.places.ports })
    }

    /// What the user says to a service, each as `KEY=VALUE`.
    pub fn set(&self, service: &str) -> Vec<String> {
        self.overrides.of(service)
    }

    /// The same without the environment.
    pub fn flags(&self, service: &str) -> Vec<String> {
        self.overrides.flags_of(service)
    }
}
