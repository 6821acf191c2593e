//! Logs that say what they are told.

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

/// The scheduler's part that tells what functions have logged.
#[derive(Clone)]
pub struct FakeLogs {
    pub state: Arc<Mutex<State>>,
    to_come: broadcast::Sender<TailLogsResponse>,
}

#[derive(Default)]
pub struct State {
    pub first: TailLogsResponse,
    pub failure: Option<Error>,
    pub asked: Option<(Caller, TailLogsRequest)>,
}

impl Default for FakeLogs {
    fn default() -> Self {
        Self { state: Arc::default(), to_come: broadcast::Sender::new(16) }
    }
}

impl FakeLogs {
    /// Tells those who follow.
    pub fn tell(&self, response: TailLogsResponse) {
        self.to_come.send(response).expect("somebody follows");
    }

    pub fn followers(&self) -> usize {
        self.to_come.receiver_count()
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
        let to_come = BroadcastStream::new(self.to_come.subscribe());
        let to_come = to_come.map(|response| response.map_err(|_| Status::data_loss("lagged")));
        Ok(Response::new(Box::pin(first.chain(to_come))))
    }
}
