//! Takes the workers' memory and CPU use from a Prometheus server that scrapes them.
//!
//! The server is queried at an interval. The reports of a worker count when the server has no recent samples
//! of it, and those of all workers while the server is away; `ListWorkers`, a metric and the log say so.

mod problem;
mod samples;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use reqwest::{Client, Response, Url, redirect};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use self::problem::{ProblemTracker, Transition};
use self::samples::Samples;
use crate::config::Config;
use crate::membership::Members;
use crate::metrics::Metrics;

/// Samples older than this many intervals do not count.
const MAX_AGE: u32 = 3;
/// The longest time for an answer. A shorter interval counts instead.
const MAX_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer, in bytes. A sample takes about 100.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// A Prometheus server and the workers that it measures.
#[derive(Debug)]
pub struct Measurements {
    client: Client,
    /// The URL of the query.
    query: Url,
    interval: Duration,
    members: Arc<Members>,
    tracker: ProblemTracker,
    problem: watch::Sender<String>,
    metrics: Metrics,
}

impl Measurements {
    /// Measures `members` with the server in `config`, and sends what is wrong to `problem`; empty for
    /// nothing. `None`: no server is configured.
    pub fn new(
        config: &Config,
        members: Arc<Members>,
        metrics: Metrics,
        problem: watch::Sender<String>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(mut query) = config.prometheus().cloned() else { return Ok(None) };
        let interval = Duration::from_millis(config.prometheus_interval_ms);
        let path = format!("{}/api/v1/query", query.path().trim_end_matches('/'));
        query.set_path(&path);
        query.query_pairs_mut().append_pair("query", &samples::query(interval * MAX_AGE));
        let client = Client::builder()
            .tls_backend_preconfigured(mesh::tls::web())
            .timeout(interval.min(MAX_TIMEOUT))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()?;
        let tracker = ProblemTracker::default();
        Ok(Some(Self { client, query, interval, members, tracker, problem, metrics }))
    }

    /// Queries the server at its interval, forever.
    pub async fn run(mut self) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let answer = self.query_server().await;
            self.apply(answer);
        }
    }

    /// The samples that the server has now, or why there are none.
    async fn query_server(&self) -> Result<Samples, String> {
        let mut response = self.client.get(self.query.clone()).send().await.map_err(no_answer)?;
        let body = read(&mut response).await?;
        match (response.status(), samples::parse(&body)) {
            (status, Ok(samples)) if status.is_success() => Ok(samples),
            (status, Err(problem)) if status.is_success() => Err(problem),
            (status, Err(problem)) => Err(format!("answered {status}: {problem}")),
            (status, Ok(_)) => Err(format!("answered {status}")),
        }
    }

    /// Applies an answer to the cluster, and tells what is wrong.
    fn apply(&mut self, answer: Result<Samples, String>) {
        let names = Arc::clone(self.members.cluster().names());
        let (now, max_age) = (mesh::clock::now_ms() as f64 / 1000.0, self.interval * MAX_AGE);
        let of = |samples: &Samples| -> Vec<_> {
            names.iter().map(|name| (&**name, samples.of(name, now, max_age))).collect()
        };
        let measured = answer.as_ref().map(of);
        // One lock for each, so that no decision waits for all of them.
        for (index, name) in names.iter().enumerate() {
            let measured = measured.as_ref().ok().and_then(|measured| measured[index].1.as_ref().ok());
            self.members.cluster().measured(name, measured.copied());
        }
        let transition = self.tracker.update(measured.as_deref().map_err(|reason| &***reason));
        let problem = self.tracker.problem().map_or_else(String::new, ToString::to_string);
        match transition {
            Transition::Began => tracing::warn!(problem, "measurements are missing"),
            Transition::Ended => tracing::info!("measurements are complete again"),
            Transition::Same => {}
        }
        self.metrics.metrics_problem.set(i64::from(!problem.is_empty()));
        self.problem.send_replace(problem);
    }
}

/// Reads the body, unless it is too large.
async fn read(response: &mut Response) -> Result<BytesMut, String> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(format!("its answer is larger than {MAX_ANSWER_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Why there is no answer, with the causes: the error's own message does not say what happened.
fn no_answer(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    format!("{:#}", anyhow::Error::from(error.without_url()))
}
