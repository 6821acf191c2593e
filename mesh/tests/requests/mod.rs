//! Malformed requests: the stack refuses them with a reason, through every kind of channel.

use bytes::Bytes;
use http::Version;
use http_body_util::{BodyExt as _, Full};
use mesh::config::ServerConfig;
use mesh::{Channel, Error, Reason};
use prost::Message as _;
use proto::worker::v1::ExecuteRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::stage;

const EXECUTE: &str = "/funless.worker.v1.Execution/Execute";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// The problem of a request, its headers, its body, and the reason of the refusal.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8], Reason);

/// The status of a call with this body.
async fn call(channel: &Channel, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Status {
    let request =
        http::Request::post(path).version(Version::HTTP_2).header("content-type", "application/grpc");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let body = Body::new(Full::new(Bytes::copy_from_slice(body)));
    let request = request.body(body).expect("a request");
    let response = match tower::Service::call(&mut channel.clone(), request).await {
        Ok(response) => response,
        Err(status) => return status,
    };
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    let body = response.into_body().collect().await.expect("a complete body");
    body.trailers().and_then(Status::from_header_map).expect("a status")
}

fn message_to(function: &str) -> Vec<u8> {
    let message = ExecuteRequest { function: function.into(), ..ExecuteRequest::default() }.encode_to_vec();
    [&[0], &u32::try_from(message.len()).expect("short").to_be_bytes()[..], &message].concat()
}

#[tokio::test]
async fn http_1_is_refused() {
    let stage = stage(&ServerConfig::default(), None).await;
    let port = stage.served.endpoint.port().expect("TCP");
    let message = message_to("caller");
    let head = format!(
        "POST {EXECUTE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        message.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    stream.write_all(&[head.as_bytes(), &message].concat()).await.expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("a response");
    assert!(response.starts_with("HTTP/1.1 505"), "{response}");
    assert!(response.ends_with("this port is for gRPC, over HTTP/2 only\n"), "{response}");
}

#[tokio::test]
async fn malformed_requests_are_refused_with_a_reason() {
    let stage = stage(&ServerConfig::default(), None).await;
    let good = message_to("caller");
    // A length of 255 in a message of two bytes.
    let garbage = [0, 0, 0, 0, 2, 0x0a, 0xff];
    let gzip = [("grpc-encoding", "gzip")];
    for (kind, channel) in &stage.channels {
        for path in [EXECUTE, HEALTH] {
            let cases: [Case; 6] = [
                ("garbage", &[], &garbage, Reason::BadRequest),
                ("cut short", &[], &garbage[..6], Reason::BadRequest),
                ("no message", &[], &[], Reason::BadRequest),
                ("a bad flag", &[], &[7, 0, 0, 0, 0], Reason::BadRequest),
                ("too large", &[], &[0, 0x7f, 0, 0, 0], Reason::TooLarge),
                ("compressed", &gzip, &good, Reason::Unimplemented),
            ];
            for (what, headers, body, reason) in cases {
                let status = call(channel, path, headers, body).await;
                assert_eq!(status.code(), mesh::error::code(reason), "{kind} {path} {what}: {status:?}");
                assert!(!status.details().is_empty(), "{kind} {path} {what}: no ErrorInfo");
                assert_eq!(Error::from(&status).reason, reason, "{kind} {path} {what}: {status:?}");
            }
        }
        for path in ["/funless.worker.v1.Execution/Nope", "/no.such.Service/Do", "/x"] {
            let status = call(channel, path, &[], &good).await;
            assert_eq!(status.code(), Code::Unimplemented, "{kind} {path}: {status:?}");
            let error = Error::from(&status);
            assert_eq!(
                (error.reason, status.details().is_empty()),
                (Reason::Unimplemented, false),
                "{kind} {path}"
            );
            assert!(error.message.contains("no such method"), "{kind} {path}: {error}");
        }
    }
}

#[tokio::test]
async fn timeouts_have_the_same_meaning_through_all_channels() {
    let stage = stage(&ServerConfig::default(), None).await;
    for (kind, channel) in &stage.channels {
        let status = async |timeout| {
            call(channel, EXECUTE, &[("grpc-timeout", timeout)], &message_to("deadline")).await
        };
        for timeout in ["1n", "999n", "0m", "0S"] {
            let status = status(timeout).await;
            assert_eq!(status.code(), Code::DeadlineExceeded, "{kind} {timeout}: {status:?}");
            assert_eq!(Error::from(&status).reason, Reason::DeadlineExceeded, "{kind} {timeout}");
        }
        for timeout in ["", "1", "m", "1x", "-1S", "+1S", "123456789n"] {
            let error = Error::from(status(timeout).await);
            assert_eq!(error.reason, Reason::BadRequest, "{kind} {timeout}: {error}");
            assert!(error.message.contains("grpc-timeout"), "{kind} {timeout}: {error}");
        }
        assert_eq!(status("30S").await.code(), Code::Ok, "{kind}");
    }
}
