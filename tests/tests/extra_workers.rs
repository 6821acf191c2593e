//! Additional workers and schedulers: they join with their own settings, and leave when they are dropped.

use std::time::Duration;

use proto::scheduler::v1::cluster_client::ClusterClient;
use proto::scheduler::v1::{ListWorkersRequest, WorkerState};
use tests::{ExtraScheduler, ExtraWorker, Mesh, Shape, grpc, wait};

const SHAPE: Shape = Shape { name: "with_extras", postgres: false, ..Shape::SIX_PROCESSES };
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn extra_services_join_and_leave() {
    let mesh = Mesh::start(SHAPE).await;
    let scheduler = ExtraScheduler::start(&mesh, "scheduler-2", &[]).await;
    let settings = [("total_memory_bytes", "100000000"), ("tag", "edge")];
    let worker = ExtraWorker::start(&mesh, "edge-1", &settings).await;
    let schedulers = format!("[{:?}]", scheduler.address());
    let elsewhere = ExtraWorker::start(&mesh, "edge-2", &[("schedulers", &schedulers)]).await;

    let admin = ClusterClient::new(grpc::connect(&mesh, mesh.admin().token()).await);
    let workers = async || -> Vec<WorkerState> {
        admin.clone().list_workers(ListWorkersRequest {}).await.expect("a list").into_inner().workers
    };
    let states = workers().await;
    let [extra, _] = &states[..] else { panic!("expected edge-1 and the mesh's own worker: {states:?}") };
    let identity = extra.identity.clone().expect("an identity");
    assert_eq!((identity.name.as_str(), identity.tag.as_str()), (worker.name(), "edge"));
    assert_eq!(identity.address, worker.address());
    assert_eq!(extra.memory_total, 100_000_000);

    let mut second = ClusterClient::new(scheduler.channel());
    let there = second.list_workers(ListWorkersRequest {}).await.expect("a list").into_inner().workers;
    let [only] = &there[..] else { panic!("expected only edge-2: {there:?}") };
    assert_eq!(only.identity.clone().expect("an identity").name, elsewhere.name());

    drop(worker);
    wait::until("the worker has left", LIMIT, async || (workers().await.len() == 1).then_some(())).await;
}
