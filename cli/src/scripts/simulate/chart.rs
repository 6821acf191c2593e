//! A chart of a simulation, as SVG: a row for each worker and one for what was refused, time across, a bar
//! for each invocation in the colour of its tag.

mod rows;

use std::collections::BTreeMap;

use anyhow::anyhow;
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::{DrawingArea, IntoDrawingArea as _};
use plotters::element::{Rectangle, Text};
use plotters::prelude::SVGBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, IntoFont as _, IntoTextStyle as _, RGBColor, TextStyle, WHITE};

use super::outcome::{Outcome, Placed};
use super::place::Place;
use rows::{Bar, Row};

/// Bars of a chart. More make a file that no viewer likes.
const MOST_BARS: usize = 20_000;
const WIDTH: u32 = 1200;
const MARGIN: u32 = 12;
/// The height of a line of text.
const LINE: u32 = 20;
/// Below the rows: the numbers and the name of the axis.
const AXIS: u32 = 44;
const FONT_SIZE: u32 = 15;
/// The width of a character, on average, in tenths of a pixel.
const CHARACTER: u32 = 72;
/// Longer names are cut.
const NAME_CHARACTERS: usize = 40;
const TEXT: RGBColor = RGBColor(40, 40, 40);
const STRIPE: RGBColor = RGBColor(244, 245, 247);
const REFUSED: RGBColor = RGBColor(253, 236, 234);
const GRID: RGBColor = RGBColor(215, 218, 222);
/// The tags that come most often have colours of their own, which also those tell apart who see fewer of them.
const COLOURS: [RGBColor; 9] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(120, 94, 240),
    RGBColor(140, 86, 40),
    RGBColor(110, 160, 30),
];
/// All other tags.
const OTHERS: RGBColor = RGBColor(150, 150, 150);

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws the chart.
pub fn draw(outcome: &Outcome) -> anyhow::Result<String> {
    let shown = &outcome.placed[..outcome.placed.len().min(MOST_BARS)];
    let legend = Legend::new(shown);
    // Room on the right for what begins last.
    let until_s = (outcome.until_ns as f64 / 1e9 * 1.01).max(1e-6);
    let rows = rows::of(outcome, shown, until_s);
    let rows_height: u32 = rows.iter().map(Row::height).sum();
    let header = LINE * (1 + legend.lines());
    let height = 2 * MARGIN + header + rows_height + AXIS;
    let mut svg = String::new();
    {
        let canvas = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let all = Drawing { canvas: &canvas, rows: &rows, legend: &legend, header, until_s, rows_height };
        all.draw(outcome.placed.len(), shown.len())
            .and_then(|()| canvas.present().map_err(|error| error.to_string()))
            .map_err(|error| anyhow!("the chart cannot be drawn: {error}"))?;
    }
    Ok(svg)
}

struct Drawing<'a, 'b> {
    canvas: &'a Canvas<'b>,
    rows: &'a [Row<'a>],
    legend: &'a Legend<'a>,
    header: u32,
    until_s: f64,
    rows_height: u32,
}

impl Drawing<'_, '_> {
    fn draw(&self, count: usize, shown: usize) -> Result<(), String> {
        let told = |error: &dyn std::fmt::Display| error.to_string();
        self.canvas.fill(&WHITE).map_err(|error| told(&error))?;
        let workers = self.rows.iter().filter(|row| !row.is_refused).count();
        let (all, on) = (counted(count, "invocation"), counted(workers, "worker"));
        let title = match count - shown {
            0 => format!("{all} on {on}"),
            _ => format!("the first {shown} of {all} on {on}"),
        };
        self.text(&title, MARGIN, MARGIN + LINE / 2, HPos::Left)?;
        self.draw_legend()?;
        let longest = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
        let names_width = width_of(longest.min(NAME_CHARACTERS)) + MARGIN;
        let mut chart = ChartBuilder::on(self.canvas)
            .margin(MARGIN)
            .margin_top(MARGIN + self.header)
            .x_label_area_size(AXIS)
            .y_label_area_size(names_width)
            .build_cartesian_2d(0.0..self.until_s, f64::from(self.rows_height)..0.0)
            .map_err(|error| told(&error))?;
        self.draw_stripes(&chart)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .x_labels(12)
            .x_max_light_lines(0)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_desc("seconds")
            .x_label_formatter(&|seconds| plain(*seconds))
            .label_style(style())
            .draw()
            .map_err(|error| told(&error))?;
        self.draw_bars(&chart)
    }

    fn draw_legend(&self) -> Result<(), String> {
        for entry in &self.legend.entries {
            let (x, y) = (MARGIN + entry.x, MARGIN + LINE * (1 + entry.line) + LINE / 2);
            self.rectangle((x, y - 5), (x + 10, y + 5), entry.colour)?;
            self.text(&entry.text, x + 16, y, HPos::Left)?;
        }
        Ok(())
    }

    /// Every other row stands out a little, and what was refused more. Each has its name on the left.
    fn draw_stripes(&self, chart: &Chart<'_, '_>) -> Result<(), String> {
        let (left, right) = (x_of(chart, 0.0), x_of(chart, self.until_s));
        let mut top = y_of(chart, 0.0);
        for (index, row) in self.rows.iter().enumerate() {
            let bottom = top + row.height();
            match row.is_refused {
                true => self.rectangle((left, top), (right, bottom), REFUSED)?,
                false if index % 2 == 1 => self.rectangle((left, top), (right, bottom), STRIPE)?,
                false => {}
            }
            self.text(&cut(row.name), left - 8, top + row.height() / 2, HPos::Right)?;
            top = bottom;
        }
        Ok(())
    }

    fn draw_bars(&self, chart: &Chart<'_, '_>) -> Result<(), String> {
        let mut top = y_of(chart, 0.0);
        for row in self.rows {
            for Bar { begin_s, end_s, lane, tag } in &row.bars {
                let (left, right) = (x_of(chart, *begin_s), x_of(chart, *end_s));
                let above = top + row.lane_top(*lane);
                // A gap keeps neighbours apart, where there is room for one.
                let gap = u32::from(right > left + 3);
                let below = above + row.lane_height().saturating_sub(1).max(1);
                self.rectangle((left, above), ((right - gap).max(left + 1), below), self.legend.colour(tag))?;
            }
            top += row.height();
        }
        Ok(())
    }

    fn rectangle(&self, from: (u32, u32), to: (u32, u32), colour: RGBColor) -> Result<(), String> {
        let rectangle = Rectangle::new([signed(from), signed(to)], colour.filled());
        self.canvas.draw(&rectangle).map_err(|error| error.to_string())
    }

    fn text(&self, text: &str, x: u32, y: u32, side: HPos) -> Result<(), String> {
        let style = style().pos(Pos::new(side, VPos::Center));
        let text = Text::new(text.to_owned(), signed((x, y)), style);
        self.canvas.draw(&text).map_err(|error| error.to_string())
    }
}

fn style() -> TextStyle<'static> {
    ("sans-serif", FONT_SIZE).into_font().color(&TEXT).into_text_style(&(WIDTH, WIDTH))
}

fn x_of(chart: &Chart<'_, '_>, seconds: f64) -> u32 {
    u32::try_from(chart.backend_coord(&(seconds, 0.0)).0).unwrap_or_default()
}

fn y_of(chart: &Chart<'_, '_>, below: f64) -> u32 {
    u32::try_from(chart.backend_coord(&(0.0, below)).1).unwrap_or_default()
}

fn signed((x, y): (u32, u32)) -> (i32, i32) {
    (i32::try_from(x).unwrap_or(i32::MAX), i32::try_from(y).unwrap_or(i32::MAX))
}

fn width_of(characters: usize) -> u32 {
    u32::try_from(characters).unwrap_or(u32::MAX).saturating_mul(CHARACTER) / 10
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Without what floating point adds.
fn plain(seconds: f64) -> String {
    let text = format!("{seconds:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn cut(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARACTERS) {
        Some(_) => name.chars().take(NAME_CHARACTERS - 1).chain(['…']).collect(),
        None => name.to_owned(),
    }
}

/// Which colour a tag has.
struct Legend<'a> {
    colours: BTreeMap<&'a str, RGBColor>,
    entries: Vec<Entry>,
}

/// What stands above the chart for a tag.
struct Entry {
    text: String,
    colour: RGBColor,
    x: u32,
    line: u32,
}

impl<'a> Legend<'a> {
    fn new(placed: &'a [Placed]) -> Self {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for one in placed {
            *counts.entry(&one.invocation.tag).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|&(tag, count)| (std::cmp::Reverse(count), tag));
        let others = counts.split_off(counts.len().min(COLOURS.len()));
        let colours: BTreeMap<_, _> =
            counts.iter().zip(COLOURS).map(|(&(tag, _), colour)| (tag, colour)).collect();
        let words = |&(tag, count): &(&str, usize)| match tag {
            "" => format!("no tag ({count})"),
            tag => format!("{} ({count})", cut(tag)),
        };
        let mut entries: Vec<_> = counts.iter().map(words).zip(COLOURS).collect();
        if !others.is_empty() {
            let count: usize = others.iter().map(|(_, count)| count).sum();
            entries.push((format!("{} other tags ({count})", others.len()), OTHERS));
        }
        let (mut x, mut line) = (0, 0);
        let placed = |(text, colour): (String, RGBColor)| {
            let width = width_of(text.chars().count()) + 40;
            if x > 0 && x + width > WIDTH - 2 * MARGIN {
                (x, line) = (0, line + 1);
            }
            let entry = Entry { text, colour, x, line };
            x += width;
            entry
        };
        Self { colours, entries: entries.into_iter().map(placed).collect() }
    }

    fn lines(&self) -> u32 {
        self.entries.last().map_or(0, |entry| entry.line + 1)
    }

    fn colour(&self, tag: &str) -> RGBColor {
        self.colours.get(tag).copied().unwrap_or(OTHERS)
    }
}

#[cfg(test)]
mod tests;
