//! How a function of the mesh differs from what its files say.

use std::collections::BTreeSet;

use mesh::hash::Hash;
use proto::DEFAULT_CAPACITY_KB;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::project::{Binding, Manifest};

/// A function as the mesh shows it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Current {
    pub id: String,
    hash: Option<String>,
    metadata: Map<String, Value>,
    limits: Map<String, Value>,
    events: Vec<ShownBinding>,
    sinks: Vec<ShownBinding>,
}

/// Secrets are replaced.
#[derive(Debug, Clone, Deserialize)]
struct ShownBinding {
    #[serde(rename = "type")]
    kind: String,
    params: Value,
}

/// A function as its files say.
#[derive(Debug)]
pub struct Wanted<'a> {
    pub manifest: &'a Manifest,
    pub code: &'a [u8],
}

/// A part of a function that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Code,
    Metadata,
    Events,
    Sinks,
}

/// Something that differs.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    pub part: Part,
    /// Such as `metadata.tag`.
    pub what: String,
    pub old: String,
    pub new: String,
}

impl Part {
    /// The name of the part of a form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Metadata => "metadata",
            Self::Events => "events",
            Self::Sinks => "sinks",
        }
    }
}

impl Wanted<'_> {
    /// The metadata and limits in full, so that what is not mentioned becomes the default.
    pub fn metadata(&self) -> Value {
        let mut metadata = self.manifest.metadata.clone();
        metadata.entry("limits").or_insert_with(|| json!({}));
        metadata.into()
    }

    /// The hash of events and sinks with their secrets.
    pub fn bindings_hash(&self) -> String {
        let Manifest { events, sinks, .. } = self.manifest;
        Hash::of(json!([events, sinks]).to_string().as_bytes()).to_string()
    }

    /// The differences, in the order of the parts. `remembered` is the hash of the events and sinks that the mesh was last
    /// given, which tells whether secrets have changed.
    pub fn differences(&self, current: &Current, remembered: Option<&str>) -> Vec<Difference> {
        let mut differences = Vec::new();
        let hash = Hash::of(self.code).to_string();
        let old = current.hash.as_deref().unwrap_or("unknown");
        if old != hash {
            differences.push(Difference::new(Part::Code, "code", short(old), short(&hash)));
        }
        let mut wanted = self.manifest.metadata.clone();
        let limits = match wanted.remove("limits") {
            Some(Value::Object(limits)) => limits,
            Some(other) => Map::from_iter([("limits".to_owned(), other)]),
            None => Map::new(),
        };
        differences.extend(of_members("metadata", &current.metadata, &wanted));
        differences.extend(of_members("limits", &current.limits, &limits));
        let are_known = remembered == Some(&*self.bindings_hash());
        let Manifest { events, sinks, .. } = self.manifest;
        differences.extend(of_bindings(Part::Events, &current.events, events, are_known));
        differences.extend(of_bindings(Part::Sinks, &current.sinks, sinks, are_known));
        differences
    }

    /// The keys of the metadata that the mesh does not know, which it would ignore.
    pub fn unknown_keys(&self, current: &Current) -> Option<String> {
        let unknown = |prefix: &str, given: &Map<String, Value>, known: &Map<String, Value>| {
            let keys = given.keys().filter(|key| !known.contains_key(*key));
            keys.map(|key| format!("{prefix}.{key}")).collect::<Vec<_>>()
        };
        let mut given = self.manifest.metadata.clone();
        let limits = given.remove("limits");
        let mut keys = unknown("metadata", &given, &current.metadata);
        if let Some(Value::Object(limits)) = limits {
            keys.extend(unknown("metadata.limits", &limits, &current.limits));
        }
        let known = current.metadata.keys().cloned();
        let known_limits = current.limits.keys().map(|key| format!("limits.{key}"));
        let known = known.chain(known_limits).collect::<Vec<_>>().join(", ");
        (!keys.is_empty()).then(|| format!("the mesh does not know {}; it knows {known}", keys.join(" and ")))
    }
}

impl Difference {
    fn new(part: Part, what: &str, old: impl Into<String>, new: impl Into<String>) -> Self {
        Self { part, what: what.to_owned(), old: old.into(), new: new.into() }
    }
}

/// Enough of a hash for people.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn of_members(prefix: &str, current: &Map<String, Value>, wanted: &Map<String, Value>) -> Vec<Difference> {
    let keys: BTreeSet<_> = current.keys().chain(wanted.keys()).collect();
    let value = |members: &Map<String, Value>, key: &str| match members.get(key) {
        Some(value) if !is_default(key, value) => value.to_string(),
        _ => "the default".to_owned(),
    };
    let differences = keys.into_iter().map(|key| {
        Difference::new(Part::Metadata, &format!("{prefix}.{key}"), value(current, key), value(wanted, key))
    });
    differences.filter(|difference| difference.old != difference.new).collect()
}

/// Whether a value means the same as none.
fn is_default(key: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => {
            number.as_u64() == Some(0) || (key == "capacity" && number.as_u64() == Some(DEFAULT_CAPACITY_KB))
        }
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) => false,
    }
}

fn of_bindings(
    part: Part,
    current: &[ShownBinding],
    wanted: &[Binding],
    are_known: bool,
) -> Option<Difference> {
    let shown = |binding: &Binding| {
        let params = registry_svc::redact(&Value::from(binding.params.clone()).to_string());
        json!({ "type": binding.kind, "params": serde_json::from_str::<Value>(&params).unwrap_or_default() })
    };
    let old: Vec<_> =
        current.iter().map(|binding| json!({ "type": binding.kind, "params": binding.params })).collect();
    let new: Vec<_> = wanted.iter().map(shown).collect();
    let (old_text, new_text) = (Value::from(old.clone()).to_string(), Value::from(new.clone()).to_string());
    if old != new {
        return Some(Difference::new(part, part.name(), old_text, new_text));
    }
    // It is unknown which secrets the mesh has.
    let has_secrets = json!(wanted) != Value::from(new);
    let what = format!("{}, whose secrets may differ", part.name());
    (has_secrets && !are_known).then(|| Difference::new(part, &what, "***", "those of the file"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const CODE: &[u8] = b"\0asm";

    fn current(changed: &[(&str, Value)]) -> Current {
        let mut function = json!({
            "id": "1", "hash": Hash::of(CODE).to_string(),
            "metadata": {"tag": "edge", "capacity": 64, "idempotent": false, "script": ""},
            "limits": {"memory_bytes": null, "timeout_ms": 500, "output_bytes": null},
            "events": [{"id": "e", "type": "cron", "params": {"schedule": "* * * * *"}, "state": "connected"}],
            "sinks": [{"id": "s", "type": "webhook", "params": {"url": "http://***@h/", "token": "***"}}],
        });
        for (pointer, value) in changed {
            *function.pointer_mut(pointer).expect(pointer) = value.clone();
        }
        serde_json::from_value(function).expect("a function")
    }

    fn manifest(more: &str) -> Manifest {
        let text = format!(
            r#"name = "f"
            [metadata]
            tag = "edge"
            limits = {{ timeout_ms = 500 }}
            {more}
            [[events]]
            type = "cron"
            params = {{ schedule = "* * * * *" }}
            [[sinks]]
            type = "webhook"
            params = {{ url = "http://u:p@h/", token = "t" }}"#
        );
        Manifest::parse(&text, Path::new("function.toml")).expect("a manifest")
    }

    #[test]
    fn only_what_differs_is_a_difference() {
        let manifest = manifest("");
        let wanted = Wanted { manifest: &manifest, code: CODE };
        let hash = wanted.bindings_hash();
        assert_eq!(wanted.differences(&current(&[]), Some(&hash)), []);
        let cases = [
            ("/hash", json!("5e5e5e5e5e5e5e5e"), Part::Code, "code"),
            ("/metadata/tag", json!("core"), Part::Metadata, "metadata.tag"),
            ("/metadata/capacity", json!(128), Part::Metadata, "metadata.capacity"),
            ("/metadata/script", json!("near"), Part::Metadata, "metadata.script"),
            ("/limits/timeout_ms", json!(null), Part::Metadata, "limits.timeout_ms"),
            ("/limits/memory_bytes", json!(1), Part::Metadata, "limits.memory_bytes"),
            ("/events", json!([]), Part::Events, "events"),
            ("/events/0/params/schedule", json!("5 * * * *"), Part::Events, "events"),
            ("/sinks/0/type", json!("nats"), Part::Sinks, "sinks"),
            ("/sinks/0/params/url", json!("http://h/"), Part::Sinks, "sinks"),
        ];
        for (pointer, value, part, what) in cases {
            let differences = wanted.differences(&current(&[(pointer, value)]), Some(&hash));
            let found: Vec<_> = differences.iter().map(|it| (it.part, &*it.what)).collect();
            assert_eq!(found, [(part, what)], "{pointer}");
        }
    }

    #[test]
    fn secrets_are_compared_with_what_was_sent() {
        let manifest = manifest("");
        let wanted = Wanted { manifest: &manifest, code: CODE };
        for remembered in [None, Some("of other secrets")] {
            let differences = wanted.differences(&current(&[]), remembered);
            let found: Vec<_> = differences.iter().map(|it| (it.part, &*it.what)).collect();
            assert_eq!(found, [(Part::Sinks, "sinks, whose secrets may differ")]);
            assert!(!format!("{differences:?}").contains("u:p"), "{differences:?}");
        }
    }

    #[test]
    fn unknown_metadata_is_not_ignored() {
        let typo = manifest("tga = \"x\"");
        let wanted = Wanted { manifest: &typo, code: CODE };
        let unknown = wanted.unknown_keys(&current(&[])).expect("a typo");
        assert!(unknown.starts_with("the mesh does not know metadata.tga; it knows "), "{unknown}");
        let defaults = manifest("capacity = 64\nidempotent = false\nscript = \"\"");
        let wanted = Wanted { manifest: &defaults, code: CODE };
        assert_eq!(wanted.unknown_keys(&current(&[])), None);
        assert_eq!(wanted.differences(&current(&[]), Some(&wanted.bindings_hash())), []);
    }
}
