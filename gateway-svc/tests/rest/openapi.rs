const SNAPSHOT: &str = include_str!("../../openapi.json");

#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let now = gateway_svc::openapi().to_pretty_json().expect("serializable");
    assert!(
        now.trim() == SNAPSHOT.trim(),
        "gateway-svc/openapi.json is not what the routes say. If the change is meant, renew it:\n\
        cargo run -p gateway-svc --example openapi > gateway-svc/openapi.json"
    );
}
