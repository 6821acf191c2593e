//! Pictures of the console of a busy mesh, for the documentation. Run it with `scripts/screenshots`.

// A command-line tool prints to its user.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser as _;
use serde_json::json;
use tests::browser::Browser;
use tests::client::Upload;
use tests::receiver::Receiver;
use tests::{Client, Mesh, Shape, guests, wait};

/// The mesh of the pictures.
const SHAPE: Shape = Shape { name: "screenshots", processes: Some(3), postgres: false };
const SCRIPT: &str = "- default:\n  - workers: \"*\"\n    strategy: best-first\n    invalidate:\n      capacity_used: 60%\n  - workers: \"*\"\n    strategy: random\n";
const WRONG_SCRIPT: &str = "- edge:\n  - workers: [worker-2, worker-9]\n    strategy: fastest\n    invalidate:\n      capacity_used: 120%\n  followup: default\n- default:\n  - workers: \"*\"\n";
/// How long the mesh is busy before the pictures.
const BUSY: Duration = Duration::from_secs(150);
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Parser)]
#[command(about = "Takes pictures of the console of a busy mesh.")]
struct Arguments {
    /// The folder of the pictures.
    folder: PathBuf,
}

#[tokio::main]
async fn main() {
    let Arguments { folder } = Arguments::parse();
    std::fs::create_dir_all(&folder).expect("the folder can be created");
    let mesh = Mesh::start(SHAPE).await;
    let receiver = Receiver::start().await;
    let admin = mesh.admin();
    prepare(&admin, &receiver).await;
    let load = tokio::spawn(keep_busy(admin.clone()));
    tokio::time::sleep(BUSY).await;
    let browser = Browser::start(&mesh.rest_url()).await;
    let link = admin.post("/console/links", &json!(null)).await.expect(200).json();
    browser.open(link["data"]["path"].as_str().expect("a path")).await;
    for (kind, dark, width, height) in
        [("light", false, 1280, 860), ("dark", true, 1280, 860), ("phone", false, 390, 844)]
    {
        browser.prefer_dark(dark).await;
        browser.resize(width, height, 1).await;
        for (name, path) in pages(&admin).await {
            show(&browser, &name, &path).await;
            let picture = folder.join(format!("{name}-{kind}.png"));
            browser.screenshot(&picture).await;
            println!("{}", picture.display());
        }
    }
    load.abort();
    browser.quit().await;
}

/// Functions, events, sinks and scripts.
async fn prepare(admin: &Client, receiver: &Receiver) {
    for name in ["busy", "edge_first"] {
        let upload = Upload::default().text("name", name).file("file", SCRIPT.as_bytes());
        admin.post_form("/v1/scripts/app", upload).await.expect(201);
    }
    let sink = json!([{ "type": "webhook", "params": { "url": receiver.url() } }]).to_string();
    let refused =
        json!([{ "type": "webhook", "params": { "url": format!("{}none", receiver.url()) } }]).to_string();
    let cron = json!([{ "type": "cron", "params": { "schedule": "* * * * * *" } }]).to_string();
    for (module, functions) in [
        ("shop", &["checkout", "price", "stock", "welcome"][..]),
        ("sensors", &["aggregate", "alarm", "calibrate"][..]),
        ("papers", &["index", "summary"][..]),
    ] {
        admin.create_module(module).await;
        for function in functions {
            let upload = Upload::function(function, &guests::hello());
            let upload = match *function {
                "welcome" => upload.text("metadata", r#"{"tag":"edge","capacity":2048,"script":"busy"}"#),
                "price" => upload.text("sinks", &sink),
                "alarm" => upload.text("sinks", &refused),
                "calibrate" => upload.text("events", &cron),
                _ => upload,
            };
            admin.post_form(&format!("/v1/fn/{module}"), upload).await;
        }
    }
    for number in 0..4 {
        admin.result("sensors", "alarm", json!({ "name": format!("sensor {number}") })).await;
    }
    wait::until("there are dead letters", LIMIT, async || {
        let page = admin.get("/v1/dead-letters?module=sensors&function=alarm").await.json();
        page["data"].as_array().filter(|letters| !letters.is_empty()).map(|_| ())
    })
    .await;
    admin.create_subject("ada").await;
    admin.create_subject("lab").await;
}

async fn keep_busy(admin: Client) {
    let functions = [("shop", "welcome"), ("shop", "price"), ("papers", "summary"), ("sensors", "aggregate")];
    for number in 0_usize.. {
        let (module, function) = functions[number % functions.len()];
        // Some have no name, and fail.
        let args = if number % 37 == 0 { json!({}) } else { json!({ "name": format!("guest {number}") }) };
        admin.invoke(module, function, args).await;
        tokio::time::sleep(Duration::from_millis(30 + 25 * (number as u64 % 5))).await;
    }
}

/// The names and paths of the pages.
async fn pages(admin: &Client) -> Vec<(String, String)> {
    let recent = admin.get("/v1/invocations?module=shop&function=welcome&limit=1").await.json();
    let invocation = recent["data"]["invocations"][0]["id"].as_str().unwrap_or_default().to_owned();
    let letters = admin.get("/v1/dead-letters?limit=1").await.json();
    let letter = letters["data"][0]["id"].as_str().unwrap_or_default().to_owned();
    let pages = [
        ("overview", "/console".to_owned()),
        ("functions", "/console/functions".to_owned()),
        ("function", "/console/functions/shop/welcome".to_owned()),
        ("invocations", "/console/invocations".to_owned()),
        ("invocation", format!("/console/invocations/{invocation}")),
        ("bindings", "/console/bindings".to_owned()),
        ("dead-letters", "/console/dead-letters".to_owned()),
        ("dead-letter", format!("/console/dead-letters/{letter}")),
        ("workers", "/console/workers".to_owned()),
        ("script", "/console/scripts/new".to_owned()),
        ("explain", "/console/scripts/busy?function=shop/welcome".to_owned()),
        ("simulator", "/console/simulator".to_owned()),
        ("subjects", "/console/subjects".to_owned()),
    ];
    pages.into_iter().map(|(name, path)| (name.to_owned(), path)).collect()
}

/// Opens a page, and does there what a reader would.
async fn show(browser: &Browser, name: &str, path: &str) {
    browser.open(path).await;
    browser.find("h1").await;
    match name {
        "overview" => {
            browser.find("#invocations canvas").await;
            browser.reads(".tiles", "/s").await;
        }
        "function" => {
            browser.fill("textarea[name=args]", r#"{"name": "you"}"#).await;
            browser.click("form[data-inputs] button[type=submit]").await;
            browser.reads("#result pre", "Hello you!").await;
        }
        "script" => {
            browser.fill("input[name=name]", "edge").await;
            browser.fill("textarea[name=content]", WRONG_SCRIPT).await;
            browser.find("#findings mark").await;
        }
        "simulator" => {
            browser.click("main form button[type=submit]").await;
            browser.find("#placements").await;
        }
        _ => {}
    }
    browser.run("window.scrollTo(0, 0)").await;
}
