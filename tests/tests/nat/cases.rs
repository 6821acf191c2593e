use std::io::ErrorKind;
use std::time::Duration;

use futures::future::join_all;
use proto::scheduler::v1::InvokeRequest;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use serde_json::json;
use tests::gate::Gate;
use tests::process::Signal;
use tests::{Shape, guests, wait};
use tonic::Code;

use crate::site::{Site, WORKER_PORTS};

/// How long it takes until a silent peer is considered lost, on a busy machine.
const LOST_TIMEOUT: Duration = Duration::from_secs(30);

pub async fn an_unreachable_worker_serves_through_its_tunnel(_: Shape) {
    let site = Site::start().await;
    for port in WORKER_PORTS {
        let dialled = tokio::net::TcpStream::connect((site.network.there, port)).await;
        assert_eq!(
            dialled.expect_err("the worker cannot be dialled").kind(),
            ErrorKind::ConnectionRefused,
            "{port}"
        );
    }
    let identity = site.workers().await.remove(0).identity.expect("an identity");
    assert_eq!((identity.name.as_str(), identity.address.as_str()), ("hidden", ""));

    let user = site.user();
    user.create_function("_", "hello", &guests::hello()).await;
    user.create_function("_", "mirror", &guests::mirror()).await;
    user.create_function("_", "much", &guests::answering_much(5)).await;
    let greetings = (0..100).map(|number| {
        let user = user.clone();
        async move {
            let answer = user.result("_", "hello", json!({ "name": number.to_string() })).await;
            assert_eq!(answer, json!({ "payload": format!("Hello {number}!") }));
        }
    });
    join_all(greetings).await;
    let much = user.result("_", "much", json!({})).await;
    assert_eq!(much.as_str().expect("a text").len(), (5 << 20) - 2);
    let there_and_back = json!("x".repeat(5 << 20));
    assert!(
        user.result("_", "mirror", there_and_back.clone()).await == there_and_back,
        "the result differs from the arguments"
    );
}

pub async fn deadline_and_caller_stop_its_guests(_: Shape) {
    let site = Site::start().await;
    let user = site.user();
    user.create_function("_", "spin", &guests::spinning()).await;
    let mut call = tonic::Request::new(InvokeRequest {
        module: "_".into(),
        function: "spin".into(),
        ..InvokeRequest::default()
    });
    call.set_timeout(Duration::from_secs(3));
    let late = tokio::spawn({
        let mut client = InvocationsClient::new(site.grpc().await);
        async move { client.invoke(call).await }
    });
    site.running(1).await;
    let late = late.await.expect("no panic").expect_err("the function never returns");
    // The client may time out before it receives the status.
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
    site.running(0).await;

    let waiting = tokio::spawn(async move { user.invoke("_", "spin", json!({})).await });
    site.running(1).await;
    waiting.abort();
    site.running(0).await;
}

pub async fn a_worker_rejoins_when_its_link_is_restored(_: Shape) {
    let site = Site::start().await;
    let user = site.user();
    user.create_function("_", "spin", &guests::spinning()).await;
    user.create_function("_", "hello", &guests::hello()).await;
    let running = tokio::spawn({
        let user = user.clone();
        async move { user.invoke("_", "spin", json!({})).await }
    });
    site.running(1).await;

    site.network.set_link(false);
    site.worker_is_in(false).await;
    let refused = user.invoke("_", "hello", json!({ "name": "you" })).await.expect(503);
    assert_eq!(refused.detail(), "No worker available");
    let lost = tokio::time::timeout(LOST_TIMEOUT, running)
        .await
        .expect("the worker is considered lost")
        .expect("no panic");
    assert!(lost.clone().expect(503).detail().contains("hidden was lost"), "{}", lost.text);
    // The worker stops abandoned invocations; only its own metrics show that.
    let pages = format!("http://127.0.0.1:{}/metrics", WORKER_PORTS[1]);
    wait::until("the guest has stopped", LOST_TIMEOUT, async || {
        let output = site.network.command("curl").args(["-s", "--max-time", "5", &pages]).output();
        let page = String::from_utf8(output.expect("failed to run curl").stdout).expect("text");
        page.lines()
            .any(|line| line == "funless_worker_invocations_running{worker=\"hidden\",service=\"worker\"} 0")
            .then_some(())
    })
    .await;

    site.network.set_link(true);
    site.worker_is_in(true).await;
    let answer = user.result("_", "hello", json!({ "name": "again" })).await;
    assert_eq!(answer, json!({ "payload": "Hello again!" }));
}

/// Stops the worker, and then the scheduler, which is the server of the tunnel.
pub async fn a_draining_service_finishes_running_invocations(_: Shape) {
    for worker_stops in [true, false] {
        let mut site = Site::start().await;
        let (user, gate) = (site.user(), Gate::start_at(site.network.here.into()).await);
        user.create_function("_", "caller", &guests::http_caller()).await;
        let running = tokio::spawn({
            let (user, url) = (user.clone(), gate.url().to_owned());
            async move { user.invoke("_", "caller", json!({ "url": url })).await }
        });
        gate.arrived(1).await;
        let stopping = if worker_stops { &mut site.worker } else { &mut site.scheduler };
        stopping.signal(Signal::TERM);
        wait::until("the service drains", LOST_TIMEOUT, async || {
            stopping.log().contains("SIGTERM: draining").then_some(())
        })
        .await;
        assert!(!running.is_finished() && stopping.status().is_none());
        gate.open();
        let answer = running.await.expect("no panic").expect(200).json();
        assert_eq!(answer["data"]["body"], "open", "{answer}");
        assert!(stopping.ended(LOST_TIMEOUT).await.success(), "the service exits with success");
    }
}
