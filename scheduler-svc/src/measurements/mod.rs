//! Memory and CPU of the workers as a Prometheus server has them, for sites where that is the truth.
//!
//! The server is asked every now and then. A worker of which it has nothing recent, and all of them while
//! it is away, is known by its own reports; that is said in `ListWorkers`, in a metric and in the log.

mod judge;
mod samples;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use reqwest::{Client, Response, Url, redirect};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use self::judge::{Judge, Turn};
use self::samples::Samples;
use crate::config::Config;
use crate::membership::Members;
use crate::metrics::Metrics;

/// Samples count while they are no older than so many intervals.
const MAX_AGE: u32 = 3;
/// An answer comes within an interval, and in this time.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer, in bytes: some 100 for each sample.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// A Prometheus server, and whom it measures.
#[derive(Debug)]
pub struct Measurements {
    client: Client,
    /// The query, ready to be sent.
    query: Url,
    interval: Duration,
    members: Arc<Members>,
    judge: Judge,
    problem: watch::Sender<String>,
    metrics: Metrics,
}

impl Measurements {
    /// Measures `members` by the server that `config` names, and tells `problem` in words what is wrong;
    /// nothing is empty. `None`: it names none.
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
            .timeout(interval.min(LONGEST_TIMEOUT))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()?;
        let judge = Judge::default();
        Ok(Some(Self { client, query, interval, members, judge, problem, metrics }))
    }

    /// Asks again and again, for ever.
    pub async fn run(mut self) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let answer = self.ask().await;
            self.take(answer);
        }
    }

    /// What the server says now, or why it says nothing that can be used.
    async fn ask(&self) -> Result<Samples, String> {
        let mut response = self.client.get(self.query.clone()).send().await.map_err(no_answer)?;
        let body = read(&mut response).await?;
        match (response.status(), samples::parse(&body)) {
            (status, Ok(samples)) if status.is_success() => Ok(samples),
            (status, Err(problem)) if status.is_success() => Err(problem),
            (status, Err(problem)) => Err(format!("it answers {status}; {problem}")),
            (status, Ok(_)) => Err(format!("it answers {status}")),
        }
    }

    /// Brings an answer into the cluster, and says what is wrong.
    fn take(&mut self, answer: Result<Samples, String>) {
        let names = Arc::clone(self.members.cluster().names());
        let (now, max_age) = (mesh::clock::now_ms() as f64 / 1000.0, self.interval * MAX_AGE);
        let of = |samples: &Samples| -> Vec<_> {
            names.iter().map(|name| (&**name, samples.of(name, now, max_age))).collect()
        };
        let measured = answer.as_ref().map(of);
        // One by one, so that no decision waits for all of them.
        for (index, name) in names.iter().enumerate() {
            let measured = measured.as_ref().ok().and_then(|measured| measured[index].1.as_ref().ok());
            self.members.cluster().measured(name, measured.copied());
        }
        let turn = self.judge.judge(measured.as_deref().map_err(|reason| &***reason));
        let problem = self.judge.problem().map_or_else(String::new, ToString::to_string);
        match turn {
            Turn::Began => tracing::warn!(problem, "measurements are missing"),
            Turn::Ended => tracing::info!("measurements are there again"),
            Turn::Same => {}
        }
        self.metrics.metrics_problem.set(i64::from(!problem.is_empty()));
        self.problem.send_replace(problem);
    }
}

/// The body, if it is not too large.
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

/// Why there is no answer, with the causes: the error's own words do not say what happened.
fn no_answer(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    format!("{:#}", anyhow::Error::from(error.without_url()))
}
