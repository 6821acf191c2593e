//! `fl events` and `fl sinks`: how the events and sinks of functions do.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;

use crate::args::{Bindings, OfFunctions, Role};
use crate::client::{Client, data};
use crate::table::Table;

/// An event or a sink as the mesh tells of it.
#[derive(Debug, Deserialize)]
struct Binding {
    /// Only in lists.
    #[serde(default)]
    module: String,
    /// Only in lists.
    #[serde(default)]
    function: String,
    id: String,
    r#type: String,
    state: String,
    since: Option<String>,
    message: Option<String>,
    #[serde(alias = "last_event_at", alias = "last_delivery_at")]
    last_at: Option<String>,
    /// By name; absent when nobody tells them now.
    counts: Option<BTreeMap<String, u64>>,
}

#[derive(Deserialize)]
struct Function {
    events: Vec<Binding>,
    sinks: Vec<Binding>,
}

/// Runs one of the commands for events or for sinks.
pub async fn run(role: Role, command: Bindings, client: &Client) -> anyhow::Result<()> {
    match command {
        Bindings::List { of, json } => {
            let request = client.query(Method::GET, &[plural(role)], &query(of))?;
            let body = client.send(request).await?;
            match json {
                true => println!("{body}"),
                false => print!("{}", list(role, data(&body)?)),
            }
        }
        Bindings::Status { function } => {
            let (module, name) = function.parts()?;
            let body = client.send(client.request(Method::GET, &["fn", module, name])?).await?;
            let Function { events, sinks } = data(&body)?;
            let bindings = match role {
                Role::Event => events,
                Role::Sink => sinks,
            };
            if bindings.is_empty() {
                println!("{module}/{name} has no {}", plural(role));
            }
            for binding in bindings {
                print!("{}", status(role, &binding));
            }
        }
    }
    Ok(())
}

/// The functions that are asked for, as a query.
pub fn query(OfFunctions { module, function }: OfFunctions) -> Vec<(&'static str, String)> {
    let given = [("module", module), ("function", function)];
    given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn plural(role: Role) -> &'static str {
    match role {
        Role::Event => "events",
        Role::Sink => "sinks",
    }
}

/// The counts, from what comes in to what becomes of it.
fn counts_of(role: Role) -> &'static [&'static str] {
    match role {
        Role::Event => &[
            "received",
            "acknowledged",
            "in_flight",
            "lost",
            "invalid",
            "dead_lettered",
            "dead_letters",
            "redriven",
            "purged",
        ],
        Role::Sink => &["accepted", "delivered", "pending", "dead", "purged"],
    }
}

fn list(role: Role, bindings: Vec<Binding>) -> Table {
    // Headings and the names of the counts.
    let (last, counts): (_, &[(&str, &str)]) = match role {
        Role::Event => (
            "LAST EVENT",
            &[
                ("RECEIVED", "received"),
                ("IN FLIGHT", "in_flight"),
                ("INVALID", "invalid"),
                ("DEAD LETTERS", "dead_letters"),
            ],
        ),
        Role::Sink => {
            ("LAST DELIVERY", &[("ACCEPTED", "accepted"), ("PENDING", "pending"), ("DEAD LETTERS", "dead")])
        }
    };
    let headings = ["FUNCTION", "TYPE", "STATE", "SINCE", last].into_iter();
    let headings = headings.chain(counts.iter().map(|(heading, _)| *heading)).chain(["MESSAGE"]);
    let mut table = Table::new(&headings.collect::<Vec<_>>());
    for binding in bindings {
        let count = |name: &str| {
            let count = binding.counts.as_ref().and_then(|counts| counts.get(name));
            count.map_or_else(|| "-".to_owned(), u64::to_string)
        };
        let cells = [
            format!("{}/{}", binding.module, binding.function),
            binding.r#type.clone(),
            binding.state.clone(),
            or_dash(binding.since.as_deref()),
            or_dash(binding.last_at.as_deref()),
        ];
        let counts = counts.iter().map(|(_, name)| count(name));
        table.row(cells.into_iter().chain(counts).chain([binding.message.clone().unwrap_or_default()]));
    }
    table
}

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

/// All that is known of one.
fn status(role: Role, binding: &Binding) -> Table {
    let last = match role {
        Role::Event => "last event",
        Role::Sink => "last delivery",
    };
    let mut table = Table::new(&[&binding.r#type, &binding.id]);
    let mut line = |name: &str, value: String| table.row([format!("  {name}"), value]);
    let since = binding.since.as_ref().map_or_else(String::new, |since| format!(" since {since}"));
    line("state", format!("{}{since}", binding.state));
    if let Some(message) = &binding.message {
        line("message", message.clone());
    }
    line(last, binding.last_at.clone().unwrap_or_else(|| "none yet".to_owned()));
    let counts = binding.counts.as_ref();
    for name in counts_of(role) {
        if let Some(count) = counts.and_then(|counts| counts.get(*name)) {
            line(&name.replace('_', " "), count.to_string());
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = r#"{"data":[
        {"module":"_","function":"f","id":"1","type":"mqtt","params":{},"state":"retrying",
         "since":"2026-01-02T03:04:05Z","message":"connection refused","last_event_at":null,
         "counts":{"received":20,"acknowledged":17,"in_flight":3,"invalid":2,"dead_letters":1}},
        {"module":"m","function":"long_name","id":"2","type":"cron","params":{},"state":"unknown",
         "since":null,"message":null,"last_event_at":null,"counts":null}]}"#;

    #[test]
    fn a_list_is_a_table() {
        let expected = "\
FUNCTION     TYPE  STATE     SINCE                 LAST EVENT  RECEIVED  IN FLIGHT  INVALID  DEAD LETTERS  MESSAGE
_/f          mqtt  retrying  2026-01-02T03:04:05Z  -           20        3          2        1             connection refused
m/long_name  cron  unknown   -                     -           -         -          -        -
";
        assert_eq!(list(Role::Event, data(EVENTS).expect("a list")).to_string(), expected);
    }

    #[test]
    fn a_status_is_all_that_is_known() {
        let bindings: Vec<Binding> = data(EVENTS).expect("a list");
        let expected = "\
mqtt            1
  state         retrying since 2026-01-02T03:04:05Z
  message       connection refused
  last event    none yet
  received      20
  acknowledged  17
  in flight     3
  invalid       2
  dead letters  1
";
        assert_eq!(status(Role::Event, &bindings[0]).to_string(), expected);
        let expected = "cron          2\n  state       unknown\n  last event  none yet\n";
        assert_eq!(status(Role::Event, &bindings[1]).to_string(), expected);
    }

    #[test]
    fn what_is_asked_for_is_a_query() {
        let of = OfFunctions { module: Some("m".into()), function: None };
        assert_eq!(query(of), [("module", "m".to_owned())]);
    }
}
