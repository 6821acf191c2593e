//! `fl status`: how a mesh does, what is wrong with it, and what to do.

mod findings;

use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::{Check, Role, Target};
use crate::client::{Client, Refusal, data};
use crate::output;
use crate::table::Table;
use findings::Findings;

/// The mesh as the gateway sees it.
#[derive(Debug, Default, Deserialize)]
struct Mesh {
    services: Vec<Service>,
    /// Absent: the scheduler does not answer.
    workers: Option<WorkerCounts>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Service {
    name: String,
    state: String,
    version: Option<String>,
    waits_for: Vec<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct WorkerCounts {
    total: usize,
    draining: usize,
}

/// What administrators see of workers.
#[derive(Debug, Deserialize)]
struct Workers {
    workers: Vec<Worker>,
    metrics_problem: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Worker {
    name: String,
    tag: String,
    draining: bool,
    running: u32,
    warm_count: u64,
}

/// An event source or a sink.
#[derive(Debug, Deserialize)]
struct Binding {
    module: String,
    function: String,
    r#type: String,
    state: String,
    message: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DeadLetters {
    data: Vec<serde::de::IgnoredAny>,
    next: Option<String>,
}

/// All that was asked for.
#[derive(Debug, Default)]
struct Seen {
    mesh: Mesh,
    /// Absent: the token is not an administrator's.
    workers: Option<Workers>,
    events: Vec<Binding>,
    sinks: Vec<Binding>,
    dead_letters: usize,
    has_more_dead_letters: bool,
}

/// Shows how the mesh does. Fails if something is wrong.
pub async fn run(options: Check, target: &Target) -> anyhow::Result<()> {
    // Administrators see more; everybody sees what is his.
    let (client, workers) = match Client::for_administrators(target) {
        Ok(client) => match workers(&client).await? {
            Some(workers) => (client, Some(workers)),
            None => (Client::new(target).unwrap_or(client), None),
        },
        Err(_) => (Client::new(target)?, None),
    };
    let seen = look(&client, workers).await?;
    let findings = Findings::of(&seen);
    if !options.quiet {
        options.output.show(&document(&seen, &findings), || Ok(text(client.base(), &seen, &findings)))?;
    }
    match findings.problems.len() {
        0 => Ok(()),
        1 => anyhow::bail!("something is wrong with the mesh at {}", client.base()),
        count => anyhow::bail!("{count} things are wrong with the mesh at {}", client.base()),
    }
}

/// The workers; `None` if the token is not an administrator's.
async fn workers(client: &Client) -> anyhow::Result<Option<Workers>> {
    let answer = client.ask(client.request(Method::GET, &["admin", "workers"])?).await?;
    match answer.status {
        StatusCode::OK => Ok(Some(data(&answer.success()?)?)),
        StatusCode::UNAUTHORIZED => Ok(None),
        // The scheduler may be what is wrong.
        _ => Ok(Some(Workers { workers: Vec::new(), metrics_problem: None })),
    }
}

async fn look(client: &Client, workers: Option<Workers>) -> anyhow::Result<Seen> {
    let mesh = match client.send(client.request(Method::GET, &["status"])?).await {
        Ok(body) => data(&body)?,
        Err(error) if error.downcast_ref::<Refusal>().is_some_and(Refusal::is_not_found) => {
            anyhow::bail!("{} is a mesh of a version that does not tell its status", client.base())
        }
        Err(error) => return Err(error),
    };
    let (events, sinks, letters) =
        tokio::join!(bindings(client, Role::Event), bindings(client, Role::Sink), dead_letters(client));
    let (dead_letters, has_more_dead_letters) = letters.unwrap_or_default();
    Ok(Seen { mesh, workers, events, sinks, dead_letters, has_more_dead_letters })
}

/// The event sources or sinks. None if they cannot be read, since then a service is away, which is said.
async fn bindings(client: &Client, role: Role) -> Vec<Binding> {
    let path = if role == Role::Event { "events" } else { "sinks" };
    let bindings = async {
        let body = client.send(client.request(Method::GET, &[path])?).await?;
        data(&body)
    };
    bindings.await.unwrap_or_default()
}

/// The number of dead letters, and whether there are more.
async fn dead_letters(client: &Client) -> anyhow::Result<(usize, bool)> {
    let query = [("limit", "1000".to_owned())];
    let body = client.send(client.query(Method::GET, &["dead-letters"], &query)?).await?;
    let DeadLetters { data, next } = serde_json::from_str(&body)?;
    Ok((data.len(), next.is_some()))
}

fn document(seen: &Seen, findings: &Findings) -> String {
    let document = json!({
        "services": seen.mesh.services,
        "worker_counts": seen.mesh.workers,
        "workers": seen.workers.as_ref().map(|workers| &workers.workers),
        "problems": findings.problems,
        "notes": findings.notes,
    });
    json!({ "data": document }).to_string()
}

fn text(base: &str, seen: &Seen, findings: &Findings) -> String {
    let mut services = Table::new(&["SERVICE", "STATE", "VERSION"]);
    for service in &seen.mesh.services {
        let version = service.version.clone().unwrap_or_else(|| "-".to_owned());
        services.row([service.name.clone(), service.state.replace('_', " "), version]);
    }
    let mut text = format!("mesh at {base}\n\n{services:#}\n");
    match (&seen.workers, seen.mesh.workers) {
        (Some(Workers { workers, .. }), _) if !workers.is_empty() => {
            let mut table = Table::new(&["WORKER", "STATE", "TAG", "RUNNING", "PREPARED"]);
            for Worker { name, tag, draining, running, warm_count } in workers {
                table.row([
                    name.clone(),
                    if *draining { "draining" } else { "up" }.to_owned(),
                    if tag.is_empty() { "-".to_owned() } else { tag.clone() },
                    running.to_string(),
                    warm_count.to_string(),
                ]);
            }
            text.push_str(&format!("{table:#}\n"));
        }
        (_, Some(WorkerCounts { total, draining: 0 })) => text.push_str(&format!("workers: {total}\n\n")),
        (_, Some(WorkerCounts { total, draining })) => {
            text.push_str(&format!("workers: {total}, of which {draining} are draining\n\n"));
        }
        (_, None) => text.push_str("workers: unknown\n\n"),
    }
    for finding in &findings.problems {
        text.push_str(&format!("{} {finding}\n", output::styled(output::BAD, "problem:")));
    }
    for finding in &findings.notes {
        text.push_str(&format!("{} {finding}\n", output::styled(output::WARNING, "note:")));
    }
    if findings.problems.is_empty() {
        text.push_str(&format!("{}\n", output::styled(output::GOOD, "nothing is wrong")));
    }
    text
}
