//! What is wrong with a mesh, and what to do about it.

use std::fmt;

use serde::Serialize;

use super::{Binding, Seen, Service};

/// The most events and sinks that are named one by one.
const MAX_NAMED: usize = 5;

/// Problems, and what is worth knowing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub problems: Vec<Finding>,
    pub notes: Vec<Finding>,
}

/// Something that was found.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    what: String,
    /// What to do about it.
    advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What others wrote must neither break the lines nor steer the terminal.
        let text = format!("{}; {}", self.what, self.advice);
        formatter.write_str(&text.replace(char::is_control, " "))
    }
}

fn finding(what: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { what: what.into(), advice: advice.into() }
}

impl Findings {
    /// What can be seen.
    pub(super) fn of(seen: &Seen) -> Self {
        let mut findings = Self::default();
        findings.services(&seen.mesh.services);
        findings.workers(seen);
        findings.bindings("event", &seen.events);
        findings.bindings("sink", &seen.sinks);
        if seen.dead_letters > 0 {
            let what = match (seen.dead_letters, seen.has_more_dead_letters) {
                (1, false) => "1 dead letter is kept".to_owned(),
                (count, false) => format!("{count} dead letters are kept"),
                (count, true) => format!("more than {count} dead letters are kept"),
            };
            findings.notes.push(finding(what, "see `fl dead-letters list`"));
        }
        findings
    }

    fn services(&mut self, services: &[Service]) {
        for Service { name, state, waits_for, .. } in services {
            match state.as_str() {
                "ready" => {}
                "not_ready" => self.problems.push(finding(
                    format!("the {name} is not ready, and waits for: {}", waits_for.join(", ")),
                    "see its log",
                )),
                _ => self.problems.push(finding(
                    format!("the {name} does not answer, so {}", effect(name)),
                    format!("start it, or see its log and the gateway's configuration key `{name}`"),
                )),
            }
        }
        let version = |service: &Service| Some((service.name.clone(), service.version.clone()?));
        let versions: Vec<_> = services.iter().filter_map(version).collect();
        let Some((_, first)) = versions.first() else { return };
        for (name, version) in versions.iter().filter(|(_, version)| version != first) {
            let what = format!("the {name} has version {version}, and the gateway {first}");
            self.notes.push(finding(what, "finish the upgrade"));
        }
        let own = env!("CARGO_PKG_VERSION");
        if first != own {
            let what = format!("this `fl` has version {own}, and the mesh {first}");
            self.notes.push(finding(what, "install the `fl` of that version if something is missing"));
        }
    }

    fn workers(&mut self, seen: &Seen) {
        match seen.mesh.workers {
            Some(counts) if counts.total == 0 => self.problems.push(finding(
                "no worker has joined, so nothing can be invoked",
                "start one, and see its log and its configuration key `schedulers`",
            )),
            Some(counts) if counts.total == counts.draining => self.problems.push(finding(
                "all workers are draining, so nothing can be invoked",
                "start another one, or start them again",
            )),
            _ => {}
        }
        if let Some(problem) = seen.workers.as_ref().and_then(|workers| workers.metrics_problem.as_ref()) {
            self.problems.push(finding(
                format!("the scheduler has no measurements of the workers: {problem}"),
                "see the scheduler's configuration; until then it uses the workers' own reports",
            ));
        }
    }

    fn bindings(&mut self, noun: &str, bindings: &[Binding]) {
        // Of others there is no news, or the first attempt has not ended.
        let mut broken = bindings.iter().filter(|binding| binding.state == "retrying");
        for Binding { module, function, r#type, message, .. } in broken.by_ref().take(MAX_NAMED) {
            let message = message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
            self.problems.push(finding(
                format!("the {noun} {kind} of {module}/{function} is not connected{message}", kind = r#type),
                format!("see `fl {noun}s status {module}/{function}`"),
            ));
        }
        match broken.count() {
            0 => {}
            more => self.problems.push(finding(
                format!("{more} more {noun}s are not connected"),
                format!("see `fl {noun}s list`"),
            )),
        }
    }
}

/// What does not work without a service.
fn effect(service: &str) -> &'static str {
    match service {
        "registry" => {
            "functions, scripts and users cannot be changed, and tokens are accepted only for a while"
        }
        "scheduler" => "nothing can be invoked",
        "connector" => "no events are received",
        "sink" => "no results are delivered, and functions with sinks cannot be invoked",
        _ => "a part of the mesh does not work",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mesh, WorkerCounts, Workers};
    use super::*;

    fn service(name: &str, state: &str, version: Option<&str>, waits_for: &[&str]) -> Service {
        let waits_for = waits_for.iter().map(|&condition| condition.to_owned()).collect();
        Service { name: name.into(), state: state.into(), version: version.map(str::to_owned), waits_for }
    }

    fn seen(services: Vec<Service>, total: usize, draining: usize) -> Seen {
        let workers = Some(WorkerCounts { total, draining });
        Seen { mesh: Mesh { services, workers }, ..Seen::default() }
    }

    fn texts(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    const OWN: Option<&str> = Some(env!("CARGO_PKG_VERSION"));

    #[test]
    fn nothing_is_wrong_with_a_mesh_that_works() {
        let seen = seen(vec![service("gateway", "ready", OWN, &[])], 1, 0);
        assert_eq!(Findings::of(&seen), Findings::default());
    }

    #[test]
    fn services_that_are_away_are_problems() {
        let services = vec![
            service("gateway", "ready", OWN, &[]),
            service("registry", "not_ready", OWN, &["database", "x\u{1b}[2J"]),
            service("scheduler", "unreachable", None, &[]),
            service("sink", "ready", Some("0.0.1"), &[]),
        ];
        let findings = Findings::of(&seen(services, 1, 0));
        insta::assert_snapshot!([texts(&findings.problems), texts(&findings.notes)].concat().join("\n"));
    }

    #[test]
    fn workers_events_and_sinks_are_looked_at() {
        let binding = |state: &str, message: Option<&str>| Binding {
            module: "m".into(),
            function: "f".into(),
            r#type: "mqtt".into(),
            state: state.into(),
            message: message.map(str::to_owned),
        };
        let mut retrying: Vec<_> = (0..7).map(|_| binding("retrying", Some("connection refused"))).collect();
        retrying.push(binding("connected", None));
        retrying.push(binding("unknown", Some("the connector does not answer")));
        let problem = Some("prometheus does not answer".to_owned());
        let seen = Seen {
            events: retrying,
            sinks: vec![binding("retrying", None)],
            dead_letters: 1000,
            has_more_dead_letters: true,
            workers: Some(Workers { workers: Vec::new(), metrics_problem: problem }),
            ..seen(Vec::new(), 0, 0)
        };
        let findings = Findings::of(&seen);
        insta::assert_snapshot!([texts(&findings.problems), texts(&findings.notes)].concat().join("\n"));
        assert_eq!(Findings::of(&self::seen(Vec::new(), 2, 2)).problems.len(), 1, "all are draining");
    }
}
