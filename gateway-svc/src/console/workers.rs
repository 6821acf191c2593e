//! The workers, as the scheduler sees them. For administrators.

use axum::response::Response;
use maud::{Markup, html};

use super::failure::Failure;
use super::layout::failed;
use super::live;
use super::model::{Worker, Workers};
use super::page::{Section, page};
use super::parts::{bytes, count, time_if_any};
use super::problems::used_memory;
use super::visitor::Visitor;

/// `GET /console/workers`
pub(super) async fn show(visitor: Visitor) -> Result<Markup, Failure> {
    let workers: Workers = visitor.api.get("/v1/admin/workers").await?;
    let content = html! {
        div.flow sse-connect="/console/live/workers" sse-swap="workers" { (panel(&workers)) }
    };
    Ok(page(&visitor, Section::Workers, "Workers", &content))
}

/// `GET /console/live/workers`
pub(super) async fn follow(visitor: Visitor) -> Result<Response, Failure> {
    live::refreshed(visitor, (), |visitor, ()| {
        Box::pin(async move {
            let workers = visitor.api.get::<Workers>("/v1/admin/workers").await;
            ((), workers.map(|workers| vec![("workers", panel(&workers))]))
        })
    })
}

fn panel(workers: &Workers) -> Markup {
    html! {
        @if let Some(problem) = &workers.metrics_problem { (failed(problem)) }
        section.panel {
            @if workers.workers.is_empty() {
                p.quiet { "There is no worker: nothing can run." }
            } @else {
                div.scroll tabindex="0" {
                    table {
                        thead { tr {
                            th scope="col" { "Worker" } th scope="col" { "State" } th scope="col" { "Memory" }
                            th scope="col" { "CPU" } th.number scope="col" { "Running" } th scope="col" { "By tag" }
                            th.number scope="col" { "Prepared" } th scope="col" { "Labels" } th scope="col" { "Last report, UTC" }
                        } }
                        tbody { @for worker in &workers.workers { (row(worker)) } }
                    }
                }
            }
        }
    }
}

fn row(worker: &Worker) -> Markup {
    let by_tag = worker.running_by_tag.iter().map(|(tag, running)| match tag.as_str() {
        "" => format!("no tag {running}"),
        tag => format!("{tag} {running}"),
    });
    let labels = worker.labels.iter().map(|(name, value)| format!("{name}={value}"));
    html! {
        tr {
            th scope="row" {
                (worker.name)
                @if !worker.tag.is_empty() { " " span.quiet { (worker.tag) } }
                br; span.quiet { (worker.address.as_deref().unwrap_or("through its own stream")) }
            }
            td {
                @if worker.draining { span.state.warn { "draining" } } @else { span.state.ok { "ready" } }
            }
            td { (memory(worker)) }
            td {
                (gauge(&[(worker.cpu_use, level(worker.cpu_use))], &format!("{:.0} %", 100.0 * worker.cpu_use)))
                span.quiet { (worker.cpus) " CPUs, load " (format!("{:.2}", worker.load_1)) }
            }
            td.number { (count(u64::from(worker.running))) br; span.quiet { (worker.in_flight) " from here" } }
            td { (by_tag.collect::<Vec<_>>().join(", ")) }
            td.number { (count(worker.warm.len() as u64)) }
            td { (labels.collect::<Vec<_>>().join(" ")) }
            td { (time_if_any(worker.last_report_at.as_deref())) br; span.quiet { "by " (worker.metrics_source) } }
        }
    }
}

/// What functions use, and what is reserved for them or otherwise in use.
fn memory(worker: &Worker) -> Markup {
    let Some((total, used)) = worker.memory.total.zip(used_memory(worker)) else {
        return html! { span.quiet { "unknown" } };
    };
    let guests = worker.memory.guests as f64 / total.max(1) as f64;
    html! {
        (gauge(&[(used, "second"), (guests, level(used))], &format!("{:.0} % in use or reserved", 100.0 * used)))
        span.quiet {
            (bytes(worker.memory.guests)) " functions, " (bytes(worker.memory.available.unwrap_or_default())) " free of " (bytes(total))
        }
    }
}

fn level(share: f64) -> &'static str {
    if share > 0.95 { "bad" } else { "" }
}

/// Bars from the left, one above the other.
fn gauge(shares: &[(f64, &'static str)], words: &str) -> Markup {
    html! {
        svg.gauge viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label=(words) {
            @for (share, class) in shares {
                rect class=(class) x="0" y="0" width=(format!("{:.1}", 100.0 * share.clamp(0.0, 1.0))) height="8" {}
            }
        }
    }
}
