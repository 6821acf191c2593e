//! What `deploy/` has for Prometheus and Grafana, as far as it can be looked at without them.

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
        .expect("promtool runs");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "promtool {}:\n{}", arguments.join(" "), said.concat());
}

#[test]
fn prometheus_takes_the_rules_and_the_configuration() {
    promtool(&["check", "rules", "rules/recording.yml", "rules/alerts.yml"]);
    promtool(&["check", "config", "prometheus.yml"]);
}

#[test]
fn each_alert_fires_when_it_should() {
    promtool(&["test", "rules", "rules/tests.yml"]);
    let text = fs::read_to_string(repository().join("deploy/prometheus/rules/tests.yml")).unwrap();
    let untested = alerts().into_iter().filter(|alert| !text.contains(&format!("alertname=\"{alert}\"")));
    assert_eq!(untested.collect::<Vec<_>>(), Vec::<String>::new(), "have no test");
}

/// The names of the alerts.
fn alerts() -> BTreeSet<String> {
    let text = fs::read_to_string(repository().join("deploy/prometheus/rules/alerts.yml")).expect("a text");
    text.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

#[test]
fn each_alert_is_explained_where_it_says() {
    let rules = fs::read_to_string(repository().join("deploy/prometheus/rules/alerts.yml")).unwrap();
    let docs = fs::read_to_string(repository().join("docs/observability.md")).unwrap();
    let explained: BTreeSet<_> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("### Funless"))
        .map(|it| format!("Funless{it}"))
        .collect();
    assert_eq!(explained, alerts());
    // A heading's anchor is its text in small letters.
    for alert in alerts() {
        let link = format!("/docs/observability.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&link), "the runbook of {alert} is not at {link}");
    }
    for part in ["summary: ", "description: ", "severity: "] {
        assert_eq!(rules.matches(part).count(), alerts().len(), "each has one {part}");
    }
}

#[test]
fn the_dashboards_are_written_from_their_source() {
    let folder = repository().join("deploy/grafana/dashboards");
    let files = fs::read_dir(&folder).unwrap().count();
    assert_eq!(files, tests::dashboards::all().len());
    for (file, text) in tests::dashboards::all() {
        let written = fs::read_to_string(folder.join(file)).unwrap_or_default();
        assert!(written == text, "{file} is not what its source says; run scripts/dashboards");
    }
}

#[test]
fn the_panels_are_complete_and_do_not_overlap() {
    for (file, text) in tests::dashboards::all() {
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: two have the id {}", panel["id"]);
            let place = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            let [x, y, width, height] = place;
            assert!(x + width <= 24, "{file}: {} is too wide", panel["title"]);
            for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{file}: {} is on top of another one", panel["title"]);
            }
            if panel["type"] == "row" {
                continue;
            }
            assert!(panel["description"].as_str().is_some_and(|it| it.ends_with('.')), "{file}: {panel}");
            let queries = panel["targets"].as_array().unwrap();
            assert!(!queries.is_empty(), "{file}: {} asks nothing", panel["title"]);
        }
    }
}
