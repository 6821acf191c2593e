//! Events and sinks of a function: read from an upload, checked, and reported on.

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

/// The events, or the sinks, of one upload, in order: each a binding that may be stored, or what is
/// wrong with it.
#[derive(Debug)]
pub(super) struct Bindings {
    role: Role,
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
    #[schema(nullable = false)]
    message: Option<String>,
    /// Of an error: whether it is stored, and tried again until it is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stored: Option<bool>,
}

/// How many events, or sinks, became what.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Counts {
    successful: usize,
    failed: usize,
    total: usize,
}

impl Bindings {
    /// Reads a JSON list; nothing but white space means an empty one. An entry that is not a binding
    /// is refused by itself.
    pub(super) fn parse(role: Role, text: &str) -> Result<Self, ApiError> {
        if text.trim().is_empty() {
            return Ok(Self { role, entries: Vec::new() });
        }
        let entries = json::entries(text).map_err(|error| {
            ApiError::bad_request(format!("part `{}`: {}", role.part(), json::problem(&error)))
        })?;
        Ok(Self { role, entries: entries.into_iter().map(|entry| binding(role, entry)).collect() })
    }

    /// What may be stored.
    pub(super) fn accepted(&self) -> Vec<Binding> {
        self.entries.iter().flatten().cloned().collect()
    }

    /// What should be there after an update; `None` when nothing changes. A list of which nothing is accepted
    /// changes nothing: a slip of the pen must not end what works.
    pub(super) fn replacement(&self) -> Option<Vec<Binding>> {
        let accepted = self.accepted();
        (!accepted.is_empty() || self.entries.is_empty()).then_some(accepted)
    }

    /// Refuses what the service of this role would not take. When it cannot be asked, everything is
    /// accepted: it is desired state, and the service says later what hinders it.
    pub(super) async fn check(&mut self, rest: &Rest) {
        let accepted = self.accepted();
        if accepted.is_empty() {
            return;
        }
        match problems(rest, self.role, accepted).await {
            Ok(problems) => self.refuse(problems),
            Err(error) => tracing::warn!(role = ?self.role, %error, "bindings are stored unchecked"),
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
        let told = match ids.is_empty() {
            true => Ok(HashMap::new()),
            false => first_attempts(rest, self.role, ids).await,
        };
        let mut stored = stored.iter();
        let outcome = |entry: Result<Binding, String>| match (entry, &told) {
            (Err(problem), _) => Outcome::error(problem, false),
            (Ok(_), Err(problem)) => Outcome::error(problem.clone(), true),
            (Ok(_), Ok(told)) => match hindrance(stored.next().and_then(|binding| told.get(&binding.id))) {
                None => Outcome { status: "success", message: None, stored: None },
                Some(problem) => Outcome::error(problem, true),
            },
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

/// The statuses of new bindings by their ids, once the first attempts to connect have ended, or else as
/// they are at the end of the time that a request waits for them.
async fn first_attempts(
    rest: &Rest,
    role: Role,
    ids: Vec<String>,
) -> Result<HashMap<String, BindingStatus>, String> {
    let end = Deadline::after(rest.binding_timeout);
    // The rest of the time is for asking once more, so that what still tries is told as such.
    let patience = Deadline::after(rest.binding_timeout.mul_f32(0.9));
    let mut told = status::of_bindings(rest, role, ids.clone(), Wait::Yes, patience).await;
    if told.as_ref().is_err_and(|status| status.code() == Code::DeadlineExceeded) {
        told = status::of_bindings(rest, role, ids, Wait::No, end).await;
    }
    told.map_err(|status| {
        let service = role.service();
        tracing::warn!(service, %status, "the state of new bindings is not known");
        format!("not connected: the {service} does not answer")
    })
}

/// What hinders a stored binding; `None` when it is connected.
fn hindrance(status: Option<&BindingStatus>) -> Option<String> {
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
    fn nothing_and_an_empty_list_mean_none_and_other_than_lists_are_refused() {
        for text in ["", "  ", "[]", " [ ] "] {
            let bindings = Bindings::parse(Role::Event, text).expect(text);
            assert!(bindings.entries.is_empty(), "{text:?}");
        }
        for text in ["{}", "null", "1", "[", "mqtt"] {
            assert!(Bindings::parse(Role::Sink, text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_list_of_which_nothing_is_accepted_replaces_nothing() {
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
    fn entries_are_refused_one_by_one() {
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
