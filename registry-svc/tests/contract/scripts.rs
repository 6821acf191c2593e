//! Scripts.

use mesh::Reason;
use proto::registry::v1::{
    CreateFunctionSpec, CreateModuleRequest, CreateScriptRequest, DeleteScriptRequest, GetScriptRequest,
    ListScriptsRequest, Metadata, Script, UpdateFunctionSpec,
};

use crate::support::{Database, Registry, as_subject, contract, failure, reason, refused, spec, wasm};

contract!(scripts_are_created_read_and_deleted, scripts_are_validated, scripts_in_use_are_kept);

fn script(name: &str, content: &str) -> Script {
    Script { name: name.into(), content: content.into() }
}

fn create(name: &str, content: &str) -> CreateScriptRequest {
    CreateScriptRequest { script: Some(script(name, content)) }
}

fn get(name: &str) -> GetScriptRequest {
    GetScriptRequest { name: name.into() }
}

async fn scripts_are_created_read_and_deleted(database: Database) {
    let registry = Registry::start(&database).await;
    let mut scripts = registry.scripts();
    let content = "- default:\n  - workers: '*' # größte\n";
    let first = scripts.create_script(create("b", content)).await.expect("created").into_inner();
    assert_eq!(first.script, Some(script("b", content)));
    let second = scripts.create_script(create("a", content)).await.expect("created").into_inner();
    assert_eq!(second.revision, first.revision + 1);

    let got = scripts.get_script(get("b")).await.expect("the script exists").into_inner();
    assert_eq!(got.script, Some(script("b", content)), "unchanged");
    let listed = scripts.list_scripts(ListScriptsRequest {}).await.expect("a list").into_inner();
    assert_eq!(listed.scripts, [script("a", content), script("b", content)]);

    let delete = DeleteScriptRequest { name: "b".into(), force: false };
    let deleted = scripts.delete_script(delete.clone()).await.expect("deleted").into_inner();
    assert_eq!(deleted.revision, second.revision + 1);
    assert_eq!(reason(scripts.delete_script(delete).await), Reason::ScriptNotFound);
    assert_eq!(reason(scripts.get_script(get("b")).await), Reason::ScriptNotFound);
    assert_eq!(reason(scripts.get_script(get("nul\0")).await), Reason::ScriptNotFound);
}

async fn scripts_are_validated(database: Database) {
    let registry = Registry::start(&database).await;
    let mut scripts = registry.scripts();
    scripts.create_script(create("taken", "x")).await.expect("created");
    let cases = [
        (create("taken", "y"), ("name", "has already been taken")),
        (create("a/b", "y"), ("name", "must not contain slashes, or be . or ..")),
        (create("", "y"), ("name", "can't be blank")),
        (CreateScriptRequest { script: None }, ("name", "can't be blank")),
        (create("empty", " \n"), ("content", "can't be blank")),
        (create("nul", "a\0b"), ("content", "must not contain NUL characters")),
    ];
    for (request, (field, message)) in cases {
        let fields = refused(scripts.create_script(request).await);
        assert_eq!(fields, [(field.to_owned(), message.to_owned())]);
    }
    let large = create("large", &"x".repeat((256 << 10) + 1));
    assert_eq!(reason(scripts.create_script(large).await), Reason::TooLarge);
}

async fn scripts_in_use_are_kept(database: Database) {
    let registry = Registry::start(&database).await;
    let with_script = |module: &str, name: &str| CreateFunctionSpec {
        metadata: Some(Metadata { script: "a-b c".into(), ..Metadata::default() }),
        ..spec(module, name)
    };
    let missing = refused(registry.create(with_script("_", "f"), &wasm("1")).await);
    assert_eq!(missing, [("script".to_owned(), r#"does not exist: "a-b c""#.to_owned())]);

    registry.create_script("a-b c").await;
    let module = CreateModuleRequest { name: "anns".into() };
    registry.modules().create_module(as_subject("ann", module)).await.expect("created");
    for (module, name) in [("_", "g"), ("_", "f"), ("anns", "f")] {
        registry.create(with_script(module, name), &wasm("1")).await.expect("created");
    }
    let mut scripts = registry.scripts();
    let delete = |force| DeleteScriptRequest { name: "a-b c".into(), force };
    for (subject, users) in [("ann", "_/f, _/g, anns/f"), ("bob", "_/f, _/g, 1 more")] {
        let error = failure(scripts.delete_script(as_subject(subject, delete(false))).await);
        let message = format!(r#"script "a-b c" is used by {users}; set `force` to delete it anyway"#);
        assert_eq!((error.reason, error.message), (Reason::ScriptInUse, message));
    }
    scripts.delete_script(as_subject("bob", delete(true))).await.expect("deleted");

    let update = UpdateFunctionSpec { module: "_".into(), name: "f".into(), ..UpdateFunctionSpec::default() };
    registry.update(update.clone(), None).await.expect("omitted fields are not validated");
    let metadata = with_script("_", "f").metadata;
    let missing = refused(registry.update(UpdateFunctionSpec { metadata, ..update }, None).await);
    assert_eq!(missing[0].0, "script");
}
