//! Modules.

use mesh::Reason;
use proto::registry::v1::{
    CreateModuleRequest, DeleteModuleRequest, GetFunctionRequest, GetModuleRequest, ListFunctionsRequest,
    ListModulesRequest, Module, RenameModuleRequest,
};
use tonic::IntoRequest;

use crate::support::{
    Database, Registry, as_admin, as_subject, contract, failure, reason, refused, spec, wasm,
};

contract!(
    modules_are_created_renamed_and_deleted,
    names_are_validated,
    missing_modules_are_not_found,
    the_default_module_cannot_be_changed,
    a_module_belongs_to_its_creator,
    deleting_a_module_deletes_its_functions,
    a_renamed_module_keeps_its_functions,
);

fn create(name: &str) -> CreateModuleRequest {
    CreateModuleRequest { name: name.into() }
}

fn get(name: &str) -> GetModuleRequest {
    GetModuleRequest { name: name.into() }
}

fn rename(name: &str, new_name: &str) -> RenameModuleRequest {
    RenameModuleRequest { name: name.into(), new_name: new_name.into() }
}

fn delete(name: &str) -> DeleteModuleRequest {
    DeleteModuleRequest { name: name.into() }
}

async fn list(registry: &Registry, request: impl IntoRequest<ListModulesRequest>) -> Vec<String> {
    let response = registry.modules().list_modules(request).await.expect("a list").into_inner();
    response.modules.into_iter().map(|module| module.name).collect()
}

async fn modules_are_created_renamed_and_deleted(database: Database) {
    let registry = Registry::start(&database).await;
    let mut modules = registry.modules();
    assert_eq!(list(&registry, ListModulesRequest {}).await, ["_"], "the default module exists");

    let mut last = 0;
    for name in ["b", "B", "_a", "a"] {
        let created = modules.create_module(create(name)).await.expect(name).into_inner();
        assert_eq!(created.module, Some(Module { name: name.into(), owner: String::new() }));
        assert!(created.revision > last, "revisions grow");
        last = created.revision;
    }
    assert_eq!(list(&registry, ListModulesRequest {}).await, ["_", "B", "_a", "a", "b"]);

    let renamed = modules.rename_module(rename("a", "z")).await.expect("renamed").into_inner();
    assert_eq!(renamed.revision, last + 1);
    let same = modules.rename_module(rename("z", "z")).await.expect("renamed to the same name").into_inner();
    assert_eq!(same.revision, last + 1, "nothing has changed");

    let deleted = modules.delete_module(delete("z")).await.expect("deleted").into_inner();
    assert_eq!(deleted.revision, last + 2);
    assert_eq!(list(&registry, ListModulesRequest {}).await, ["_", "B", "_a", "b"]);
}

async fn names_are_validated(database: Database) {
    let registry = Registry::start(&database).await;
    let mut modules = registry.modules();
    modules.create_module(create("taken")).await.expect("created");
    modules.create_module(create("other")).await.expect("created");

    let taken = vec![("name".to_owned(), "has already been taken".to_owned())];
    assert_eq!(refused(modules.create_module(create("taken")).await), taken);
    assert_eq!(refused(modules.rename_module(rename("other", "taken")).await), taken);
    assert_eq!(refused(modules.create_module(create("_")).await), taken);
    for bad in ["", "a.b", "a/b", "ü", "a\0", &"a".repeat(161)] {
        let created = refused(modules.create_module(create(bad)).await);
        assert_eq!(created[0].0, "name", "{bad:?}");
        assert_eq!(refused(modules.rename_module(rename("other", bad)).await), created);
    }
    assert_eq!(refused(modules.create_module(create(&"ü".repeat(161))).await).len(), 2);
}

async fn missing_modules_are_not_found(database: Database) {
    let registry = Registry::start(&database).await;
    let mut modules = registry.modules();
    for name in ["nothing", "a.b", "", "nul\0"] {
        assert_eq!(reason(modules.get_module(get(name)).await), Reason::ModuleNotFound, "{name:?}");
        assert_eq!(reason(modules.rename_module(rename(name, "x")).await), Reason::ModuleNotFound);
        assert_eq!(reason(modules.delete_module(delete(name)).await), Reason::ModuleNotFound);
        let functions = ListFunctionsRequest { module: name.into(), ..ListFunctionsRequest::default() };
        assert_eq!(reason(registry.functions().list_functions(functions).await), Reason::ModuleNotFound);
    }
    let error = failure(modules.get_module(get("nothing")).await);
    assert_eq!(error.message, "no module \"nothing\"");
}

async fn the_default_module_cannot_be_changed(database: Database) {
    let registry = Registry::start(&database).await;
    let mut modules = registry.modules();
    let deleted = failure(modules.delete_module(delete("_")).await);
    assert_eq!((deleted.reason, &*deleted.message), (Reason::DefaultModule, "Cannot delete default module"));
    let renamed = failure(modules.rename_module(rename("_", "x")).await);
    assert_eq!((renamed.reason, &*renamed.message), (Reason::DefaultModule, "Cannot rename default module"));
    assert_eq!(list(&registry, ListModulesRequest {}).await, ["_"]);
}

async fn a_module_belongs_to_its_creator(database: Database) {
    let registry = Registry::start(&database).await;
    let mut modules = registry.modules();
    let created = modules.create_module(as_subject("ann", create("anns"))).await.expect("created");
    assert_eq!(created.into_inner().module.expect("a module").owner, "ann");
    registry.create_module("shared").await;
    let created = registry.create(spec("anns", "f"), &wasm("1")).await.expect("created");
    assert_eq!(created.function.expect("a function").owner, "ann");

    assert_eq!(list(&registry, as_subject("ann", ListModulesRequest {})).await, ["_", "anns", "shared"]);
    assert_eq!(list(&registry, as_subject("bob", ListModulesRequest {})).await, ["_", "shared"]);
    assert_eq!(list(&registry, as_admin(ListModulesRequest {})).await, ["_", "anns", "shared"]);

    let not_bobs = [
        reason(modules.get_module(as_subject("bob", get("anns"))).await),
        reason(modules.rename_module(as_subject("bob", rename("anns", "bobs"))).await),
        reason(modules.delete_module(as_subject("bob", delete("anns"))).await),
    ];
    assert_eq!(not_bobs, [Reason::ModuleNotFound; 3]);
    let function = GetFunctionRequest { module: "anns".into(), name: "f".into() };
    let got = registry.functions().get_function(as_subject("bob", function.clone())).await;
    assert_eq!(reason(got), Reason::ModuleNotFound);
    registry
        .functions()
        .get_function(as_admin(function))
        .await
        .expect("administrators may access all modules");
    let taken = refused(modules.create_module(as_subject("bob", create("anns"))).await);
    assert_eq!(taken[0].1, "has already been taken");
    modules
        .rename_module(as_subject("ann", rename("anns", "still_anns")))
        .await
        .expect("owners may rename their modules");
    modules
        .delete_module(as_admin(delete("still_anns")))
        .await
        .expect("administrators may access all modules");
}

async fn deleting_a_module_deletes_its_functions(database: Database) {
    let registry = Registry::start(&database).await;
    registry.create_module("m").await;
    let created = registry.create(spec("m", "f"), &wasm("gone")).await.expect("created");
    let hash = created.function.and_then(|function| function.code).expect("code").hash;
    registry.modules().delete_module(delete("m")).await.expect("deleted");

    assert_eq!(reason(registry.fetch_code(&hash).await), Reason::CodeNotFound);
    registry.create_module("m").await;
    let module = registry.modules().get_module(get("m")).await.expect("a new module").into_inner();
    assert!(module.functions.is_empty());
}

async fn a_renamed_module_keeps_its_functions(database: Database) {
    let registry = Registry::start(&database).await;
    registry.create_module("old").await;
    let created = registry.create(spec("old", "f"), &wasm("1")).await.expect("created");
    let created = created.function.expect("a function");
    let renamed = registry.modules().rename_module(rename("old", "new")).await.expect("renamed").into_inner();

    let request = GetFunctionRequest { module: "new".into(), name: "f".into() };
    let function =
        registry.functions().get_function(request).await.expect("the function exists").into_inner();
    let function = function.function.expect("a function");
    assert_eq!((&function.id, &function.code), (&created.id, &created.code));
    assert_eq!((&*function.module, function.revision), ("new", renamed.revision));
    assert_eq!(reason(registry.modules().get_module(get("old")).await), Reason::ModuleNotFound);
}
