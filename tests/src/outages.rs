//! What callers see while a part of the mesh is away: one part after the other is killed and started again later,
//! under a steady load of calls and events.

mod calls;
mod events;
mod parts;
mod report;

use std::time::{Duration, Instant};

use serde_json::json;

pub use self::calls::CallKind;
use self::calls::Calls;
use self::events::Events;
pub use self::parts::PARTS;
use self::parts::Parts;
pub use self::report::{CallRow, EventRow, Report, Row};
use crate::chaos::settled;
use crate::client::Upload;
use crate::servers::{Couch, Mosquitto};
use crate::{Client, guests, wait};

/// The database of the results of events.
const OF_EVENTS: &str = "events";
/// The database of the results of invocations.
const OF_CALLS: &str = "calls";
const TOPIC: &str = "outages";
/// How often progress is reported.
const PROGRESS: Duration = Duration::from_secs(10);
/// The time after which a mesh that has all of its parts again has to work again.
const RECOVERY: Duration = Duration::from_secs(180);

/// Which parts are away, and for how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The parts, of [`PARTS`].
    pub parts: Vec<&'static str>,
    /// How long each part is away.
    pub outage: Duration,
    /// For how long the load goes on at least after a part was started again.
    pub afterwards: Duration,
}

/// The times of one outage.
#[derive(Debug, Clone, Copy)]
struct Outage {
    /// None: nothing was away, for comparison.
    part: &'static str,
    began: Instant,
    /// When the part was started again.
    over: Instant,
    /// When it was ready.
    ready: Instant,
    /// When the results of all events that were published before `over` were in the store.
    caught_up: Instant,
    ended: Instant,
    dead_letters: u64,
}

/// The mesh and its servers.
struct Stage {
    parts: Parts,
    broker: Mosquitto,
    store: Couch,
}

/// Runs the plan and reports what callers saw. Calls `progress` from time to time. Panics if the mesh does not recover.
pub async fn run(plan: &Plan, progress: impl Fn(&str)) -> Report {
    let mut stage = Stage::set().await;
    let user = stage.parts.user();
    let calls = Calls::start(&user);
    let events = Events::start(stage.broker.port(), TOPIC);
    let mut outages = vec![stage.nothing_away(plan, &events, &user).await];
    for part in &plan.parts {
        let outage = stage.take_away(part, plan, (&calls, &events), &progress).await;
        outages.push(outage);
    }
    let (calls, events) = (calls.end().await, events.end().await);
    progress("the load has ended; waiting until nothing is in flight or pending");
    let sums = settled(&user).await;
    let of_events = stage.ids(OF_EVENTS).await;
    let of_calls = stage.ids(OF_CALLS).await;
    let rows = outages.iter().map(|outage| report::row(outage, &calls, &events, &of_events)).collect();
    Report { rows, missing_results: report::missing_results(&calls, &of_calls), sums }
}

impl Stage {
    async fn set() -> Self {
        let (parts, broker, store) = tokio::join!(Parts::start(), Mosquitto::start(), Couch::start());
        let user = parts.user();
        user.create_function("_", "plain", &guests::hello()).await;
        user.create_function("_", "updated", &guests::hello()).await;
        let sink = |url: String| json!([{ "type": "couchdb", "params": { "url": url } }]).to_string();
        let with_sink = Upload::function("with_sink", &guests::echo())
            .text("sinks", sink(store.create_database(OF_CALLS).await));
        user.post_form("/v1/fn/_", with_sink).await.expect(201);
        let source = json!({ "host": "127.0.0.1", "port": broker.port(), "topic": TOPIC });
        let triggered = Upload::function("triggered", &guests::echo())
            .text("events", json!([{ "type": "mqtt", "params": source }]).to_string())
            .text("sinks", sink(store.create_database(OF_EVENTS).await));
        user.post_form("/v1/fn/_", triggered).await.expect(201);
        Self { parts, broker, store }
    }

    async fn nothing_away(&self, plan: &Plan, events: &Events, user: &Client) -> Outage {
        let began = Instant::now();
        tokio::time::sleep(plan.afterwards).await;
        let over = Instant::now();
        let caught_up = self.caught_up(events.published()).await;
        let dead_letters = dead_letters(user).await;
        Outage { part: "nothing", began, over, ready: over, caught_up, ended: Instant::now(), dead_letters }
    }

    async fn take_away(
        &mut self,
        part: &'static str,
        plan: &Plan,
        (calls, events): (&Calls, &Events),
        progress: &impl Fn(&str),
    ) -> Outage {
        let user = self.parts.user();
        let before = dead_letters(&user).await;
        let began = Instant::now();
        self.parts.kill(part).await;
        progress(&format!("{part} was killed"));
        while let Some(left) = plan.outage.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
            tokio::time::sleep(left.min(PROGRESS)).await;
            let documents = self.store.count(OF_EVENTS).await.unwrap_or_default();
            let (ended, failed) = calls.since(began);
            let events = events.published();
            let away = began.elapsed().as_secs();
            progress(&format!(
                "{part} is away for {away} s: {failed} of {ended} calls failed, {documents} documents of {events} events"
            ));
        }
        self.parts.start_again(part);
        let over = Instant::now();
        let published = events.published();
        let becoming_ready = async {
            self.parts.becomes_ready(part).await;
            Instant::now()
        };
        let ready = becoming_ready.await;
        let caught_up = self.caught_up(published).await;
        tokio::time::sleep(plan.afterwards.saturating_sub(over.elapsed())).await;
        let dead_letters = dead_letters(&user).await - before;
        let (ended, failed) = calls.since(began);
        progress(&format!(
            "{part} is back: it was ready after {:.1?}, {failed} of {ended} calls failed",
            ready - over
        ));
        Outage { part, began, over, ready, caught_up, ended: Instant::now(), dead_letters }
    }

    /// Waits until the results of this many events are in the store.
    async fn caught_up(&self, events: u32) -> Instant {
        let what = format!("the store has the results of {events} events");
        wait::until(&what, RECOVERY, async || {
            (self.store.count(OF_EVENTS).await? >= u64::from(events)).then(Instant::now)
        })
        .await
    }

    /// The ids of the messages whose results are in a database, sorted.
    async fn ids(&self, database: &str) -> Vec<u32> {
        let documents = self.store.documents(database, 0, RECOVERY).await;
        let ids = documents.iter().map(|document| document["id"].as_u64().expect("an id"));
        let mut ids: Vec<_> = ids.map(|id| u32::try_from(id).expect("a small number")).collect();
        ids.sort_unstable();
        ids
    }
}

/// The dead letters of all events and results.
async fn dead_letters(user: &Client) -> u64 {
    wait::until("the dead letters can be counted", RECOVERY, async || {
        let answer = user.try_send(user.request(http::Method::GET, "/v1/conservation")).await.ok()?;
        let sums = (answer.status == 200).then(|| answer.json())?;
        let (events, sinks) = (&sums["data"]["events"]["sum"], &sums["data"]["sinks"]["sum"]);
        Some(events["dead_letters"].as_u64()? + sinks["dead"].as_u64()?)
    })
    .await
}
