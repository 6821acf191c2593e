//! Plots, as SVG: a group of bars for each number of connections, a bar for each contender.

use std::path::Path;

use anyhow::anyhow;
use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::drawing::IntoDrawingArea as _;
use plotters::element::Rectangle;
use plotters::prelude::SVGBackend;
use plotters::style::{BLACK, Color as _, RGBColor, WHITE};

use super::Measured;
use crate::compare::wrk::Sample;

const SIZE: (u32, u32) = (900, 420);
/// The part of a group's width that its bars take.
const GROUP_WIDTH: f64 = 0.8;
/// Colours that also those tell apart who see fewer of them.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(150, 150, 150),
];

/// Plots the requests per second of a workload.
pub fn requests_per_second(
    file: &Path,
    workload: &str,
    contenders: &[&str],
    measured: &[&Measured],
) -> anyhow::Result<()> {
    draw(file, workload, contenders, measured).map_err(|error| anyhow!("{}: {error}", file.display()))
}

fn draw(
    file: &Path,
    workload: &str,
    contenders: &[&str],
    measured: &[&Measured],
) -> Result<(), Box<dyn std::error::Error>> {
    let rates: Vec<Vec<Option<f64>>> = measured
        .iter()
        .map(|measured| (0..contenders.len()).map(|index| measured.median(index, Sample::per_s)).collect())
        .collect();
    let most = rates.iter().flatten().flatten().copied().fold(1.0, f64::max);
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{workload}: requests per second"), ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(-0.5..measured.len() as f64 - 0.5, 0.0..most * 1.25)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(measured.len() * 2 + 1)
        .x_desc("connections")
        .x_label_formatter(&|x| match measured.get(x.round() as usize) {
            Some(group) if (x - x.round()).abs() < 0.01 => group.connections.to_string(),
            _ => String::new(),
        })
        .draw()?;
    let width = GROUP_WIDTH / contenders.len() as f64;
    for (index, name) in contenders.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let bars = rates.iter().enumerate().filter_map(|(group, rates)| {
            let left = group as f64 - GROUP_WIDTH / 2.0 + index as f64 * width;
            let corners = [(left, 0.0), (left + width * 0.9, rates[index]?)];
            Some(Rectangle::new(corners, colour.filled()))
        });
        let series = chart.draw_series(bars)?.label(*name);
        series.legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()));
    }
    let mut labels = chart.configure_series_labels();
    let labels = labels.position(SeriesLabelPosition::UpperLeft);
    labels.background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2)).draw()?;
    area.present()?;
    Ok(())
}
