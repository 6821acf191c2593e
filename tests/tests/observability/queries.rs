//! The queries of dashboards and rules.

use std::fmt;
use std::fs;

use serde_json::Value;
use tests::process::repository;

/// One query and its source.
#[derive(Debug)]
pub struct Query {
    from: String,
    /// The query in PromQL.
    pub expression: String,
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} gets no data from: {}", self.from, self.expression)
    }
}

/// All queries: those of each panel and variable, and the expressions of recording rules. Alerting rules
/// return no data while all is well, so of these each series selector is a query.
pub fn all() -> Vec<Query> {
    let mut queries = Vec::new();
    for entry in fs::read_dir(repository().join("deploy/grafana/dashboards")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let file = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a text");
        of_dashboard(&file, &serde_json::from_str(&text).expect("valid JSON"), &mut queries);
    }
    for (file, name, expression) in ["recording.yml", "alerts.yml"].into_iter().flat_map(rules) {
        let from = format!("{name} in {file}");
        if file == "recording.yml" {
            // Both the expression and the recorded series.
            queries.extend([expression, name].map(|expression| Query { from: from.clone(), expression }));
        } else {
            let selectors = selectors(&expression).into_iter();
            queries.extend(selectors.map(|expression| Query { from: from.clone(), expression }));
        }
    }
    queries
}

fn of_dashboard(file: &str, dashboard: &Value, queries: &mut Vec<Query>) {
    let title = |panel: &Value| panel["title"].as_str().unwrap_or_default().to_owned();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = filled_in(target["expr"].as_str().expect("a query"));
            queries.push(Query { from: format!("{:?} in {file}", title(panel)), expression });
        }
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let series = query.strip_prefix("label_values(").and_then(|rest| rest.rsplit_once(", "));
        let (series, label) = series.expect("the variable uses label_values");
        let label = label.trim_end_matches(')');
        let from = format!("the variable {} in {file}", variable["name"]);
        queries.push(Query { from, expression: format!("group by ({label}) ({})", filled_in(series)) });
    }
}

/// Replaces the variables of Grafana, as Grafana does.
fn filled_in(expression: &str) -> String {
    let mut filled = expression.to_owned();
    for (variable, value) in [("$__rate_interval", "10s"), ("$__range", "1m")] {
        filled = filled.replace(variable, value);
    }
    for variable in ["$function", "$worker", "$instance", "$event", "$sink"] {
        filled = filled.replace(variable, ".*");
    }
    assert!(!filled.contains('$'), "an unknown variable: {filled}");
    filled
}

/// The rules of a file: the file's name, the rule's name, and its expression, which is on one line or in an
/// indented block.
pub fn rules(file: &'static str) -> Vec<(&'static str, String, String)> {
    let text = fs::read_to_string(repository().join("deploy/prometheus/rules").join(file)).expect("a text");
    let lines: Vec<_> = text.lines().collect();
    let mut rules = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let name = ["- record: ", "- alert: "].iter().find_map(|key| line.trim_start().strip_prefix(key));
        let Some(name) = name else { continue };
        let expression = lines[index + 1].trim_start().strip_prefix("expr: ").expect("expr follows");
        let expression = match expression {
            "|" => {
                let block = lines[index + 2..].iter().take_while(|line| line.starts_with("          "));
                block.map(|line| line.trim()).collect::<Vec<_>>().join(" ")
            }
            whole => whole.to_owned(),
        };
        rules.push((file, name.to_owned(), expression));
    }
    assert!(!rules.is_empty(), "{file} contains no rules");
    rules
}

/// The series selectors of an expression. Values of labels are ignored, because they may belong to problems
/// that do not exist now.
fn selectors(expression: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let is_metric = |word: &str| {
        word.starts_with("funless")
            || word.contains(":funless")
            || word == "up"
            || word.starts_with("process_")
    };
    let mut selectors = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        if word.starts_with("by") || word == "on" {
            // The parentheses contain labels.
            rest = rest.split_once(')').map_or("", |(_, after)| after);
        } else if is_metric(word) {
            let (matchers, after) = braces(rest);
            rest = after;
            selectors.push(format!("{word}{{{}}}", matchers.join(",")));
        }
    }
    assert!(!selectors.is_empty(), "{expression} selects no series");
    selectors
}

/// The matchers in braces after a metric's name, changed to match any value, and the remaining text.
fn braces(text: &str) -> (Vec<String>, &str) {
    let Some(inside) = text.strip_prefix('{') else { return (Vec::new(), text) };
    let (mut quoted, mut end) = (false, inside.len());
    for (index, character) in inside.char_indices() {
        quoted ^= character == '"';
        if character == '}' && !quoted {
            end = index;
            break;
        }
    }
    let (inside, after) = inside.split_at(end);
    let mut matchers: Vec<_> = inside
        .split(", ")
        .map(|matcher| {
            let name: String =
                matcher.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            format!("{name}!=\"\"")
        })
        .collect();
    matchers.dedup();
    (matchers, after.trim_start_matches('}'))
}
