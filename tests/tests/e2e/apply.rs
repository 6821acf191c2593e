//! `fl apply`: a mesh has what files say.

use std::path::Path;

use serde_json::{Value, json};
use tests::fl::{Printed, fl};
use tests::{Client, Mesh, guests};

/// A folder that is applied.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, content).expect("a file");
    }

    fn remove(&self, path: &str) {
        let path = self.0.path().join(path);
        let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        removed.expect("removed");
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

async fn apply(mesh: &Mesh, user: &Client, folder: &Folder, flags: &[&str]) -> Printed {
    let path = folder.path().to_string_lossy().into_owned();
    fl(mesh, user, &[&["apply", "--file", &path][..], flags].concat()).await
}

/// Applies the folder, and asserts what is printed.
async fn applied(mesh: &Mesh, user: &Client, folder: &Folder, flags: &[&str], expected: &[&str]) {
    let printed = apply(mesh, user, folder, flags).await;
    assert_eq!(printed.code, Some(0), "{flags:?}: {}\n{}", printed.out, printed.err);
    assert_eq!(printed.out.lines().collect::<Vec<_>>(), expected, "{flags:?}: {}", printed.err);
}

async fn function(user: &Client, path: &str) -> Value {
    user.get(&format!("/v1/fn/{path}")).await.expect(200).json()["data"].clone()
}

fn manifest(tag: &str, password: &str) -> String {
    format!(
        r#"
name = "first"
module = "applied"
build.output = "first.wasm"

[metadata]
tag = "{tag}"
script = "applied_near"
limits = {{ timeout_ms = 2000 }}

[[sinks]]
type = "couchdb"
params = {{ url = "http://127.0.0.1:1/results", username = "u", password = "{password}" }}
"#
    )
}

const MESH: &str =
    "[[modules]]\nname = \"applied_empty\"\n\n[[scripts]]\nname = \"applied_near\"\nfile = \"near.yml\"\n";
const SECOND: &str = "name = \"second\"\nmodule = \"applied\"\nbuild.output = \"second.wasm\"\n";

fn first_tree() -> Folder {
    let folder = Folder::new();
    folder.write("mesh.toml", MESH);
    folder.write("near.yml", "- default:\n    - workers: \"*\"\n");
    folder.write("first/function.toml", manifest("edge", "one"));
    folder.write("first/first.wasm", guests::echo());
    folder.write("more/second/function.toml", SECOND);
    folder.write("more/second/second.wasm", guests::echo());
    folder
}

pub async fn a_mesh_has_what_files_say(mesh: &Mesh) {
    let user = mesh.admin().create_subject("applicant").await;
    let folder = first_tree();
    let new = ["module applied", "module applied_empty", "script applied_near", "function applied/first"];
    let new = [&new[..], &["function applied/second"]].concat();
    let diff: Vec<_> = new.iter().map(|name| format!("+ {name}")).collect();
    let diff: Vec<_> = diff.iter().map(String::as_str).chain(["5 to create, 0 unchanged"]).collect();
    applied(mesh, &user, &folder, &["--diff"], &diff).await;
    user.get("/v1/fn/applied").await.expect(404);
    assert!(!folder.path().join(".fl").exists(), "nothing was done");

    let created: Vec<_> = new.iter().map(|name| format!("{name} created")).collect();
    let created: Vec<_> = created.iter().map(String::as_str).chain(["5 created, 0 unchanged"]).collect();
    applied(mesh, &user, &folder, &[], &created).await;
    let first = function(&user, "applied/first").await;
    assert_eq!((&first["metadata"]["tag"], &first["limits"]["timeout_ms"]), (&json!("edge"), &json!(2000)));
    assert_eq!(first["sinks"][0]["params"]["password"], "***");

    // The second time, nothing is changed.
    let same: Vec<_> = new.iter().map(|name| format!("{name} unchanged")).collect();
    let same: Vec<_> = same.iter().map(String::as_str).chain(["5 unchanged"]).collect();
    applied(mesh, &user, &folder, &[], &same).await;
    applied(mesh, &user, &folder, &["--diff", "--prune"], &["5 unchanged"]).await;
    assert_eq!(function(&user, "applied/first").await["updated_at"], first["updated_at"]);
    applied(mesh, &user, &folder, &["--prune", "--quiet"], &[]).await;

    changes_are_applied(mesh, &user, &folder).await;
    for module in ["applied", "applied_empty"] {
        user.delete(&format!("/v1/fn/{module}")).await.expect(204);
    }
    user.delete("/v1/scripts/app/applied_near").await.expect(204);
}

async fn changes_are_applied(mesh: &Mesh, user: &Client, folder: &Folder) {
    folder.write("near.yml", "- default:\n    - workers: [nearby]\n");
    folder.write("first/function.toml", manifest("core", "two"));
    folder.write("more/second/second.wasm", guests::hello());
    let printed = apply(mesh, user, folder, &["--diff"]).await;
    let lines = [
        "~ script applied_near",
        "    -     - workers: \"*\"",
        "    +     - workers: [nearby]",
        "~ function applied/first",
        "    metadata.tag: \"edge\" -> \"core\"",
        "~ function applied/second",
        "3 to update, 2 unchanged",
    ];
    for line in lines {
        assert!(printed.out.lines().any(|printed| printed == line), "{line}: {}", printed.out);
    }
    assert!(printed.out.contains("sinks, whose secrets may differ") && !printed.out.contains("two"));
    assert!(printed.out.contains("    code: "), "{}", printed.out);
    assert!(printed.err.starts_with("warning: ") && printed.err.contains("nearby"), "{}", printed.err);
    let expected = [
        "module applied unchanged",
        "module applied_empty unchanged",
        "script applied_near updated (content)",
        "function applied/first updated (metadata.tag, sinks, whose secrets may differ)",
        "function applied/second updated (code)",
        "3 updated, 2 unchanged",
    ];
    applied(mesh, user, folder, &[], &expected).await;
    applied(mesh, user, folder, &["--diff"], &["5 unchanged"]).await;
    assert_eq!(
        user.result("applied", "second", json!({"name": "Ada"})).await,
        json!({"payload": "Hello Ada!"})
    );
}

pub async fn only_what_was_applied_is_pruned(mesh: &Mesh) {
    let user = mesh.admin().create_subject("pruner").await;
    let folder = Folder::new();
    let named = |module: &str, name: &str| {
        format!("name = \"{name}\"\nmodule = \"{module}\"\nbuild.output = \"../echo.wasm\"\n")
    };
    folder.write("echo.wasm", guests::echo());
    folder.write("mesh.toml", "[[scripts]]\nname = \"pruned\"\nfile = \"pruned.yml\"\n");
    folder.write("pruned.yml", "- default:\n    - workers: \"*\"\n");
    for (module, name) in
        [("pruned", "own"), ("pruned", "adopted"), ("pruned", "replaced"), ("pruned_b", "own")]
    {
        folder.write(&format!("{module}_{name}/function.toml"), named(module, name));
    }
    // One of them was there before.
    user.create_module("pruned").await;
    user.create_function("pruned", "adopted", &guests::hello()).await;
    let printed = apply(mesh, &user, &folder, &[]).await;
    assert!(printed.success && printed.out.ends_with("5 created, 1 updated, 1 unchanged"), "{}", printed.out);
    // Another one is deleted and created again by somebody else.
    user.delete("/v1/fn/pruned/replaced").await.expect(204);
    user.create_function("pruned", "replaced", &guests::echo()).await;

    for path in ["pruned_own", "pruned_adopted", "pruned_replaced", "pruned_b_own", "mesh.toml"] {
        folder.remove(path);
    }
    let kept = apply(mesh, &user, &folder, &[]).await;
    assert!(kept.success && kept.err.contains("--prune deletes them"), "{}", kept.err);
    user.get("/v1/fn/pruned/own").await.expect(200);
    let file = folder.path().join("pruned.yml").to_string_lossy().into_owned();
    let of_file = fl(mesh, &user, &["apply", "-f", &file, "--prune"]).await;
    assert!(!of_file.success && of_file.err.contains("--prune takes a folder"), "{}", of_file.err);
    let deletions = ["function pruned/own", "function pruned_b/own", "script pruned", "module pruned_b"];
    let diff: Vec<_> = deletions.iter().map(|name| format!("- {name}")).collect();
    let diff: Vec<_> = diff.iter().map(String::as_str).chain(["4 to delete, 0 unchanged"]).collect();
    applied(mesh, &user, &folder, &["--prune", "--diff"], &diff).await;
    let deleted: Vec<_> = deletions.iter().map(|name| format!("{name} deleted")).collect();
    let deleted: Vec<_> = deleted.iter().map(String::as_str).chain(["4 deleted, 0 unchanged"]).collect();
    applied(mesh, &user, &folder, &["--prune"], &deleted).await;
    applied(mesh, &user, &folder, &["--prune"], &["0 unchanged"]).await;
    let left = fl(mesh, &user, &["fn", "list", "pruned"]).await;
    assert_eq!(left.out, "pruned/adopted\npruned/replaced");
    user.delete("/v1/fn/pruned").await.expect(204);
}

pub async fn what_cannot_be_applied_changes_nothing(mesh: &Mesh) {
    let user = mesh.admin().create_subject("misapplied").await;
    let folder = first_tree();
    folder.write("mesh.toml", MESH.replace("applied", "misapplied"));
    folder.write(
        "first/function.toml",
        "name = \"f\"\nmodule = \"misapplied\"\nbuild.output = \"none.wasm\"\n",
    );
    folder.write("more/second/function.toml", SECOND.replace("applied", "misapplied"));
    folder.write("near.yml", "- t:\n- u:\n    - workers: []\n");
    let printed = apply(mesh, &user, &folder, &[]).await;
    assert_eq!((printed.code, &*printed.out), (Some(1), ""));
    for word in ["nothing was changed", "near.yml:", "first/none.wasm"] {
        assert!(printed.err.contains(word), "{word}: {}", printed.err);
    }
    assert_eq!(fl(mesh, &user, &["mod", "list"]).await.out, "_");

    // What only the mesh can tell is told, and the rest is done.
    folder.write("near.yml", "- default:\n    - workers: \"*\"\n");
    let unknown =
        "name = \"f\"\nmodule = \"misapplied\"\nbuild.output = \"first.wasm\"\nmetadata.tga = \"edge\"\n";
    folder.write("first/function.toml", unknown);
    let printed = apply(mesh, &user, &folder, &["--prune"]).await;
    assert_eq!(printed.code, Some(1), "{}", printed.out);
    assert!(printed.err.contains("the mesh does not know metadata.tga"), "{}", printed.err);
    assert!(printed.out.contains("function misapplied/second created"), "{}", printed.out);
    let again = apply(mesh, &user, &folder, &[]).await;
    assert!(!again.success && again.err.contains("metadata.tga"), "{}", again.err);
    folder.write("first/function.toml", unknown.replace("tga", "tag"));
    let corrected = apply(mesh, &user, &folder, &[]).await;
    assert!(corrected.success && corrected.out.ends_with("1 updated, 4 unchanged"), "{}", corrected.out);
    for module in ["misapplied", "misapplied_empty"] {
        user.delete(&format!("/v1/fn/{module}")).await.expect(204);
    }
    user.delete("/v1/scripts/app/misapplied_near").await.expect(204);
}
