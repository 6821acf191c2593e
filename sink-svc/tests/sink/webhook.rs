//! Results posted to a URL.

use std::time::Duration;

use axum::response::IntoResponse as _;
use http::StatusCode;
use http::header::{LOCATION, RETRY_AFTER};
use mesh::testing::eventually;
use proto::binding::v1::BindingState;
use proto::sink::v1::SinkCounts;
use tokio::time::Instant;

use crate::support::receiver::Receiver;
use crate::support::{Database, World, assert_conserved, delivered};

#[tokio::test]
async fn a_result_is_posted_with_its_headers() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    let params = r#"{"url":"URL","secret":"Jefe","headers":{"X-Shop":"7"}}"#;
    world.registry.put("a", "webhook", &params.replace("URL", &receiver.url()));
    let sink = world.start(&database).await;
    sink.eventually_is("a", BindingState::Connected).await;
    sink.take("a", "i1", "what do ya want for nothing?").await;
    sink.eventually_counts("a", delivered(1)).await;
    let taken = receiver.taken();
    assert_eq!(taken[0].body, "what do ya want for nothing?");
    for (name, value) in [
        ("content-type", "application/json"),
        ("idempotency-key", "i1"),
        ("x-funless-invocation", "i1"),
        ("x-funless-function", "shop/order"),
        ("x-shop", "7"),
        // The test vector of RFC 4231.
        ("x-funless-signature", "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    ] {
        assert_eq!(taken[0].headers[name], value, "{name}");
    }
    assert!(sink.status("a").await.last_activity_ms > 0);
}

#[tokio::test]
async fn a_refused_result_is_retried_and_does_not_block_others() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    let params = format!(r#"{{"url":"{}","max_attempts":2}}"#, receiver.url());
    world.registry.put("a", "webhook", &params);
    receiver.answer(|body| match body {
        r#""poison""# => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
        _ => StatusCode::OK.into_response(),
    });
    let sink = world.start(&database).await;
    sink.take("a", "i0", r#""poison""#).await;
    for number in 1..=20 {
        sink.take("a", &format!("i{number}"), "1").await;
    }
    let expected = SinkCounts { accepted: 21, delivered: 20, dead: 1, ..SinkCounts::default() };
    sink.eventually_counts("a", expected).await;
    let letters = sink.letters().await;
    assert_eq!((letters[0].invocation_id.as_str(), letters[0].attempts), ("i0", 2));
    assert_eq!(letters[0].reason, "answered 422 Unprocessable Entity");
    assert_eq!(receiver.requests(), 22, "the poison twice");
    assert_conserved(&database).await;
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    for id in ["destination", "result"] {
        world.registry.put(id, "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    }
    let sink = world.start(&database).await;
    // 429 concerns the whole binding, 409 one result.
    for (id, status) in [("destination", StatusCode::TOO_MANY_REQUESTS), ("result", StatusCode::CONFLICT)] {
        receiver.answer(move |_| (status, [(RETRY_AFTER, "3")]).into_response());
        let (requests, start) = (receiver.requests(), Instant::now());
        sink.take(id, "i", "1").await;
        eventually("a request was sent", async || receiver.requests() > requests).await;
        receiver.answer(|_| StatusCode::OK.into_response());
        sink.eventually_counts(id, delivered(1)).await;
        assert!(start.elapsed() >= Duration::from_secs(3), "{id}: {:?}", start.elapsed());
        assert_eq!(receiver.requests(), requests + 2, "{id}");
    }
}

#[tokio::test]
async fn a_result_that_never_gets_an_answer_is_dead_lettered() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    let params = format!(r#"{{"url":"{}","max_attempts":1,"timeout_ms":1000}}"#, receiver.url());
    world.registry.put("a", "webhook", &params);
    receiver.answer(|body| match body {
        r#""poison""# => StatusCode::REQUEST_TIMEOUT.into_response(),
        _ => StatusCode::OK.into_response(),
    });
    let sink = world.start(&database).await;
    sink.take("a", "i0", r#""poison""#).await;
    let message = sink.eventually_is("a", BindingState::Retrying).await;
    assert!(message.contains("did not answer in time"), "{message}");
    assert_eq!(sink.counts("a").await.pending, 1, "it may be the store's fault");
    // If the store answers others, it is the result's fault.
    sink.take("a", "i1", "1").await;
    let expected = SinkCounts { accepted: 2, delivered: 1, dead: 1, ..SinkCounts::default() };
    sink.eventually_counts("a", expected).await;
    assert_eq!(sink.letters().await[0].invocation_id, "i0");
    assert!(sink.letters().await[0].reason.contains("did not answer in time"));
}

#[tokio::test]
async fn a_redirect_is_final_and_names_its_target() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    let elsewhere = Receiver::start().await;
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    let with_secrets = elsewhere.url().replace("http://", "http://user:hunter2@") + "?token=hunter2";
    receiver.answer(move |_| (StatusCode::FOUND, [(LOCATION, with_secrets.clone())]).into_response());
    let sink = world.start(&database).await;
    sink.take("a", "i", "1").await;
    sink.eventually_counts("a", SinkCounts { accepted: 1, dead: 1, ..SinkCounts::default() }).await;
    let letter = sink.letters().await.remove(0);
    let expected = format!(
        "answered 302 Found, a redirect to {}: sinks do not follow redirects; \
         set the url to the address that takes results",
        elsewhere.url()
    );
    assert_eq!((letter.reason.as_str(), letter.attempts), (expected.as_str(), 1));
    assert_eq!(sink.eventually_is("a", BindingState::Retrying).await, expected);
    assert_eq!((receiver.requests(), elsewhere.requests()), (1, 0));
}

#[tokio::test]
async fn the_last_refusal_is_shown_until_a_delivery_succeeds() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    receiver.answer(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    let sink = world.start(&database).await;
    sink.take("a", "i", "1").await;
    sink.eventually_is("a", BindingState::Retrying).await;
    // That the receiver listens does not mean that it accepts results.
    eventually("it is sent again", async || {
        let status = sink.status("a").await;
        assert_eq!(status.state(), BindingState::Retrying);
        assert_eq!(status.message, "answered 500 Internal Server Error");
        receiver.requests() >= 3
    })
    .await;
    receiver.answer(|_| StatusCode::OK.into_response());
    sink.eventually_counts("a", delivered(1)).await;
    assert_eq!(sink.eventually_is("a", BindingState::Connected).await, "");
}

#[tokio::test]
async fn a_refusal_outlives_an_outage() {
    let (world, database, mut receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    let params = format!(r#"{{"url":"{}","max_attempts":1,"max_age_s":1}}"#, receiver.url());
    world.registry.put("a", "webhook", &params);
    receiver.answer(|_| StatusCode::FORBIDDEN.into_response());
    let sink = world.start(&database).await;
    let dead = |count| SinkCounts { accepted: count, dead: count, ..SinkCounts::default() };
    sink.take("a", "i1", "1").await;
    sink.eventually_counts("a", dead(1)).await;
    receiver.stop().await;
    sink.take("a", "i2", "2").await;
    eventually("it is unavailable", async || sink.status("a").await.message.contains("refused")).await;
    sink.eventually_counts("a", dead(2)).await;
    // Nothing is pending any more. A probe finds that the receiver listens again.
    receiver.listen().await;
    let is_shown = async || {
        let status = sink.status("a").await;
        assert_eq!(status.state(), BindingState::Retrying, "nothing has been delivered");
        status.message == "answered 403 Forbidden"
    };
    eventually("the refusal is shown again", is_shown).await;
}

#[tokio::test]
async fn a_refused_result_does_not_block_later_ones_forever() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    let params = format!(r#"{{"url":"{}","ordered":true,"max_attempts":2}}"#, receiver.url());
    world.registry.put("a", "webhook", &params);
    receiver.answer(|body| match body.parse() {
        Ok(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        Err(_) => StatusCode::OK.into_response(),
    });
    let sink = world.start(&database).await;
    let statuses = ["403", "404", "413", "500"];
    for body in statuses {
        sink.take("a", body, body).await;
        sink.take("a", &format!("after {body}"), "{}").await;
    }
    let expected = SinkCounts { accepted: 8, delivered: 4, dead: 4, ..SinkCounts::default() };
    sink.eventually_counts("a", expected).await;
    let dead: Vec<_> = sink.letters().await.into_iter().map(|letter| letter.invocation_id).collect();
    assert_eq!(dead, statuses);
    // A rejected user is not the result's fault.
    receiver.answer(|_| StatusCode::UNAUTHORIZED.into_response());
    sink.take("a", "i", "{}").await;
    sink.eventually_is("a", BindingState::Retrying).await;
    let requests = receiver.requests();
    eventually("more requests were sent", async || receiver.requests() >= requests + 2).await;
    assert_eq!(sink.counts("a").await.pending, 1);
}
