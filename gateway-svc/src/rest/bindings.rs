//! Events and sinks of a function: read from an upload, checked, and reported on.

use std::collections::HashMap;

use mesh::deadline::Deadline;
use proto::connector::v1::{CheckEventsRequest, EventState, GetEventStatusRequest};
use proto::registry::v1::Binding;
use proto::sink::v1::{CheckSinksRequest, GetSinkStatusRequest, SinkState};
use serde::Serialize;
use serde_json::value::RawValue;
use tonic::Status;
use utoipa::ToSchema;

use super::Rest;
use super::error::ApiError;
use super::json;

/// What a binding is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Event,
    Sink,
}

/// The events, or the sinks, of one upload, in order: each a binding that may be stored, or what is
/// wrong with it.
#[derive(Debug)]
pub(super) struct Bindings {
    kind: Kind,
    entries: Vec<Result<Binding, String>>,
}

/// What became of one event or sink.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Outcome {
    /// `success`: it is connected; `error`: it is not, or it was refused.
    #[schema(example = "success")]
    status: &'static str,
    /// What hinders it.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// How many events, or sinks, became what.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Counts {
    successful: usize,
    failed: usize,
    total: usize,
}

impl Bindings {
    /// Reads a JSON list; nothing but white space means an empty one. An entry that is no binding
    /// is refused by itself.
    pub(super) fn parse(kind: Kind, text: &str) -> Result<Self, ApiError> {
        if text.trim().is_empty() {
            return Ok(Self { kind, entries: Vec::new() });
        }
        let entries = json::entries(text).map_err(|_| ApiError::bad_request())?;
        Ok(Self { kind, entries: entries.into_iter().map(|entry| binding(kind, entry)).collect() })
    }

    /// What may be stored.
    pub(super) fn accepted(&self) -> Vec<Binding> {
        self.entries.iter().flatten().cloned().collect()
    }

    /// Refuses what the service of this kind would not take. When it cannot be asked, everything is
    /// accepted: it is desired state, and the service says later what hinders it.
    pub(super) async fn check(&mut self, rest: &Rest) {
        let accepted = self.accepted();
        if accepted.is_empty() {
            return;
        }
        match problems(rest, self.kind, accepted).await {
            Ok(problems) => self.refuse(problems),
            Err(error) => tracing::warn!(kind = ?self.kind, %error, "bindings are stored unchecked"),
        }
    }

    /// `problems` has one text for each accepted entry, empty for a good one.
    fn refuse(&mut self, problems: Vec<String>) {
        let accepted = self.entries.iter_mut().filter(|entry| entry.is_ok());
        for (entry, problem) in accepted.zip(problems) {
            if !problem.is_empty() {
                *entry = Err(problem);
            }
        }
    }

    /// What became of each entry; `stored` are the accepted ones as the registry keeps them.
    pub(super) async fn outcomes(self, rest: &Rest, stored: &[Binding]) -> Vec<Outcome> {
        let ids: Vec<_> = stored.iter().map(|binding| binding.id.clone()).collect();
        let states = if ids.is_empty() { Ok(HashMap::new()) } else { states(rest, self.kind, ids).await };
        let mut stored = stored.iter();
        let outcome = |entry: Result<Binding, String>| {
            let problem = match entry {
                Err(problem) => Some(problem),
                Ok(_) => problem_of(stored.next(), &states),
            };
            match problem {
                None => Outcome { status: "success", message: None },
                Some(message) => Outcome { status: "error", message: Some(message) },
            }
        };
        self.entries.into_iter().map(outcome).collect()
    }
}

impl Counts {
    pub(super) fn of(outcomes: &[Outcome]) -> Self {
        let failed = outcomes.iter().filter(|outcome| outcome.message.is_some()).count();
        Self { successful: outcomes.len() - failed, failed, total: outcomes.len() }
    }

    pub(super) fn any_failed(&self) -> bool {
        self.failed > 0
    }
}

fn binding(kind: Kind, entry: &RawValue) -> Result<Binding, String> {
    let name = match kind {
        Kind::Event => "bad_event_format",
        Kind::Sink => "bad_sink_format",
    };
    let wrong = |why: &str| format!("{name}: {why}");
    let Ok([kind, params]) = json::members(entry.get(), ["type", "params"]) else {
        return Err(wrong(r#"expected an object {"type": ..., "params": {...}}"#));
    };
    let kind = json::present(kind).ok_or_else(|| wrong("type is missing"))?;
    let params = json::present(params).ok_or_else(|| wrong("params is missing"))?;
    let kind = json::string(kind).ok_or_else(|| wrong("type is no string"))?;
    if !params.get().starts_with('{') {
        return Err(wrong("params is no object"));
    }
    Ok(Binding { id: String::new(), r#type: kind, params: params.get().to_owned() })
}

async fn problems(rest: &Rest, kind: Kind, bindings: Vec<Binding>) -> Result<Vec<String>, Status> {
    let deadline = Deadline::after(rest.binding_timeout);
    Ok(match kind {
        Kind::Event => {
            let request = deadline.attach(CheckEventsRequest { events: bindings });
            rest.channels.events().check_events(request).await?.into_inner().problems
        }
        Kind::Sink => {
            let request = deadline.attach(CheckSinksRequest { sinks: bindings });
            rest.channels.sinks().check_sinks(request).await?.into_inner().problems
        }
    })
}

/// What hinders each binding, by its id; empty when it is connected.
type States = HashMap<String, String>;

async fn states(rest: &Rest, kind: Kind, ids: Vec<String>) -> Result<States, String> {
    let deadline = Deadline::after(rest.binding_timeout);
    let (service, states) = match kind {
        Kind::Event => ("connector", event_states(rest, deadline, ids).await),
        Kind::Sink => ("sink service", sink_states(rest, deadline, ids).await),
    };
    states.map_err(|error| {
        tracing::warn!(service, %error, "the state of new bindings is not known");
        match mesh::Error::from(error).reason {
            mesh::Reason::DeadlineExceeded => {
                format!("not connected: still trying after {} s", rest.binding_timeout.as_secs())
            }
            _ => format!("not connected: the {service} does not answer"),
        }
    })
}

async fn event_states(rest: &Rest, deadline: Deadline, ids: Vec<String>) -> Result<States, Status> {
    let request = deadline.attach(GetEventStatusRequest { ids });
    let statuses = rest.channels.events().get_event_status(request).await?.into_inner().statuses;
    let state = statuses.into_iter().map(|status| {
        let connected = status.state() == EventState::Connected;
        (status.id, hindrance(connected, status.message))
    });
    Ok(state.collect())
}

async fn sink_states(rest: &Rest, deadline: Deadline, ids: Vec<String>) -> Result<States, Status> {
    let request = deadline.attach(GetSinkStatusRequest { ids });
    let statuses = rest.channels.sinks().get_sink_status(request).await?.into_inner().statuses;
    let state = statuses.into_iter().map(|status| {
        let connected = status.state() == SinkState::Connected;
        (status.id, hindrance(connected, status.message))
    });
    Ok(state.collect())
}

const NOT_CONNECTED: &str = "not connected";

fn hindrance(connected: bool, message: String) -> String {
    match (connected, message.is_empty()) {
        (true, _) => String::new(),
        (false, true) => NOT_CONNECTED.to_owned(),
        (false, false) => message,
    }
}

fn problem_of(stored: Option<&Binding>, states: &Result<States, String>) -> Option<String> {
    let states = match states {
        Ok(states) => states,
        Err(problem) => return Some(problem.clone()),
    };
    match stored.and_then(|binding| states.get(&binding.id)) {
        Some(hindrance) => Some(hindrance.clone()).filter(|hindrance| !hindrance.is_empty()),
        None => Some(NOT_CONNECTED.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_an_empty_list_mean_none_and_other_than_lists_are_refused() {
        for text in ["", "  ", "[]", " [ ] "] {
            let bindings = Bindings::parse(Kind::Event, text).expect(text);
            assert!(bindings.entries.is_empty(), "{text:?}");
        }
        for text in ["{}", "null", "1", "[", "mqtt"] {
            assert!(Bindings::parse(Kind::Sink, text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn entries_are_refused_one_by_one() {
        let text = r#"[
            {"type": "mqtt", "params": {"port": 1883}}, 7, {"params": {}}, {"type": "mqtt"},
            {"type": 1, "params": {}}, {"type": "mqtt", "params": "x"}, {"type": null, "params": {}}
        ]"#;
        let bindings = Bindings::parse(Kind::Event, text).expect("a list");
        assert_eq!(bindings.accepted().len(), 1);
        assert_eq!(bindings.accepted()[0].params, r#"{"port": 1883}"#);
        for refused in &bindings.entries[1..] {
            let problem = refused.as_ref().expect_err("refused");
            assert!(problem.starts_with("bad_event_format: "), "{problem}");
        }
        let bindings = Bindings::parse(Kind::Sink, "[1]").expect("a list");
        let problem = bindings.entries[0].as_ref().expect_err("refused");
        assert!(problem.starts_with("bad_sink_format: "), "{problem}");
    }

    #[test]
    fn problems_belong_to_the_accepted_entries_in_order() {
        let text = r#"[{"type":"a","params":{}}, 1, {"type":"b","params":{}}, {"type":"c","params":{}}]"#;
        let mut bindings = Bindings::parse(Kind::Event, text).expect("a list");
        bindings.refuse(vec![String::new(), "not_implemented: b".into(), String::new()]);
        let accepted: Vec<_> = bindings.accepted().into_iter().map(|binding| binding.r#type).collect();
        assert_eq!(accepted, ["a", "c"]);
        assert_eq!(bindings.entries[2].as_ref().expect_err("refused"), "not_implemented: b");
    }
}
