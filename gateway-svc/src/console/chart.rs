//! Charts over the last hour. The gateway draws lines; a browser with scripts adds axes.

use maud::{Markup, html};
use mesh::clock::{now_ms, rfc_3339};
use serde_json::json;

use super::model::Minute;

/// The size of the drawing without scripts.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 190.0;
const MINUTES: i64 = 60;

/// Values over time. All series have as many as there are times.
pub(super) struct Chart {
    /// Follows each number at the axis.
    pub(super) unit: &'static str,
    /// Unix times in seconds.
    pub(super) at_s: Vec<i64>,
    pub(super) series: Vec<Series>,
}

pub(super) struct Series {
    pub(super) label: &'static str,
    /// A variable of the style sheet.
    pub(super) colour: &'static str,
    pub(super) class: &'static str,
    /// `None`: nothing is known.
    pub(super) values: Vec<Option<f64>>,
}

/// Each minute of the last hour.
pub(super) struct Hour<'a> {
    pub(super) at_s: Vec<i64>,
    /// `None`: there were no invocations.
    pub(super) minutes: Vec<Option<&'a Minute>>,
}

/// The minutes of the last hour, those without invocations included.
pub(super) fn hour(minutes: &[Minute]) -> Hour<'_> {
    let last = now_ms().div_euclid(60_000);
    let numbers = (last - MINUTES + 1)..=last;
    let of = |number: i64| {
        let start = rfc_3339(number * 60_000);
        minutes.iter().find(|minute| minute.at == start)
    };
    Hour { at_s: numbers.clone().map(|number| number * 60).collect(), minutes: numbers.map(of).collect() }
}

/// The chart with this id.
pub(super) fn chart(id: &str, chart: &Chart) -> Markup {
    let all = chart.series.iter().flat_map(|series| &series.values).flatten();
    let max = all.copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    html! {
        div.chart id=(id) {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(words(chart)) {
                @for series in &chart.series {
                    @for points in runs(&series.values, max) {
                        polyline class=(series.class) points=(points) {}
                    }
                }
            }
        }
    }
}

impl Chart {
    /// The data of the chart with this id, for scripts.
    pub(super) fn source(&self, id: &str) -> Markup {
        let series: Vec<_> =
            self.series.iter().map(|one| json!({"label": one.label, "colour": one.colour})).collect();
        let values = self.series.iter().map(|one| json!(one.values));
        let data: Vec<_> = [json!(self.at_s)].into_iter().chain(values).collect();
        let text = json!({"unit": self.unit, "series": series, "data": data}).to_string();
        html! { div data-chart=(id) { (text) } }
    }
}

/// The latest values, for those who do not see the drawing.
fn words(chart: &Chart) -> String {
    let latest = |series: &Series| {
        let value = series.values.iter().rev().flatten().next();
        let value = value.map_or("none".to_owned(), |value| format!("{value:.1}{}", chart.unit));
        format!("{}: {value}", series.label)
    };
    format!("Latest values. {}", chart.series.iter().map(latest).collect::<Vec<_>>().join(", "))
}

/// Lines through values without gaps.
fn runs(values: &[Option<f64>], max: f64) -> Vec<String> {
    let step = WIDTH / (values.len().max(2) - 1) as f64;
    let mut runs = vec![String::new()];
    for (place, value) in values.iter().enumerate() {
        match (value, runs.last_mut()) {
            (Some(value), Some(run)) => {
                let (x, y) = (place as f64 * step, (HEIGHT - 4.0) * (1.0 - value / max) + 2.0);
                run.push_str(&format!("{x:.1},{y:.1} "));
            }
            _ => runs.push(String::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_where_nothing_is_known() {
        assert_eq!(
            runs(&[Some(0.0), Some(1.0), None, Some(0.5)], 1.0),
            ["0.0,188.0 200.0,2.0 ", "600.0,95.0 "]
        );
        assert!(runs(&[None, None], 1.0).is_empty());
    }
}
