//! Events in, results out, while parts of the mesh are killed and restarted: in the end each message is
//! exactly one document.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::client::{Client, Upload};
use crate::process::Signal;
use crate::publisher::Publisher;
use crate::servers::{Couch, Mosquitto};
use crate::{Mesh, Shape, guests, wait};

const DATABASE: &str = "results";
const TOPIC: &str = "chaos";
/// The time between two kills, in milliseconds.
const PAUSE_MS: Range<u64> = 100..800;
/// Fail after this long without a new document.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);

/// What to publish and what to kill.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The number of published messages.
    pub messages: u32,
    /// The number of messages per second.
    pub per_second: u32,
    /// The seed for the choice of victims.
    pub seed: u64,
    /// Kill the broker, too. It may then lose messages and acknowledgements, so messages carry a dedupe key
    /// to detect repeats. Otherwise a message is identified by its MQTT identity.
    pub kill_broker: bool,
}

/// The outcome of a run.
#[derive(Debug)]
pub struct Outcome {
    /// How often each part was killed, by name.
    pub deaths: BTreeMap<String, u32>,
    /// The time from the first message to the last document.
    pub took: Duration,
    /// The mesh's sums of all events and results.
    pub conservation: Value,
}

/// The mesh, its servers, and the kills so far.
struct Stage {
    mesh: Mesh,
    broker: Mosquitto,
    store: Couch,
    deaths: BTreeMap<String, u32>,
}

/// Runs the plan. Panics if a message is not exactly one document, if there is a dead letter, or if the
/// mesh's sums do not add up. Calls `progress` from time to time.
pub async fn run(plan: &Plan, progress: impl Fn(&str)) -> Outcome {
    let mut stage = Stage::set(plan).await;
    let user = stage.mesh.user();
    let publisher = Publisher::new(stage.broker.port(), TOPIC);
    let start = Instant::now();
    let published = AtomicBool::new(false);
    let publishing = async {
        publisher.publish(0..plan.messages, plan.per_second).await;
        published.store(true, Ordering::Relaxed);
    };
    // Not cancelled: whatever was killed has to be started again.
    tokio::join!(publishing, stage.kill_until(&published, plan, &progress));
    progress("all messages are published; no more kills");
    let ids = stage.ids(plan.messages, &progress).await;
    let took = start.elapsed();
    assert_eq!(ids, (0..plan.messages).map(u64::from).collect::<Vec<_>>(), "each message is one document");
    let conservation = settled(&user).await;
    assert_eq!(conservation["events"]["dead_letters"], 0, "{conservation}");
    assert_eq!(conservation["sinks"]["dead"], 0, "{conservation}");
    Outcome { deaths: stage.deaths.clone(), took, conservation }
}

impl Stage {
    async fn set(plan: &Plan) -> Self {
        let shape = Shape { name: "chaos", processes: Some(2), ..Shape::SIX_PROCESSES };
        let mesh = Mesh::start(shape).await;
        let broker =
            if plan.kill_broker { Mosquitto::start_durable().await } else { Mosquitto::start().await };
        let store = Couch::start_durable().await;
        let url = store.create_database(DATABASE).await;
        let mut params = json!({ "host": "127.0.0.1", "port": broker.port(), "topic": TOPIC });
        // The same event may be interrupted more than five times.
        params["max_attempts"] = json!(100);
        if plan.kill_broker {
            params["dedupe_key"] = json!("/id");
        }
        let upload = Upload::function("f", &guests::echo())
            .text("events", json!([{ "type": "mqtt", "params": params }]).to_string())
            .text("sinks", json!([{ "type": "couchdb", "params": { "url": url } }]).to_string());
        mesh.user().post_form("/v1/fn/_", upload).await.expect(201);
        Self { mesh, broker, store, deaths: BTreeMap::new() }
    }

    /// Kills each part once, in order, and then random ones.
    async fn kill_until(&mut self, published: &AtomicBool, plan: &Plan, progress: &impl Fn(&str)) {
        let mut random = StdRng::seed_from_u64(plan.seed);
        let mut victims = vec!["connector", "scheduler", "worker", "worker-2", "sink", "registry", "store"];
        if plan.kill_broker {
            victims.push("broker");
        }
        for round in 0.. {
            if published.load(Ordering::Relaxed) {
                return;
            }
            let victim = victims.get(round).copied();
            let victim = victim.unwrap_or_else(|| victims[random.random_range(0..victims.len())]);
            tokio::time::sleep(Duration::from_millis(random.random_range(PAUSE_MS))).await;
            match victim {
                "broker" => self.broker.die_and_start_again().await,
                "store" => {
                    self.store.die().await;
                    self.store.start_again().await;
                }
                service => self.mesh.restart_service(service, Signal::KILL).await,
            }
            *self.deaths.entry(victim.to_owned()).or_default() += 1;
            let documents = self.store.count(DATABASE).await.unwrap_or_default();
            progress(&format!("{victim} was killed; {documents} of {} documents", plan.messages));
        }
    }

    /// Waits for all documents and returns their ids, sorted.
    async fn ids(&self, messages: u32, progress: &impl Fn(&str)) -> Vec<u64> {
        let mut last = (0, Instant::now());
        wait::until("all documents exist", Duration::from_secs(3600), async || {
            let count = self.store.count(DATABASE).await.unwrap_or_default();
            if count > last.0 {
                last = (count, Instant::now());
                progress(&format!("{count} of {messages} documents"));
            }
            if last.1.elapsed() >= SETTLE_TIMEOUT {
                let store = self.store.describe(DATABASE).await;
                panic!("no progress after {} of {messages} documents; the store says: {store}", last.0);
            }
            (count >= u64::from(messages)).then_some(())
        })
        .await;
        let documents = self.store.documents(DATABASE, messages.into(), SETTLE_TIMEOUT).await;
        let mut ids: Vec<_> =
            documents.iter().map(|document| document["id"].as_u64().expect("an id")).collect();
        ids.sort_unstable();
        ids
    }
}

/// Waits until no events are in flight and no results are pending, and returns the mesh's sums of all events
/// and results. Panics if the sums do not add up.
pub async fn settled(user: &Client) -> Value {
    wait::until("nothing is in flight or pending", SETTLE_TIMEOUT, async || {
        let mut sums = user.get("/v1/conservation").await.expect(200).json()["data"].take();
        let (events, sinks) = (sums["events"].take(), sums["sinks"].take());
        let sums = json!({ "events": events["sum"], "sinks": sinks["sum"] });
        assert_eq!(sums["events"]["drift"], 0, "{sums}");
        assert_eq!(sums["sinks"]["drift"], 0, "{sums}");
        let is_quiet = sums["events"]["in_flight"] == 0 && sums["sinks"]["pending"] == 0;
        is_quiet.then_some(sums)
    })
    .await
}
