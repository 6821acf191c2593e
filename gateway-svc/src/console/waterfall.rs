//! The receipt of an invocation as a waterfall: where its time went.

use maud::{Markup, html};

use super::model::Receipt;
use super::parts::{bytes, counted, duration};

/// The width of the drawing.
const WIDTH: f64 = 400.0;

/// The phases that took place, in order, with their beginning, in microseconds.
fn phases(receipt: &Receipt) -> Vec<(&'static str, u64, u64)> {
    let all = [
        ("schedule", receipt.schedule_us),
        ("queue", receipt.queue_us),
        ("fetch", receipt.fetch_us),
        ("compile", receipt.compile_us),
        ("load", receipt.load_us),
        ("instantiate", receipt.instantiate_us),
        ("run", receipt.run_us),
        ("keep", receipt.keep_us),
    ];
    let mut begin = 0;
    let mut phases = Vec::new();
    for (name, us) in all.into_iter().filter(|(_, us)| *us > 0) {
        phases.push((name, begin, us));
        begin += us;
    }
    // What is left is the way between the services.
    if let Some(rest) = receipt.total_us.checked_sub(begin).filter(|rest| *rest > 0 && begin > 0) {
        phases.push(("network", begin, rest));
    }
    phases
}

/// The waterfall and the costs.
pub(super) fn waterfall(receipt: &Receipt) -> Markup {
    if receipt.total_us == 0 {
        return html! { p.quiet { "Nothing ran, so there is no receipt." } };
    }
    let scale = WIDTH / receipt.total_us.max(1) as f64;
    html! {
        table.waterfall {
            caption.hidden { "Where the time went" }
            thead { tr { th scope="col" { "Phase" } th.number scope="col" { "Time" } th scope="col" { "Course" } } }
            tbody {
                @for (name, begin, us) in phases(receipt) {
                    tr {
                        th scope="row" { (name) }
                        td.number { (duration(us)) }
                        td.course {
                            svg viewBox={ "0 0 " (WIDTH) " 10" } preserveAspectRatio="none" aria-hidden="true" {
                                rect class={ "phase " (name) } x=(format!("{:.1}", begin as f64 * scale)) y="1"
                                    width=(format!("{:.1}", (us as f64 * scale).max(1.5))) height="8" rx="1" {}
                            }
                        }
                    }
                }
            }
            tfoot { tr { th scope="row" { "total" } td.number { (duration(receipt.total_us)) } td {} } }
        }
        (costs(receipt))
    }
}

fn costs(receipt: &Receipt) -> Markup {
    html! {
        dl.facts {
            div { dt { "CPU" } dd { (duration(receipt.cpu_us)) } }
            div { dt { "Peak memory" } dd { (bytes(receipt.peak_memory_bytes)) } }
            div { dt { "In, out" } dd { (bytes(receipt.in_bytes)) ", " (bytes(receipt.out_bytes)) } }
            div { dt { "HTTP requests" } dd { (receipt.http_requests) } }
            div { dt { "Worker" } dd { @if receipt.worker.is_empty() { "—" } @else { (receipt.worker) } } }
            @if receipt.attempts > 1 {
                div { dt { "Attempts" } dd { (counted(u64::from(receipt.attempts), "worker")) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other() {
        let receipt = Receipt { schedule_us: 10, run_us: 70, total_us: 100, ..Receipt::default() };
        assert_eq!(phases(&receipt), [("schedule", 0, 10), ("run", 10, 70), ("network", 80, 20)]);
        assert!(phases(&Receipt::default()).is_empty());
        let shown = waterfall(&receipt).into_string();
        assert!(shown.contains(r#"<rect class="phase run" x="40.0" y="1" width="280.0""#), "{shown}");
        assert!(!shown.contains("style="), "inline styles are blocked");
    }
}
