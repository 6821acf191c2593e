//! Events and sinks that come with an upload.

use anyhow::Context as _;
use reqwest::multipart::Form;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::data;

/// JSON lists; what is absent stays as it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    events: Option<String>,
    sinks: Option<String>,
}

impl Bindings {
    /// Reads what was given: a JSON list, or `@FILE` with one.
    pub fn read(events: Option<&str>, sinks: Option<&str>) -> anyhow::Result<Self> {
        let list = |flag: &str, given: Option<&str>| {
            given.map(list).transpose().with_context(|| format!("{flag} {}", given.unwrap_or_default()))
        };
        Ok(Self { events: list("--events", events)?, sinks: list("--sinks", sinks)? })
    }

    /// Adds the lists to an upload.
    pub fn add_to(&self, mut form: Form) -> Form {
        for (part, list) in [("events", &self.events), ("sinks", &self.sinks)] {
            if let Some(list) = list {
                form = form.text(part, list.clone());
            }
        }
        form
    }
}

fn list(given: &str) -> anyhow::Result<String> {
    let text = match given.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).context("cannot read the file")?,
        None => given.to_owned(),
    };
    let expected = r#"expected a JSON list such as [{"type":"mqtt","params":{...}}], or @FILE with one"#;
    serde_json::from_str::<Vec<&RawValue>>(&text).context(expected)?;
    Ok(text)
}

/// What became of events and sinks, as the mesh answered an upload.
#[derive(Deserialize)]
struct Outcomes {
    #[serde(default)]
    events: Vec<Outcome>,
    #[serde(default)]
    sinks: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    message: Option<String>,
    #[serde(default)]
    stored: bool,
}

/// What is to be said of the events and sinks of an upload.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UploadReport {
    /// A line for each, when not all of them are connected.
    pub lines: Vec<String>,
    /// Some of them are not stored.
    pub any_refused: bool,
}

/// Reads what the mesh answered an upload.
pub fn report_unless_connected(answer: &str) -> anyhow::Result<UploadReport> {
    let Outcomes { events, sinks } = data(answer)?;
    let mut all = events.iter().chain(&sinks);
    if all.clone().all(|outcome| outcome.message.is_none()) {
        return Ok(UploadReport::default());
    }
    let any_refused = all.any(|outcome| outcome.message.is_some() && !outcome.stored);
    let lines = |noun: &'static str, outcomes: Vec<Outcome>| {
        let line =
            move |(index, outcome): (usize, Outcome)| format!("{noun} {}: {}", index + 1, summary(outcome));
        outcomes.into_iter().enumerate().map(line)
    };
    Ok(UploadReport { lines: lines("event", events).chain(lines("sink", sinks)).collect(), any_refused })
}

fn summary(outcome: Outcome) -> String {
    match (outcome.message, outcome.stored) {
        (None, _) => "connected".to_owned(),
        (Some(message), true) => {
            let why = message.strip_prefix("not connected").unwrap_or(&message);
            match why.trim_start_matches(':').trim() {
                "" => "stored; not connected yet".to_owned(),
                why => format!("stored; not connected yet: {why}"),
            }
        }
        (Some(message), false) => format!("refused, and not stored: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_given_as_text_or_as_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("sinks.json");
        std::fs::write(&file, "[ ]").expect("written");
        let at_file = format!("@{}", file.display());
        let read = Bindings::read(Some(r#"[{"type":"mqtt"}]"#), Some(&at_file)).expect("two lists");
        assert_eq!(read, Bindings { events: Some(r#"[{"type":"mqtt"}]"#.into()), sinks: Some("[ ]".into()) });
        assert_eq!(Bindings::read(None, None).expect("nothing"), Bindings::default());
        for (given, word) in
            [("{}", "JSON list"), ("mqtt", "JSON list"), ("@/there/is/none", "/there/is/none")]
        {
            let error = format!("{:#}", Bindings::read(None, Some(given)).expect_err(given));
            assert!(error.starts_with("--sinks") && error.contains(word), "{error}");
        }
    }

    #[test]
    fn unconnected_bindings_are_listed() {
        let connected = r#"{"data":{"name":"f","events":[{"status":"success"}]}}"#;
        for answer in [connected, r#"{"data":{"name":"f"}}"#] {
            assert_eq!(report_unless_connected(answer).expect("an answer"), UploadReport::default());
        }
        let mixed = r#"{"data":{"name":"f",
            "events":[{"status":"success"},{"status":"error","message":"refused","stored":true}],
            "sinks":[{"status":"error","message":"not_implemented: x","stored":false},
                     {"status":"error","message":"not connected: the sink service does not answer","stored":true},
                     {"status":"error","message":"not connected","stored":true}]}}"#;
        let expected = [
            "event 1: connected",
            "event 2: stored; not connected yet: refused",
            "sink 1: refused, and not stored: not_implemented: x",
            "sink 2: stored; not connected yet: the sink service does not answer",
            "sink 3: stored; not connected yet",
        ];
        let report = report_unless_connected(mixed).expect("an answer");
        assert_eq!(report.lines, expected);
        assert!(report.any_refused);
    }
}
