//! What subjects see, and what nobody does.

use http::Method;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use tests::{Mesh, guests};

use crate::site::{link, page_of, signed_in};

pub async fn see_what_is_theirs(mesh: &Mesh) {
    let admin = mesh.admin();
    let (ann, bea) = (admin.create_subject("browsing_ann").await, admin.create_subject("browsing_bea").await);
    ann.create_module("anns").await;
    ann.create_function("anns", "secret", &guests::hello()).await;
    ann.result("anns", "secret", serde_json::json!({"name": "x"})).await;

    let browser = signed_in(mesh, &bea).await;
    browser.reads("nav", "Functions").await;
    let navigation = browser.text("nav").await;
    assert!(!navigation.contains("Workers") && !navigation.contains("Subjects"), "{navigation}");
    for path in ["/console/functions", "/console/invocations", "/console/bindings", "/console/dead-letters"] {
        browser.open(path).await;
        let seen = browser.text("main").await;
        assert!(!seen.contains("anns") && !seen.contains("secret"), "{path}: {seen}");
    }
    browser.open(&page_of("anns", "secret")).await;
    browser.reads(".message", "no function").await;
    for path in ["/console/workers", "/console/subjects"] {
        browser.open(path).await;
        browser.reads("h1", "Sign in").await;
    }
    browser.quit().await;

    let browser = signed_in(mesh, &ann).await;
    browser.open("/console/invocations").await;
    browser.reads("main", "anns/secret").await;
    // A deleted subject's session ends.
    admin.delete("/v1/admin/subjects/browsing_ann").await.expect(204);
    tests::wait::until("the session has ended", std::time::Duration::from_secs(20), async || {
        browser.open("/console/functions").await;
        (browser.text("h1").await == "Sign in").then_some(())
    })
    .await;
    browser.quit().await;
}

/// The same without a browser, which would not send such requests.
pub async fn forged_requests_are_refused(mesh: &Mesh) {
    let no_redirects = reqwest::redirect::Policy::none();
    mesh::tls::install_crypto();
    let http = reqwest::Client::builder().no_proxy().redirect(no_redirects).build().expect("a client");
    let url = |path: &str| format!("{}{path}", mesh.rest_url());

    let page = http.get(url("/console/functions")).send().await.expect("a response");
    assert_eq!(page.status(), 303);
    assert_eq!(page.headers()[LOCATION], "/console/sign-in?next=%2Fconsole%2Ffunctions");
    let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().expect("a text");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");

    let page = http.get(url(&link(&mesh.admin()).await)).send().await.expect("a response");
    let cookie = page.headers()[SET_COOKIE].to_str().expect("a text").to_owned();
    for attribute in ["Secure", "HttpOnly", "SameSite=Strict", "Path=/console"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let token = mesh.admin().token().expect("a token").to_owned();
    assert!(!cookie.contains(&token), "the cookie shows the token");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();

    let form = "application/x-www-form-urlencoded";
    let multipart = "multipart/form-data; boundary=b";
    let upload = "--b\r\ncontent-disposition: form-data; name=\"csrf\"\r\n\r\nx\r\n--b--\r\n";
    for (path, content_type, body) in [
        ("/console/modules", form, "name=forged"),
        ("/console/modules", form, "name=forged&csrf=0000"),
        ("/console/subjects", form, "name=forged&csrf="),
        ("/console/dead-letters/purge", form, ""),
        ("/console/modules/_/functions", multipart, upload),
        ("/console/functions/_/hello/code", multipart, ""),
    ] {
        let request = http.request(Method::POST, url(path)).header(COOKIE, &cookie);
        let request = request.header(CONTENT_TYPE, content_type).body(body);
        assert_eq!(request.send().await.expect("a response").status(), 403, "{path} {body}");
    }
    let modules = mesh.admin().get("/v1/fn").await.expect(200).text;
    assert!(!modules.contains("forged"), "{modules}");
    let elsewhere = http.post(url("/console/sign-in")).header("sec-fetch-site", "cross-site");
    let elsewhere = elsewhere.header(CONTENT_TYPE, form).body(format!("token={token}"));
    assert_eq!(elsewhere.send().await.expect("a response").status(), 403);
}
