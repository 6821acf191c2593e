//! With scripts turned off, pages read and forms work.

use serde_json::json;
use tests::{Mesh, guests};

use crate::site::{page_of, signed_in};

pub async fn pages_read_and_forms_work(mesh: &Mesh) {
    let admin = mesh.admin();
    admin.create_function("_", "plain", &guests::hello()).await;
    admin.result("_", "plain", json!({ "name": "x" })).await;
    let browser = signed_in(mesh, &admin).await;
    browser.allow_scripts(false).await;

    browser.open("/console").await;
    browser.find("#invocations polyline").await;
    browser.open("/console/functions").await;
    browser.fill("input[name=q]", "plai").await;
    browser.click("form.search button").await;
    browser.click(&format!("a[href='{}']", page_of("_", "plain"))).await;
    browser.find("#lines li").await;
    browser.fill("textarea[name=args]", r#"{"name": "Eve"}"#).await;
    browser.click("form[data-inputs] button[type=submit]").await;
    browser.reads("#result pre", "Hello Eve!").await;
    assert_eq!(browser.path().await, format!("{}/invoke", page_of("_", "plain")), "the form was sent");

    browser.open("/console/scripts/new").await;
    browser.fill("textarea[name=content]", "- default: 7\n").await;
    browser.click("button[formaction='/console/scripts/check']").await;
    browser.find("#findings mark").await;
    browser.quit().await;
}
