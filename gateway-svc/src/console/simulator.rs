//! The simulator: where a script would place a load on workers that exist only here.

use axum::extract::Query;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::Failure;
use super::layout::failed;
use super::model::{Decision, Placement, Script, Simulated, TimedInvocation, Workers};
use super::page::{Section, csrf, page};
use super::parts::counted;
use super::visitor::{Posted, Visitor};

/// The maximum number of invocations that a form may ask for, and that are drawn.
const MAX_INVOCATIONS: usize = 2_000;
/// How many recent decisions are a load.
const RECENT: usize = 500;
const NS_OF_MS: u64 = 1_000_000;
/// How long an invocation that still runs is drawn.
const OPEN_END_NS: u64 = 100 * NS_OF_MS;

/// The form, as a browser sends it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct SimulatorForm {
    /// The name of a script. Empty: the default policy.
    #[serde(default)]
    script: String,
    /// A worker in each line: its name, and its memory in MB.
    #[serde(default)]
    workers: String,
    /// `even`, or `recent`.
    #[serde(default)]
    load: String,
    #[serde(default = "SimulatorForm::some_invocations")]
    invocations: usize,
    #[serde(default = "SimulatorForm::some_interval")]
    every_ms: u64,
    #[serde(default = "SimulatorForm::some_duration")]
    duration_ms: u64,
    #[serde(default)]
    tag: String,
    #[serde(default = "SimulatorForm::some_capacity")]
    capacity_kb: u64,
}

impl SimulatorForm {
    fn some_invocations() -> usize {
        60
    }

    fn some_interval() -> u64 {
        20
    }

    fn some_duration() -> u64 {
        200
    }

    fn some_capacity() -> u64 {
        65_536
    }
}

impl Default for SimulatorForm {
    fn default() -> Self {
        Self {
            script: String::new(),
            workers: String::new(),
            load: "even".to_owned(),
            invocations: Self::some_invocations(),
            every_ms: Self::some_interval(),
            duration_ms: Self::some_duration(),
            tag: String::new(),
            capacity_kb: Self::some_capacity(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ScriptQuery {
    #[serde(default)]
    script: String,
}

/// `GET /console/simulator`
pub(super) async fn show(
    visitor: Visitor,
    Query(ScriptQuery { script }): Query<ScriptQuery>,
) -> Result<Markup, Failure> {
    let workers = present_workers(&visitor).await;
    render(&visitor, &SimulatorForm { script, workers, ..SimulatorForm::default() }, &html! {}).await
}

/// The workers that there are, if the visitor may see them, or two.
async fn present_workers(visitor: &Visitor) -> String {
    let present = match visitor.is_admin() {
        true => visitor.api.get::<Workers>("/v1/admin/workers").await.ok(),
        false => None,
    };
    let lines = present.into_iter().flat_map(|present| present.workers).map(|worker| {
        let megabytes = worker.memory.total.unwrap_or_default() / 1_000_000;
        format!("{} {megabytes}", worker.name)
    });
    match lines.collect::<Vec<_>>() {
        lines if lines.is_empty() => "w1 1000\nw2 1000".to_owned(),
        lines => lines.join("\n"),
    }
}

/// `POST /console/simulator`
pub(super) async fn run(Posted { visitor, form }: Posted<SimulatorForm>) -> Result<Markup, Failure> {
    let outcome = match simulate(&visitor, &form).await {
        Ok((load, simulated, workers)) => drawing(&workers, &load, &simulated.placements),
        Err(problem) => failed(&problem),
    };
    render(&visitor, &form, &outcome).await
}

type Outcome = (Vec<TimedInvocation>, Simulated, Vec<String>);

async fn simulate(visitor: &Visitor, form: &SimulatorForm) -> Result<Outcome, String> {
    let workers = read_workers(&form.workers)?;
    let names = workers.iter().filter_map(|worker| Some(worker["name"].as_str()?.to_owned())).collect();
    let load = match form.load.as_str() {
        "recent" => recent_load(visitor).await?,
        _ => even_load(form)?,
    };
    let mut body = json!({"workers": workers, "load": load});
    if !form.script.is_empty() {
        body["script"] = json!(form.script);
    }
    let simulated = visitor.api.post("/v1/app/simulate", &body).await;
    let simulated: Simulated = simulated.map_err(|failure| failure.message)?;
    Ok((load, simulated, names))
}

fn read_workers(text: &str) -> Result<Vec<Value>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let worker = |line: &str| {
        let (name, megabytes) = line.rsplit_once(char::is_whitespace).unwrap_or((line, "0"));
        let wrong = || format!("Workers: expected a name and a number of megabytes, not {line:?}.");
        let megabytes: u64 = megabytes.parse().map_err(|_| wrong())?;
        let bytes = megabytes.checked_mul(1_000_000).ok_or_else(wrong)?;
        Ok(json!({"name": name.trim(), "memory_total": bytes}))
    };
    lines.map(worker).collect()
}

fn even_load(form: &SimulatorForm) -> Result<Vec<TimedInvocation>, String> {
    let SimulatorForm { invocations, every_ms, duration_ms, tag, capacity_kb, .. } = form;
    if !(1..=MAX_INVOCATIONS).contains(invocations) {
        return Err(format!("Invocations: expected 1 to {MAX_INVOCATIONS}, not {invocations}."));
    }
    let too_long = || "The load takes longer than can be simulated.".to_owned();
    let duration_ns = duration_ms.checked_mul(NS_OF_MS).ok_or_else(too_long)?;
    let invocation = |number: usize| {
        let at_ns = (number as u64).checked_mul(*every_ms).and_then(|at| at.checked_mul(NS_OF_MS));
        Ok(TimedInvocation {
            at_ns: at_ns.ok_or_else(too_long)?,
            tag: tag.clone(),
            capacity_kb: *capacity_kb,
            duration_ns: Some(duration_ns),
        })
    };
    (0..*invocations).map(invocation).collect()
}

/// The latest decisions, from the time of the first one on.
async fn recent_load(visitor: &Visitor) -> Result<Vec<TimedInvocation>, String> {
    let path = format!("/v1/decisions?limit={RECENT}");
    let decisions: Vec<Decision> = visitor.api.get(&path).await.map_err(|failure| failure.message)?;
    let mut load: Vec<_> = decisions.into_iter().map(|decision| decision.invocation).collect();
    load.sort_by_key(|invocation| invocation.at_ns);
    let Some(start) = load.first().map(|first| first.at_ns) else {
        return Err("There are no recent decisions.".to_owned());
    };
    for invocation in &mut load {
        invocation.at_ns -= start;
    }
    Ok(load)
}

/// A line for each worker, and one for what was placed nowhere.
fn drawing(workers: &[String], load: &[TimedInvocation], placements: &[Placement]) -> Markup {
    const LEFT: f64 = 130.0;
    const WIDTH: f64 = 760.0;
    const ROW: f64 = 34.0;
    let end_of = |invocation: &TimedInvocation| {
        invocation.at_ns.saturating_add(invocation.duration_ns.unwrap_or(OPEN_END_NS))
    };
    let end = load.iter().map(end_of).max().unwrap_or(1).max(1);
    let scale = WIDTH / end as f64;
    let row_of = |name: &str| workers.iter().position(|worker| worker == name).unwrap_or(workers.len());
    let nowhere = placements.iter().filter(|placement| placement.worker.is_empty()).count();
    let height = ROW * (workers.len() + 1) as f64 + 24.0;
    html! {
        section.panel id="placements" {
            h2 { "Placements" }
            p {
                (counted(placements.len() as u64, "invocation")) ", " (placements.len() - nowhere) " placed"
                @if nowhere > 0 { ", " span.state.bad { (nowhere) " nowhere" } }
                "."
            }
            svg.placed viewBox={ "0 0 " (LEFT + WIDTH + 10.0) " " (height) } role="img" aria-label="Invocations over time, by worker" {
                @for (place, worker) in workers.iter().map(String::as_str).chain(["nowhere"]).enumerate() {
                    @let y = ROW * place as f64;
                    text x="0" y=(y + 20.0) { (worker) }
                    line x1=(LEFT) x2=(LEFT + WIDTH) y1=(y + ROW - 3.0) y2=(y + ROW - 3.0) {}
                }
                @for placement in placements.iter().take(MAX_INVOCATIONS) {
                    @if let Some(invocation) = load.get(placement.invocation as usize) {
                        rect class=[placement.worker.is_empty().then_some("bad")] opacity="0.55" rx="1"
                            x=(format!("{:.1}", LEFT + invocation.at_ns as f64 * scale)) y=(ROW * row_of(&placement.worker) as f64 + 6.0)
                            width=(format!("{:.1}", ((end_of(invocation) - invocation.at_ns) as f64 * scale).max(1.5))) height=(ROW - 12.0)
                            { title { (placement.refusal.replace('_', " ")) } }
                    }
                }
                text x=(LEFT) y=(height - 6.0) { "0" }
                text x=(LEFT + WIDTH) y=(height - 6.0) text-anchor="end" { (super::parts::duration(end / 1_000)) }
            }
            (sums(workers, placements))
        }
    }
}

fn sums(workers: &[String], placements: &[Placement]) -> Markup {
    let on = |worker: &str| placements.iter().filter(|placement| placement.worker == worker).count();
    html! {
        table {
            thead { tr { th scope="col" { "Worker" } th.number scope="col" { "Invocations" } } }
            tbody {
                @for worker in workers { tr { th scope="row" { (worker) } td.number { (on(worker)) } } }
            }
        }
    }
}

async fn render(visitor: &Visitor, form: &SimulatorForm, outcome: &Markup) -> Result<Markup, Failure> {
    let scripts: Vec<Script> = visitor.api.get("/v1/scripts/app").await?;
    let content = html! {
        form.panel method="post" action="/console/simulator" {
            (csrf(visitor))
            div.columns {
                div.stack {
                    label {
                        "Policy"
                        select name="script" {
                            option value="" { "default policy" }
                            @for script in &scripts {
                                option value=(script.name) selected[script.name == form.script] { "script " (script.name) }
                            }
                        }
                    }
                    label { "Workers: a name and the memory in MB in each line" textarea name="workers" rows="5" spellcheck="false" { (form.workers) } }
                }
                (load_fields(form))
            }
            div { button type="submit" { "Simulate" } }
        }
        (outcome)
    };
    Ok(page(visitor, Section::Scripts, "Simulator", &content))
}

fn load_fields(form: &SimulatorForm) -> Markup {
    let number = |name: &str, words: &str, value: u64| {
        html! { label { (words) input type="number" name=(name) min="0" required value=(value); } }
    };
    html! {
        div.stack {
            label {
                "Load"
                select name="load" {
                    option value="even" selected[form.load != "recent"] { "even, as below" }
                    option value="recent" selected[form.load == "recent"] { "of the latest " (RECENT) " decisions" }
                }
            }
            div.inline {
                (number("invocations", "Invocations", form.invocations as u64))
                (number("every_ms", "Every, ms", form.every_ms))
                (number("duration_ms", "Duration, ms", form.duration_ms))
                (number("capacity_kb", "Capacity, KB", form.capacity_kb))
                label { "Tag" input name="tag" value=(form.tag) autocomplete="off"; }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_lines() {
        let read = read_workers("w1 1000\n\n  edge one 5 \nw3").map(Value::from);
        let expected = json!([
            {"name": "w1", "memory_total": 1_000_000_000},
            {"name": "edge one", "memory_total": 5_000_000},
            {"name": "w3", "memory_total": 0},
        ]);
        assert_eq!(read, Ok(expected));
        let error = read_workers("w1 many").expect_err("no number");
        assert_eq!(error, "Workers: expected a name and a number of megabytes, not \"w1 many\".");
    }

    #[test]
    fn an_even_load() {
        let form = SimulatorForm { invocations: 3, every_ms: 2, duration_ms: 5, ..SimulatorForm::default() };
        let load = even_load(&form).expect("valid");
        let times: Vec<_> = load.iter().map(|one| (one.at_ns, one.duration_ns)).collect();
        assert_eq!(times, [(0, Some(5_000_000)), (2_000_000, Some(5_000_000)), (4_000_000, Some(5_000_000))]);
        for wrong in [0, MAX_INVOCATIONS + 1] {
            assert!(even_load(&SimulatorForm { invocations: wrong, ..form.clone() }).is_err());
        }
        assert!(even_load(&SimulatorForm { every_ms: u64::MAX, ..form }).is_err());
    }
}
