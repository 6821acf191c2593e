//! The query parameters of recent invocations.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::error::ApiError;
use crate::recent::{Ended, Invocation, MAX_KEPT};

/// The default number of invocations in a response.
const DEFAULT_LIMIT: usize = 100;

/// The invocations to list: those that match all given parameters.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct InvocationsQuery {
    /// The module of the function.
    module: Option<String>,
    /// The function.
    function: Option<String>,
    /// The id of the invocation.
    id: Option<String>,
    /// How it ended.
    #[param(inline)]
    outcome: Option<Outcome>,
    /// The worker that ran it.
    worker: Option<String>,
    /// The maximum number of invocations; 0: only the minutes.
    #[param(minimum = 0, maximum = 2000, default = 100)]
    limit: Option<usize>,
}

/// How an invocation ended: with a result, with the function's own error, or in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Ok,
    FunctionError,
    Failed,
}

impl InvocationsQuery {
    /// The maximum number of invocations.
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        match self.limit.unwrap_or(DEFAULT_LIMIT) {
            limit if limit > MAX_KEPT => {
                let why = format!("limit: expected at most {MAX_KEPT}, not {limit}");
                Err(ApiError::bad_request_because(&why))
            }
            limit => Ok(limit),
        }
    }

    pub(super) fn matches(&self, invocation: &Invocation) -> bool {
        let Self { module, function, id, outcome, worker, limit: _ } = self;
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        is(module, &invocation.module)
            && is(function, &invocation.function)
            && is(id, &invocation.id)
            && is(worker, &invocation.receipt.worker)
            && outcome.is_none_or(|wanted| wanted == Outcome::of(&invocation.ended))
    }
}

impl Outcome {
    pub(super) fn of(ended: &Ended) -> Self {
        match ended {
            Ended::Ok => Self::Ok,
            Ended::FunctionError(_) => Self::FunctionError,
            Ended::Failed(..) => Self::Failed,
        }
    }
}
