//! `--output`, `--quiet` and colours.

use super::support::{Fake, Home};
use serde_json::Value;

/// The commands that list or show something.
const COMMANDS: [&str; 15] = [
    "mod list",
    "mod get shop",
    "fn list shop",
    "fn get shop/welcome",
    "admin user list",
    "script list",
    "script get busy",
    "script decisions",
    "script explain busy --function shop/welcome",
    "workers",
    "events list",
    "sinks status shop/welcome",
    "dead-letters list",
    "dead-letters show 01890000-0000-7000-8000-000000000001",
    "status",
];

#[tokio::test(flavor = "multi_thread")]
async fn results_have_formats() {
    let (fake, home) = (Fake::of_examples().await, Home::new());
    for command in COMMANDS {
        let mut all = String::new();
        for format in ["", "-o table", "-o yaml", "-o json", "--quiet"] {
            if format == "--quiet"
                && ["fn get", "script get", "explain", "show"].iter().any(|it| command.contains(it))
            {
                continue;
            }
            let printed = fake.run(&home, &format!("{command} {format}")).await;
            all.push_str(&format!("$ fl {command} {format}\n{printed}\n"));
            if format == "-o json" {
                let synonym = fake.run(&home, &format!("{command} --json")).await;
                assert_eq!((synonym.code, synonym.out), (printed.code, printed.out.clone()), "{command}");
                let json: Value = serde_json::from_str(&printed.out).expect("JSON");
                let yaml = fake.run(&home, &format!("{command} -o yaml")).await.out;
                let yaml: Value = serde_saphyr::from_str(&yaml).expect("YAML");
                assert_eq!(yaml, json, "{command}");
                assert!(!json["data"].is_null(), "{command}: as in the REST API");
            }
        }
        insta::assert_snapshot!(command.split(" --").next().unwrap_or(command).replace([' ', '/'], "_"), all);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_commands_print_only_what_scripts_need() {
    let (fake, home) = (Fake::of_examples().await, Home::new());
    home.write("busy.yml", "- default:\n");
    home.write("f.wasm", b"\0asm");
    let mut all = String::new();
    for command in [
        "mod create shop",
        "mod update shop stores",
        "mod delete shop",
        "fn upload welcome f.wasm -m shop",
        "fn update welcome f.wasm -m shop",
        "fn delete welcome -m shop",
        "script create busy busy.yml",
        "script delete busy",
        "admin user create bea",
        "admin user rotate bea --grace 1h",
        "admin user delete bea",
        "dead-letters purge 01890000-0000-7000-8000-000000000001",
        "dead-letters redrive 01890000-0000-7000-8000-000000000001",
        "audit events",
    ] {
        for quiet in ["", " --quiet"] {
            let printed = fake.run(&home, &format!("{command}{quiet}")).await;
            all.push_str(&format!("$ fl {command}{quiet}\n{printed}\n"));
        }
    }
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn colours_are_for_terminals() {
    let (fake, home) = (Fake::of_examples().await, Home::new());
    let line = format!("--host {} --token t workers", fake.url);
    assert!(!home.run(&line).await.out.contains('\u{1b}'), "this is no terminal");
    let forced = home.run_with(&line, "CLICOLOR_FORCE", "1").await;
    assert!(forced.out.starts_with("\u{1b}[1mNAME"), "{}", forced.out);
    let json = home.run_with(&format!("{line} --json"), "CLICOLOR_FORCE", "1").await;
    assert!(!json.out.contains('\u{1b}'), "JSON has no colours: {}", json.out);
    let wrong = home.run_with("mod list", "CLICOLOR_FORCE", "1").await;
    assert!(wrong.err.contains("\u{1b}[1m\u{1b}[31mfl: error:\u{1b}[0m "), "{:?}", wrong.err);
    let mut without = home.command(&line);
    without.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1");
    let without = without.output().await.expect("it runs");
    assert!(without.status.success());
}

#[tokio::test]
async fn whoever_reads_may_stop() {
    let (fake, home) = (Fake::of_examples().await, Home::new());
    let mut command = home.command(&format!("--host {} --token t fn get shop/welcome", fake.url));
    // Nobody reads.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = command.stdout(writer).output().await.expect("it runs");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
