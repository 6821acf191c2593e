//! What all pages have, also those without a session: head and messages.

use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::parts::escaped;

/// Inline scripts and styles do not run, and nothing is loaded from another host.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// htmx evaluates no code and adds no styles.
const HTMX: &str = r#"{"allowEval":false,"allowScriptTags":false,"includeIndicatorStyles":false,"selfRequestsOnly":true,"historyCacheSize":0,"responseHandling":[{"code":"204","swap":false},{"code":"...","swap":true}]}"#;

/// A page without a session.
pub(super) fn bare(title: &str, content: &Markup) -> Markup {
    let body = html! {
        main.card id="main" {
            p.brand { img src=(assets::path("icon.svg")) alt="" width="20" height="20"; span { "FunLess Mesh" } }
            h1 { (title) }
            (content)
            p { a href="/console" { "To the overview" } }
        }
    };
    document(title, "bare", &body)
}

/// The page to sign in, before the page at `next`.
pub(super) fn sign_in(next: &str, problem: Option<&str>) -> Markup {
    let body = html! {
        main.card id="main" {
            p.brand { img src=(assets::path("icon.svg")) alt="" width="20" height="20"; span { "FunLess Mesh" } }
            h1 { "Sign in" }
            @if let Some(problem) = problem { (failed(problem)) }
            form.stack method="post" action="/console/sign-in" {
                input type="hidden" name="next" value=(next);
                label { "Token" input type="password" name="token" autocomplete="current-password" required autofocus spellcheck="false"; }
                button type="submit" { "Sign in" }
            }
            p.quiet {
                "The token of a subject or of an administrator. " code { "fl up" } " writes both to "
                code { ".funless/config" } ", and " code { "fl console" } " prints a link that signs in once."
            }
        }
    };
    document("Sign in", "bare", &body)
}

/// The page to sign in before the page at `path`.
pub(super) fn sign_in_path(path: &str) -> String {
    match path {
        "/console" => "/console/sign-in".to_owned(),
        path => format!("/console/sign-in?next={}", escaped(path)),
    }
}

/// A problem, as a message.
pub(super) fn failed(message: &str) -> Markup {
    html! { p.message.bad role="alert" { (message) } }
}

/// A success, as a message.
pub(super) fn done(message: &str) -> Markup {
    html! { p.message.ok role="status" { (message) } }
}

/// A whole document; `kind` is the class of its body.
pub(super) fn document(title: &str, kind: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="htmx-config" content=(HTMX);
                title { (title) " · FunLess Mesh" }
                link rel="icon" type="image/svg+xml" href=(assets::path("icon.svg"));
                link rel="stylesheet" href=(assets::path("vendor/uplot.min.css"));
                link rel="stylesheet" href=(assets::path("console.css"));
                @for script in ["vendor/htmx.min.js", "vendor/htmx-sse.min.js", "vendor/uplot.min.js", "console.js"] {
                    script src=(assets::path(script)) defer {}
                }
            }
            body class=(kind) hx-ext="sse" { (body) }
        }
    }
}
