//! Static checks of the files for Prometheus and Grafana in `deploy/`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;
use tests::process::{installed, repository};

fn promtool(arguments: &[&str]) {
    let output = Command::new(installed("promtool", &[]))
        .args(arguments)
        .current_dir(repository().join("deploy/prometheus"))
        .output()
        .expect("failed to run promtool");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "promtool {}:\n{}", arguments.join(" "), said.concat());
}

/// The committed dashboards, by file name.
fn dashboards() -> Vec<(String, Value)> {
    let files = fs::read_dir(repository().join("deploy/grafana/dashboards")).expect("a folder").flatten();
    let read = |file: fs::DirEntry| {
        let text = fs::read_to_string(file.path()).expect("a file");
        (file.file_name().to_string_lossy().into_owned(), serde_json::from_str(&text).expect("valid JSON"))
    };
    files.map(read).collect()
}

#[test]
fn promtool_accepts_the_rules_and_the_configuration() {
    promtool(&["check", "rules", "rules/recording.yml", "rules/alerts.yml"]);
    promtool(&["check", "config", "prometheus.yml"]);
}

#[test]
fn alerts_fire_when_they_should() {
    promtool(&["test", "rules", "rules/tests.yml"]);
    let text = fs::read_to_string(repository().join("deploy/prometheus/rules/tests.yml")).unwrap();
    let untested = alerts().into_iter().filter(|alert| !text.contains(&format!("alertname=\"{alert}\"")));
    assert_eq!(untested.collect::<Vec<_>>(), Vec::<String>::new(), "some alerts have no test");
}

/// The names of the alerts.
fn alerts() -> BTreeSet<String> {
    let text = fs::read_to_string(repository().join("deploy/prometheus/rules/alerts.yml")).expect("a text");
    text.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

#[test]
fn runbook_links_point_to_the_documentation() {
    let rules = fs::read_to_string(repository().join("deploy/prometheus/rules/alerts.yml")).unwrap();
    let docs = fs::read_to_string(repository().join("docs/observability.md")).unwrap();
    let explained: BTreeSet<_> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("### Funless"))
        .map(|it| format!("Funless{it}"))
        .collect();
    assert_eq!(explained, alerts());
    // A heading's anchor is its text in lower case.
    for alert in alerts() {
        let link = format!("/docs/observability.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&link), "the runbook of {alert} is not at {link}");
    }
    for part in ["summary: ", "description: ", "severity: "] {
        assert_eq!(rules.matches(part).count(), alerts().len(), "each alert has one {part}");
    }
}

#[test]
fn panels_are_complete_and_do_not_overlap() {
    for (file, dashboard) in dashboards() {
        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: duplicate id {}", panel["id"]);
            let place = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            let [x, y, width, height] = place;
            assert!(x + width <= 24, "{file}: {} is too wide", panel["title"]);
            for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{file}: {} overlaps another panel", panel["title"]);
            }
            if panel["type"] == "row" {
                continue;
            }
            assert!(panel["description"].as_str().is_some_and(|it| it.ends_with('.')), "{file}: {panel}");
            let queries = panel["targets"].as_array().unwrap();
            assert!(!queries.is_empty(), "{file}: {} has no queries", panel["title"]);
        }
    }
}
