//! Subjects and their tokens. For administrators.

use axum::extract::Path;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::failure::Failure;
use super::layout::{done, failed};
use super::model::{Name, SubjectCreated};
use super::page::{Section, csrf, page};
use super::parts::escaped;
use super::visitor::{NoFields, Posted, Visitor};

/// `GET /console/subjects`
pub(super) async fn list(visitor: Visitor) -> Result<Markup, Failure> {
    render(&visitor, &html! {}).await
}

async fn render(visitor: &Visitor, message: &Markup) -> Result<Markup, Failure> {
    let subjects: Vec<Name> = visitor.api.get("/v1/admin/subjects").await?;
    let content = html! {
        (message)
        form.inline method="post" action="/console/subjects" {
            (csrf(visitor))
            label { "New subject" input name="name" required maxlength="160" pattern="[_a-zA-Z0-9]+" autocomplete="off" title="Letters, digits and underscores"; }
            button type="submit" { "Create" }
        }
        section.panel {
            table {
                thead { tr { th scope="col" { "Subject" } th.number scope="col" { "Token" } } }
                tbody {
                    @for Name { name } in &subjects {
                        tr {
                            th scope="row" { (name) }
                            td.number { a href={ "/console/subjects/" (escaped(name)) "/delete" } { "Delete…" } }
                        }
                    }
                }
            }
            p.quiet { "A token is shown once, when its subject is created. To replace one, delete the subject and create it again; what it owns stays under its name." }
        }
    };
    Ok(page(visitor, Section::Subjects, "Subjects", &content))
}

#[derive(Deserialize)]
pub(super) struct SubjectForm {
    name: String,
}

/// `POST /console/subjects`
pub(super) async fn create(Posted { visitor, form }: Posted<SubjectForm>) -> Result<Markup, Failure> {
    let body = json!({"subject": {"name": form.name}});
    let message = match visitor.api.post::<SubjectCreated>("/v1/admin/subjects", &body).await {
        Ok(SubjectCreated { name, token }) => html! {
            section.panel {
                (done(&format!("Created: {name}. This is its token, which is not shown again.")))
                pre tabindex="0" { code id="token" { (token) } }
            }
        },
        Err(failure) => failed(&failure.message),
    };
    render(&visitor, &message).await
}

/// `GET /console/subjects/{subject}/delete`
pub(super) async fn confirm(visitor: Visitor, Path(name): Path<String>) -> Result<Markup, Failure> {
    let subjects: Vec<Name> = visitor.api.get("/v1/admin/subjects").await?;
    if !subjects.iter().any(|subject| subject.name == name) {
        return Err(Failure::not_found(format!("no subject {name:?}")));
    }
    let content = html! {
        form.panel method="post" action={ "/console/subjects/" (escaped(&name)) "/delete" } {
            (csrf(&visitor))
            p { "Its token is refused within 5 seconds, and sessions with it end. Modules, functions and scripts of " strong { (name) } " stay." }
            div.inline {
                button.danger type="submit" { "Delete " (name) }
                a.button href="/console/subjects" { "Cancel" }
            }
        }
    };
    Ok(page(&visitor, Section::Subjects, &format!("Delete {name}?"), &content))
}

/// `POST /console/subjects/{subject}/delete`
pub(super) async fn delete(
    Path(name): Path<String>,
    Posted { visitor, .. }: Posted<NoFields>,
) -> Result<Response, Failure> {
    match visitor.api.delete(&format!("/v1/admin/subjects/{}", escaped(&name))).await {
        Ok(_) => Ok(Redirect::to(Section::Subjects.path()).into_response()),
        Err(failure) => Ok(render(&visitor, &failed(&failure.message)).await?.into_response()),
    }
}
