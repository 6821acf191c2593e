//! Makes the load: so many connections, each of which waits for the response to its invocation before the next one.
//!
//! With a rate, each invocation has a time at which it is due. If all connections are busy then, it waits, and the
//! wait counts as latency: otherwise a mesh that stalls would be measured only as often as it answers (coordinated
//! omission).

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::tally::{ErrorKind, Tally};
use crate::client::Client;

/// How long a connection waits after it got no answer.
const PAUSE: Duration = Duration::from_millis(10);
/// Longer than any load.
const FOREVER: Duration = Duration::from_secs(1 << 40);

/// How a function is invoked.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub connections: usize,
    /// The most invocations.
    pub invocations: Option<u64>,
    /// After this time, no more invocations begin.
    pub duration: Option<Duration>,
    /// Invocations per second.
    pub rate: Option<f64>,
}

/// What is invoked.
pub struct Target {
    pub client: Client,
    pub module: String,
    pub name: String,
    /// The body of the request.
    pub body: Bytes,
}

/// What came of it.
#[derive(Debug)]
pub struct Measured {
    /// From the first invocation to the end of the last.
    pub elapsed: Duration,
    pub tally: Tally,
    /// Invocations that were due before the end and did not begin, since all connections were busy.
    pub not_started: u64,
}

/// How far it is.
#[derive(Debug, Default)]
pub struct Progress {
    succeeded: AtomicU64,
    failed: AtomicU64,
    /// No more invocations begin.
    stopped: CancellationToken,
}

impl Progress {
    /// How many invocations have succeeded and failed.
    pub fn counts(&self) -> (u64, u64) {
        (self.succeeded.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Begins no more invocations.
    pub fn stop(&self) {
        self.stopped.cancel();
    }

    /// Whether no more invocations begin.
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_cancelled()
    }
}

impl Target {
    /// The request for one invocation.
    pub fn request(&self) -> anyhow::Result<RequestBuilder> {
        let request = self.client.request(Method::POST, &["fn", &self.module, &self.name])?;
        Ok(request.header(CONTENT_TYPE, "application/json").body(self.body.clone()))
    }
}

/// Makes the load until it has ended or is stopped. Invocations that have begun are awaited.
pub async fn run(load: &Load, target: Arc<Target>, progress: Arc<Progress>) -> anyhow::Result<Measured> {
    let begun = Instant::now();
    let schedule = Schedule { begun, rate: load.rate, limit: load.invocations.unwrap_or(u64::MAX) };
    let taken = Arc::new(AtomicU64::new(0));
    let mut connections = JoinSet::new();
    for _ in 0..load.connections {
        let (target, progress, taken) = (Arc::clone(&target), Arc::clone(&progress), Arc::clone(&taken));
        connections.spawn(async move {
            let ending = progress.stopped.clone();
            let mut tally = Tally::new()?;
            while let Some(since) = schedule.next(&taken, &ending).await {
                invoke(&target, since, &mut tally, &progress).await?;
            }
            anyhow::Ok(tally)
        });
    }
    let mut end = pin!(async {
        match load.duration {
            Some(duration) => tokio::time::sleep_until(begun + duration).await,
            None => std::future::pending().await,
        }
        progress.stop();
    });
    let (mut tally, mut has_ended, mut stopped_after) = (Tally::new()?, false, None);
    loop {
        tokio::select! {
            () = &mut end, if !has_ended => has_ended = true,
            () = progress.stopped.cancelled(), if stopped_after.is_none() => stopped_after = Some(begun.elapsed()),
            connection = connections.join_next() => match connection {
                Some(of_connection) => tally.add(of_connection??)?,
                None => break,
            },
        }
    }
    let elapsed = begun.elapsed();
    let due = schedule.due_within(stopped_after.unwrap_or(elapsed));
    let not_started = due.saturating_sub(tally.succeeded() + tally.failed());
    Ok(Measured { elapsed, tally, not_started })
}

/// Invokes the function once, and counts from `since` on how long that takes.
async fn invoke(
    target: &Target,
    since: Instant,
    tally: &mut Tally,
    progress: &Progress,
) -> anyhow::Result<()> {
    let answer = target.client.ask(target.request()?).await;
    match &answer {
        Ok(answer) if answer.status.is_success() => {
            tally.succeed(since.elapsed());
            progress.succeeded.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        Ok(answer) => {
            let kind = ErrorKind { status: Some(answer.status.as_u16()), reason: answer.reason() };
            tally.fail(kind, || answer.words());
        }
        Err(error) => tally.fail(ErrorKind { status: None, reason: String::new() }, || error.to_string()),
    }
    progress.failed.fetch_add(1, Ordering::Relaxed);
    if answer.is_err() {
        // To ask what is not there as fast as possible measures nothing.
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// When invocations are due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    begun: Instant,
    /// Invocations per second. Absent: each is due when there is a connection for it.
    rate: Option<f64>,
    limit: u64,
}

impl Schedule {
    /// Waits until the next invocation is due, and returns from when on its latency counts. `None`: there is none.
    async fn next(&self, taken: &AtomicU64, ending: &CancellationToken) -> Option<Instant> {
        if ending.is_cancelled() {
            return None;
        }
        let number = taken.fetch_add(1, Ordering::Relaxed);
        if number >= self.limit {
            return None;
        }
        let Some(due) = self.due(number) else { return Some(Instant::now()) };
        if due <= Instant::now() {
            return Some(due);
        }
        // The connection is free: if the timer is late, that is not the mesh's latency.
        tokio::select! {
            () = tokio::time::sleep_until(due) => Some(Instant::now()),
            () = ending.cancelled() => Some(Instant::now()).filter(|now| due <= *now),
        }
    }

    fn due(&self, number: u64) -> Option<Instant> {
        let after = number as f64 / self.rate?;
        // What is due too far away does not begin.
        Some(self.begun + Duration::try_from_secs_f64(after).unwrap_or(FOREVER).min(FOREVER))
    }

    /// How many are due within this time.
    fn due_within(&self, time: Duration) -> u64 {
        let due = self.rate.map_or(0.0, |rate| (time.as_secs_f64() * rate).ceil());
        self.limit.min(due as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: Option<f64>, limit: u64) -> Schedule {
        Schedule { begun: Instant::now(), rate, limit }
    }

    #[tokio::test(start_paused = true)]
    async fn latency_counts_from_when_an_invocation_was_due() {
        let (schedule, taken, ending) =
            (schedule(Some(10.0), 4), AtomicU64::new(0), CancellationToken::new());
        let next = async || schedule.next(&taken, &ending).await.map(|since| since - schedule.begun);
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(next().await, ms(0));
        assert_eq!((next().await, schedule.begun.elapsed()), (ms(100), Duration::from_millis(100)));
        // An answer took 450 ms.
        tokio::time::sleep(Duration::from_millis(450)).await;
        assert_eq!((next().await, next().await), (ms(200), ms(300)));
        assert_eq!(next().await, None, "the limit is reached");
        assert_eq!(schedule.due_within(Duration::from_millis(250)), 3);
        assert_eq!(schedule.due_within(Duration::from_secs(9)), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_one_follows_the_other_until_the_end() {
        let (schedule, taken, ending) =
            (schedule(None, u64::MAX), AtomicU64::new(0), CancellationToken::new());
        for _ in 0..3 {
            assert!(schedule.next(&taken, &ending).await.is_some());
        }
        ending.cancel();
        assert_eq!(schedule.next(&taken, &ending).await, None);
        assert_eq!(schedule.due_within(Duration::from_secs(9)), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_its_time_ends_with_the_load() {
        let (schedule, taken, ending) =
            (schedule(Some(0.01), 9), AtomicU64::new(1), CancellationToken::new());
        let end = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            ending.cancel();
        };
        assert_eq!(tokio::join!(schedule.next(&taken, &ending), end), (None, ()));
        assert_eq!(schedule.begun.elapsed(), Duration::from_secs(1));
    }
}
