use std::sync::Arc;

use mesh::testing::Served;
use mesh::{Error, Reason};
use parking_lot::Mutex;
use proto::scheduler::v1::policies_server::{Policies, PoliciesServer};
use proto::scheduler::v1::simulate_request::Policy;
use proto::scheduler::v1::{
    CheckScriptRequest, CheckScriptResponse, DefaultPolicy, ExplainRequest, ExplainResponse,
    ListDecisionsRequest, ListDecisionsResponse, Placement, SimulateRequest, SimulateResponse,
    SimulatedWorker, TimedInvocation,
};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use super::{data, detail, refused};
use crate::support::Mesh;
use crate::support::http::send;

const PATH: &str = "/v1/app/simulate";

/// Places everything on `w`, unless a failure is set.
#[derive(Clone, Default)]
struct FakePolicies {
    asked: Arc<Mutex<Option<SimulateRequest>>>,
    failure: crate::support::Failure,
}

#[tonic::async_trait]
impl Policies for FakePolicies {
    async fn check_script(
        &self,
        _: Request<CheckScriptRequest>,
    ) -> Result<Response<CheckScriptResponse>, Status> {
        Err(Status::unimplemented("only simulations"))
    }

    async fn explain(&self, _: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        Err(Status::unimplemented("only simulations"))
    }

    async fn list_decisions(
        &self,
        _: Request<ListDecisionsRequest>,
    ) -> Result<Response<ListDecisionsResponse>, Status> {
        Err(Status::unimplemented("only simulations"))
    }

    async fn simulate(
        &self,
        request: Request<SimulateRequest>,
    ) -> Result<Response<SimulateResponse>, Status> {
        crate::support::fail_if_set(&self.failure)?;
        let request = request.into_inner();
        let placement = |invocation| Placement { invocation, worker: "w".into(), ..Placement::default() };
        let placements = (0..).take(request.load.len()).map(placement).collect();
        *self.asked.lock() = Some(request);
        Ok(Response::new(SimulateResponse { placements }))
    }
}

async fn mesh_with_simulation() -> (Mesh, FakePolicies, Served) {
    let policies = FakePolicies::default();
    let router = tonic::service::Routes::new(PoliciesServer::new(policies.clone())).into_axum_router();
    let served = Served::start(router).await;
    let mesh = Mesh::start_with(|config| config.scheduler = served.endpoint.clone()).await;
    (mesh, policies, served)
}

async fn ask(mesh: &Mesh, body: Value) -> (u16, Value) {
    let answer = send(mesh.request("POST", PATH).json(&body)).await;
    (answer.status, answer.published())
}

#[tokio::test]
async fn requests_are_passed_to_the_scheduler() {
    let (mesh, policies, _served) = mesh_with_simulation().await;
    let body = json!({
        "workers": [{"name": "w", "memory_total": 5_000_000_000_u64, "memory_available": 7}, {"name": "x"}],
        "load": [{"at_ns": 3, "tag": "t", "capacity_kb": 9, "duration_ns": 0}, {"at_ns": u64::MAX}],
        "seed": u64::MAX,
    });
    let placement = |invocation| json!({"invocation": invocation, "worker": "w", "refusal": ""});
    let expected = data(json!({"placements": [placement(0), placement(1)]}));
    assert_eq!(ask(&mesh, body).await, (200, expected));
    let worker = |name: &str, memory_total, memory_available| SimulatedWorker {
        name: name.into(),
        memory_total,
        memory_available,
    };
    let asked = policies.asked.lock().take().expect("a request");
    assert_eq!(asked.workers, [worker("w", 5_000_000_000, Some(7)), worker("x", 0, None)]);
    let first = TimedInvocation { at_ns: 3, tag: "t".into(), capacity_kb: 9, duration_ns: Some(0) };
    assert_eq!(asked.load, [first, TimedInvocation { at_ns: u64::MAX, ..TimedInvocation::default() }]);
    assert_eq!(asked.seed, u64::MAX);
}

#[tokio::test]
async fn the_policy_is_a_script_a_text_or_the_default() {
    let (mesh, policies, _served) = mesh_with_simulation().await;
    let cases = [
        (json!({"script": "s"}), Policy::Script("s".into())),
        (json!({"content": "- default:"}), Policy::Content("- default:".into())),
        (json!({}), Policy::DefaultPolicy(DefaultPolicy {})),
        (json!({"script": null}), Policy::DefaultPolicy(DefaultPolicy {})),
    ];
    for (mut body, expected) in cases {
        body["workers"] = json!([]);
        body["load"] = json!([]);
        assert_eq!(ask(&mesh, body).await, (200, data(json!({"placements": []}))));
        assert_eq!(policies.asked.lock().take().expect("a request").policy, Some(expected));
    }
    let both = json!({"script": "s", "content": "c", "workers": [], "load": []});
    assert_eq!(ask(&mesh, both).await, (400, detail("Bad Request: expected script or content, not both")));
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let (mesh, policies, _served) = mesh_with_simulation().await;
    let cases = [
        (json!({"load": []}), "missing field `workers`"),
        (json!({"workers": [], "load": [{}]}), "missing field `at_ns`"),
        (json!({"workers": [], "load": [{"at_ns": -1}]}), "invalid value: integer `-1`, expected u64"),
        (json!({"workers": [{"name": "w", "memory": 1}], "load": []}), "unknown field `memory`"),
        (json!([]), "invalid length 0"),
    ];
    for (body, words) in cases {
        let (status, answer) = ask(&mesh, body).await;
        let detail_text = answer["errors"]["detail"].as_str().expect("a detail");
        assert!(status == 400 && detail_text.contains(words), "{status} {detail_text}");
    }
    let cases = [
        (Error::field("workers[1].name", "is taken"), 422, refused("workers[1].name", "is taken")),
        (Error::field("content", "line 1: no script"), 422, refused("content", "line 1: no script")),
        (Error::new(Reason::ScriptNotFound, "no script s"), 404, detail("Not Found: no script s")),
        (Error::new(Reason::TooLarge, "too large"), 413, detail("too large")),
    ];
    for (failure, status, answer) in cases {
        *policies.failure.lock() = Some(failure);
        assert_eq!(ask(&mesh, json!({"workers": [], "load": []})).await, (status, answer));
    }
}
