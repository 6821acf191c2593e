//! Durability across restarts.

use std::os::unix::fs::PermissionsExt as _;

use mesh::database::DatabaseUrl;
use mesh::testing::disk::SmallDisk;
use mesh::testing::eventually;
use proto::registry::v1::{
    AuthenticateRequest, CreateModuleRequest, CreateScriptRequest, CreateSubjectRequest, DeleteModuleRequest,
    GetFunctionRequest, GetScriptRequest, ListModulesRequest, Script,
};
use registry_svc::Config;
use tonic::Code;

use crate::support::{Database, Registry, contract, spec, wasm};

contract!(a_restart_keeps_everything);

async fn a_restart_keeps_everything(database: Database) {
    let registry = Registry::start(&database).await;
    registry.create_module("m").await;
    let created = registry.create(spec("m", "f"), &wasm("1")).await.expect("created");
    let script = Script { name: "s".into(), content: "x".into(), ..Script::default() };
    let create = CreateScriptRequest { script: Some(script.clone()) };
    registry.scripts().create_script(create).await.expect("created");
    let ann = CreateSubjectRequest { name: "ann".into(), ..CreateSubjectRequest::default() };
    let ann = registry.subjects().create_subject(ann).await.expect("created").into_inner();
    registry.stop().await;

    let registry = Registry::start(&database).await;
    let request = GetFunctionRequest { module: "m".into(), name: "f".into() };
    let function = registry.functions().get_function(request).await.expect("kept").into_inner().function;
    assert_eq!(function, created.function);
    let hash = function.and_then(|function| function.code).expect("code").hash;
    assert_eq!(registry.fetch_code(&hash).await.expect("kept"), wasm("1"));
    let kept = registry.scripts().get_script(GetScriptRequest { name: "s".into() }).await.expect("kept");
    assert_eq!(kept.into_inner().script, Some(script));
    let request = AuthenticateRequest { token: ann.token };
    let whose = registry.authentication().authenticate(request).await.expect("kept").into_inner();
    assert_eq!(whose.subject, ann.subject);
    // The module, the function, the script and the subject were four writes.
    assert_eq!(registry.create_module("next").await, 5, "revisions continue after a restart");
}

#[tokio::test]
async fn a_sqlite_file_is_accessible_only_to_its_owner() {
    let database = Database::sqlite();
    let Database::Sqlite(directory) = &database else { unreachable!("it is SQLite") };
    let file = directory.path().join("data/test.db");
    let registry = Registry::start(&database).await;
    registry.create_module("m").await;
    for file in [file.clone(), file.with_extension("db-wal"), file.with_extension("db-shm")] {
        let mode = file.metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn an_in_memory_database_works() {
    let config = Config { database_url: "sqlite::memory:".parse().expect("a URL"), ..Config::default() };
    let registry = Registry::start_as(config).await;
    registry.create_module("m").await;
    registry.create(spec("m", "f"), &wasm("1")).await.expect("created");
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_fails_the_start() {
    let config =
        Config { database_url: "sqlite:/dev/null/registry.db".parse().expect("a URL"), ..Config::default() };
    let started = registry_svc::App::start(config, mesh::testing::host("registry")).await;
    let error = format!("{:#}", started.expect_err("the database cannot be opened"));
    assert!(error.contains("database_url: /dev/null/registry.db"), "{error}");
}

#[tokio::test]
async fn a_full_disk_refuses_new_work_until_there_is_space_again() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let database_url = DatabaseUrl::SqliteFile(disk.path().join("registry.db"));
    let registry = Registry::start_as(Config { database_url, ..Config::default() }).await;
    registry.create_module("before").await;
    eventually("it is ready", async || registry.is_ready()).await;

    disk.fill(4 << 20);
    let refused = registry.modules().create_module(CreateModuleRequest { name: "during".into() }).await;
    assert_eq!(refused.expect_err("the disk is full").code(), Code::Unavailable);
    eventually("it is not ready", async || !registry.is_ready()).await;
    // Deleting makes space.
    let delete = DeleteModuleRequest { name: "before".into() };
    registry.modules().delete_module(delete).await.expect("deleted");

    disk.empty();
    eventually("it is ready again", async || registry.is_ready()).await;
    registry.create_module("after").await;
    let modules = registry.modules().list_modules(ListModulesRequest {}).await.expect("listed").into_inner();
    let names: Vec<_> = modules.modules.into_iter().map(|module| module.name).collect();
    assert_eq!(names, ["_", "after"]);
}

#[tokio::test]
async fn after_a_stop_the_file_alone_is_a_complete_copy() {
    let (database, copy) = (Database::sqlite(), Database::sqlite());
    let registry = Registry::start(&database).await;
    registry.create_module("m").await;
    registry.stop().await;
    let (DatabaseUrl::SqliteFile(from), DatabaseUrl::SqliteFile(to)) = (database.url(), copy.url()) else {
        unreachable!("they are SQLite")
    };
    assert!(!from.with_extension("db-wal").exists(), "the write-ahead log is merged");
    std::fs::create_dir(to.parent().expect("a directory")).expect("a new directory");
    std::fs::copy(&from, &to).expect("copied");
    let registry = Registry::start(&copy).await;
    let modules = registry.modules().list_modules(ListModulesRequest {}).await.expect("listed").into_inner();
    assert_eq!(modules.modules.len(), 2, "the default module and m");
}
