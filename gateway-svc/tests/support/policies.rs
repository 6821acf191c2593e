//! Fake policies.

use std::sync::Arc;
use std::time::Duration;

use mesh::deadline::Deadline;
use mesh::{Caller, Error, Reason};
use parking_lot::Mutex;
use proto::scheduler::v1::explain_request::Decision as Asked;
use proto::scheduler::v1::policies_server::Policies;
use proto::scheduler::v1::scheduling::Language;
use proto::scheduler::v1::{
    AppBlock, AppItem, AppScript, CheckScriptRequest, CheckScriptResponse, Decision, ExplainRequest,
    ExplainResponse, Explanation, HypotheticalInvocation, ListDecisionsRequest, ListDecisionsResponse,
    Scheduling, ScriptProblem, SimulateRequest, SimulateResponse,
};
use tonic::{Request, Response, Status};

use super::{Failure, fail_if_set};

/// Checks scripts line by line: a line with `wrong` is an error, one with `doubtful` is a warning. Every
/// other script parses to the smallest script.
#[derive(Clone, Default)]
pub struct FakePolicies {
    pub state: Arc<Mutex<State>>,
    /// The error of the next call.
    pub failure: Failure,
}

#[derive(Default)]
pub struct State {
    /// The caller of the last call.
    pub caller: Option<Caller>,
    /// The remaining time of the last call.
    pub deadline: Option<Duration>,
    /// The checked texts.
    pub checked: Vec<String>,
    /// The decision of the last request for an explanation.
    pub asked: Option<Asked>,
    /// Past decisions.
    pub past: Vec<Explanation>,
    pub decisions: Vec<Decision>,
    /// The limit of the last list.
    pub limit: Option<u32>,
}

impl FakePolicies {
    /// Records a call, and fails if a failure is set.
    fn called<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let mut state = self.state.lock();
        state.caller = Some(Caller::of(request));
        state.deadline = Deadline::of(request).map(Deadline::remaining);
        drop(state);
        fail_if_set(&self.failure)
    }
}

/// The smallest script: `- default: [{workers: "*"}]`.
fn smallest() -> AppScript {
    let block = AppBlock { strategy: "best-first".into(), ..AppBlock::default() };
    let item = AppItem { tag: "default".into(), blocks: vec![block], followup: "fail".into() };
    AppScript { items: vec![item] }
}

fn problems(content: &str, word: &str, kind: &str) -> Vec<ScriptProblem> {
    let lines = content.lines().zip(1..).filter(|(line, _)| line.contains(word));
    let problem = |(text, line): (&str, u32)| ScriptProblem {
        kind: kind.into(),
        message: format!("line {line}: {text}"),
        tag: "default".into(),
        block: 1,
        line,
        column: 3,
    };
    lines.map(problem).collect()
}

#[tonic::async_trait]
impl Policies for FakePolicies {
    async fn check_script(
        &self,
        request: Request<CheckScriptRequest>,
    ) -> Result<Response<CheckScriptResponse>, Status> {
        self.called(&request)?;
        let content = request.into_inner().content;
        let errors = problems(&content, "wrong", "unknown_construct");
        let warnings = problems(&content, "doubtful", "unknown_worker");
        let script = errors.is_empty().then(smallest);
        self.state.lock().checked.push(content);
        Ok(Response::new(CheckScriptResponse { script, errors, warnings }))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        self.called(&request)?;
        let asked = request.into_inner().decision.expect("a decision");
        let mut state = self.state.lock();
        state.asked = Some(asked.clone());
        let explanation = match asked {
            Asked::DecisionId(id) => {
                let past = state.past.iter().find(|past| past.decision_id == id).cloned();
                past.ok_or_else(|| no(Reason::DecisionNotFound, format!("no decision {id}")))?
            }
            Asked::Now(now) => explain(now)?,
        };
        Ok(Response::new(ExplainResponse { explanation: Some(explanation) }))
    }

    async fn list_decisions(
        &self,
        request: Request<ListDecisionsRequest>,
    ) -> Result<Response<ListDecisionsResponse>, Status> {
        self.called(&request)?;
        let mut state = self.state.lock();
        state.limit = Some(request.into_inner().limit);
        Ok(Response::new(ListDecisionsResponse { decisions: state.decisions.clone() }))
    }

    async fn simulate(&self, _: Request<SimulateRequest>) -> Result<Response<SimulateResponse>, Status> {
        Err(Status::unimplemented("no simulations"))
    }
}

/// Explains the function `_/f` with the script `s`; others do not exist.
fn explain(now: HypotheticalInvocation) -> Result<Explanation, Status> {
    let HypotheticalInvocation { module, function, scheduling, .. } = now;
    if (module.as_str(), function.as_str()) != ("_", "f") {
        return Err(no(Reason::FunctionNotFound, format!("no function {module}/{function}")));
    }
    let script = match scheduling {
        Some(Scheduling { language: Some(Language::AppScript(script)) }) => script,
        _ => String::new(),
    };
    if script != "s" {
        return Err(no(Reason::ScriptNotFound, format!("no script {script}")));
    }
    Ok(Explanation { module, function, script, worker: "w1".into(), ..Explanation::default() })
}

fn no(reason: Reason, message: String) -> Status {
    Error::new(reason, message).into()
}
