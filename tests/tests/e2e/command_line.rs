//! `fl` as a user types it.

use tests::fl::{fl, run};
use tests::{Mesh, guests};

pub async fn functions_from_the_command_line(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("typed").await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, code: Vec<u8>| {
        let path = folder.path().join(name);
        std::fs::write(&path, code).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let (hello, echo) = (file("hello.wasm", guests::hello()), file("echo.wasm", guests::echo()));

    let ok = async |arguments: &[&str]| {
        let printed = fl(mesh, &user, arguments).await;
        assert!(printed.success, "fl {arguments:?}: {}", printed.err);
        printed.out
    };
    ok(&["fn", "upload", "greet", &hello, "--module", "typed"]).await;
    let invoke = ["fn", "invoke", "greet", "--module", "typed", "--args", r#"{"name":"Ada"}"#];
    assert_eq!(ok(&invoke).await, r#"{"payload":"Hello Ada!"}"#);
    assert_eq!(ok(&["mod", "get", "typed"]).await, "greet");
    ok(&["fn", "upload", "greet", &echo, "--module", "typed", "--update"]).await;
    assert_eq!(ok(&invoke).await, r#"{"name":"Ada"}"#);
    ok(&["fn", "delete", "greet", "--module", "typed"]).await;
    assert!(!fl(mesh, &user, &invoke).await.success);
    user.delete("/v1/fn/typed").await.expect(204);
}

pub async fn modules_from_the_command_line(mesh: &Mesh) {
    let user = mesh.admin().create_subject("typist").await;
    let ok = async |arguments: &[&str]| {
        let printed = fl(mesh, &user, arguments).await;
        assert!(printed.success, "fl {arguments:?}: {}", printed.err);
        printed.out
    };
    assert_eq!(ok(&["mod", "list"]).await, "_");
    ok(&["mod", "create", "typed_first"]).await;
    assert_eq!(ok(&["mod", "list"]).await, "_\ntyped_first");
    ok(&["mod", "update", "typed_first", "typed_second"]).await;
    assert_eq!(ok(&["mod", "list"]).await, "_\ntyped_second");
    assert_eq!(ok(&["mod", "get", "typed_second"]).await, "");
    ok(&["mod", "delete", "typed_second"]).await;
    assert_eq!(ok(&["mod", "list"]).await, "_");
}

pub async fn mistakes_are_explained(mesh: &Mesh) {
    let user = mesh.user();
    let hello = tests::process::repository().join("guest/hello.wasm").to_string_lossy().into_owned();
    let manifest = tests::process::repository().join("Cargo.toml").to_string_lossy().into_owned();
    let cases: [(&[&str], &str); 7] = [
        (&["fn", "invoke", "nobody_knows_it"], "Not Found"),
        (&["fn", "invoke", "f", "--args", "{"], "JSON"),
        (&["fn", "upload", "f", "/there/is/no.wasm"], "/there/is/no.wasm"),
        (&["fn", "upload", "f", &manifest], "WebAssembly"),
        (&["fn", "upload", "a.b", &hello], "alphanumeric"),
        (&["mod", "create", "a/b"], "alphanumeric"),
        (&["mod", "delete", "_"], "default module"),
    ];
    for (arguments, word) in cases {
        let printed = fl(mesh, &user, arguments).await;
        assert_eq!(printed.code, Some(1), "fl {arguments:?}: {}", printed.out);
        assert!(printed.err.contains(word) && printed.out.is_empty(), "fl {arguments:?}: {}", printed.err);
    }

    let stranger = user.with_token(Some("nonsense"));
    let printed = fl(mesh, &stranger, &["mod", "list"]).await;
    assert!(!printed.success && printed.err.contains("token"), "{}", printed.err);
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let nowhere = run(&words("--host http://127.0.0.1:1 --token t mod list")).await;
    assert!(!nowhere.success && nowhere.err.contains("fl up"), "{}", nowhere.err);
    let nothing = run(&words("mod list")).await;
    assert!(!nothing.success && nothing.err.contains("fl up"), "{}", nothing.err);
    let data_dir = mesh.data_dir().to_string_lossy().into_owned();
    let second = ["up", "--data-dir", &data_dir, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"];
    let second = run(&second.map(str::to_owned)).await;
    assert!(!second.success && second.err.contains("another mesh runs"), "{}", second.err);
    let unknown = run(&words("mod lists")).await;
    assert_eq!(unknown.code, Some(2), "{}", unknown.err);
}
