//! `funless.scheduler.v1.Policies`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh::deadline::Deadline;
use mesh::{Caller, Error, Reason};
use proto::scheduler::v1::explain_request::Decision as Asked;
use proto::scheduler::v1::policies_server::Policies;
use proto::scheduler::v1::{
    CheckScriptRequest, CheckScriptResponse, Decision, ExplainRequest, ExplainResponse,
    HypotheticalInvocation, ListDecisionsRequest, ListDecisionsResponse, SimulateRequest, SimulateResponse,
    TimedInvocation,
};
use tonic::{Request, Response, Status};

use super::script;
use super::simulations::{self, Simulations};
use crate::catalog::Catalog;
use crate::decisions;
use crate::dispatch::Dispatcher;
use crate::error::SchedulingError;
use crate::explain::explain;
use crate::invocation::{capacity_kb_of, tag_of};
use crate::membership::Members;
use crate::policy::Refusal;
use crate::policy::app::MAX_SCRIPT_BYTES;
use crate::revisions::{Revisions, wait_deadline};

/// The longest that a simulation may take.
const MAX_SIMULATION: Duration = Duration::from_secs(60);
/// The default limit of listed decisions.
const DEFAULT_LIMIT: usize = 1000;

/// Checks scripts, explains decisions and simulates loads.
#[derive(Debug)]
pub struct PoliciesHandler {
    members: Arc<Members>,
    catalog: Arc<Catalog>,
    revisions: Arc<Revisions>,
    dispatcher: Dispatcher,
    simulations: Simulations,
}

impl PoliciesHandler {
    /// Handlers for the functions and scripts in `catalog`, and for the decisions of `dispatcher`.
    pub fn new(
        members: Arc<Members>,
        catalog: Arc<Catalog>,
        revisions: Arc<Revisions>,
        dispatcher: Dispatcher,
    ) -> Self {
        Self { members, catalog, revisions, dispatcher, simulations: Simulations::default() }
    }

    fn past(&self, caller: &Caller, id: &str) -> Result<decisions::Decision, SchedulingError> {
        let decision = self.dispatcher.decisions().find(id).cloned();
        let decision = decision.filter(|decision| caller.reaches(&decision.function.owner));
        decision.ok_or_else(|| SchedulingError::DecisionNotFound(id.to_owned()))
    }

    async fn hypothetical(
        &self,
        caller: &Caller,
        asked: &HypotheticalInvocation,
        wait: Deadline,
    ) -> Result<decisions::Decision, SchedulingError> {
        self.revisions.wait_for(asked.min_revision, wait).await?;
        let function = self.catalog.find_by_name(caller, &asked.module, &asked.function)?;
        let invocation = self.catalog.invocation_of(function, asked.scheduling.as_ref())?;
        Ok(self.dispatcher.hypothesize(&invocation))
    }
}

#[tonic::async_trait]
impl Policies for PoliciesHandler {
    async fn check_script(
        &self,
        request: Request<CheckScriptRequest>,
    ) -> Result<Response<CheckScriptResponse>, Status> {
        let CheckScriptRequest { content } = request.into_inner();
        if content.len() > MAX_SCRIPT_BYTES {
            let message = format!("the script is larger than the limit of {MAX_SCRIPT_BYTES} bytes");
            return Err(Error::new(Reason::TooLarge, message).into());
        }
        let names = Arc::clone(self.members.cluster().names());
        // A large script takes a while.
        let checked = tokio::task::spawn_blocking(move || script::check(&content, &names)).await;
        Ok(Response::new(checked.map_err(|panic| Error::internal(format!("checking a script: {panic}")))?))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        let caller = Caller::of(&request);
        let wait = wait_deadline(&request);
        let explanation = match request.into_inner().decision {
            Some(Asked::DecisionId(id)) => {
                let decision = self.past(&caller, &id).map_err(Error::from)?;
                explain(id, &decision)
            }
            Some(Asked::Now(asked)) => {
                let decision = self.hypothetical(&caller, &asked, wait).await.map_err(Error::from)?;
                explain(String::new(), &decision)
            }
            None => return Err(Error::field("decision", "can't be blank").into()),
        };
        Ok(Response::new(ExplainResponse { explanation: Some(explanation) }))
    }

    async fn list_decisions(
        &self,
        request: Request<ListDecisionsRequest>,
    ) -> Result<Response<ListDecisionsResponse>, Status> {
        let caller = Caller::of(&request);
        let limit = match request.into_inner().limit {
            0 => DEFAULT_LIMIT,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let remembered = self.dispatcher.decisions();
        let began = remembered.began();
        let visible = remembered.iter().filter(|(_, decision)| caller.reaches(&decision.function.owner));
        let mut decisions: Vec<_> =
            visible.rev().take(limit).map(|(id, decision)| listed(id, decision, began)).collect();
        drop(remembered);
        decisions.reverse();
        Ok(Response::new(ListDecisionsResponse { decisions }))
    }

    async fn simulate(
        &self,
        request: Request<SimulateRequest>,
    ) -> Result<Response<SimulateResponse>, Status> {
        let (wait, deadline) = (wait_deadline(&request), Deadline::of_at_most(&request, MAX_SIMULATION));
        let request = request.into_inner();
        self.revisions.wait_for(request.min_revision, wait.min(deadline)).await.map_err(Error::from)?;
        let script = simulations::script_of(&self.catalog, request.policy.as_ref())?;
        Ok(Response::new(self.simulations.simulate(script, request, deadline).await?))
    }
}

fn listed(id: String, decision: &decisions::Decision, began: Instant) -> Decision {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let decisions::Decision { function, policy, names, choice, at_ms, at, ended } = decision;
    let worker = choice.outcome.ok().and_then(|index| names.get(index as usize));
    Decision {
        id,
        at_ms: *at_ms,
        module: function.module.clone(),
        function: function.name.clone(),
        script: policy.name.as_deref().unwrap_or_default().to_owned(),
        worker: worker.map(ToString::to_string).unwrap_or_default(),
        refusal: choice.outcome.err().map(Refusal::as_str).unwrap_or_default().to_owned(),
        invocation: Some(TimedInvocation {
            at_ns: nanos(at.saturating_duration_since(began)),
            tag: tag_of(function).to_owned(),
            capacity_kb: capacity_kb_of(function),
            duration_ns: ended.map(|ended| nanos(ended.saturating_duration_since(*at))),
        }),
    }
}
