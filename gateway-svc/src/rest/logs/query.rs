//! The query parameters of logs.

use proto::log::v1::TailLogsRequest;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::error::ApiError;

/// The lines to return.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogsQuery {
    /// Continue with new lines: the response is `application/x-ndjson`, and ends when the function is
    /// deleted.
    #[serde(default)]
    follow: bool,
    /// The maximum number of kept lines, the latest ones. Absent: all of them.
    #[param(minimum = 1)]
    lines: Option<u32>,
    /// Only the lines of the trace with this id, 32 hexadecimal digits.
    trace_id: Option<String>,
}

impl LogsQuery {
    pub(super) fn read(self, module: String, function: String) -> Result<TailLogsRequest, ApiError> {
        if self.lines == Some(0) {
            return Err(ApiError::bad_request_because("lines: expected at least 1, not 0"));
        }
        let trace_id = self.trace_id.unwrap_or_default().to_ascii_lowercase();
        let is_id = trace_id.len() == 32 && trace_id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !trace_id.is_empty() && !is_id {
            return Err(ApiError::bad_request_because("trace_id: expected 32 hexadecimal digits"));
        }
        let (follow, lines) = (self.follow, self.lines.unwrap_or_default());
        Ok(TailLogsRequest { module, function, follow, lines, trace_id, ..TailLogsRequest::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_validated() {
        let read = |lines, trace_id: Option<&str>| {
            let query = LogsQuery { follow: false, lines, trace_id: trace_id.map(str::to_owned) };
            query.read("m".into(), "f".into()).map(|request| (request.lines, request.trace_id)).ok()
        };
        let id = "0AF7651916cd43dd8448eb211c80319c";
        assert_eq!(read(None, None), Some((0, String::new())));
        assert_eq!(read(Some(3), Some(id)), Some((3, id.to_ascii_lowercase())));
        assert_eq!(read(Some(0), None), None);
        for wrong in ["xyz", &id[1..], &id.replace('F', "g")] {
            assert_eq!(read(None, Some(wrong)), None, "{wrong}");
        }
    }
}
