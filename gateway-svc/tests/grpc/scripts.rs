//! Scripts at the gRPC port.

use std::time::Duration;

use mesh::channel::Channel;
use mesh::{Caller, Error, Reason};
use proto::registry::v1::scripts_client::ScriptsClient;
use proto::registry::v1::*;
use tonic::Status;

use super::{reason, with_token};
use crate::support::{ANN, Mesh, ROOT, nowhere};

const YAML: &str = "- default:\n  - workers: '*'\n";

fn scripts(mesh: &Mesh) -> ScriptsClient<Channel> {
    ScriptsClient::new(mesh.edge.channel())
}

fn create(name: &str, content: &str) -> CreateScriptRequest {
    CreateScriptRequest {
        script: Some(Script { name: name.into(), content: content.into(), ..Script::default() }),
    }
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, Status>) -> Error {
    outcome.expect_err("refused").into()
}

#[tokio::test]
async fn a_script_is_created_shown_and_deleted() {
    for mesh in [Mesh::start().await, Mesh::start_in_one_process().await] {
        let mut scripts = scripts(&mesh);
        let created = scripts.create_script(with_token(ANN, create("s", YAML))).await.expect("created");
        assert_eq!(created.metadata().get(mesh::REVISION_HEADER).expect("a revision"), "1");
        let script = Some(Script { name: "s".into(), content: YAML.into(), ..Script::default() });
        let expected = CreateScriptResponse { script: script.clone(), revision: 1 };
        assert_eq!(created.into_inner(), expected);
        assert_eq!(mesh.registry.state.lock().caller, Some(Caller::Subject("ann".into())));

        let request = with_token(ROOT, GetScriptRequest { name: "s".into() });
        assert_eq!(scripts.get_script(request).await.expect("shown").into_inner().script, script);
        let listed =
            scripts.list_scripts(with_token(ANN, ListScriptsRequest::default())).await.expect("listed");
        assert_eq!(listed.into_inner().scripts, Vec::from_iter(script));
        let request = with_token(ANN, DeleteScriptRequest { name: "s".into(), force: false });
        assert_eq!(scripts.delete_script(request).await.expect("deleted").into_inner().revision, 2);
        let request = with_token(ANN, GetScriptRequest { name: "s".into() });
        assert_eq!(reason(scripts.get_script(request).await), Reason::ScriptNotFound);
    }
}

#[tokio::test]
async fn an_invalid_script_is_refused_with_its_problems() {
    let mesh = Mesh::start().await;
    let outcome = scripts(&mesh).create_script(with_token(ANN, create("s", "wrong 1\n\nwrong 2"))).await;
    let error = refusal(outcome);
    let fields = [("content", "line 1: wrong 1"), ("content", "line 3: wrong 2")];
    let fields: Vec<(String, String)> = fields.map(|(f, message)| (f.into(), message.into())).into();
    assert_eq!((error.reason, error.fields), (Reason::InvalidField, fields));
    assert_eq!(mesh.scheduler.policies.state.lock().caller, Some(Caller::Subject("ann".into())));
    assert!(mesh.registry.state.lock().scripts.is_empty(), "nothing is stored");
}

#[tokio::test]
async fn refusals_of_the_registry_are_passed_on() {
    let mesh = Mesh::start().await;
    let mut scripts = scripts(&mesh);
    scripts.create_script(with_token(ANN, create("s", YAML))).await.expect("created");
    let cases = [
        (create("s", YAML), "name", "has already been taken"),
        (create("", YAML), "name", "can't be blank"),
        (create("t", ""), "content", "can't be blank"),
        (CreateScriptRequest { script: None }, "name", "can't be blank"),
    ];
    for (request, field, message) in cases {
        let error = refusal(scripts.create_script(with_token(ANN, request)).await);
        assert_eq!(error.fields, [(field.to_owned(), message.to_owned())]);
    }
}

#[tokio::test]
async fn creating_a_script_requires_a_token_and_has_a_deadline() {
    let mesh = Mesh::start_with(|config| config.request_timeout_s = 9).await;
    let mut scripts = scripts(&mesh);
    assert_eq!(reason(scripts.create_script(create("s", YAML)).await), Reason::Unauthenticated);
    let outcome = scripts.create_script(with_token("bad", create("s", YAML))).await;
    assert_eq!(reason(outcome), Reason::Unauthenticated);
    assert!(
        mesh.scheduler.policies.state.lock().checked.is_empty(),
        "scripts are not checked without a token"
    );

    let mut deadlines = Vec::new();
    for timeout in [None, Some(Duration::from_secs(2))] {
        let mut request = with_token(ANN, create(if timeout.is_some() { "b" } else { "a" }, YAML));
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        scripts.create_script(request).await.expect("created");
        deadlines.push(mesh.scheduler.policies.state.lock().deadline.expect("a deadline"));
    }
    assert!(deadlines[0] > Duration::from_secs(2) && deadlines[0] <= Duration::from_secs(9));
    assert!(deadlines[1] <= Duration::from_secs(2));
}

#[tokio::test]
async fn without_the_scheduler_no_script_is_stored() {
    let mesh = Mesh::start_with(|config| config.scheduler = nowhere()).await;
    let error = refusal(scripts(&mesh).create_script(with_token(ANN, create("s", YAML))).await);
    assert_eq!(error.reason, Reason::Unavailable);
    assert!(!error.message.contains("127.0.0.1"), "the error contains an address: {error}");
    assert!(mesh.registry.state.lock().scripts.is_empty());
}
