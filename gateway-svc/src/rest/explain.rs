//! Explanations of placement decisions.

mod query;
mod view;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use mesh::Caller;
use proto::scheduler::v1::explain_request::Decision as Asked;
use proto::scheduler::v1::{
    ExplainRequest, Explanation, HypotheticalInvocation, ListDecisionsRequest, Scheduling,
    scheduling::Language,
};

use super::Rest;
use super::error::{ApiError, CommonErrors, Failure};
use super::extract::{Names, Query, User};
use super::revision::Revision;
use super::schema::Data;
use query::{DecisionsQuery, ExplainQuery, Question};
use view::{DecisionView, ExplanationView};

/// Explains what a script decides for a function.
///
/// The explanation has each item, block and worker that was considered, with a verdict and the reason as
/// text.
///
/// It is about a hypothetical invocation now, which reserves and runs nothing, or about a past decision.
#[utoipa::path(get, path = "/v1/scripts/app/{script}/explain", tag = "scheduling",
    params(
        ("script" = String, Path, description = "The script's name."),
        ExplainQuery,
        ("x-funless-revision" = Option<u64>, Header,
            description = "The `X-FunLess-Revision` of a write through another gateway: \
                the explanation includes that write."),
    ),
    responses(
        (status = 200, description = "The explanation.", body = Data<ExplanationView>),
        (status = 400, description = "Neither a function nor a decision, or both.", body = Failure),
        (status = 404, description = "No such script, function or decision, \
            or another policy made the decision, which the detail names.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn explain_script(
    State(rest): State<Rest>,
    User(caller): User,
    Names(script): Names<String>,
    seen: Revision,
    Query(query): Query<ExplainQuery>,
) -> Result<Json<Data<ExplanationView>>, ApiError> {
    let asked = match query.read()? {
        Question::Past(id) => Asked::DecisionId(id),
        Question::Now { module, function } => Asked::Now(HypotheticalInvocation {
            module,
            function,
            scheduling: Some(Scheduling { language: Some(Language::AppScript(script.clone())) }),
            min_revision: rest.latest_revision.at_least(seen),
        }),
    };
    let explanation = explain(&rest, &caller, asked).await?;
    if explanation.script != script {
        return Err(made_by_another(&explanation));
    }
    Ok(Json(Data { data: ExplanationView::from(explanation) }))
}

/// Lists the latest decisions for functions that the caller has access to, oldest first, with their outcomes.
///
/// The list contains only decisions of the scheduler that answers. It is a load that can be simulated.
#[utoipa::path(get, path = "/v1/decisions", tag = "scheduling", params(DecisionsQuery),
    responses(
        (status = 200, description = "The decisions.", body = Data<Vec<DecisionView>>),
        (status = 400, description = "The limit is not a positive number.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn list_decisions(
    State(rest): State<Rest>,
    User(caller): User,
    Query(query): Query<DecisionsQuery>,
) -> Result<Json<Data<Vec<DecisionView>>>, ApiError> {
    let limit = query.limit()?;
    let request = rest.request(&caller, ListDecisionsRequest { limit });
    let decisions = rest.channels.policies().list_decisions(request).await?.into_inner().decisions;
    Ok(Json(Data { data: decisions.into_iter().map(DecisionView::from).collect() }))
}

/// Explains a decision, whichever policy made it.
#[utoipa::path(get, path = "/v1/decisions/{decision}", tag = "scheduling",
    params(("decision" = String, Path, description = "The decision's id.")),
    responses(
        (status = 200, description = "The explanation.", body = Data<ExplanationView>),
        (status = 404, description = "No such decision; only the latest ones are kept.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn explain_decision(
    State(rest): State<Rest>,
    User(caller): User,
    Names(id): Names<String>,
) -> Result<Json<Data<ExplanationView>>, ApiError> {
    let explanation = explain(&rest, &caller, Asked::DecisionId(id)).await?;
    Ok(Json(Data { data: ExplanationView::from(explanation) }))
}

async fn explain(rest: &Rest, caller: &Caller, asked: Asked) -> Result<Explanation, ApiError> {
    let request = rest.request(caller, ExplainRequest { decision: Some(asked) });
    let reply = rest.channels.policies().explain(request).await?.into_inner();
    reply.explanation.ok_or_else(|| ApiError::internal("the scheduler answered without an explanation"))
}

fn made_by_another(explanation: &Explanation) -> ApiError {
    let Explanation { decision_id: id, script, .. } = explanation;
    let policy = match script.as_str() {
        "" => "the default policy".to_owned(),
        script => format!("the script {script}"),
    };
    let detail = format!("Not Found: {policy} made the decision {id}; see /v1/decisions/{id}");
    ApiError::new(StatusCode::NOT_FOUND, detail)
}
