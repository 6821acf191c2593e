//! Invocation of functions.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use mesh::Caller;
use mesh::deadline::Deadline;
use mesh::receipt::Receipt;
use proto::Invoke;
use proto::scheduler::v1::invoke_response::Outcome;
use proto::scheduler::v1::{DefaultPolicy, InvokeRequest, Scheduling, scheduling::Language};
use serde_json::value::RawValue;
use tonic::Status;
use tracing::Span;
use uuid::Uuid;

use super::Rest;
use super::error::{ApiError, CommonErrors, Failure};
use super::extract::{JsonBody, Names, User};
use super::json;
use super::raw;
use super::receipt;
use super::revision::Revision;
use super::schema::InvokeBody;

/// The header with the invocation's id, as in logs and traces.
const INVOCATION: HeaderName = HeaderName::from_static("x-funless-invocation");
/// The header with the id of the placement decision.
const DECISION: HeaderName = HeaderName::from_static(mesh::DECISION_HEADER);

/// Invokes a function and returns its result.
///
/// The result is any JSON value, exactly as the function wrote it. `X-FunLess-Decision` is the id of the
/// placement decision; failures have it, too, if a decision was made, even if it chose no worker.
/// `Server-Timing` and `X-FunLess-Receipt` are the cost of the invocation, including failures.
#[utoipa::path(post, path = "/v1/fn/{module}/{function}", tag = "functions",
    params(
        ("module" = String, Path, description = "The module's name."),
        ("function" = String, Path, description = "The function's name."),
        ("x-funless-revision" = Option<u64>, Header,
            description = "The `X-FunLess-Revision` of a write through another gateway: \
                the invocation sees that write."),
    ),
    request_body = Option<InvokeBody>,
    responses(
        (status = 200, description = "The function's result: `{\"data\": RESULT}`.", body = serde_json::Value,
            headers(
                ("x-funless-invocation" = String, description = "The id of the invocation."),
                ("x-funless-decision" = String, description = "The id of the decision, which can be explained."),
                ("server-timing" = String, description = "Milliseconds of the phases schedule, queue, fetch, compile, \
                    load, instantiate, run and keep (storing the result for sinks) that took place, and the total."),
                ("x-funless-receipt" = String, description = "cpu_us, peak_memory_bytes, in_bytes, out_bytes, \
                    http_requests, attempts and worker, as a dictionary of RFC 9651."),
            )),
        (status = 400, description = "The body is not a JSON object, or `scheduling` is invalid.",
            body = Failure),
        (status = 404, description = "No such function or script.", body = Failure),
        (status = 408, description = "The body did not arrive in time.", body = Failure),
        (status = 413, description = "The body is too large.", body = Failure),
        (status = 415, description = "The body is not JSON.", body = Failure),
        (status = 422, description = "The function's own error: `Error: MESSAGE`.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn invoke_function(
    State(rest): State<Rest>,
    User(caller): User,
    Names((module, function)): Names<(String, String)>,
    seen: Revision,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let [args, scheduling] = body.members(["args", "scheduling"])?;
    let invocation = Uuid::now_v7().to_string();
    Span::current().record("faas.trigger", "http");
    let request = InvokeRequest {
        module,
        function,
        args: json::present(args).map(|args| body.bytes_of(args)).unwrap_or_default(),
        scheduling: json::present(scheduling).map(read_scheduling).transpose()?,
        min_revision: seen.number(),
        latest_revision: rest.latest_revision.get(),
        invocation_id: invocation.clone(),
        function_id: String::new(),
    };
    let Invoked { outcome, decision, receipt } = invoke(&rest, &caller, request).await;
    let mut response =
        outcome.map_or_else(ApiError::into_response, |result| raw::answer(br#"{"data":"#, &result, b"}"));
    let invocation = HeaderValue::try_from(invocation).ok();
    for (name, value) in [(INVOCATION, invocation), (DECISION, decision)] {
        if let Some(value) = value {
            response.headers_mut().insert(name, value);
        }
    }
    receipt::put(response.headers_mut(), &receipt);
    Ok(response)
}

/// The outcome of an invocation.
struct Invoked {
    outcome: Result<Bytes, ApiError>,
    /// The decision, if one was made.
    decision: Option<HeaderValue>,
    receipt: Receipt,
}

async fn invoke(rest: &Rest, caller: &Caller, request: InvokeRequest) -> Invoked {
    let deadline = Deadline::after(rest.request_timeout);
    let reply = match rest.channels.scheduler.unary::<Invoke>(request, deadline, caller).await {
        Ok(reply) => reply,
        Err(status) => {
            let (decision, receipt) = (decision_of(&status), mesh::receipt::of(status.metadata()));
            return Invoked { outcome: Err(status.into()), decision, receipt };
        }
    };
    let receipt = mesh::receipt::of(reply.metadata());
    let reply = reply.into_inner();
    let outcome = match reply.outcome {
        Some(Outcome::Result(result)) => Ok(result),
        Some(Outcome::FunctionError(message)) => Err(ApiError::function_error(&message)),
        None => Err(ApiError::internal("the scheduler answered without an outcome")),
    };
    let decision = HeaderValue::try_from(reply.decision_id).ok().filter(|id| !id.is_empty());
    Invoked { outcome, decision, receipt }
}

/// The decision that was made before the invocation failed.
fn decision_of(status: &Status) -> Option<HeaderValue> {
    let id = status.metadata().get(mesh::DECISION_HEADER)?;
    HeaderValue::from_bytes(id.as_bytes()).ok()
}

/// Parses the requested policy.
fn read_scheduling(object: &RawValue) -> Result<Scheduling, ApiError> {
    let wrong = || {
        let why = r#"scheduling is {"language":"none"} or {"language":"app","script":NAME}"#;
        ApiError::bad_request_because(why)
    };
    let [language, script] = json::members(object.get(), ["language", "script"]).map_err(|_| wrong())?;
    let language = language.and_then(json::string).ok_or_else(wrong)?;
    let language = match language.as_str() {
        "none" => Language::DefaultPolicy(DefaultPolicy {}),
        "app" => {
            let script = script.and_then(json::string).filter(|name| !name.is_empty()).ok_or_else(wrong)?;
            Language::AppScript(script)
        }
        _ => return Err(wrong()),
    };
    Ok(Scheduling { language: Some(language) })
}
