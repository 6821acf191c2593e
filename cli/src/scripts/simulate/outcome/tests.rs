use serde_json::json;

use super::super::report;
use super::*;

pub fn worker(name: &str, memory_total: u64) -> Worker {
    Worker { name: name.into(), memory_total, memory_available: None }
}

/// An invocation that takes a while, in milliseconds; 0: it does not end.
pub fn invocation(at_ms: u64, tag: &str, capacity_kb: u64, duration_ms: u64) -> Invocation {
    Invocation {
        at_ns: at_ms * 1_000_000,
        tag: tag.into(),
        capacity_kb,
        duration_ns: (duration_ms > 0).then_some(duration_ms * 1_000_000),
        ..Invocation::default()
    }
}

/// The load, of which each invocation is placed where that is said.
pub fn outcome(workers: Vec<Worker>, placed: Vec<(Invocation, &str)>) -> Outcome {
    let placement = |(index, (_, place)): (usize, &(Invocation, &str))| match place.strip_prefix("refused: ")
    {
        Some(refusal) => json!({"invocation": index, "worker": "", "refusal": refusal}),
        None => json!({"invocation": index, "worker": place, "refusal": ""}),
    };
    let placements: Vec<_> = placed.iter().enumerate().map(placement).collect();
    let answer = serde_json::from_value(json!({ "placements": placements })).expect("an answer");
    let load = placed.into_iter().map(|(invocation, _)| invocation).collect();
    Outcome::new(workers, load, answer).expect("all of it is placed")
}

fn recorded(invocation: Invocation, place: Place) -> Invocation {
    Invocation { function: "_/f".into(), recorded: Some(place), ..invocation }
}

fn small() -> Outcome {
    let on = |worker: &str| Place::On(worker.into());
    let refused = || Place::Refused("no_valid_workers".into());
    outcome(
        vec![worker("a", 512 << 20), worker("b", 0), worker("idle", 1 << 30)],
        vec![
            (recorded(invocation(0, "web", 64 << 10, 1500), on("a")), "a"),
            (recorded(invocation(500, "", 0, 1000), on("a")), "b"),
            (recorded(invocation(1000, "db", 32, 500), on("a")), "a"),
            (recorded(invocation(1500, "db", 32, 250), refused()), "refused: no_valid_workers"),
            (recorded(invocation(2000, "db", 32, 0), on("b")), "refused: no_valid_workers"),
            (invocation(2000, "web", 32, 0), "a"),
            (invocation(3000, "web", 32, 1000), "a"),
        ],
    )
}

#[test]
fn a_small_load_is_shown_whole() {
    let expected = "\
AT      FUNCTION  TAG  CAPACITY  DURATION  PLACE
0.000s  _/f       web  64.0 MiB  1.500s    a
0.500s  _/f       -    64.0 KiB  1.000s    b
1.000s  _/f       db   32.0 KiB  500.0ms   a
1.500s  _/f       db   32.0 KiB  250.0ms   refused: no_valid_workers
2.000s  _/f       db   32.0 KiB  -         refused: no_valid_workers
2.000s  -         web  32.0 KiB  -         a
3.000s  -         web  32.0 KiB  1.000s    a

WORKER  MEMORY     PLACED  PEAK RUNNING  PEAK RESERVED  BUSY
a       512.0 MiB  4       2             64.0 MiB       3.500s
b       -          1       1             64.0 KiB       1.000s
idle    1.0 GiB    0       0             0 B            0s
refused 2: no_valid_workers

3 of 5 placements agree with the recorded ones

NUMBER  AT      FUNCTION  TAG  RECORDED  SIMULATED
2       0.500s  _/f       -    a         b
5       2.000s  _/f       db   b         refused: no_valid_workers
";
    assert_eq!(report::text(&small(), false, 20), expected);
}

#[test]
fn of_a_long_load_the_sums_are_shown() {
    let load = (0..60).map(|at| (recorded(invocation(at, "t", 1, 1), Place::On("b".into())), "a"));
    let outcome = outcome(vec![worker("a", 1024)], load.collect());
    let expected = "\
60 invocations; --all shows each of them

WORKER  MEMORY   PLACED  PEAK RUNNING  PEAK RESERVED  BUSY
a       1.0 KiB  60      1             1.0 KiB        60.0ms

0 of 60 placements agree with the recorded ones

NUMBER  AT      FUNCTION  TAG  RECORDED  SIMULATED
1       0.000s  _/f       t    b         a
2       0.001s  _/f       t    b         a
and 58 more; --all shows each of them
";
    assert_eq!(report::text(&outcome, false, 2), expected);
    assert_eq!(report::text(&outcome, true, 2).lines().count(), 1 + 60 + 1 + 2 + 1 + 1 + 1 + 1 + 60);
}

#[test]
fn programs_get_all_of_it() {
    let shown = report::json(&small());
    let first = json!({
        "invocation": 0, "at_ns": 0, "function": "_/f", "tag": "web", "capacity_kb": 65536,
        "duration_ns": 1_500_000_000, "worker": "a", "refusal": "", "recorded": {"worker": "a", "refusal": ""},
    });
    assert_eq!(shown["placements"][0], first);
    assert_eq!(shown["placements"][5].get("recorded"), None);
    let worker = json!({
        "worker": "a", "placed": 4, "peak_running": 2, "peak_reserved_kb": 65568, "busy_ns": 3_500_000_000_u64,
    });
    assert_eq!(shown["workers"][0], worker);
    assert_eq!(shown["agreement"], json!({"recorded": 5, "agree": 3}));
    let nothing = outcome(Vec::new(), Vec::new());
    assert_eq!(report::json(&nothing), json!({"placements": [], "workers": []}));
    assert_eq!(report::text(&nothing, false, 20), "");
}

#[test]
fn an_answer_about_something_else_is_no_answer() {
    for placements in [
        json!([{"invocation": 1, "worker": "a", "refusal": ""}]),
        json!([{"invocation": 0, "worker": "a", "refusal": ""}, {"invocation": 0, "worker": "a", "refusal": ""}]),
    ] {
        let answer = serde_json::from_value(json!({ "placements": placements })).expect("an answer");
        let error = Outcome::new(Vec::new(), vec![invocation(0, "", 1, 1)], answer).expect_err("refused");
        assert_eq!(error.to_string(), "the answer places what was not asked for");
    }
}
