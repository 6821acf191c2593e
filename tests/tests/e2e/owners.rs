//! Ownership and access control.

use std::time::Duration;

use proto::registry::v1::DeleteSubjectRequest;
use proto::registry::v1::subjects_client::SubjectsClient;
use serde_json::{Value, json};
use tests::client::Upload;
use tests::{Mesh, grpc, guests, wait};

pub async fn subjects_cannot_access_each_others_modules(mesh: &Mesh) {
    let ann = mesh.admin().create_subject("owners_ann").await;
    let bob = mesh.admin().create_subject("owners_bob").await;
    ann.create_module("of_ann").await;
    ann.create_function("of_ann", "f", &guests::responding(b"1")).await;

    let rename = bob.request(http::Method::PUT, "/v1/fn/of_ann").json(&json!({ "module": { "name": "x" } }));
    let upload = || Upload::function("g", &guests::responding(b"2"));
    let refusals = [
        bob.get("/v1/fn/of_ann").await,
        bob.get("/v1/fn/of_ann/f").await,
        bob.invoke("of_ann", "f", json!({})).await,
        bob.post_form("/v1/fn/of_ann", upload()).await,
        bob.put_form("/v1/fn/of_ann/f", upload()).await,
        bob.send(rename).await,
        bob.delete("/v1/fn/of_ann/f").await,
        bob.delete("/v1/fn/of_ann").await,
    ];
    for refusal in refusals {
        // The response is the same as for a missing module, so as not to reveal that the name exists.
        let errors = refusal.expect(404).json()["errors"].clone();
        assert_eq!(errors["detail"], "Not Found");
        let message = errors["message"].as_str().expect("a message");
        let words = [r#"no module "of_ann""#, r#"no function "f" in module "of_ann""#];
        assert!(words.contains(&message), "{message}");
    }
    assert_eq!(names(&bob.get("/v1/fn").await.json()), ["_"]);
    assert_eq!(names(&ann.get("/v1/fn").await.json()), ["_", "of_ann"]);
    // Names of modules are unique in the mesh, not per subject.
    let taken = bob.post("/v1/fn", &json!({ "module": { "name": "of_ann" } })).await.expect(422);
    assert_eq!(taken.json(), json!({ "errors": { "name": ["has already been taken"] } }));

    // Administrators may access all modules.
    assert_eq!(mesh.admin().result("of_ann", "f", json!({})).await, json!(1));
    assert!(names(&mesh.admin().get("/v1/fn").await.json()).contains(&"of_ann".to_owned()));
    ann.delete("/v1/fn/of_ann").await.expect(204);
}

pub async fn the_default_module_is_shared(mesh: &Mesh) {
    let ann = mesh.admin().create_subject("shared_ann").await;
    let bob = mesh.admin().create_subject("shared_bob").await;
    ann.create_function("_", "of_all", &guests::responding(b"1")).await;
    assert_eq!(bob.result("_", "of_all", json!({})).await, json!(1));
    let refusals = [
        bob.put_form("/v1/fn/_/of_all", Upload::function("of_all", &guests::responding(b"2"))).await,
        bob.delete("/v1/fn/_/of_all").await,
    ];
    for refusal in refusals {
        let errors = refusal.expect(403).json()["errors"].clone();
        assert_eq!(
            (&errors["detail"], &errors["reason"]),
            (&json!("Forbidden"), &json!("PERMISSION_DENIED"))
        );
    }
    mesh.admin().update_function("_", "of_all", &guests::responding(b"2")).await;
    assert_eq!(bob.result("_", "of_all", json!({})).await, json!(2));
    ann.delete("/v1/fn/_/of_all").await.expect(204);
}

pub async fn a_deleted_subject_is_refused_within_five_seconds(mesh: &Mesh) {
    let subject = mesh.admin().create_subject("leaving").await;
    subject.get("/v1/fn").await.expect(200);
    let admin = grpc::connect(mesh, mesh.admin().token()).await;
    let request = DeleteSubjectRequest { name: "leaving".into() };
    SubjectsClient::new(admin).delete_subject(request).await.expect("deleted");
    wait::until("the token is refused", Duration::from_secs(5), async || {
        (subject.get("/v1/fn").await.status == 401).then_some(())
    })
    .await;
}

/// A token is shown once, and only its hash is stored.
pub async fn tokens_are_kept_as_hashes_only(mesh: &Mesh) {
    let subject = mesh.admin().create_subject("hashed").await;
    let token = subject.token().expect("a token").to_owned();
    let listed = mesh.admin().get("/v1/admin/subjects").await.expect(200);
    assert!(names(&listed.json()).contains(&"hashed".to_owned()));
    assert!(!listed.text.contains("token"), "{}", listed.text);
    assert!(!mesh.log().contains(&token), "the token is in the log");

    let secret = token.strip_prefix("fl_").unwrap_or(&token);
    match mesh.postgres() {
        Some(postgres) => {
            let dump = postgres.dump();
            assert!(dump.contains("hashed") && !dump.contains(secret), "the token is in the database");
        }
        None => {
            for entry in std::fs::read_dir(mesh.data_dir()).expect("a folder").flatten() {
                let kept = std::fs::read(entry.path()).unwrap_or_default();
                let found = kept.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
                assert!(!found, "the token is in {}", entry.path().display());
            }
        }
    }
}

fn names(body: &Value) -> Vec<String> {
    let data = body["data"].as_array().unwrap_or_else(|| panic!("not a list: {body}"));
    data.iter().map(|item| item["name"].as_str().unwrap_or_default().to_owned()).collect()
}
