//! The Helm chart and the rules for the Prometheus Operator, from the files that kustomize and Prometheus use.
//!
//! Two kinds of comments in deploy/k8s are for the chart: `KEY: VALUE # chart: PATH` makes the value the default of
//! PATH in values.yaml, and `#{{ ... }}` alone on a line is a line of the template.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, bail, ensure};

use crate::workspace;

const MARKER: &str = " # chart: ";
const TEMPLATE_LINE: &str = "#{{";
const NOTICE: &str = "# Written by `cargo xtask chart` from";
/// Those with variables of their own in values.yaml.
const SERVICES: [&str; 6] = ["connector", "gateway", "registry", "scheduler", "sink", "worker"];
/// The files in deploy/k8s that are templates of the chart, and the value that enables them.
const TEMPLATES: [(&str, Option<&str>); 10] = [
    ("base/gateway.yaml", None),
    ("base/registry.yaml", None),
    ("base/scheduler.yaml", None),
    ("base/worker.yaml", None),
    ("base/connector.yaml", None),
    ("base/sink.yaml", None),
    ("base/network-policies.yaml", Some("networkPolicies")),
    ("components/autoscaling/autoscalers.yaml", Some("autoscaling")),
    ("components/gateway-api/routes.yaml", Some("gatewayApi")),
    ("components/monitoring/service-monitor.yaml", Some("monitoring")),
];
const RULES: &str = "components/monitoring/prometheus-rules.yaml";

/// A table of values.yaml, or a value in it: YAML on one line.
#[derive(Debug)]
enum Values {
    Table(BTreeMap<String, Values>),
    Value(String),
}

/// The files: paths from the root of the repository, and contents.
pub(crate) fn files() -> anyhow::Result<Vec<(String, String)>> {
    let rules = rules()?;
    let mut values = Values::Table(BTreeMap::new());
    let mut files = Vec::new();
    for (source, enabled_by) in TEMPLATES {
        let text = read(&format!("deploy/k8s/{source}"))?;
        files.push(template(source, &text, enabled_by, &mut values).with_context(|| source)?);
    }
    files.push(template(RULES, &rules, Some("monitoring"), &mut values)?);
    for service in SERVICES {
        values.insert(&format!("{service}.env"), "[]")?;
    }
    files.push(("deploy/helm/values.yaml".into(), values_file(&values)));
    files.push(("deploy/helm/Chart.yaml".into(), chart()));
    files.push((format!("deploy/k8s/{RULES}"), rules));
    Ok(files)
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(workspace::root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// The rules of Prometheus as resources of its operator.
fn rules() -> anyhow::Result<String> {
    let mut documents = Vec::new();
    for name in ["recording", "alerts"] {
        let source = format!("deploy/prometheus/rules/{name}.yml");
        let mut text = format!(
            "{NOTICE} {source}.\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n\
             metadata: {{name: funless-{name}, labels: {{app.kubernetes.io/part-of: funless}}}}\nspec:\n"
        );
        for line in read(&source)?.lines() {
            let indent = if line.is_empty() { "" } else { "  " };
            writeln!(text, "{indent}{line}")?;
        }
        documents.push(text);
    }
    Ok(documents.join("---\n"))
}

/// The template that is made of a file, and its path. Its values are added to `values`.
fn template(
    source: &str,
    text: &str,
    enabled_by: Option<&str>,
    values: &mut Values,
) -> anyhow::Result<(String, String)> {
    let mut template = format!("{NOTICE} deploy/k8s/{source}.\n");
    if let Some(part) = enabled_by {
        let default = part == "networkPolicies";
        values.insert(&format!("{part}.enabled"), &default.to_string())?;
        writeln!(template, "{{{{- if .Values.{part}.enabled }}}}")?;
    }
    for line in text.lines() {
        if line.trim_start().starts_with(TEMPLATE_LINE) {
            writeln!(template, "{}", line.replacen('#', "", 1))?;
            continue;
        }
        // Braces of others, such as those of Prometheus, are text here.
        let line = line.replace("{{", "{{ \"{{\" }}");
        let Some((pair, path)) = line.split_once(MARKER) else {
            writeln!(template, "{line}")?;
            continue;
        };
        let (key, value) =
            pair.split_once(": ").with_context(|| format!("expected KEY: VALUE in {line:?}"))?;
        values.insert(path.trim(), value)?;
        writeln!(template, "{key}: {{{{ .Values.{} | toJson }}}}", path.trim())?;
    }
    if enabled_by.is_some() {
        template.push_str("{{- end }}\n");
    }
    let name = source.rsplit('/').next().unwrap_or(source);
    Ok((format!("deploy/helm/templates/{name}"), template))
}

impl Values {
    fn insert(&mut self, path: &str, value: &str) -> anyhow::Result<()> {
        let Self::Table(table) = self else { bail!("{path}: expected a table, which has a value already") };
        if let Some((first, rest)) = path.split_once('.') {
            let inner = table.entry(first.to_owned()).or_insert_with(|| Self::Table(BTreeMap::new()));
            return inner.insert(rest, value);
        }
        match table.entry(path.to_owned()).or_insert_with(|| Self::Value(value.to_owned())) {
            Self::Value(present) => {
                ensure!(present == value, "{path}: has two defaults, {present} and {value}")
            }
            Self::Table(_) => bail!("{path}: expected a value, not a table"),
        }
        Ok(())
    }

    fn write(&self, indent: usize, text: &mut String) {
        match self {
            Self::Value(value) => {
                text.push(' ');
                text.push_str(value);
                text.push('\n');
            }
            Self::Table(table) => {
                if indent > 0 {
                    text.push('\n');
                }
                for (key, value) in table {
                    text.push_str(&" ".repeat(indent));
                    text.push_str(key);
                    text.push(':');
                    value.write(indent + 2, text);
                }
            }
        }
    }
}

fn values_file(values: &Values) -> String {
    let mut text = format!(
        "{NOTICE} the defaults in deploy/k8s.\n\
         #\n\
         # Each service has an image, resources, a number of replicas, and `env`: more variables, such as\n\
         #   env: [{{name: FUNLESS_WORKER_MAX_CONCURRENT, value: \"64\"}}]\n\
         # `egressAllow` has the names and ports in the cluster to which functions, event sources and sinks may connect, as\n\
         # a list in JSON. `secretName` is the Secret that docs/operations.md describes.\n"
    );
    values.write(0, &mut text);
    text
}

fn chart() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{NOTICE} deploy/k8s.\n\
         apiVersion: v2\n\
         name: funless\n\
         description: FunLess Mesh, a serverless platform for private clouds\n\
         type: application\n\
         version: {version}\n\
         appVersion: \"{version}\"\n\
         home: {}\n",
        env!("CARGO_PKG_REPOSITORY")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_make_a_template() {
        let source =
            "a: 1\n  #{{- if .Values.x }}\n  image: \"b\" # chart: s.image\n  #{{- end }}\nc: '{{ $x }}'\n";
        let mut values = Values::Table(BTreeMap::new());
        let (path, made) = template("base/s.yaml", source, None, &mut values).expect("a template");
        assert_eq!(path, "deploy/helm/templates/s.yaml");
        let (_, body) = made.split_once('\n').expect("a notice");
        assert_eq!(
            body,
            "a: 1\n  {{- if .Values.x }}\n  image: {{ .Values.s.image | toJson }}\n  {{- end }}\nc: '{{ \"{{\" }} $x }}'\n"
        );
        let mut text = String::new();
        values.write(0, &mut text);
        assert_eq!(text, "s:\n  image: \"b\"\n");
    }

    #[test]
    fn a_value_has_one_default() {
        let mut values = Values::Table(BTreeMap::new());
        values.insert("a.b", "1").expect("new");
        values.insert("a.b", "1").expect("the same");
        for (path, value) in [("a.b", "2"), ("a.b.c", "1"), ("a", "1")] {
            assert!(values.insert(path, value).is_err(), "{path}");
        }
    }
}
