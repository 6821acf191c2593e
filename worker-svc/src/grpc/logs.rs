//! `funless.worker.v1.Logs`.

use futures::stream::{self, BoxStream, StreamExt as _};
use mesh::Error;
use proto::log::v1::{LogLine, TailLogsRequest, TailLogsResponse};
use proto::worker::v1::logs_server::Logs;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::logs::{Line, Read, Reader};

/// Tells what functions have logged.
pub(crate) struct LogsService {
    pub(crate) logs: crate::logs::Logs,
    /// The worker's name.
    pub(crate) worker: String,
    /// Ends subscriptions.
    pub(crate) draining: CancellationToken,
}

/// Which lines are asked for.
struct Wanted {
    function_id: String,
    trace_id: String,
    worker: String,
}

#[tonic::async_trait]
impl Logs for LogsService {
    type TailLogsStream = BoxStream<'static, Result<TailLogsResponse, Status>>;

    async fn tail_logs(
        &self,
        request: Request<TailLogsRequest>,
    ) -> Result<Response<Self::TailLogsStream>, Status> {
        let TailLogsRequest { function_id, trace_id, follow, lines, .. } = request.into_inner();
        if function_id.is_empty() {
            return Err(Error::field("function_id", "is needed: names can be taken again").into());
        }
        let wanted = Wanted { function_id, trace_id, worker: self.worker.clone() };
        let mut reader = self.logs.read();
        let mut first = wanted.of(reader.read());
        // Nobody asks for what was forgotten before he asked.
        first.missed = 0;
        let surplus = first.lines.len().saturating_sub(if lines == 0 { usize::MAX } else { lines as usize });
        first.lines.drain(..surplus);
        let first = stream::iter([Ok(first)]);
        if !follow {
            return Ok(Response::new(first.boxed()));
        }
        let to_come = stream::unfold((reader, wanted), async |(mut reader, wanted)| {
            let response = wanted.next(&mut reader).await;
            Some((Ok(response), (reader, wanted)))
        });
        let until_draining = first.chain(to_come).take_until(self.draining.clone().cancelled_owned());
        Ok(Response::new(until_draining.boxed()))
    }
}

impl Wanted {
    fn includes(&self, line: &Line) -> bool {
        line.source.function_id == self.function_id
            && (self.trace_id.is_empty() || line.source.trace_id == self.trace_id)
    }

    fn tell(&self, number: u64, line: &Line) -> LogLine {
        LogLine {
            number,
            at_us: line.at_us,
            text: line.text.clone(),
            invocation_id: line.source.invocation_id.clone(),
            trace_id: line.source.trace_id.clone(),
            worker: self.worker.clone(),
        }
    }

    /// What is wanted of what was read.
    fn of(&self, read: Read) -> TailLogsResponse {
        let lines = (read.first..).zip(&read.lines).filter(|(_, line)| self.includes(line));
        TailLogsResponse {
            lines: lines.map(|(number, line)| self.tell(number, line)).collect(),
            missed: read.missed,
            unheard: Vec::new(),
        }
    }

    /// Waits for lines that are wanted, or were missed.
    async fn next(&self, reader: &mut Reader) -> TailLogsResponse {
        loop {
            reader.wait().await;
            let response = self.of(reader.read());
            if !response.lines.is_empty() || response.missed > 0 {
                return response;
            }
        }
    }
}
