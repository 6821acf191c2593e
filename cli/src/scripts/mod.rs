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

use crate::args::Scripts;
use crate::client::{Answer, Client, data};
use crate::table::Table;
use problem::Problem;

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

#[derive(Deserialize)]
struct Findings {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// Runs one of the commands.
pub async fn run(command: Scripts, client: &Client) -> anyhow::Result<()> {
    match command {
        Scripts::Create { name, file } => {
            for warning in create(client, &name, &file).await? {
                eprintln!("warning: {}", warning.at(&file));
            }
            println!("created {name}");
        }
        Scripts::List => {
            let body = client.send(client.request(Method::GET, &PATH)?).await?;
            print!("{}", listed(data(&body)?));
        }
        Scripts::Get { name } => {
            let answer = client.ask(client.request(Method::GET, &one(&name))?).await?;
            print!("{}", data::<Script>(&unless_missing(answer)?)?.content);
        }
        Scripts::Delete { name, force } => {
            let query = [("force", force.to_string())];
            unless_missing(client.ask(client.query(Method::DELETE, &one(&name), &query)?).await?)?;
            println!("deleted {name}");
        }
        Scripts::Lint { file } => lint(client, &file).await?,
        Scripts::Explain(asked) => explain::run(asked, client).await?,
        Scripts::Decisions { limit, json } => decisions::run(limit, json, client).await?,
        Scripts::Simulate(options) => simulate::run(&options, client).await?,
    }
    Ok(())
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

fn unless_missing(answer: Answer) -> anyhow::Result<String> {
    if answer.status == StatusCode::NOT_FOUND {
        bail!("{}; see `fl script list`", answer.words());
    }
    answer.success()
}

/// Stores the script and gives what is doubtful about it.
async fn create(client: &Client, name: &str, file: &Path) -> anyhow::Result<Vec<Problem>> {
    let content = Part::text(read(file)?).file_name("script.yml");
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

/// Prints what is found. Fails when the mesh would refuse the script.
async fn lint(client: &Client, file: &Path) -> anyhow::Result<()> {
    let body = json!({ "content": read(file)? });
    let body = client.send(client.request(Method::POST, &["app", "lint"])?.json(&body)).await?;
    let Findings { errors, warnings } = data(&body)?;
    for (found, problems) in [("error", &errors), ("warning", &warnings)] {
        for problem in problems {
            println!("{found}: {}", problem.at(file));
        }
    }
    match (errors.len(), warnings.len()) {
        (0, 0) => println!("{}: nothing is wrong", file.display()),
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
