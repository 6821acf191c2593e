//! No page breaks a rule of axe-core: light, dark, and on a phone.

use serde_json::json;
use tests::{Mesh, guests};

use crate::site::{page_of, signed_in};

pub async fn no_page_breaks_a_rule(mesh: &Mesh) {
    let admin = mesh.admin();
    admin.create_function("_", "accessible", &guests::logging()).await;
    admin.result("_", "accessible", json!({ "name": "x" })).await;
    let recent = admin.get("/v1/invocations?function=accessible").await.expect(200).json();
    let invocation = recent["data"]["invocations"][0]["id"].as_str().expect("an invocation").to_owned();
    let script = "- default:\n  - workers: \"*\"\n    strategy: fastest\n";
    let browser = signed_in(mesh, &admin).await;

    let pages = [
        "/console".to_owned(),
        "/console/functions".to_owned(),
        "/console/modules/_/new".to_owned(),
        page_of("_", "accessible"),
        "/console/invocations".to_owned(),
        format!("/console/invocations/{invocation}"),
        "/console/bindings".to_owned(),
        "/console/dead-letters?action=purge".to_owned(),
        "/console/workers".to_owned(),
        "/console/scripts".to_owned(),
        "/console/scripts/new".to_owned(),
        "/console/simulator".to_owned(),
        "/console/subjects".to_owned(),
        "/console/subjects/guest/delete".to_owned(),
        "/console/sign-in".to_owned(),
        "/console/no-such-page".to_owned(),
    ];
    let mut broken = Vec::new();
    for (dark, width) in [(false, 1280), (true, 390)] {
        browser.prefer_dark(dark).await;
        browser.resize(width, 900, 1).await;
        for page in &pages {
            browser.open(page).await;
            browser.find("h1").await;
            if page == "/console/scripts/new" {
                browser.fill("textarea[name=content]", script).await;
                browser.find("#findings mark").await;
            }
            let found = browser.accessibility_violations().await;
            broken.extend(found.into_iter().map(|rule| format!("{page} at {width}: {rule}")));
            let overflow = "return document.documentElement.scrollWidth - window.innerWidth";
            let overflow = browser.run(overflow).await.as_i64().unwrap_or_default();
            if overflow > 0 {
                broken.push(format!("{page} at {width}: {overflow} pixels too wide"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    browser.quit().await;
}
