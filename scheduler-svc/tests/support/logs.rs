//! What fake workers say that functions have logged.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use proto::log::v1::{LogLine, TailLogsRequest, TailLogsResponse};
use proto::worker::v1::logs_server::Logs;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// A worker's log.
#[derive(Clone, Default)]
pub struct FakeLogs {
    /// Since the worker started; nothing is forgotten.
    lines: Arc<watch::Sender<Vec<LogLine>>>,
    /// What was asked for.
    pub asked: Arc<Mutex<Vec<TailLogsRequest>>>,
    /// Whether it never answers.
    pub hangs: Arc<Mutex<bool>>,
}

impl FakeLogs {
    /// A line that was written at this moment.
    pub fn write(&self, at_us: i64, text: &str) {
        let line = LogLine { at_us, text: text.into(), ..LogLine::default() };
        self.lines.send_modify(|lines| lines.push(line));
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.lines.receiver_count()
    }
}

#[tonic::async_trait]
impl Logs for FakeLogs {
    type TailLogsStream = Pin<Box<dyn Stream<Item = Result<TailLogsResponse, Status>> + Send>>;

    async fn tail_logs(
        &self,
        request: Request<TailLogsRequest>,
    ) -> Result<Response<Self::TailLogsStream>, Status> {
        let follow = request.get_ref().follow;
        self.asked.lock().push(request.into_inner());
        if *self.hangs.lock() {
            return std::future::pending().await;
        }
        let mut lines = self.lines.subscribe();
        let first = lines.borrow_and_update().clone();
        let read = first.len();
        let respond = |lines: &[LogLine]| TailLogsResponse { lines: lines.to_vec(), ..Default::default() };
        let first = stream::iter([Ok(respond(&first))]);
        if !follow {
            return Ok(Response::new(Box::pin(first)));
        }
        let more = stream::unfold((lines, read), move |(mut lines, read)| async move {
            lines.changed().await.ok()?;
            let new = lines.borrow_and_update().clone();
            Some((Ok(respond(&new[read..])), (lines, new.len())))
        });
        Ok(Response::new(Box::pin(first.chain(more))))
    }
}
