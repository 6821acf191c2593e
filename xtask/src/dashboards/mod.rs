//! The Grafana dashboards of `deploy/grafana/dashboards`: what a panel queries and says is here, and what
//! Grafana wants around it is in `panel`.

mod events_and_sinks;
mod function;
mod overview;
mod panel;
mod workers;

use serde_json::{Value, json};

use self::panel::{DATASOURCE, Panel};

/// The dashboards by the names of their files.
pub(crate) fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("overview.json", overview::dashboard().to_json()),
        ("function.json", function::dashboard().to_json()),
        ("workers.json", workers::dashboard().to_json()),
        ("events-and-sinks.json", events_and_sinks::dashboard().to_json()),
    ]
}

/// Columns of Grafana's grid.
const COLUMNS: u32 = 24;

/// A dashboard in rows.
struct Dashboard {
    uid: &'static str,
    title: &'static str,
    description: &'static str,
    variables: Vec<Value>,
    rows: Vec<(&'static str, Vec<Panel>)>,
}

impl Dashboard {
    fn new(uid: &'static str, title: &'static str, description: &'static str) -> Self {
        let datasource = json!({
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
            "current": {}, "hide": 0, "includeAll": false, "multi": false, "options": [], "refresh": 1, "regex": "",
        });
        Self { uid, title, description, variables: vec![datasource], rows: Vec::new() }
    }

    /// A variable that may stand for any of the values that a label has.
    fn variable(mut self, name: &str, label: &str, series: &str, of: &str) -> Self {
        self.variables.push(variable(name, label, series, of));
        self
    }

    /// A variable that follows from others, and that nobody chooses.
    fn hidden_variable(mut self, name: &str, series: &str, of: &str) -> Self {
        let mut variable = variable(name, name, series, of);
        variable["hide"] = json!(2);
        self.variables.push(variable);
        self
    }

    fn row(mut self, title: &'static str, panels: Vec<Panel>) -> Self {
        self.rows.push((title, panels));
        self
    }

    fn to_json(&self) -> Value {
        let (mut panels, mut y) = (Vec::new(), 0);
        for (title, row) in &self.rows {
            panels.push(json!({
                "id": panels.len() + 1, "type": "row", "title": title, "collapsed": false, "panels": [],
                "gridPos": { "x": 0, "y": y, "w": COLUMNS, "h": 1 },
            }));
            y += 1;
            let (mut x, mut height) = (0, 0);
            for panel in row {
                if x + panel.width > COLUMNS {
                    (x, y, height) = (0, y + height, 0);
                }
                panels.push(panel.to_json(panels.len() + 1, x, y));
                x += panel.width;
                height = height.max(panel.height);
            }
            y += height;
        }
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["funless"],
            "schemaVersion": 39,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": { "from": "now-1h", "to": "now" },
            "timezone": "browser",
            "annotations": { "list": [] },
            "links": [{
                "type": "dashboards", "title": "FunLess Mesh", "tags": ["funless"], "asDropdown": true,
                "includeVars": false, "keepTime": true, "targetBlank": false, "icon": "external link",
                "tooltip": "", "url": "",
            }],
            "templating": { "list": self.variables },
            "panels": panels,
        })
    }
}

fn variable(name: &str, label: &str, series: &str, of: &str) -> Value {
    let query = format!("label_values({series}, {of})");
    json!({
        "name": name, "label": label, "type": "query", "datasource": datasource(),
        "definition": query,
        "query": { "query": query, "refId": "StandardVariableQuery" },
        "current": {}, "hide": 0, "includeAll": true, "allValue": ".*", "multi": true, "options": [],
        "refresh": 2, "regex": "", "sort": 1,
    })
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": DATASOURCE })
}
