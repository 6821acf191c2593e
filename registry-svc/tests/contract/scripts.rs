//! Scripts.

use mesh::Reason;
use proto::registry::v1::{
    CreateScriptRequest, DeleteScriptRequest, GetScriptRequest, ListScriptsRequest, Script,
};

use crate::support::{Database, Registry, contract, reason, refused};

contract!(scripts_live_and_die, scripts_are_checked);

fn script(name: &str, content: &str) -> Script {
    Script { name: name.into(), content: content.into() }
}

fn create(name: &str, content: &str) -> CreateScriptRequest {
    CreateScriptRequest { script: Some(script(name, content)) }
}

fn get(name: &str) -> GetScriptRequest {
    GetScriptRequest { name: name.into() }
}

async fn scripts_live_and_die(database: Database) {
    let registry = Registry::start(&database).await;
    let mut scripts = registry.scripts();
    let content = "- default:\n  - workers: '*' # größte\n";
    let first = scripts.create_script(create("b", content)).await.expect("created").into_inner();
    assert_eq!(first.script, Some(script("b", content)));
    let second = scripts.create_script(create("a", content)).await.expect("created").into_inner();
    assert_eq!(second.revision, first.revision + 1);

    let got = scripts.get_script(get("b")).await.expect("it is there").into_inner();
    assert_eq!(got.script, Some(script("b", content)), "as it was uploaded");
    let listed = scripts.list_scripts(ListScriptsRequest {}).await.expect("a list").into_inner();
    assert_eq!(listed.scripts, [script("a", content), script("b", content)]);

    let delete = DeleteScriptRequest { name: "b".into() };
    let deleted = scripts.delete_script(delete.clone()).await.expect("deleted").into_inner();
    assert_eq!(deleted.revision, second.revision + 1);
    assert_eq!(reason(scripts.delete_script(delete).await), Reason::ScriptNotFound);
    assert_eq!(reason(scripts.get_script(get("b")).await), Reason::ScriptNotFound);
    assert_eq!(reason(scripts.get_script(get("nul\0")).await), Reason::ScriptNotFound);
}

async fn scripts_are_checked(database: Database) {
    let registry = Registry::start(&database).await;
    let mut scripts = registry.scripts();
    scripts.create_script(create("taken", "x")).await.expect("created");
    let cases = [
        (create("taken", "y"), ("name", "has already been taken")),
        (create("a.b", "y"), ("name", "must contain only alphanumeric characters and underscores")),
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
