//! The keys of the services, from the documentation of their `Config` types and from the defaults there.

mod defaults;
mod source;

use anyhow::Context as _;

use self::defaults::Default;
use self::source::{Field, Sources};
use super::markdown::{Page, code, line};

/// The services with the titles of their sections, in the order of their ports.
const SERVICES: [&str; 6] = ["gateway", "registry", "scheduler", "worker", "connector", "sink"];
/// Tables that several services have, and the types that document them.
const SHARED: [(&str, &str, &str); 3] = [
    ("server", "ServerConfig", "Every service has this table."),
    ("telemetry", "TelemetryConfig", "Every service has this table."),
    ("egress", "EgressConfig", "Worker, connector and sink have this table."),
];

/// A key of a service.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    name: String,
    kind: String,
    default: String,
    meaning: String,
}

/// The page.
pub(super) fn page() -> anyhow::Result<String> {
    let sources = Sources::read()?;
    let mut page = Page::new("Configuration keys", "the `Config` types of the services");
    page.push(
        "[Configuration](../configuration.md) says where services read these keys from, and explains those that belong \
         together. `server.listen` is `FUNLESS_WORKER_SERVER__LISTEN` in the environment of a worker, \
         `--set server.listen=...` on its command line, and `listen` in the table `[server]` of its TOML file. An unknown \
         key is an error.",
    );
    for (table, kind, who) in SHARED {
        page.heading(2, &code(table));
        page.push(who);
        let mut keys = Vec::new();
        collect(&sources, source::SHARED, kind, table, &mut keys).with_context(|| kind)?;
        write_keys(&mut page, &keys);
    }
    for service in SERVICES {
        let mut title = service.to_owned();
        title[..1].make_ascii_uppercase();
        page.heading(2, &title);
        page.push(&format!(
            "Variables begin with {}.",
            code(&format!("FUNLESS_{}_", service.to_uppercase()))
        ));
        let mut keys = Vec::new();
        collect(&sources, service, "Config", "", &mut keys).with_context(|| service)?;
        write_keys(&mut page, &keys);
    }
    Ok(page.into_text())
}

fn write_keys(page: &mut Page, keys: &[Key]) {
    let row = |key: &Key| [code(&key.name), key.kind.clone(), key.default.clone(), key.meaning.clone()];
    page.table(["key", "type", "default", "meaning"], &keys.iter().map(row).collect::<Vec<_>>());
}

/// Adds the keys of a struct, and of the structs in it.
fn collect(
    sources: &Sources,
    scope: &str,
    kind: &str,
    table: &str,
    keys: &mut Vec<Key>,
) -> anyhow::Result<()> {
    for field in sources.fields(scope, kind)? {
        let prefix = if table.is_empty() { String::new() } else { format!("{table}.") };
        let name = format!("{prefix}{}", field.name);
        if let Some((shared, ..)) = SHARED.iter().find(|(_, kind, _)| *kind == field.kind.name) {
            keys.push(reference(sources, scope, &field, &name, shared)?);
        } else if let Some((inner, below)) = sources.table(&field.kind, &name) {
            keys.push(Key {
                kind: "table".into(),
                default: "none".into(),
                meaning: line(&field.comment),
                name: name.clone(),
            });
            collect(sources, source::SHARED, &inner, &below, keys)?;
        } else {
            keys.push(key(sources, scope, kind, &field, name.clone()).with_context(|| name)?);
        }
    }
    Ok(())
}

/// The row of a table that has a section of its own.
fn reference(sources: &Sources, scope: &str, field: &Field, name: &str, shared: &str) -> anyhow::Result<Key> {
    let mut default = String::new();
    if shared == "server" {
        let port =
            defaults::port(sources, scope).context("expected ServerConfig::on_port(PORT) as the default")?;
        default = format!("{}: {}", code("server.listen"), code(&format!("127.0.0.1:{port}")));
    }
    let kind = format!("[table](#{shared})");
    Ok(Key { name: name.to_owned(), kind, default, meaning: line(&field.comment) })
}

fn key(sources: &Sources, scope: &str, owner: &str, field: &Field, name: String) -> anyhow::Result<Key> {
    let (comment, documented) = split_default(&field.comment);
    let kind = sources.words(scope, &field.kind)?;
    let default = match documented {
        Some(default) => default,
        None => match defaults::of(sources, scope, owner, field)? {
            Default::Required => "required".into(),
            Default::None => "none".into(),
            Default::Value(value) => with_unit(&field.name, &value),
        },
    };
    Ok(Key { name, kind, default, meaning: line(&comment) })
}

/// The comment without a sentence `Default: ....`, and what it says.
fn split_default(comment: &str) -> (String, Option<String>) {
    let comment = comment.replace('\n', " ");
    let Some((before, rest)) = comment.split_once("Default: ") else { return (comment, None) };
    let (default, after) = rest.split_once(". ").unwrap_or((rest.trim_end_matches('.'), ""));
    (format!("{before}{after}"), Some(line(default)))
}

/// A number of bytes also in MiB and the like.
fn with_unit(key: &str, value: &str) -> String {
    let bytes = value.parse::<u64>().ok().filter(|bytes| key.ends_with("_bytes") && *bytes > 0);
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = bytes.and_then(|bytes| units.into_iter().find(|(_, bits)| bytes % (1 << bits) == 0));
    match (bytes, unit) {
        (Some(bytes), Some((unit, bits))) => format!("{} ({} {unit})", code(value), bytes >> bits),
        _ => code(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_documented_default_is_not_in_the_meaning() {
        let cases = [
            ("The name. Default: the name of the host.", "The name. ", Some("the name of the host")),
            ("Allows. Default: none. A rule.", "Allows. A rule.", Some("none")),
            ("Nothing.", "Nothing.", None),
        ];
        for (comment, meaning, default) in cases {
            let expected = (meaning.to_owned(), default.map(str::to_owned));
            assert_eq!(split_default(comment), expected);
        }
    }

    #[test]
    fn bytes_have_units() {
        assert_eq!(with_unit("max_bytes", "67108864"), "`67108864` (64 MiB)");
        assert_eq!(with_unit("max_bytes", "8000000"), "`8000000`");
        assert_eq!(with_unit("max_rows", "1024"), "`1024`");
    }

    #[test]
    fn every_key_is_described() {
        let page = page().expect("every key has a type, a default and a comment");
        for row in [
            "| `max_code_bytes` | integer | `67108864` (64 MiB) | The maximum size of a function's binary in bytes. |",
            "| `telemetry.format` | `auto`, `human` or `json` | `auto` |",
            "| `database_url` | database | `sqlite:./.funless/registry.db` |",
            "| `egress.modules.NAME.deny` | list of rules | none |",
        ] {
            assert!(page.contains(row), "{row} is not in\n{page}");
        }
    }
}
