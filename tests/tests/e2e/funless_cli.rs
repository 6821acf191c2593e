//! The commands of FunLess' own command line, with its names, aliases, flags and output.

use std::path::Path;

use serde_json::Value;
use tests::fl::{Printed, fl, run_in};
use tests::{Client, Mesh, guests};

/// Runs a command line, whose words have no spaces.
async fn typed(mesh: &Mesh, user: &Client, line: &str) -> Printed {
    fl(mesh, user, &line.split(' ').collect::<Vec<_>>()).await
}

/// Runs the command lines and compares their output. An output that starts with `!` is the end of the error of a
/// command that fails with the exit code 1.
async fn expect(mesh: &Mesh, user: &Client, lines: &[(&str, &str)]) {
    for (line, expected) in lines {
        let printed = typed(mesh, user, line).await;
        match expected.strip_prefix('!') {
            None => {
                assert_eq!((printed.code, &*printed.out), (Some(0), *expected), "fl {line}: {}", printed.err)
            }
            Some(error) => {
                assert_eq!((printed.code, &*printed.out), (Some(1), ""), "fl {line}");
                assert!(printed.err.ends_with(error), "fl {line}: {}", printed.err);
            }
        }
    }
}

pub async fn modules_as_in_funless(mesh: &Mesh) {
    let user = mesh.admin().create_subject("modular").await;
    let lines = [
        ("mod list", "_"),
        ("mod create cli_a", "Successfully created module cli_a."),
        ("mod c cli_b", "Successfully created module cli_b."),
        ("mod list -c", "_\ncli_a\ncli_b\nCount: 3"),
        ("mod l", "_\ncli_a\ncli_b"),
        ("mod ls --count", "_\ncli_a\ncli_b\nCount: 3"),
        ("mod get cli_a", "Module: cli_a\nFunctions:"),
        ("mod g cli_a -c", "Module: cli_a\nFunctions:\nCount: 0"),
        ("mod update cli_a cli_c", "Successfully renamed module cli_a to cli_c."),
        ("mod u cli_c cli_d", "Successfully renamed module cli_c to cli_d."),
        ("mod up cli_d cli_e", "Successfully renamed module cli_d to cli_e."),
        ("mod get cli_a", "!did you mean cli_b or cli_e?\nfl: error: Not Found"),
        ("mod delete cli_e", "Successfully deleted module cli_e."),
        ("mod d cli_b", "Successfully deleted module cli_b."),
        ("mod create cli_b", "Successfully created module cli_b."),
        ("mod rm cli_b", "Successfully deleted module cli_b."),
        ("mod rm zzz", "!see `fl mod list`\nfl: error: Not Found"),
    ];
    expect(mesh, &user, &lines).await;
}

pub async fn functions_as_in_funless(mesh: &Mesh) {
    let user = mesh.admin().create_subject("functional").await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let echo = folder.path().join("echo.wasm").to_string_lossy().into_owned();
    std::fs::write(&echo, guests::echo()).expect("a file");
    let upload = |line: &str| line.replace("ECHO", &echo);
    let lines = [
        ("mod create cli_f", "Successfully created module cli_f."),
        (&*upload("fn upload first ECHO -m cli_f"), "Successfully uploaded function cli_f/first 👌"),
        (&*upload("fn up second ECHO --module cli_f"), "Successfully uploaded function cli_f/second 👌"),
        (&*upload("fn up third ECHO --namespace cli_f"), "Successfully uploaded function cli_f/third 👌"),
        (&*upload("fn up third ECHO -m cli_f"), "!replace it with `fl fn update`\nfl: error: Conflict"),
        (&*upload("fn update third ECHO -m cli_f"), "Successfully updated function cli_f/third 👌"),
        (&*upload("fn update fourth ECHO -m cli_f"), "!\nfl: error: Not Found"),
        ("mod get cli_f -c", "Module: cli_f\nFunctions:\nfirst\nsecond\nthird\nCount: 3"),
        ("fn list cli_f", "cli_f/first\ncli_f/second\ncli_f/third"),
        ("fn invoke first -m cli_f", "{}"),
        ("fn i first -m cli_f -a name=Ada --args n=1", r#"{"n":"1","name":"Ada"}"#),
        (r#"fn i first -m cli_f -j {"a":[],"b":1.0}"#, r#"{"a":[],"b":1.0}"#),
        ("fn i cli_f/first --json [1,null]", "[1,null]"),
        (r#"fn i first --namespace cli_f -a {"a":1}"#, r#"{"a":1}"#),
        ("fn i first -m cli_f -j a=1", "!fl: error: --json a=1: expected JSON"),
        ("fn i cli_f/first -m other", "!fl: error: cli_f/first: --module other names another module"),
        ("fn i frist -m cli_f", "!did you mean cli_f/first?\nfl: error: Not Found"),
        ("fn i first -m cli_g", "!did you mean cli_f?\nfl: error: Not Found"),
        ("fn delete first -m cli_f", "Successfully deleted function cli_f/first."),
        ("fn d second -m cli_f", "Successfully deleted function cli_f/second."),
        ("fn d second -m cli_f", "!see `fl fn list cli_f`\nfl: error: Not Found"),
    ];
    expect(mesh, &user, &lines).await;
    let shown = typed(mesh, &user, "fn get third -m cli_f").await;
    let shown: Value = serde_json::from_str(&shown.out).expect("JSON");
    assert_eq!(shown["name"], "third", "{shown}");
    for wrong in ["fn i", "fn i f -j {} -a a=1", "fn reload f", "mod get", "fn i f --colour"] {
        let printed = typed(mesh, &user, wrong).await;
        assert_eq!((printed.code, &*printed.out), (Some(2), ""), "fl {wrong}");
    }
    expect(mesh, &user, &[("mod delete cli_f", "Successfully deleted module cli_f.")]).await;
}

pub async fn users_as_in_funless(mesh: &Mesh) {
    let admin = mesh.admin();
    let created = typed(mesh, &admin, "admin user create cli_ann").await;
    let (title, token) = created.out.split_once('\n').expect("two lines");
    assert_eq!(title, "User cli_ann created. Auth token:");
    let ann = admin.with_token(Some(token));
    expect(mesh, &ann, &[("mod list", "_"), ("a u l", "!fl: error: Unauthorized")]).await;
    let bob = typed(mesh, &admin, "a u c cli_bob").await;
    assert!(bob.out.starts_with("User cli_bob created. Auth token:\n"), "{}", bob.out);
    for line in ["admin user list", "admin u l", "a u ls"] {
        let listed = typed(mesh, &admin, line).await.out;
        assert!(listed.starts_with("Users:\n- "), "{listed}");
        for name in ["- cli_ann", "- cli_bob"] {
            assert!(listed.lines().any(|line| line == name), "{listed}");
        }
    }
    let lines = [
        ("a u create cli_bob", "!fl: error: name has already been taken"),
        ("a u delete cli_ann", "Successfully deleted user cli_ann."),
        ("a u d cli_bob", "Successfully deleted user cli_bob."),
        ("a u d cli_bob", "!fl: error: Not Found"),
    ];
    expect(mesh, &admin, &lines).await;
}

/// The profile of the user, and that of a folder, which takes precedence.
pub async fn profiles_as_in_funless(mesh: &Mesh) {
    let user = mesh.user();
    let home = tempfile::tempdir().expect("a temporary folder");
    let run = async |line: &str| {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        run_in(home.path(), &words).await
    };
    let profile = home.path().join(".fl/config");
    let path = profile.display();
    assert_eq!(run("cfg get api_host").await.out, "api_host=");
    let address = mesh.rest_url();
    let host = address.strip_prefix("http://").expect("a URL");
    let token = user.token().expect("a token");
    assert_eq!(
        run(&format!("cfg set api_host {host}")).await.out,
        format!("Key api_host set to {host} in config (path {path}).")
    );
    let set = run(&format!("c s api_token {token}")).await.out;
    assert_eq!(set, format!("Key api_token set in config (path {path})."), "without the secret");
    assert_eq!(run("config g api_token").await.out, format!("api_token={token}"));
    assert!(run("mod list").await.out.starts_with('_'), "the profile names the mesh");
    assert_eq!(run("cfg set colour red").await.code, Some(2));

    let of_folder = home.path().join(".funless/config");
    std::fs::create_dir(of_folder.parent().expect("a folder")).expect("a folder");
    std::fs::write(&of_folder, "api_host=127.0.0.1:1\napi_token=t\n").expect("a file");
    assert_eq!(run("cfg get api_host").await.out, "api_host=127.0.0.1:1");
    let warned = run("cfg set admin_token t").await;
    assert!(warned.err.starts_with("warning: ") && warned.err.contains(".funless/config"), "{}", warned.err);
    assert!(run("mod list").await.err.contains("cannot reach"), "the folder's profile takes precedence");
    assert!(run(&format!("--config {path} mod list")).await.out.starts_with('_'));
    assert_eq!(read_keys(&profile), ["api_host", "api_token", "admin_token"]);
}

fn read_keys(profile: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(profile).expect("a profile");
    text.lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect()
}

pub async fn completions_and_manual_pages(mesh: &Mesh) {
    let user = mesh.user();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = typed(mesh, &user, &format!("completions {shell}")).await;
        assert!(script.success && script.out.contains("dead-letters"), "{shell}: {}", script.err);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pages = folder.path().join("man1");
    let written = typed(mesh, &user, &format!("man {}", pages.display())).await;
    assert!(written.success, "{}", written.err);
    for (page, word) in [("fl.1", "fl\\-fn(1)"), ("fl-fn-invoke.1", "\\-\\-args")] {
        let text = std::fs::read_to_string(pages.join(page)).expect(page);
        assert!(text.contains(word), "{page}: {text}");
    }
}
