//! `mesh::bindings::Replica`: replicas of a service that share the bindings of a real registry.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh::bindings::{End, Replica, StatusBoard, find_existing, find_holders};
use mesh::channel::{Channel, Dialer};
use mesh::config::Listen;
use mesh::deadline::Deadline;
use mesh::endpoint::Endpoint;
use mesh::health::Readiness;
use mesh::listener::Listener;
use mesh::testing::eventually;
use parking_lot::Mutex;
use proto::binding::v1::{BindingState, BindingStatus};
use proto::registry::v1::{
    BindingList, BindingRole, CreateFunctionSpec, DeleteFunctionRequest, ListModulesRequest,
    UpdateFunctionSpec,
};
use registry_svc::Config;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::{Database, Registry, binding, config, contract, spec, wasm};

contract!(
    created_bindings_start_and_deleted_ones_end,
    changed_bindings_are_restarted,
    replicas_share_bindings_and_hand_over_when_they_stop,
    a_replica_that_stops_slowly_keeps_its_leases,
    a_dead_replica_is_replaced,
    bindings_keep_running_while_the_registry_is_down,
    failed_bindings_are_restarted_after_a_delay,
);

const LEASE: Duration = Duration::from_millis(1200);

/// A registry that listens on a Unix socket.
struct Served {
    registry: Registry,
    socket: PathBuf,
    serving: JoinHandle<()>,
}

impl Served {
    async fn start(database: &Database, directory: &Path) -> Self {
        let lease_ms = u32::try_from(LEASE.as_millis()).expect("short");
        let config = Config { binding_lease_ms: lease_ms, ..config(database) };
        let registry = Registry::start_as(config).await;
        let socket = directory.join("registry.sock");
        let listener = Listener::bind(&Listen::Unix(socket.clone())).await.expect("a socket");
        let router = registry.service.router.clone();
        let serving = listener.serve(router, registry.host.draining.clone(), Duration::from_secs(5));
        Self { registry, socket, serving: tokio::spawn(serving) }
    }

    /// Stops the registry as if its process had died.
    async fn kill(self) {
        self.serving.abort();
        let _ = self.serving.await;
        self.registry.stop().await;
    }

    fn dial(&self) -> Channel {
        Dialer::default().dial(&Endpoint::Unix(self.socket.clone())).expect("a socket")
    }
}

/// The bindings that the replicas of a test run and have run.
#[derive(Clone, Default)]
struct World {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// The running bindings, by replica and topic.
    running: BTreeSet<(&'static str, String)>,
    starts: Vec<(Instant, String)>,
    ends: Vec<(String, End)>,
    /// Topics that ran on two replicas at the same time.
    twice: Vec<String>,
}

impl World {
    fn enter(&self, replica: &'static str, topic: &str) -> RunningTopic {
        let mut seen = self.seen.lock();
        if seen.running.iter().any(|(_, running)| running == topic) {
            seen.twice.push(topic.to_owned());
        }
        seen.running.insert((replica, topic.to_owned()));
        seen.starts.push((Instant::now(), topic.to_owned()));
        RunningTopic { world: self.clone(), replica, topic: topic.to_owned() }
    }

    /// The topics that a replica runs.
    fn topics(&self, replica: &'static str) -> Vec<String> {
        let seen = self.seen.lock();
        let running = seen.running.iter().filter(|(at, _)| *at == replica);
        running.map(|(_, topic)| topic.clone()).collect()
    }

    async fn await_topics(&self, replica: &'static str, topics: &[&str]) {
        eventually(&format!("{replica} runs {topics:?}"), async || self.topics(replica) == topics).await;
    }

    async fn await_count(&self, replica: &'static str, count: usize) {
        eventually(&format!("{replica} runs {count}"), async || self.topics(replica).len() == count).await;
    }

    fn ends(&self) -> Vec<(String, End)> {
        self.seen.lock().ends.clone()
    }

    fn starts(&self) -> usize {
        self.seen.lock().starts.len()
    }

    fn assert_none_ran_twice(&self) {
        assert!(self.seen.lock().twice.is_empty(), "{:?}", self.seen.lock().twice);
    }
}

/// A topic that runs on a replica until this is dropped.
struct RunningTopic {
    world: World,
    replica: &'static str,
    topic: String,
}

impl Drop for RunningTopic {
    fn drop(&mut self) {
        self.world.seen.lock().running.remove(&(self.replica, self.topic.clone()));
    }
}

/// A replica in its own task.
struct Started {
    board: StatusBoard,
    stopping: CancellationToken,
    task: JoinHandle<()>,
    /// Each binding needs a permit to end.
    ends: Arc<Semaphore>,
}

impl Started {
    fn start(name: &'static str, registry: &Served, world: &World) -> Self {
        let ends = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self::start_with(name, registry, world, ends)
    }

    fn start_with(name: &'static str, registry: &Served, world: &World, ends: Arc<Semaphore>) -> Self {
        let replica = Replica::new(BindingRole::Event, registry.dial(), Endpoint::Local(name.into()));
        let (board, stopping) = (replica.board(), CancellationToken::new());
        let readiness = Readiness::default();
        let (following, holding) = (readiness.condition("registry"), readiness.condition("bindings"));
        let (world, may_end) = (world.clone(), Arc::clone(&ends));
        let task = tokio::spawn(replica.run(following, holding, stopping.clone(), move |bound, held| {
            let (world, may_end) = (world.clone(), Arc::clone(&may_end));
            async move {
                let params = bound.binding.expect("a binding").params;
                let params: serde_json::Value = serde_json::from_str(&params).expect("JSON");
                let topic = params["topic"].as_str().expect("a topic");
                let _stay = world.enter(name, topic);
                assert_ne!(topic, "panics", "this topic should panic");
                if topic == "ends" {
                    return;
                }
                held.leased().await;
                held.report.connected();
                let end = held.ended().await;
                world.seen.lock().ends.push((topic.to_owned(), end));
                may_end.acquire().await.expect("the semaphore is open").forget();
            }
        }));
        Self { board, stopping, task, ends }
    }

    async fn stop(self) {
        self.stopping.cancel();
        self.task.await.expect("the replica does not panic");
    }
}

fn topic(topic: &str) -> proto::registry::v1::Binding {
    binding("mqtt", &format!(r#"{{"topic":"{topic}"}}"#))
}

/// Creates a function with an event of this topic. Returns the event's id.
async fn create(registry: &Registry, name: &str) -> String {
    let spec = CreateFunctionSpec { events: vec![topic(name)], ..spec("_", name) };
    let created = registry.create(spec, &wasm("1")).await.expect("created");
    created.function.expect("a function").events.remove(0).id
}

async fn delete(registry: &Registry, name: &str) {
    let delete = DeleteFunctionRequest { module: "_".into(), name: name.into() };
    registry.functions().delete_function(delete).await.expect("deleted");
}

async fn created_bindings_start_and_deleted_ones_end(database: Database) {
    let directory = tempfile::tempdir().expect("a directory");
    let served = Served::start(&database, directory.path()).await;
    let world = World::default();
    create(&served.registry, "before").await;
    let replica = Started::start("a", &served, &world);
    world.await_topics("a", &["before"]).await;

    let id = create(&served.registry, "later").await;
    let is_connected = |status: BindingStatus| status.state() == BindingState::Connected;
    eventually("the binding is connected", async || replica.board.get(&id).is_some_and(is_connected)).await;
    let deadline = Deadline::after(Duration::from_secs(5));
    let holders = find_holders(&served.dial(), vec![id.clone()], deadline).await.expect("holders");
    assert_eq!(holders, [(id.clone(), Endpoint::Local("a".into()))].into());
    let asked = vec![id.clone(), "nothing".to_owned()];
    let existing = find_existing(&served.dial(), asked, deadline).await.expect("existing bindings");
    assert_eq!(existing, [id.clone()].into());

    delete(&served.registry, "later").await;
    world.await_topics("a", &["before"]).await;
    assert_eq!(world.ends(), [("later".into(), End::Removed)]);
    eventually("its status is removed", async || replica.board.get(&id).is_none()).await;
    replica.stop().await;
    assert_eq!(world.ends()[1..], [("before".into(), End::HandOver)]);
}

async fn changed_bindings_are_restarted(database: Database) {
    let directory = tempfile::tempdir().expect("a directory");
    let served = Served::start(&database, directory.path()).await;
    let world = World::default();
    create(&served.registry, "f").await;
    let _replica = Started::start("a", &served, &world);
    world.await_topics("a", &["f"]).await;

    let update = |events: Option<BindingList>, new_name: Option<&str>| UpdateFunctionSpec {
        module: "_".into(),
        name: "f".into(),
        new_name: new_name.map(str::to_owned),
        events,
        ..UpdateFunctionSpec::default()
    };
    let both = BindingList { bindings: vec![topic("more"), topic("f")] };
    served.registry.update(update(Some(both), None), None).await.expect("updated");
    world.await_topics("a", &["f", "more"]).await;
    assert_eq!((world.starts(), world.ends().len()), (2, 0), "unchanged bindings are not restarted");

    served.registry.update(update(None, Some("g")), None).await.expect("renamed");
    eventually("both have been restarted", async || world.starts() == 4).await;
    world.await_topics("a", &["f", "more"]).await;
    assert!(world.ends().iter().all(|(_, end)| *end == End::HandOver), "{:?}", world.ends());
    world.assert_none_ran_twice();
}

async fn replicas_share_bindings_and_hand_over_when_they_stop(database: Database) {
    let directory = tempfile::tempdir().expect("a directory");
    let served = Served::start(&database, directory.path()).await;
    let world = World::default();
    for name in ["t0", "t1", "t2", "t3", "t4"] {
        create(&served.registry, name).await;
    }
    let first = Started::start("a", &served, &world);
    world.await_count("a", 5).await;
    let _second = Started::start("b", &served, &world);
    world.await_count("b", 2).await;
    world.await_count("a", 3).await;
    first.stop().await;
    world.await_count("b", 5).await;
    world.assert_none_ran_twice();
}

async fn a_replica_that_stops_slowly_keeps_its_leases(database: Database) {
    let directory = tempfile::tempdir().expect("a directory");
    let served = Served::start(&database, directory.path()).await;
    let world = World::default();
    create(&served.registry, "t0").await;
    create(&served.registry, "t1").await;
    let slow = Started::start_with("a", &served, &world, Arc::new(Semaphore::new(0)));
    world.await_count("a", 2).await;
    let _other = Started::start("b", &served, &world);
    slow.stopping.cancel();
    eventually("both are told to end", async || world.ends().len() == 2).await;

    let told_at = Instant::now();
    slow.ends.add_permits(1);
    world.await_count("b", 1).await;
    eventually("a lease would have expired", async || told_at.elapsed() > LEASE * 3).await;
    assert_eq!((world.topics("a").len(), world.topics("b").len()), (1, 1));
    slow.ends.add_permits(1);
    world.await_count("b", 2).await;
    slow.task.await.expect("the replica does not panic");
    world.assert_none_ran_twice();
}

async fn a_dead_replica_is_replaced(database: Database) {
    let directory = tempfile::tempdir().expect("a directory");
    let served = Served::start(&database, directory.path()).await;
    let world = World::default();
    for name in ["t0", "t1", "t2", "t3"] {
        create(&served.registry, name).await;
    }
    let (dying, _other) = (Started::start("a", &served, &world), Started::start("b", &served, &world));
    world.await_count("a", 2).await;
    world.await_count("b", 2).await;
    let died = Instant::now();
    dying.task.abort();
    world.await_count("b", 4).await;
    assert_eq!(world.topics("a").len(), 0, "its bindings have ended with it");
    // One lease, one renewal of the other replica, and time for a busy machine.
    assert!(died.elapsed() < LEASE + LEASE / 3 + Duration::from_secs(3), "{:?}", died.elapsed());
    world.assert_none_ran_twice();
}

async fn bindings_keep_running_while_the_registry_is_down(database: Database) {
    let directory = tempfile::tempdir().expect("a directory");
    let served = Served::start(&database, directory.path()).await;
    let world = World::default();
    for name in ["t0", "t1", "t2", "t3"] {
        create(&served.registry, name).await;
    }
    let _replicas = [Started::start("a", &served, &world), Started::start("b", &served, &world)];
    world.await_count("a", 2).await;
    world.await_count("b", 2).await;
    let before = (world.topics("a"), world.topics("b"));
    let starts = world.starts();
    served.kill().await;
    let down_since = Instant::now();
    eventually("all leases have expired", async || down_since.elapsed() > LEASE * 2).await;
    assert_eq!((world.topics("a"), world.topics("b")), before);

    let served = Served::start(&database, directory.path()).await;
    create(&served.registry, "new").await;
    eventually("the new binding runs", async || world.topics("a").len() + world.topics("b").len() == 5).await;
    assert_eq!(world.starts(), starts + 1, "no binding has moved");
    world.assert_none_ran_twice();
}

async fn failed_bindings_are_restarted_after_a_delay(database: Database) {
    let directory = tempfile::tempdir().expect("a directory");
    let served = Served::start(&database, directory.path()).await;
    let world = World::default();
    let ends = create(&served.registry, "ends").await;
    create(&served.registry, "panics").await;
    create(&served.registry, "fine").await;
    let replica = Started::start("a", &served, &world);
    let starts = |topic: &str| {
        let seen = world.seen.lock();
        let starts = seen.starts.iter().filter(|(_, started)| started == topic);
        starts.map(|(at, _)| *at).collect::<Vec<_>>()
    };
    let retrying = async || {
        let status = replica.board.get(&ends);
        status.is_some_and(|status| status.state() == BindingState::Retrying)
    };
    eventually("the failure is reported", retrying).await;
    for topic in ["ends", "panics"] {
        // Other changes of the registry do not restart it earlier.
        eventually(&format!("{topic} has started three times"), async || {
            let known = served.registry.modules().list_modules(ListModulesRequest {}).await.expect("modules");
            served.registry.create_module(&format!("m{}", known.into_inner().modules.len())).await;
            starts(topic).len() >= 3
        })
        .await;
        let times = starts(topic);
        let delays: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(delays.iter().all(|delay| *delay >= Duration::from_millis(900)), "{delays:?}");
    }
    assert_eq!(starts("fine").len(), 1);
    delete(&served.registry, "ends").await;
    eventually("its status is removed", async || replica.board.get(&ends).is_none()).await;
    replica.stop().await;
}
