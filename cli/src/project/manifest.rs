//! `function.toml`, the manifest beside the source of a function.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::language::Language;

/// A function as its manifest describes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Letters, digits and underscores.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// `_` unless it is given.
    #[serde(deserialize_with = "name", default = "default_module")]
    pub module: String,
    /// What the source is written in. `None`: the files in the folder tell.
    pub language: Option<Language>,
    /// How it is built, if not as usual for its language.
    pub build: Option<Build>,
    /// The metadata of the REST API, as it is.
    #[serde(deserialize_with = "object", default)]
    pub metadata: Map<String, Value>,
    /// The event sources.
    #[serde(default)]
    pub events: Vec<Binding>,
    /// The sinks.
    #[serde(default)]
    pub sinks: Vec<Binding>,
}

/// A build that no builder knows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Run by `sh -c` in the folder. `None`: the output is there already.
    pub command: Option<String>,
    /// The WebAssembly binary, relative to the folder.
    pub output: PathBuf,
}

/// An event source or a sink, as in REST.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Such as `mqtt`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The parameters of the kind.
    #[serde(deserialize_with = "object", default)]
    pub params: Map<String, Value>,
}

impl Manifest {
    /// The name of the file.
    pub const FILE: &'static str = "function.toml";
    /// The module of a function that names none.
    pub const DEFAULT_MODULE: &'static str = "_";

    /// Reads the manifest in this folder.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join(Self::FILE);
        Self::read_if_present(folder)?.with_context(|| format!("there is no {}", file.display()))
    }

    /// The same; `None` if there is none.
    pub fn read_if_present(folder: &Path) -> anyhow::Result<Option<Self>> {
        let file = folder.join(Self::FILE);
        match fs::read_to_string(&file) {
            Ok(text) => Self::parse(&text, &file).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Parses the text of a file, which errors name with the line and the key.
    pub fn parse(text: &str, file: &Path) -> anyhow::Result<Self> {
        let problem = |key: Option<String>, error: &toml::de::Error| {
            let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            let key = key.map(|key| format!("{key}: ")).unwrap_or_default();
            anyhow!("{}{line}: {key}{}", file.display(), error.message())
        };
        let document = toml::Deserializer::parse(text).map_err(|error| problem(None, &error))?;
        serde_path_to_error::deserialize(document).map_err(|error| {
            let key = error.path().to_string();
            problem((key != ".").then_some(key), error.inner())
        })
    }

    /// Checks that a name is one that modules and functions may have.
    pub fn check_name(name: &str) -> Result<(), String> {
        let is_valid = !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
        if is_valid && name.len() <= MAX_NAME {
            return Ok(());
        }
        Err(format!("invalid name {name:?}: expected 1 to {MAX_NAME} letters, digits and underscores"))
    }
}

/// The longest name, in characters.
const MAX_NAME: usize = 160;

fn default_module() -> String {
    Manifest::DEFAULT_MODULE.to_owned()
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    Manifest::check_name(&name).map_err(D::Error::custom)?;
    Ok(name)
}

/// Reads a table as a JSON object.
fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    json_object(toml::Table::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn json_object(table: toml::Table) -> Result<Map<String, Value>, String> {
    let member = |(key, value)| match json(value) {
        Ok(value) => Ok((key, value)),
        Err(why) => Err(format!("{key}: {why}")),
    };
    table.into_iter().map(member).collect()
}

fn json(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => match Number::from_f64(number) {
            Some(number) => number.into(),
            None => return Err(format!("{number} is no number in JSON")),
        },
        toml::Value::Boolean(value) => value.into(),
        toml::Value::Datetime(time) => return Err(format!("a time is text in JSON: expected \"{time}\"")),
        toml::Value::Array(values) => values.into_iter().map(json).collect::<Result<_, _>>()?,
        toml::Value::Table(table) => json_object(table)?.into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(text, Path::new("f/function.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn everything_that_can_be_said() {
        let text = r#"
name = "welcome"
module = "shop"
language = "typescript"

[build]
command = "make"
output = "build/welcome.wasm"

[metadata]
tag = "edge"
limits = { timeout_ms = 500 }
idempotent = true

[[events]]
type = "mqtt"
params = { host = "127.0.0.1", port = 1883, topic = "names" }

[[sinks]]
type = "nats"
"#;
        let manifest = parse(text).expect("a manifest");
        let build = Build { command: Some("make".into()), output: "build/welcome.wasm".into() };
        assert_eq!((&*manifest.name, &*manifest.module), ("welcome", "shop"));
        assert_eq!((manifest.language, manifest.build), (Some(Language::TypeScript), Some(build)));
        let metadata = json!({ "tag": "edge", "limits": { "timeout_ms": 500 }, "idempotent": true });
        assert_eq!(Value::from(manifest.metadata), metadata);
        let events =
            json!([{ "type": "mqtt", "params": { "host": "127.0.0.1", "port": 1883, "topic": "names" } }]);
        assert_eq!(json!(manifest.events), events);
        assert_eq!(json!(manifest.sinks), json!([{ "type": "nats", "params": {} }]));
    }

    #[test]
    fn a_name_is_enough() {
        let manifest = parse("name = \"f\"").expect("a manifest");
        assert_eq!((&*manifest.name, &*manifest.module), ("f", "_"));
        assert!(manifest.metadata.is_empty() && manifest.events.is_empty() && manifest.sinks.is_empty());
        let prebuilt = parse("name = \"f\"\nbuild.output = \"f.wasm\"").expect("a manifest");
        assert_eq!(prebuilt.build, Some(Build { command: None, output: "f.wasm".into() }));
    }

    #[test]
    fn errors_name_the_file_the_line_and_the_key() {
        let cases = [
            ("module = \"m\"", "f/function.toml:1: missing field `name`"),
            ("name = \"f\"\ntag = \"t\"", "f/function.toml:2: tag: unknown field `tag`, expected one of"),
            ("name = \"a b\"", "f/function.toml:1: name: invalid name \"a b\": expected 1 to 160 letters"),
            (
                "name = \"f\"\nmodule = 5",
                "f/function.toml:2: module: invalid type: integer `5`, expected a string",
            ),
            ("name = \"f\"\nlanguage = \"cobol\"", "f/function.toml:2: language: unknown variant `cobol`"),
            ("name = \"f\"\n[build]\ncommand = \"make\"", "f/function.toml:2: build: missing field `output`"),
            (
                "name = \"f\"\n[[events]]\nkind = \"mqtt\"",
                "f/function.toml:3: events[0].kind: unknown field `kind`",
            ),
            (
                "name = \"f\"\n\n[metadata]\nsince = 1979-05-27",
                "since: a time is text in JSON: expected \"1979-05-27\"",
            ),
            ("name = \"f\"\n[metadata]\nx = nan", "x: NaN is no number in JSON"),
            ("name = \"f\"\nname = \"g\"", "f/function.toml:2: duplicate key"),
            ("name = ", "f/function.toml:1: "),
        ];
        for (text, expected) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
