//! `fl audit events`: whether every event and result is accounted for.

use anyhow::bail;
use reqwest::Method;
use serde::Deserialize;

use crate::client::{Client, data};

#[derive(Deserialize)]
struct Audit {
    events: Counters<Events>,
    sinks: Counters<Results>,
}

#[derive(Deserialize)]
struct Counters<B> {
    sum: B,
    bindings: Vec<Ledger<B>>,
}

#[derive(Deserialize)]
struct Ledger<B> {
    binding_id: String,
    binding_type: String,
    module: String,
    function: String,
    #[serde(flatten)]
    balance: B,
}

#[derive(Deserialize)]
struct Events {
    received: u64,
    acknowledged: u64,
    in_flight: u64,
    lost: u64,
    dead_lettered: u64,
    dead_letters: u64,
    redriven: u64,
    purged: u64,
    drift: i64,
    dead_letter_drift: i64,
}

#[derive(Deserialize)]
struct Results {
    accepted: u64,
    delivered: u64,
    pending: u64,
    dead: u64,
    purged: u64,
    drift: i64,
}

trait Balance {
    /// The equations that must hold, with the drift that makes them true.
    fn equations(&self) -> Vec<String>;
    fn drifts(&self) -> bool;
}

impl Balance for Events {
    fn equations(&self) -> Vec<String> {
        let Self {
            received,
            acknowledged,
            in_flight,
            lost,
            dead_lettered,
            dead_letters,
            redriven,
            purged,
            ..
        } = self;
        vec![
            equation(
                ("received", *received),
                &[("acknowledged", *acknowledged), ("in flight", *in_flight), ("lost", *lost)],
                self.drift,
            ),
            equation(
                ("dead-lettered", *dead_lettered),
                &[("dead letters", *dead_letters), ("redriven", *redriven), ("purged", *purged)],
                self.dead_letter_drift,
            ),
        ]
    }

    fn drifts(&self) -> bool {
        self.drift != 0 || self.dead_letter_drift != 0
    }
}

impl Balance for Results {
    fn equations(&self) -> Vec<String> {
        let Self { accepted, delivered, pending, dead, purged, drift } = self;
        let parts = [("delivered", *delivered), ("pending", *pending), ("dead", *dead), ("purged", *purged)];
        vec![equation(("accepted", *accepted), &parts, *drift)]
    }

    fn drifts(&self) -> bool {
        self.drift != 0
    }
}

/// `received 5 = acknowledged 3 + in flight 1 + drift 1`: what is written there is always true.
fn equation((whole, count): (&str, u64), parts: &[(&str, u64)], drift: i64) -> String {
    let parts: Vec<_> = parts.iter().map(|(part, count)| format!("{part} {count}")).collect();
    let sign = if drift < 0 { '-' } else { '+' };
    format!("{whole} {count} = {} {sign} drift {}", parts.join(" + "), drift.unsigned_abs())
}

/// Prints the totals, and fails if something is unaccounted for.
pub async fn run(json: bool, client: &Client) -> anyhow::Result<()> {
    let body = client.send(client.request(Method::GET, &["conservation"])?).await?;
    let audit: Audit = data(&body)?;
    match json {
        true => println!("{body}"),
        false => print!("{}", sums(&audit)),
    }
    let drifting = [drifting(&audit.events, "event"), drifting(&audit.sinks, "sink")].concat();
    match drifting.is_empty() {
        true => Ok(()),
        false => bail!("some events or results are unaccounted for:\n  {}", drifting.join("\n  ")),
    }
}

fn sums(Audit { events, sinks }: &Audit) -> String {
    let lines = |noun: &str, equations: Vec<String>| {
        let line = |(index, equation)| format!("{:9}{equation}\n", if index == 0 { noun } else { "" });
        equations.into_iter().enumerate().map(line).collect::<String>()
    };
    lines("events", events.sum.equations()) + &lines("results", sinks.sum.equations())
}

/// The bindings with drift, one by one: opposite drifts cancel out in the totals.
fn drifting<B: Balance>(audit: &Counters<B>, noun: &str) -> Vec<String> {
    let drifting = audit.bindings.iter().filter(|ledger| ledger.balance.drifts());
    let line = |ledger: &Ledger<B>| {
        let Ledger { binding_id, binding_type, module, function, balance } = ledger;
        let equations = balance.equations().join("; ");
        format!("{noun} {binding_type} {binding_id} of {module}/{function}: {equations}")
    };
    drifting.map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn audit(drift: i64) -> Audit {
        let events = json!({
            "received": 20, "acknowledged": 17, "in_flight": 3, "lost": 0, "invalid": 1,
            "dead_lettered": 4, "dead_letters": 1, "redriven": 2, "purged": 1, "drift": 0, "dead_letter_drift": 0,
        });
        let sinks = json!({
            "accepted": 9, "delivered": 5, "pending": 2, "dead": 1, "purged": 1, "drift": 0,
        });
        let mut ledger = sinks.clone();
        for (key, value) in
            [("binding_id", json!("b")), ("binding_type", json!("couchdb")), ("module", json!("m"))]
        {
            ledger[key] = value;
        }
        ledger["function"] = json!("f");
        ledger["drift"] = json!(drift);
        let answer = json!({"data": {
            "events": {"sum": events, "bindings": []},
            "sinks": {"sum": sinks, "bindings": [ledger]},
        }});
        data(&answer.to_string()).expect("an audit")
    }

    #[test]
    fn the_sums_are_equations() {
        let expected = "\
events   received 20 = acknowledged 17 + in flight 3 + lost 0 + drift 0
         dead-lettered 4 = dead letters 1 + redriven 2 + purged 1 + drift 0
results  accepted 9 = delivered 5 + pending 2 + dead 1 + purged 1 + drift 0
";
        assert_eq!(sums(&audit(0)), expected);
    }

    #[test]
    fn a_drift_is_reported_even_if_the_sums_have_none() {
        assert!(drifting(&audit(0).sinks, "sink").is_empty());
        let expected =
            "sink couchdb b of m/f: accepted 9 = delivered 5 + pending 2 + dead 1 + purged 1 - drift 3";
        assert_eq!(drifting(&audit(-3).sinks, "sink"), [expected]);
    }
}
