//! The query parameters of decisions.

use serde::Deserialize;
use utoipa::IntoParams;

use super::super::error::ApiError;

/// The module of a function without a module.
const DEFAULT_MODULE: &str = "_";

/// The decision to explain: one of the two.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExplainQuery {
    /// A function as `MODULE/FUNCTION`, or `FUNCTION` of the module `_`. Explains where it would run now.
    #[param(example = "_/hello")]
    function: Option<String>,
    /// The `X-FunLess-Decision` of an invocation. Explains why it ran where it ran.
    decision: Option<String>,
}

/// The number of decisions to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DecisionsQuery {
    /// The maximum number of decisions. Absent: 1,000.
    #[param(minimum = 1, maximum = 2147483647)]
    limit: Option<u32>,
}

/// What to explain.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Where this function would run now.
    Now { module: String, function: String },
    /// The decision with this id.
    Past(String),
}

impl ExplainQuery {
    pub(super) fn read(self) -> Result<Question, ApiError> {
        match (self.function, self.decision) {
            (Some(function), None) => read_function(&function),
            (None, Some(id)) => Ok(Question::Past(id)),
            (None, None) | (Some(_), Some(_)) => {
                let why = "expected either function=MODULE/FUNCTION or decision=ID";
                Err(ApiError::bad_request_because(why))
            }
        }
    }
}

impl DecisionsQuery {
    /// The limit; 0 means the scheduler's default.
    pub(super) fn limit(&self) -> Result<u32, ApiError> {
        match self.limit {
            Some(limit) if !(1..=i32::MAX as u32).contains(&limit) => {
                let why = format!("limit: expected 1 to {}, not {limit}", i32::MAX);
                Err(ApiError::bad_request_because(&why))
            }
            limit => Ok(limit.unwrap_or_default()),
        }
    }
}

fn read_function(text: &str) -> Result<Question, ApiError> {
    let (module, function) = text.split_once('/').unwrap_or((DEFAULT_MODULE, text));
    if module.is_empty() || function.is_empty() || function.contains('/') {
        let why = format!("function: expected MODULE/FUNCTION, or FUNCTION of the module _, not {text:?}");
        return Err(ApiError::bad_request_because(&why));
    }
    Ok(Question::Now { module: module.to_owned(), function: function.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(function: Option<&str>, decision: Option<&str>) -> Option<Question> {
        let given = |text: Option<&str>| text.map(str::to_owned);
        ExplainQuery { function: given(function), decision: given(decision) }.read().ok()
    }

    #[test]
    fn limits_are_positive_and_of_32_bits() {
        let limit = |limit| DecisionsQuery { limit }.limit().ok();
        for (given, expected) in [
            (None, Some(0)),
            (Some(1), Some(1)),
            (Some(2_147_483_647), Some(2_147_483_647)),
            (Some(0), None),
            (Some(2_147_483_648), None),
        ] {
            assert_eq!(limit(given), expected, "{given:?}");
        }
    }

    #[test]
    fn exactly_one_parameter_is_required() {
        let now = |module: &str, function: &str| Question::Now {
            module: module.to_owned(),
            function: function.to_owned(),
        };
        let cases = [
            (Some("m/f"), None, Some(now("m", "f"))),
            (Some("f"), None, Some(now("_", "f"))),
            (Some("_/f"), None, Some(now("_", "f"))),
            (Some(""), None, None),
            (Some("/"), None, None),
            (Some("m/"), None, None),
            (Some("/f"), None, None),
            (Some("a/b/c"), None, None),
            (None, Some("a-1"), Some(Question::Past("a-1".to_owned()))),
            (None, None, None),
            (Some("f"), Some("a-1"), None),
        ];
        for (function, decision, expected) in cases {
            assert_eq!(read(function, decision), expected, "{function:?} {decision:?}");
        }
    }
}
