//! The rows of a chart, and what of each stands above what.

use std::collections::{BTreeSet, HashMap};

use super::{Outcome, Place, Placed};

/// The height of a lane that has its row for itself, in pixels.
const LANE: u32 = 16;
/// A row with more lanes has thinner ones instead of being higher.
const ROW: u32 = 96;
/// Above and below the lanes.
const PADDING: u32 = 3;
/// How much of the width stands for what was refused, which takes no time.
const REFUSED_SHARE: f64 = 0.004;

/// A row of a chart.
pub struct Row<'a> {
    pub name: &'a str,
    /// It has what was placed nowhere.
    pub is_refused: bool,
    /// In order of time.
    pub bars: Vec<Bar<'a>>,
    lanes: u32,
}

/// An invocation in a row. Those of the same time have different lanes.
pub struct Bar<'a> {
    pub begin_s: f64,
    pub end_s: f64,
    pub lane: u32,
    pub tag: &'a str,
}

/// A row for each worker, and one for what was refused, if anything was.
pub fn of<'a>(outcome: &'a Outcome, shown: &'a [Placed], until_s: f64) -> Vec<Row<'a>> {
    let mut by_worker: HashMap<&str, Vec<&Placed>> = HashMap::new();
    let mut refused = Vec::new();
    for placed in shown {
        match &placed.place {
            Place::On(worker) => by_worker.entry(worker).or_default().push(placed),
            Place::Refused(_) => refused.push(placed),
        }
    }
    let end_s = |placed: &Placed| match placed.invocation.duration_ns {
        Some(_) => seconds(placed.end_ns(outcome.until_ns)),
        None => until_s,
    };
    let names = outcome.workers.iter().map(|worker| worker.name.as_str());
    let mut rows: Vec<_> = names
        .map(|name| Row::new(name, false, by_worker.get(name).map_or(&[], Vec::as_slice), end_s))
        .collect();
    if !refused.is_empty() {
        let mark = |placed: &Placed| seconds(placed.invocation.at_ns) + until_s * REFUSED_SHARE;
        rows.push(Row::new("refused", true, &refused, mark));
    }
    rows
}

impl<'a> Row<'a> {
    /// `placed` is in order of time.
    fn new(name: &'a str, is_refused: bool, placed: &[&'a Placed], end_s: impl Fn(&Placed) -> f64) -> Self {
        let mut lanes = Lanes::default();
        let bar = |placed: &&'a Placed| {
            let (begin_s, end_s) = (seconds(placed.invocation.at_ns), end_s(placed));
            Bar { begin_s, end_s, lane: lanes.take(begin_s, end_s), tag: &placed.invocation.tag }
        };
        let bars = placed.iter().map(bar).collect();
        Self { name, is_refused, bars, lanes: lanes.count.max(1) }
    }

    /// In pixels.
    pub fn height(&self) -> u32 {
        self.lanes * self.lane_height() + 2 * PADDING
    }

    /// In pixels.
    pub fn lane_height(&self) -> u32 {
        (ROW / self.lanes).clamp(1, LANE)
    }

    /// Where a lane begins below the top of the row, in pixels.
    pub fn lane_top(&self, lane: u32) -> u32 {
        PADDING + lane * self.lane_height()
    }
}

/// Lanes that are taken for a while, the lowest free one first.
#[derive(Default)]
struct Lanes {
    /// The end of what is in each lane that is taken, and the lane.
    taken: Vec<(f64, u32)>,
    free: BTreeSet<u32>,
    count: u32,
}

impl Lanes {
    fn take(&mut self, begin_s: f64, end_s: f64) -> u32 {
        let free = &mut self.free;
        self.taken.retain(|&(end, lane)| {
            let is_taken = end > begin_s;
            if !is_taken {
                free.insert(lane);
            }
            is_taken
        });
        let lane = self.free.pop_first().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        });
        self.taken.push((end_s, lane));
        lane
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
