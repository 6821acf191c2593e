//! One panel of a dashboard.

use serde_json::{Value, json};

use super::datasource;

/// The data source, as the user of the dashboard chooses it.
pub(super) const DATASOURCE: &str = "${datasource}";

/// What the numbers are, as Grafana calls it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    PerSecond,
    Seconds,
    Bytes,
    /// 0 to 1.
    Ratio,
    Count,
}

impl Unit {
    fn grafana(self) -> &'static str {
        match self {
            Self::PerSecond => "ops",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
            Self::Ratio => "percentunit",
            Self::Count => "short",
        }
    }
}

/// One panel: what it asks, and what it says about it.
pub(super) struct Panel {
    kind: &'static str,
    title: &'static str,
    description: &'static str,
    unit: Unit,
    queries: Vec<(String, &'static str)>,
    exemplars: bool,
    stacked: bool,
    /// From here on it is a warning, and from there on it is bad; or the other way round.
    thresholds: Option<(f64, f64)>,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// Lines over time.
pub(super) fn graph(title: &'static str, unit: Unit, description: &'static str) -> Panel {
    Panel {
        kind: "timeseries",
        title,
        description,
        unit,
        queries: Vec::new(),
        exemplars: false,
        stacked: false,
        thresholds: None,
        width: 8,
        height: 8,
    }
}

/// One number, as it is now.
pub(super) fn number(title: &'static str, unit: Unit, description: &'static str) -> Panel {
    Panel { kind: "stat", width: 4, height: 4, ..graph(title, unit, description) }
}

/// Lines of the median and of the slowest of 20 and of 100, of the histogram `name`, with exemplars.
pub(super) fn quantiles(title: &'static str, name: &str, selector: &str, description: &'static str) -> Panel {
    let quantile = |quantile: &str| {
        format!(
            "histogram_quantile({quantile}, sum by (le) (rate({name}_bucket{selector}[$__rate_interval])))"
        )
    };
    let panel = graph(title, Unit::Seconds, description);
    let panel = panel.query(quantile("0.5"), "p50").query(quantile("0.95"), "p95");
    Panel { exemplars: true, ..panel.query(quantile("0.99"), "p99") }
}

impl Panel {
    /// Asks this, too.
    pub(super) fn query(mut self, expression: impl Into<String>, legend: &'static str) -> Self {
        self.queries.push((expression.into(), legend));
        self
    }

    /// The sums are of interest.
    pub(super) fn stacked(self) -> Self {
        Self { stacked: true, ..self }
    }

    /// Shows the traces of what is measured.
    pub(super) fn exemplars(self) -> Self {
        Self { exemplars: true, ..self }
    }

    pub(super) fn thresholds(self, warning: f64, bad: f64) -> Self {
        Self { thresholds: Some((warning, bad)), ..self }
    }

    pub(super) fn width(self, width: u32) -> Self {
        Self { width, ..self }
    }

    pub(super) fn to_json(&self, id: usize, x: u32, y: u32) -> Value {
        let targets = self.queries.iter().zip('A'..).map(|((expression, legend), name)| {
            json!({
                "refId": name.to_string(),
                "datasource": datasource(),
                "editorMode": "code",
                "expr": expression,
                "legendFormat": legend,
                "range": self.kind == "timeseries",
                "instant": self.kind != "timeseries",
                "exemplar": self.exemplars,
            })
        });
        json!({
            "id": id,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": datasource(),
            "gridPos": { "x": x, "y": y, "w": self.width, "h": self.height },
            "targets": targets.collect::<Vec<_>>(),
            "fieldConfig": { "defaults": self.defaults(), "overrides": [] },
            "options": self.options(),
        })
    }

    fn defaults(&self) -> Value {
        let mut defaults = json!({
            "unit": self.unit.grafana(),
            "min": 0,
            "thresholds": { "mode": "absolute", "steps": self.steps() },
        });
        if self.kind == "timeseries" {
            defaults["color"] = json!({ "mode": "palette-classic" });
            defaults["custom"] = json!({
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": if self.stacked { 30 } else { 5 },
                "showPoints": "never",
                "stacking": { "group": "A", "mode": if self.stacked { "normal" } else { "none" } },
                "thresholdsStyle": { "mode": if self.thresholds.is_some() { "dashed" } else { "off" } },
            });
        } else {
            defaults["color"] = json!({ "mode": "thresholds" });
        }
        defaults
    }

    /// What is bad may be much, or little.
    fn steps(&self) -> Value {
        match self.thresholds {
            None => json!([{ "color": "green", "value": null }]),
            Some((warning, bad)) if warning <= bad => json!([
                { "color": "green", "value": null },
                { "color": "orange", "value": warning },
                { "color": "red", "value": bad },
            ]),
            Some((warning, bad)) => json!([
                { "color": "red", "value": null },
                { "color": "orange", "value": bad },
                { "color": "green", "value": warning },
            ]),
        }
    }

    fn options(&self) -> Value {
        if self.kind == "timeseries" {
            return json!({
                "legend": {
                    "showLegend": true, "displayMode": "table", "placement": "bottom",
                    "calcs": ["mean", "max", "lastNotNull"],
                },
                "tooltip": { "mode": "multi", "sort": "desc" },
            });
        }
        json!({
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "auto",
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
        })
    }
}
