//! Scripts.

use mesh::Reason;
use proto::registry::v1::{
    CreateFunctionSpec, CreateModuleRequest, CreateScriptRequest, CreateSubjectRequest, DeleteScriptRequest,
    GetScriptRequest, ListScriptsRequest, Metadata, Script, UpdateFunctionSpec,
};

use crate::support::{
    Database, Registry, as_admin, as_subject, contract, failure, reason, refused, spec, wasm,
};

contract!(
    scripts_are_created_read_and_deleted,
    scripts_are_validated,
    scripts_in_use_are_kept,
    only_its_owner_and_administrators_delete_a_script,
    a_name_that_functions_use_is_kept_for_the_owner_of_the_deleted_script,
    scripts_of_deleted_subjects_keep_their_names,
    scripts_of_older_registries_are_shared,
);

fn script(name: &str, content: &str) -> Script {
    Script { name: name.into(), content: content.into(), owner: String::new() }
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
    let listed = scripts.list_scripts(ListScriptsRequest::default()).await.expect("a list").into_inner();
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

    registry.scripts().create_script(as_subject("ann", create("a-b c", "x"))).await.expect("created");
    let module = CreateModuleRequest { name: "anns".into() };
    registry.modules().create_module(as_subject("ann", module)).await.expect("created");
    for (module, name) in [("_", "g"), ("_", "f"), ("anns", "f")] {
        registry.create(with_script(module, name), &wasm("1")).await.expect("created");
    }
    let mut scripts = registry.scripts();
    let delete = |force| DeleteScriptRequest { name: "a-b c".into(), force };
    let error = failure(scripts.delete_script(as_subject("ann", delete(false))).await);
    let message = r#"script "a-b c" is used by _/f, _/g, anns/f; set `force` to delete it anyway"#;
    assert_eq!((error.reason, &*error.message), (Reason::ScriptInUse, message));
    scripts.delete_script(as_subject("ann", delete(true))).await.expect("deleted");

    let update = UpdateFunctionSpec { module: "_".into(), name: "f".into(), ..UpdateFunctionSpec::default() };
    registry.update(update.clone(), None).await.expect("omitted fields are not validated");
    let metadata = with_script("_", "f").metadata;
    let missing = refused(registry.update(UpdateFunctionSpec { metadata, ..update }, None).await);
    assert_eq!(missing[0].0, "script");
}

async fn only_its_owner_and_administrators_delete_a_script(database: Database) {
    let registry = Registry::start(&database).await;
    let mut scripts = registry.scripts();
    // The owner in a request is ignored.
    let forged = Script { owner: "bob".into(), ..script("anns", "x") };
    let forged = CreateScriptRequest { script: Some(forged) };
    let created = scripts.create_script(as_subject("ann", forged)).await.expect("created").into_inner();
    assert_eq!(created.script.expect("a script").owner, "ann");
    let created = scripts.create_script(as_admin(create("shared", "x"))).await.expect("created").into_inner();
    assert_eq!(created.script.expect("a script").owner, "", "those of administrators are shared");

    let delete = |name: &str| DeleteScriptRequest { name: name.into(), force: true };
    for (subject, name) in [("bob", "anns"), ("ann", "shared"), ("bob", "shared")] {
        scripts.get_script(as_subject(subject, get(name))).await.expect("everyone may read it");
        let error = failure(scripts.delete_script(as_subject(subject, delete(name))).await);
        let message = "only its owner and administrators may delete a script";
        assert_eq!((error.reason, &*error.message), (Reason::PermissionDenied, message), "{subject} {name}");
        let taken = refused(scripts.create_script(as_subject(subject, create(name, "y"))).await);
        assert_eq!(taken, [("name".to_owned(), "has already been taken".to_owned())]);
    }
    scripts.delete_script(as_subject("ann", delete("anns"))).await.expect("the owner may delete it");
    scripts.create_script(as_subject("ann", create("anns", "x"))).await.expect("the name is free");
    for name in ["anns", "shared"] {
        scripts.delete_script(as_admin(delete(name))).await.expect("administrators may delete it");
    }
}

/// Otherwise the functions of others would go where a new script of the same name says.
async fn a_name_that_functions_use_is_kept_for_the_owner_of_the_deleted_script(database: Database) {
    let registry = Registry::start(&database).await;
    let mut scripts = registry.scripts();
    let delete = |name: &str| DeleteScriptRequest { name: name.into(), force: true };
    let as_ann = |name: &str| as_subject("ann", create(name, "x"));
    let metadata = Some(Metadata { script: "s".into(), ..Metadata::default() });
    let with_script = CreateFunctionSpec { metadata: metadata.clone(), ..spec("_", "f") };
    scripts.create_script(as_ann("s")).await.expect("created");
    registry.create(with_script, &wasm("1")).await.expect("created");
    scripts.delete_script(as_subject("ann", delete("s"))).await.expect("deleted");

    assert_eq!(reason(scripts.get_script(get("s")).await), Reason::ScriptNotFound);
    assert_eq!(reason(scripts.delete_script(as_admin(delete("s"))).await), Reason::ScriptNotFound);
    let listed = scripts.list_scripts(ListScriptsRequest::default()).await.expect("a list").into_inner();
    assert!(listed.scripts.is_empty(), "{listed:?}");
    let update = UpdateFunctionSpec { module: "_".into(), name: "f".into(), ..UpdateFunctionSpec::default() };
    let again = registry.update(UpdateFunctionSpec { metadata, ..update.clone() }, None).await;
    assert_eq!(refused(again)[0].0, "script", "it does not exist");
    let kept = refused(scripts.create_script(as_subject("bob", create("s", "y"))).await);
    let message =
        "is that of a deleted script that functions use; only its owner and administrators may create it";
    assert_eq!(kept, [("name".to_owned(), message.to_owned())]);

    scripts.create_script(as_ann("s")).await.expect("the owner may create it again");
    scripts.delete_script(as_subject("ann", delete("s"))).await.expect("deleted");
    scripts.create_script(as_admin(create("s", "x"))).await.expect("administrators may create it");
    scripts.delete_script(as_admin(delete("s"))).await.expect("deleted");
    assert_eq!(refused(scripts.create_script(as_ann("s")).await)[0].0, "name", "it was an administrator's");
    let no_script = UpdateFunctionSpec { metadata: Some(Metadata::default()), ..update };
    registry.update(no_script, None).await.expect("updated");
    scripts.create_script(as_subject("bob", create("s", "y"))).await.expect("no function uses the name");
}

async fn scripts_of_deleted_subjects_keep_their_names(database: Database) {
    let registry = Registry::start(&database).await;
    let (mut scripts, mut subjects) = (registry.scripts(), registry.subjects());
    let ann = || CreateSubjectRequest { name: "ann".into(), ..CreateSubjectRequest::default() };
    scripts.create_script(as_subject("ann", create("s", "x"))).await.expect("created");
    let message = "is the owner of scripts of a deleted subject; delete these scripts first";
    let fields = refused(subjects.create_subject(ann()).await);
    assert_eq!(fields, [("name".to_owned(), message.to_owned())]);

    // A later subject of this name is not the owner of what has been deleted either.
    let metadata = Some(Metadata { script: "s".into(), ..Metadata::default() });
    registry.create(CreateFunctionSpec { metadata, ..spec("_", "f") }, &wasm("1")).await.expect("created");
    let delete = DeleteScriptRequest { name: "s".into(), force: true };
    scripts.delete_script(as_admin(delete)).await.expect("deleted");
    subjects.create_subject(ann()).await.expect("created");
    let fields = refused(scripts.create_script(as_subject("ann", create("s", "x"))).await);
    assert!(fields[0].1.contains("of a deleted script"), "{fields:?}");
}

async fn scripts_of_older_registries_are_shared(database: Database) {
    let registry = Registry::start(&database).await;
    registry.scripts().create_script(as_subject("ann", create("s", "x"))).await.expect("created");
    registry.stop().await;
    for column in ["owner", "deleted"] {
        database.execute(&format!("ALTER TABLE script DROP COLUMN {column}"), []).await;
    }
    database.execute("DELETE FROM seaql_migrations WHERE version = 'm0005_script_owner'", []).await;

    let registry = Registry::start(&database).await;
    let mut scripts = registry.scripts();
    let got = scripts.get_script(get("s")).await.expect("the script exists").into_inner();
    assert_eq!(got.script, Some(script("s", "x")), "it has no owner");
    let delete = DeleteScriptRequest { name: "s".into(), force: false };
    let denied = scripts.delete_script(as_subject("ann", delete.clone())).await;
    assert_eq!(reason(denied), Reason::PermissionDenied);
    scripts.delete_script(as_admin(delete)).await.expect("deleted");
}
