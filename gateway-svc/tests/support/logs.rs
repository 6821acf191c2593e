//! Fake logs with given lines.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use mesh::{Caller, Error};
use parking_lot::Mutex;
use proto::log::v1::{TailLogsRequest, TailLogsResponse};
use proto::scheduler::v1::logs_server::Logs;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

/// The scheduler's service for the logs of functions.
#[derive(Clone)]
pub struct FakeLogs {
    pub state: Arc<Mutex<State>>,
    new_lines: broadcast::Sender<TailLogsResponse>,
}

#[derive(Default)]
pub struct State {
    pub first: TailLogsResponse,
    pub failure: Option<Error>,
    pub asked: Option<(Caller, TailLogsRequest)>,
}

impl Default for FakeLogs {
    fn default() -> Self {
        Self { state: Arc::default(), new_lines: broadcast::Sender::new(16) }
    }
}

impl FakeLogs {
    /// Sends a response to all followers.
    pub fn send(&self, response: TailLogsResponse) {
        self.new_lines.send(response).expect("a follower");
    }

    pub fn followers(&self) -> usize {
        self.new_lines.receiver_count()
    }
}

#[tonic::async_trait]
impl Logs for FakeLogs {
    type TailLogsStream = Pin<Box<dyn Stream<Item = Result<TailLogsResponse, Status>> + Send>>;

    async fn tail_logs(
        &self,
        request: Request<TailLogsRequest>,
    ) -> Result<Response<Self::TailLogsStream>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let mut state = self.state.lock();
        let follow = request.follow;
        state.asked = Some((caller, request));
        if let Some(error) = state.failure.clone() {
            return Err(error.into());
        }
        let first = stream::iter([Ok(state.first.clone())]);
        if !follow {
            return Ok(Response::new(Box::pin(first)));
        }
        let new_lines = BroadcastStream::new(self.new_lines.subscribe());
        let new_lines = new_lines.map(|response| response.map_err(|_| Status::data_loss("lagged")));
        Ok(Response::new(Box::pin(first.chain(new_lines))))
    }
}
