//! What an administrator does.

use std::time::Duration;

use serde_json::json;
use tests::browser::Browser;
use tests::{Mesh, guests, wait};

use crate::site::{hello, link, page_of, signed_in};

const LIMIT: Duration = Duration::from_secs(30);

pub async fn from_signing_in_to_signing_out(mesh: &Mesh) {
    // The link that `fl up` prints is of the same kind.
    let printed = wait::until("fl up has printed a link", LIMIT, async || {
        let log = mesh.log();
        let (_, link) = log.lines().find_map(|line| line.split_once("within 10 minutes: "))?;
        Some(link.trim().to_owned())
    })
    .await;
    let browser = Browser::start(&mesh.rest_url()).await;
    browser.open_url(&printed).await;
    assert_eq!(browser.path().await, "/console");
    browser.reads(".map", "scheduler").await;
    browser.reads(".who", "admin").await;

    creates_and_invokes(&browser).await;
    edits_a_script(&browser).await;
    browser.open("/console/workers").await;
    browser.reads("main", "worker").await;

    browser.click(".who button").await;
    browser.reads("h1", "Sign in").await;
    browser.open("/console/workers").await;
    browser.reads("h1", "Sign in").await;
    browser.open_url(&printed).await;
    browser.reads(".message", "This link has been used").await;
    browser.quit().await;
}

async fn creates_and_invokes(browser: &Browser) {
    browser.open("/console/functions").await;
    browser.fill("form[action='/console/modules'] input[name=name]", "browsed").await;
    browser.click("form[action='/console/modules'] button").await;
    browser.reads("main", "browsed").await;
    browser.click("a[href='/console/modules/browsed/new']").await;
    browser.fill("input[name=name]", "greeter").await;
    browser.choose_file("input[name=code]", &hello()).await;
    browser.click("main form button[type=submit]").await;
    browser.reads("h1", "browsed/greeter").await;

    // The log follows: the line arrives without a reload.
    browser.fill("textarea[name=args]", r#"{"name": "Ada"}"#).await;
    browser.click("form[data-inputs] button[type=submit]").await;
    browser.reads("#result pre", "Hello Ada!").await;
    browser.reads("#result .waterfall", "run").await;
    browser.reads("#result .waterfall", "total").await;
    browser.reads("#lines", "Ada").await;
    assert_eq!(browser.path().await, page_of("browsed", "greeter"), "the page was not left");
    browser.reads("#recent", "ok").await;

    // What is no JSON is not sent, and what fails says why.
    browser.fill("textarea[name=args]", "{").await;
    browser.click("form[data-inputs] button[type=submit]").await;
    browser.reads("#result .message", "The arguments are not JSON").await;
    browser.fill("textarea[name=args]", "{}").await;
    browser.click("form[data-inputs] button[type=submit]").await;
    browser.reads("#result h3", "function error").await;

    browser.click("#result a").await;
    browser.reads("h1", "Invocation of browsed/greeter").await;
    browser.reads(".matrix", "chosen").await;

    browser.open(&page_of("browsed", "greeter")).await;
    browser.fill("form[action$='/delete'] input[name=name]", "other").await;
    browser.click("form[action$='/delete'] button").await;
    browser.reads(".message", "expected its name").await;
    browser.open(&page_of("browsed", "greeter")).await;
    browser.fill("form[action$='/delete'] input[name=name]", "greeter").await;
    browser.click("form[action$='/delete'] button").await;
    browser.reads("h1", "Functions").await;
    assert_eq!(browser.count(&format!("a[href='{}']", page_of("browsed", "greeter"))).await, 0);
}

async fn edits_a_script(browser: &Browser) {
    browser.open("/console/scripts/new").await;
    browser.fill("input[name=name]", "browsed").await;
    browser.fill("textarea[name=content]", "- default:\n  - workers: \"*\"\n    strategy: fastest\n").await;
    browser.reads("#findings", "fastest").await;
    browser.reads("#findings mark", "fastest").await;
    browser.fill("textarea[name=content]", "- default:\n  - workers: \"*\"\n").await;
    browser.reads("#findings", "No problems").await;
    browser.click("main form button[type=submit]").await;
    browser.reads("h1", "Script browsed").await;
    browser.click("a[href^='/console/simulator']").await;
    browser.click("main form button[type=submit]").await;
    browser.reads("#placements", "60 placed").await;
}

/// Texts of functions are shown as they are, and do nothing.
pub async fn texts_of_functions_are_no_markup(mesh: &Mesh) {
    let (admin, browser) = (mesh.admin(), signed_in(mesh, &mesh.admin()).await);
    let hostile = "<img src=x onerror=document.title='taken'><script>document.title='taken'</script>";
    admin.create_function("_", "hostile", &guests::logging()).await;
    admin.create_function("_", "hostile_error", &guests::failing(hostile.as_bytes())).await;
    admin.invoke("_", "hostile_error", json!({})).await.expect(422);

    browser.open(&page_of("_", "hostile")).await;
    browser.fill("textarea[name=args]", &json!({ "html": hostile }).to_string()).await;
    browser.click("form[data-inputs] button[type=submit]").await;
    browser.reads("#result pre", "<img src=x").await;
    browser.reads("#lines", "<script>").await;
    browser.open("/console/invocations?function=hostile_error").await;
    browser.click("tbody th a").await;
    browser.reads(".message", "<script>").await;
    for page in [page_of("_", "hostile"), page_of("_", "hostile_error"), "/console/invocations".to_owned()] {
        browser.open(&page).await;
        browser.find("h1").await;
        assert_eq!(browser.count("main img, main script").await, 0, "{page}");
        assert_ne!(browser.run("return document.title").await, json!("taken"), "{page}");
    }
    // A link with a script in it is not followed after signing in.
    let next = format!("{}?next=javascript:alert(1)", link(&admin).await);
    browser.open(&next).await;
    assert_eq!(browser.path().await, "/console");
    browser.quit().await;
}
