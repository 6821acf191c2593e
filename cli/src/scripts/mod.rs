//! `fl script`.

mod decisions;
mod explain;
mod problem;
mod simulate;

use std::path::Path;

use anyhow::{Context as _, bail};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::args::{Format, Scripts};
use crate::client::{Answer, Client, data};
use crate::names;
use crate::output::{self, BAD, WARNING, each, styled, warn};
use crate::table::Table;
pub use problem::Problem;

/// The path below `/v1`.
const PATH: [&str; 2] = ["scripts", "app"];
/// How the mesh says that a name is not free.
const TAKEN: &str = "has already been taken";

#[derive(Deserialize)]
struct Script {
    name: String,
    /// Absent: it is shared.
    owner: Option<String>,
    content: String,
}

#[derive(Deserialize)]
struct Created {
    warnings: Vec<Problem>,
}

/// What is wrong with a script, and what is doubtful.
#[derive(Deserialize)]
pub struct Findings {
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

/// Runs one of the commands.
pub async fn run(command: Scripts, client: &Client) -> anyhow::Result<()> {
    match command {
        Scripts::Create { name, file, quiet } => {
            for warning in create(client, &name, &file).await? {
                warn(&warning.at(&file));
            }
            quiet.done(&format!("created {name}"))
        }
        Scripts::List { listing } => {
            let body = client.send(client.request(Method::GET, &PATH)?).await?;
            listing.show(&body, each("name"), || Ok(format!("{:#}", listed(data(&body)?))))
        }
        Scripts::Get { name, output } => {
            let answer = client.ask(client.request(Method::GET, &one(&name))?).await?;
            let body = unless_missing(answer, &name, client).await?;
            match output.format() {
                None | Some(Format::Table) => output::raw(&data::<Script>(&body)?.content),
                Some(_) => output.show(&body, || Ok(String::new())),
            }
        }
        Scripts::Delete { name, force, quiet } => {
            let query = [("force", force.to_string())];
            let answer = client.ask(client.query(Method::DELETE, &one(&name), &query)?).await?;
            unless_missing(answer, &name, client).await?;
            quiet.done(&format!("deleted {name}"))
        }
        Scripts::Lint { file } => lint(client, &file).await,
        Scripts::Explain(asked) => explain::run(asked, client).await,
        Scripts::Decisions { limit, listing } => decisions::run(limit, listing, client).await,
        Scripts::Simulate(options) => simulate::run(&options, client).await,
    }
}

/// The names of the scripts, and who owns them.
fn listed(scripts: Vec<Script>) -> Table {
    let mut table = Table::new(&["NAME", "OWNER"]);
    for Script { name, owner, .. } in scripts {
        table.row([name, owner.unwrap_or_else(|| "-".to_owned())]);
    }
    table
}

/// The path of a script below `/v1`.
fn one(name: &str) -> [&str; 3] {
    [PATH[0], PATH[1], name]
}

/// The body of a success. The error that a script does not exist has the names that come closest.
async fn unless_missing(answer: Answer, name: &str, client: &Client) -> anyhow::Result<String> {
    if answer.status != StatusCode::NOT_FOUND {
        return answer.success();
    }
    let scripts = async {
        let body = client.send(client.request(Method::GET, &PATH)?).await?;
        let scripts: Vec<Script> = data(&body)?;
        anyhow::Ok(scripts.into_iter().map(|script| script.name).collect())
    };
    // The first error says more than one of the list.
    let nearest = names::did_you_mean("", name, scripts.await.unwrap_or_default());
    let nearest = nearest.map(|question| format!("; {question}")).unwrap_or_default();
    bail!("{}{nearest}; see `fl script list`", answer.words());
}

/// Stores a file as a script and gives what is doubtful about it.
async fn create(client: &Client, name: &str, file: &Path) -> anyhow::Result<Vec<Problem>> {
    store(client, name, file, read(file)?).await
}

/// Stores the content of a file as a script and gives what is doubtful about it.
pub async fn store(
    client: &Client,
    name: &str,
    file: &Path,
    content: String,
) -> anyhow::Result<Vec<Problem>> {
    let content = Part::text(content).file_name("script.yml");
    let form = Form::new().text("name", name.to_owned()).part("file", content);
    let answer = client.ask(client.request(Method::POST, &PATH)?.multipart(form)).await?;
    if answer.status == StatusCode::UNPROCESSABLE_ENTITY {
        let problems = answer.messages("file");
        if !problems.is_empty() {
            bail!("{} is refused:\n  {}", file.display(), problems.join("\n  "));
        }
        if answer.messages("name").iter().any(|message| message == TAKEN) {
            bail!("there is a script {name}; to replace it, delete it first: `fl script delete {name}`");
        }
    }
    Ok(data::<Created>(&answer.success()?)?.warnings)
}

/// The content of a script; `None` if there is none of this name.
pub async fn content(client: &Client, name: &str) -> anyhow::Result<Option<String>> {
    let answer = client.ask(client.request(Method::GET, &one(name))?).await?;
    match answer.status {
        StatusCode::NOT_FOUND => Ok(None),
        _ => Ok(Some(data::<Script>(&answer.success()?)?.content)),
    }
}

/// Deletes a script, which functions may use.
pub async fn delete(client: &Client, name: &str, force: bool) -> anyhow::Result<()> {
    let query = [("force", force.to_string())];
    client.send(client.query(Method::DELETE, &one(name), &query)?).await?;
    Ok(())
}

/// What the mesh finds in a script.
pub async fn check(client: &Client, content: &str) -> anyhow::Result<Findings> {
    let body = json!({ "content": content });
    let body = client.send(client.request(Method::POST, &["app", "lint"])?.json(&body)).await?;
    data(&body)
}

/// Prints what is found. Fails when the mesh would refuse the script.
async fn lint(client: &Client, file: &Path) -> anyhow::Result<()> {
    let Findings { errors, warnings } = check(client, &read(file)?).await?;
    for (found, problems) in [("error", &errors), ("warning", &warnings)] {
        for problem in problems {
            let style = if found == "error" { BAD } else { WARNING };
            output::text(&format!("{} {}\n", styled(style, &format!("{found}:")), problem.at(file)))?;
        }
    }
    match (errors.len(), warnings.len()) {
        (0, 0) => output::text(&format!("{}: nothing is wrong\n", file.display()))?,
        (0, _) => {}
        (1, _) => bail!("{} would be refused; correct the error above", file.display()),
        (errors, _) => bail!("{} would be refused; correct the {errors} errors above", file.display()),
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_listed_with_their_owners() {
        let scripts = r#"{"data": [
            {"name": "near", "owner": "ann", "content": "", "script": {}},
            {"name": "shared one", "owner": null, "content": "", "script": {}}
        ]}"#;
        let expected = "\
NAME        OWNER
near        ann
shared one  -
";
        assert_eq!(listed(data(scripts).expect("scripts")).to_string(), expected);
        assert_eq!(listed(Vec::new()).to_string(), "");
    }
}
