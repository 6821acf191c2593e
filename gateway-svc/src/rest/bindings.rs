//! Events and sinks of a function: parsing them from an upload, checking them, and reporting their outcome.

use std::collections::HashMap;

use mesh::deadline::Deadline;
use proto::binding::v1::{BindingState, BindingStatus};
use proto::connector::v1::CheckEventsRequest;
use proto::registry::v1::Binding;
use proto::sink::v1::CheckSinksRequest;
use serde::Serialize;
use serde_json::value::RawValue;
use tonic::{Code, Status};
use utoipa::ToSchema;

use super::Rest;
use super::error::ApiError;
use super::json;
use super::role::Role;
use super::status::{self, Wait};

/// The events, or the sinks, of one upload, in order: each is a binding that may be stored, or a problem.
#[derive(Debug)]
pub(super) struct Bindings {
    role: Role,
    entries: Vec<Result<Binding, String>>,
}

/// The outcome of one event or sink.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Outcome {
    /// `success`: it is connected; `error`: it is not connected, or was refused.
    #[schema(example = "success")]
    status: &'static str,
    /// Why it is not connected or was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<String>,
    /// For an error: whether it is stored, and retried until it is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stored: Option<bool>,
}

/// The numbers of events, or sinks, by outcome.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Counts {
    successful: usize,
    failed: usize,
    total: usize,
}

impl Bindings {
    /// Parses a JSON list; blank text is an empty list. Each entry that is not a binding is refused
    /// individually.
    pub(super) fn parse(role: Role, text: &str) -> Result<Self, ApiError> {
        if text.trim().is_empty() {
            return Ok(Self { role, entries: Vec::new() });
        }
        let entries = json::entries(text).map_err(|error| {
            ApiError::bad_request(format!("part `{}`: {}", role.part(), json::problem(&error)))
        })?;
        Ok(Self { role, entries: entries.into_iter().map(|entry| binding(role, entry)).collect() })
    }

    /// The bindings that may be stored.
    pub(super) fn accepted(&self) -> Vec<Binding> {
        self.entries.iter().flatten().cloned().collect()
    }

    /// The bindings after an update; `None` if they do not change. A list without any valid entry changes
    /// nothing: a typo must not remove working bindings.
    pub(super) fn replacement(&self) -> Option<Vec<Binding>> {
        let accepted = self.accepted();
        (!accepted.is_empty() || self.entries.is_empty()).then_some(accepted)
    }

    /// Refuses bindings that the service of this role would not accept. If it cannot be reached, all are
    /// accepted: they are desired state, and the service reports their problems later.
    pub(super) async fn check(&mut self, rest: &Rest) {
        let accepted = self.accepted();
        if accepted.is_empty() {
            return;
        }
        match problems(rest, self.role, accepted).await {
            Ok(problems) => self.refuse(problems),
            Err(error) => tracing::warn!(role = ?self.role, %error, "bindings are stored without a check"),
        }
    }

    /// `problems` has one text for each accepted entry, empty for a valid one.
    fn refuse(&mut self, problems: Vec<String>) {
        let accepted = self.entries.iter_mut().filter(|entry| entry.is_ok());
        for (entry, problem) in accepted.zip(problems) {
            if !problem.is_empty() {
                *entry = Err(problem);
            }
        }
    }

    /// The outcome of each entry; `stored` are the accepted ones as the registry has stored them.
    pub(super) async fn outcomes(self, rest: &Rest, stored: &[Binding]) -> Vec<Outcome> {
        let ids: Vec<_> = stored.iter().map(|binding| binding.id.clone()).collect();
        let statuses = match ids.is_empty() {
            true => Ok(HashMap::new()),
            false => first_attempts(rest, self.role, ids).await,
        };
        let mut stored = stored.iter();
        let outcome = |entry: Result<Binding, String>| match (entry, &statuses) {
            (Err(problem), _) => Outcome::error(problem, false),
            (Ok(_), Err(problem)) => Outcome::error(problem.clone(), true),
            (Ok(_), Ok(statuses)) => {
                match problem_of(stored.next().and_then(|binding| statuses.get(&binding.id))) {
                    None => Outcome { status: "success", message: None, stored: None },
                    Some(problem) => Outcome::error(problem, true),
                }
            }
        };
        self.entries.into_iter().map(outcome).collect()
    }
}

impl Outcome {
    fn error(message: String, stored: bool) -> Self {
        Self { status: "error", message: Some(message), stored: Some(stored) }
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

fn binding(role: Role, entry: &RawValue) -> Result<Binding, String> {
    let name = match role {
        Role::Event => "bad_event_format",
        Role::Sink => "bad_sink_format",
    };
    let wrong = |why: &str| format!("{name}: {why}");
    let Ok([kind, params]) = json::members(entry.get(), ["type", "params"]) else {
        return Err(wrong(r#"expected an object {"type": ..., "params": {...}}"#));
    };
    let kind = json::present(kind).ok_or_else(|| wrong("type is missing"))?;
    let params = json::present(params).ok_or_else(|| wrong("params is missing"))?;
    let kind = json::string(kind).ok_or_else(|| wrong("type is not a string"))?;
    if !params.get().starts_with('{') {
        return Err(wrong("params is not an object"));
    }
    Ok(Binding { id: String::new(), r#type: kind, params: params.get().to_owned() })
}

async fn problems(rest: &Rest, role: Role, bindings: Vec<Binding>) -> Result<Vec<String>, Status> {
    let deadline = Deadline::after(rest.binding_timeout);
    Ok(match role {
        Role::Event => {
            let request = deadline.attach(CheckEventsRequest { events: bindings });
            rest.channels.events().check_events(request).await?.into_inner().problems
        }
        Role::Sink => {
            let request = deadline.attach(CheckSinksRequest { sinks: bindings });
            rest.channels.sinks().check_sinks(request).await?.into_inner().problems
        }
    })
}

/// The statuses of new bindings by their ids, after the first attempts to connect; on timeout, the statuses
/// at that time.
async fn first_attempts(
    rest: &Rest,
    role: Role,
    ids: Vec<String>,
) -> Result<HashMap<String, BindingStatus>, String> {
    let end = Deadline::after(rest.binding_timeout);
    // The remaining time is for a second request, so that bindings that are still connecting are reported as
    // such.
    let first_deadline = Deadline::after(rest.binding_timeout.mul_f32(0.9));
    let mut statuses = status::of_bindings(rest, role, ids.clone(), Wait::Yes, first_deadline).await;
    if statuses.as_ref().is_err_and(|status| status.code() == Code::DeadlineExceeded) {
        statuses = status::of_bindings(rest, role, ids, Wait::No, end).await;
    }
    statuses.map_err(|status| {
        let service = role.service();
        tracing::warn!(service, %status, "the state of new bindings is unknown");
        format!("not connected: the {service} does not answer")
    })
}

/// Why a stored binding is not connected; `None` if it is.
fn problem_of(status: Option<&BindingStatus>) -> Option<String> {
    let (state, message) = status.map_or((BindingState::Unspecified, ""), |s| (s.state(), &s.message));
    match (state, message) {
        (BindingState::Connected, _) => None,
        (BindingState::Connecting, _) => Some("still connecting".to_owned()),
        (BindingState::Unspecified | BindingState::Retrying, "") => Some("not connected".to_owned()),
        (BindingState::Unspecified | BindingState::Retrying, message) => Some(message.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_text_is_an_empty_list_and_other_json_is_refused() {
        for text in ["", "  ", "[]", " [ ] "] {
            let bindings = Bindings::parse(Role::Event, text).expect(text);
            assert!(bindings.entries.is_empty(), "{text:?}");
        }
        for text in ["{}", "null", "1", "[", "mqtt"] {
            assert!(Bindings::parse(Role::Sink, text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_list_without_valid_entries_replaces_nothing() {
        let good = r#"{"type":"mqtt","params":{}}"#;
        let cases = [
            (String::new(), Some(0)),
            (format!("[{good}]"), Some(1)),
            (format!("[7,{good}]"), Some(1)),
            ("[7]".into(), None),
        ];
        for (text, expected) in cases {
            let bindings = Bindings::parse(Role::Event, &text).expect("a list");
            assert_eq!(bindings.replacement().map(|list| list.len()), expected, "{text}");
        }
    }

    #[test]
    fn entries_are_refused_individually() {
        let text = r#"[
            {"type": "mqtt", "params": {"port": 1883}}, 7, {"params": {}}, {"type": "mqtt"},
            {"type": 1, "params": {}}, {"type": "mqtt", "params": "x"}, {"type": null, "params": {}}
        ]"#;
        let bindings = Bindings::parse(Role::Event, text).expect("a list");
        assert_eq!(bindings.accepted().len(), 1);
        assert_eq!(bindings.accepted()[0].params, r#"{"port": 1883}"#);
        for refused in &bindings.entries[1..] {
            let problem = refused.as_ref().expect_err("refused");
            assert!(problem.starts_with("bad_event_format: "), "{problem}");
        }
        let bindings = Bindings::parse(Role::Sink, "[1]").expect("a list");
        let problem = bindings.entries[0].as_ref().expect_err("refused");
        assert!(problem.starts_with("bad_sink_format: "), "{problem}");
    }

    #[test]
    fn problems_belong_to_the_accepted_entries_in_order() {
        let text = r#"[{"type":"a","params":{}}, 1, {"type":"b","params":{}}, {"type":"c","params":{}}]"#;
        let mut bindings = Bindings::parse(Role::Event, text).expect("a list");
        bindings.refuse(vec![String::new(), "not_implemented: b".into(), String::new()]);
        let accepted: Vec<_> = bindings.accepted().into_iter().map(|binding| binding.r#type).collect();
        assert_eq!(accepted, ["a", "c"]);
        assert_eq!(bindings.entries[2].as_ref().expect_err("refused"), "not_implemented: b");
    }
}
