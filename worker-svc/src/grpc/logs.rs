//! `funless.worker.v1.Logs`.

use futures::stream::{self, BoxStream, StreamExt as _};
use mesh::Error;
use proto::log::v1::{LogLine, TailLogsRequest, TailLogsResponse};
use proto::worker::v1::logs_server::Logs;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::logs::{Line, LineBatch, Reader};

/// Handles `TailLogs`.
pub(crate) struct LogsHandler {
    pub(crate) logs: crate::logs::Logs,
    /// The worker's name.
    pub(crate) worker: String,
    /// Ends subscriptions.
    pub(crate) draining: CancellationToken,
}

/// Selects the lines of a request.
struct LineFilter {
    function_id: String,
    trace_id: String,
    worker: String,
}

#[tonic::async_trait]
impl Logs for LogsHandler {
    type TailLogsStream = BoxStream<'static, Result<TailLogsResponse, Status>>;

    async fn tail_logs(
        &self,
        request: Request<TailLogsRequest>,
    ) -> Result<Response<Self::TailLogsStream>, Status> {
        let TailLogsRequest { function_id, trace_id, follow, lines, .. } = request.into_inner();
        if function_id.is_empty() {
            return Err(Error::field("function_id", "is required: names can be reused").into());
        }
        let filter = LineFilter { function_id, trace_id, worker: self.worker.clone() };
        let mut reader = self.logs.reader();
        let mut first = filter.apply(reader.read());
        // Lines that were dropped before the request are not missed.
        first.missed = 0;
        let surplus = first.lines.len().saturating_sub(if lines == 0 { usize::MAX } else { lines as usize });
        first.lines.drain(..surplus);
        let first = stream::iter([Ok(first)]);
        if !follow {
            return Ok(Response::new(first.boxed()));
        }
        let new_lines = stream::unfold((reader, filter), async |(mut reader, filter)| {
            let response = filter.next(&mut reader).await;
            Some((Ok(response), (reader, filter)))
        });
        let until_draining = first.chain(new_lines).take_until(self.draining.clone().cancelled_owned());
        Ok(Response::new(until_draining.boxed()))
    }
}

impl LineFilter {
    fn matches(&self, line: &Line) -> bool {
        line.source.function_id == self.function_id
            && (self.trace_id.is_empty() || line.source.trace_id == self.trace_id)
    }

    fn to_proto(&self, number: u64, line: &Line) -> LogLine {
        LogLine {
            number,
            at_us: line.at_us,
            text: line.text.clone(),
            invocation_id: line.source.invocation_id.clone(),
            trace_id: line.source.trace_id.clone(),
            worker: self.worker.clone(),
        }
    }

    /// The lines of `read` that match.
    fn apply(&self, read: LineBatch) -> TailLogsResponse {
        let lines = (read.first..).zip(&read.lines).filter(|(_, line)| self.matches(line));
        TailLogsResponse {
            lines: lines.map(|(number, line)| self.to_proto(number, line)).collect(),
            missed: read.missed,
            unreachable: Vec::new(),
        }
    }

    /// Waits for lines that match, or that were missed.
    async fn next(&self, reader: &mut Reader) -> TailLogsResponse {
        loop {
            reader.wait().await;
            let response = self.apply(reader.read());
            if !response.lines.is_empty() || response.missed > 0 {
                return response;
            }
        }
    }
}
