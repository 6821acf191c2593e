//! Checks that exactly the exposed metrics are documented.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use tests::process::repository;

/// A metric's kind and labels.
#[derive(Debug, Default, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

/// The differences between `docs/observability.md` and the pages of metrics.
pub fn problems(pages: &[String]) -> Vec<String> {
    let (documented, exposed) = (documented(), exposed(pages));
    let names: BTreeSet<_> = documented.keys().chain(exposed.keys()).collect();
    let problem = |name: &String| match (documented.get(name), exposed.get(name)) {
        (Some(documented), Some(exposed)) if documented == exposed => None,
        (Some(_), None) => Some(format!("{name} is documented but not exposed")),
        (None, Some(exposed)) => Some(format!("{name} is exposed but not documented: {exposed:?}")),
        (documented, exposed) => {
            Some(format!("{name} is documented as {documented:?} but exposed as {exposed:?}"))
        }
    };
    names.into_iter().filter_map(problem).collect()
}

/// The documented metrics: the table rows whose first cell is a metric's name and whose second cell is a
/// kind.
fn documented() -> BTreeMap<String, Metric> {
    let text = fs::read_to_string(repository().join("docs/observability.md")).expect("a text");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let metrics = rows.filter_map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        let [name, kind, labels, ..] = cells[..] else { return None };
        if !matches!(kind, "counter" | "gauge" | "histogram") {
            return None;
        }
        let labels =
            labels.split(", ").map(|label| label.trim_matches('`')).filter(|label| !label.is_empty());
        let labels = labels.map(str::to_owned).collect();
        Some((name.trim_matches('`').to_owned(), Metric { kind: kind.to_owned(), labels }))
    });
    metrics.collect()
}

/// The exposed metrics, without the labels `service` and `le`.
fn exposed(pages: &[String]) -> BTreeMap<String, Metric> {
    let mut metrics = BTreeMap::<String, Metric>::new();
    for line in pages.iter().flat_map(|page| page.lines()) {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').expect("a type");
            metrics.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if !line.starts_with('#') {
            let (sample, rest) = line.split_at(line.find(['{', ' ']).expect("a sample"));
            let families =
                ["", "_bucket", "_sum", "_count"].into_iter().filter_map(|end| sample.strip_suffix(end));
            let family = families.into_iter().find(|family| metrics.contains_key(*family));
            let family = family.unwrap_or_else(|| panic!("a sample without a metric family: {line}"));
            let labels = rest.strip_prefix('{').and_then(|labels| labels.rsplit_once('}'));
            let labels = labels.map_or(Vec::new(), |(labels, _)| names(labels));
            let own = labels.into_iter().filter(|label| !matches!(label.as_str(), "service" | "le"));
            metrics.entry(family.to_owned()).or_default().labels.extend(own);
        }
    }
    metrics
}

/// The names of the labels in the text between the braces.
fn names(labels: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = labels.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '"' => quoted = !quoted,
            '=' if !quoted => names.push(std::mem::take(&mut name)),
            ',' if !quoted => name.clear(),
            _ if !quoted => name.push(character),
            _ => {}
        }
    }
    names
}
