//! Subjects and their tokens.

use mesh::auth::Secret;
use mesh::testing::eventually;
use mesh::{Caller, Error, Reason};
use proto::registry::v1::{
    AuthenticateRequest, CreateModuleRequest, CreateSubjectRequest, CreateSubjectResponse,
    DeleteFunctionRequest, DeleteModuleRequest, DeleteSubjectRequest, ListSubjectsRequest, Role, Subject,
};
use registry_svc::Config;
use tonic::Request;

use crate::support::{
    Database, Registry, as_admin, as_subject, config, contract, create_parts, reason, refused, spec, wasm,
};

contract!(
    subjects_are_created_listed_and_deleted,
    only_administrators_manage_subjects,
    names_and_roles_are_validated,
    a_new_subject_does_not_inherit_modules,
    a_new_subject_does_not_inherit_functions,
    administrators_cannot_delete_themselves,
    tokens_expire,
    bootstrap_subjects_exist_with_their_tokens,
);

fn create(name: &str, role: Role) -> CreateSubjectRequest {
    CreateSubjectRequest { name: name.into(), role: role.into() }
}

async fn issue(registry: &Registry, name: &str, role: Role) -> CreateSubjectResponse {
    registry.subjects().create_subject(as_admin(create(name, role))).await.expect(name).into_inner()
}

async fn whose(registry: &Registry, token: &str) -> Result<Subject, Error> {
    let request = AuthenticateRequest { token: token.into() };
    let response = registry.authentication().authenticate(request).await?;
    Ok(response.into_inner().subject.expect("a subject"))
}

async fn subjects_are_created_listed_and_deleted(database: Database) {
    let registry = Registry::start(&database).await;
    let bob = issue(&registry, "bob", Role::Unspecified).await;
    let ann = issue(&registry, "ann", Role::Admin).await;
    let subject = ann.subject.expect("a subject");
    assert_eq!((&*subject.name, subject.role()), ("ann", Role::Admin));
    assert!(subject.expires_at_ms > 0, "issued tokens expire");
    assert!(ann.token.starts_with("fl_") && ann.token.len() >= 3 + 43, "256 random bits");
    assert_ne!(ann.token, bob.token);

    assert_eq!(whose(&registry, &ann.token).await, Ok(subject.clone()));
    let bobs = whose(&registry, &bob.token).await.expect("a subject");
    assert_eq!((&*bobs.name, bobs.role()), ("bob", Role::Subject));
    let listed = registry.subjects().list_subjects(as_admin(ListSubjectsRequest {})).await.expect("a list");
    assert_eq!(listed.into_inner().subjects, [subject, bobs]);

    let delete = DeleteSubjectRequest { name: "bob".into() };
    registry.subjects().delete_subject(as_admin(delete.clone())).await.expect("deleted");
    assert_eq!(whose(&registry, &bob.token).await.expect_err("revoked").reason, Reason::Unauthenticated);
    assert_eq!(reason(registry.subjects().delete_subject(as_admin(delete)).await), Reason::SubjectNotFound);
    for unknown in ["", "fl_", "nonsense", "fl_\0"] {
        let error = whose(&registry, unknown).await.expect_err(unknown);
        assert_eq!(error.reason, Reason::Unauthenticated);
    }
}

async fn a_new_subject_does_not_inherit_modules(database: Database) {
    let registry = Registry::start(&database).await;
    issue(&registry, "bob", Role::Subject).await;
    let module = CreateModuleRequest { name: "bobs".into() };
    registry.modules().create_module(as_subject("bob", module)).await.expect("created");
    let delete = DeleteSubjectRequest { name: "bob".into() };
    registry.subjects().delete_subject(as_admin(delete)).await.expect("deleted");
    let again = registry.subjects().create_subject(as_admin(create("bob", Role::Subject))).await;
    let refusal = refused(again);
    assert!(refusal.iter().any(|(field, why)| field == "name" && why.contains("modules")), "{refusal:?}");
    let module = DeleteModuleRequest { name: "bobs".into() };
    registry.modules().delete_module(as_admin(module)).await.expect("deleted");
    issue(&registry, "bob", Role::Subject).await;
}

async fn a_new_subject_does_not_inherit_functions(database: Database) {
    let registry = Registry::start(&database).await;
    let create_function =
        as_subject("bob", futures::stream::iter(create_parts(spec("_", "bobs"), &wasm("1"))));
    registry.functions().create_function(create_function).await.expect("created");
    let again = registry.subjects().create_subject(as_admin(create("bob", Role::Subject))).await;
    let refusal = refused(again);
    assert!(refusal.iter().any(|(field, why)| field == "name" && why.contains("functions")), "{refusal:?}");
    let function = DeleteFunctionRequest { module: "_".into(), name: "bobs".into() };
    registry.functions().delete_function(as_admin(function)).await.expect("deleted");
    issue(&registry, "bob", Role::Subject).await;
}

async fn administrators_cannot_delete_themselves(database: Database) {
    let registry = Registry::start(&database).await;
    issue(&registry, "root", Role::Admin).await;
    let delete = || Request::new(DeleteSubjectRequest { name: "root".into() });
    let own = Caller::Admin("root".into()).attach(delete());
    assert_eq!(reason(registry.subjects().delete_subject(own).await), Reason::PermissionDenied);
    let others = Caller::Admin("another".into()).attach(delete());
    registry.subjects().delete_subject(others).await.expect("deleted by another administrator");
}

async fn only_administrators_manage_subjects(database: Database) {
    let registry = Registry::start(&database).await;
    let mut subjects = registry.subjects();
    let denied = [
        reason(subjects.create_subject(as_subject("ann", create("eve", Role::Admin))).await),
        reason(subjects.list_subjects(as_subject("ann", ListSubjectsRequest {})).await),
        reason(subjects.delete_subject(as_subject("ann", DeleteSubjectRequest { name: "bob".into() })).await),
    ];
    assert_eq!(denied, [Reason::PermissionDenied; 3]);
    for user in [Caller::Subject("ann".into()), Caller::Admin("root".into())] {
        let request = user.attach(Request::new(AuthenticateRequest { token: "x".into() }));
        let answer = registry.authentication().authenticate(request).await;
        assert_eq!(reason(answer), Reason::PermissionDenied, "only services may authenticate tokens");
    }
    subjects.create_subject(create("bob", Role::Subject)).await.expect("services may create subjects");
}

async fn names_and_roles_are_validated(database: Database) {
    let registry = Registry::start(&database).await;
    let mut subjects = registry.subjects();
    issue(&registry, "taken", Role::Subject).await;
    let taken = refused(subjects.create_subject(as_admin(create("taken", Role::Subject))).await);
    assert_eq!(taken, [("name".to_owned(), "has already been taken".to_owned())]);
    let blank = refused(subjects.create_subject(as_admin(create("", Role::Subject))).await);
    assert_eq!(blank, [("name".to_owned(), "can't be blank".to_owned())]);
    let unknown = CreateSubjectRequest { name: "ann".into(), role: 9 };
    assert_eq!(refused(subjects.create_subject(as_admin(unknown)).await)[0].0, "role");
}

async fn tokens_expire(database: Database) {
    let registry = Registry::start_as(Config { token_ttl_s: 1, ..config(&database) }).await;
    let token = issue(&registry, "ann", Role::Subject).await.token;
    whose(&registry, &token).await.expect("the token is valid at first");
    eventually("the token has expired", async || {
        matches!(whose(&registry, &token).await, Err(error) if error.reason == Reason::Unauthenticated)
    })
    .await;
}

async fn bootstrap_subjects_exist_with_their_tokens(database: Database) {
    let config = |guest: &str, admin: &str| Config {
        guest_token: Some(Secret::new(guest)),
        admin_token: Some(Secret::new(admin)),
        ..config(&database)
    };
    // Several replicas start at once, on an empty database.
    let (first, second) =
        tokio::join!(Registry::start_as(config("g", "a")), Registry::start_as(config("g", "a")));
    for registry in [&first, &second] {
        let guest = Subject { name: "guest".into(), role: Role::Subject.into(), expires_at_ms: 0 };
        assert_eq!(whose(registry, "g").await, Ok(guest));
        assert_eq!(whose(registry, "a").await.map(|admin| admin.role()), Ok(Role::Admin));
    }
    first.stop().await;
    second.stop().await;

    let swapped = Registry::start_as(config("a", "new")).await;
    assert_eq!(whose(&swapped, "a").await.map(|subject| subject.name), Ok("guest".into()));
    assert_eq!(whose(&swapped, "new").await.map(|subject| subject.name), Ok("admin".into()));
    let error = whose(&swapped, "g").await.expect_err("no longer a token");
    assert_eq!(error.reason, Reason::Unauthenticated);
}
