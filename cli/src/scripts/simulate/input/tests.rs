use super::*;

const MB: u64 = 1 << 20;

/// Reads what a file would hold.
fn read_as<T>(text: &str, read: fn(&Path) -> anyhow::Result<T>) -> Result<T, String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    read(file.path()).map_err(|error| format!("{error:#}"))
}

fn worker(name: &str, memory_total: u64, memory_available: Option<u64>) -> Worker {
    Worker { name: name.into(), memory_total, memory_available }
}

#[test]
fn workers_are_written_in_several_ways() {
    let cases = [
        ("[]", vec![]),
        ("- name: a\n- name: b\n  memory: 512MiB\n", vec![worker("a", 0, None), worker("b", 512 * MB, None)]),
        (
            "- {name: a, memory: 1048576, memory_available: 512 KiB, zone: edge}",
            vec![worker("a", MB, Some(MB / 2))],
        ),
        ("- {name: a, memory_total: 1MiB, memory_available: 0}", vec![worker("a", MB, Some(0))]),
        ("workers:\n  - {name: a, memory: {total: 1MiB}}", vec![worker("a", MB, None)]),
        (r#"{"data": [{"name": "a", "memory_total": 1048576}]}"#, vec![worker("a", MB, None)]),
        (
            r#"{"data": {"metrics_problem": null, "workers": [
                {"name": "a", "tag": "", "memory": {"total": 1048576, "available": 7, "guests": 0}, "draining": false},
                {"name": "b", "memory": {"total": null, "available": null, "guests": 0}, "warm": ["00"]},
                {"name": "c", "memory": {"total": 1, "available": 1, "guests": 0}, "draining": true}]}}"#,
            vec![worker("a", MB, Some(7)), worker("b", 0, None)],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(read_as(text, workers), Ok(expected), "{text}");
    }
}

#[test]
fn invalid_workers_are_reported_with_their_position() {
    let cases = [
        ("", "expected"),
        ("a worker", "a list, by itself or as `data`"),
        ("{metrics: 1}", "a list, by itself or as `data`"),
        ("- name: a\n- memory: 1MiB", "line 2"),
        ("- name: a\n- memory: 1MiB", "name"),
        ("- {name: a, memory: much}", "\"much\": expected a number of bytes, or a size with a unit"),
        ("- {name: a, memory_total: -1}", "-1: expected a number of bytes"),
        ("- {name: a, memory: [1]}", "a size such as 512MiB, or {total, available}"),
        ("- name: [", "line 1"),
    ];
    for (text, expected) in cases {
        let error = read_as(text, workers).expect_err(text);
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    let error = workers(Path::new("no/such/file")).expect_err("is not there");
    assert!(format!("{error:#}").starts_with("cannot read no/such/file: "), "{error:#}");
}

fn invocation(at_ns: u64, tag: &str, capacity_kb: u64, duration_ns: Option<u64>) -> Invocation {
    Invocation { at_ns, tag: tag.into(), capacity_kb, duration_ns, ..Invocation::default() }
}

#[test]
fn loads_are_written_in_several_ways() {
    let on = |worker: &str| Some(Place::On(worker.into()));
    let cases = [
        ("[]", vec![]),
        (
            "- {at: 1.5s, tag: web, capacity: 64MiB, duration: 200ms}\n- {at: 0}\n",
            vec![invocation(1_500_000_000, "web", 64 << 10, Some(200_000_000)), invocation(0, "", 0, None)],
        ),
        (
            "load:\n- at_ns: 7\n  capacity_kb: 3\n  duration_ns: 9\n  function: f\n  worker: a\n",
            vec![Invocation { function: "f".into(), recorded: on("a"), ..invocation(7, "", 3, Some(9)) }],
        ),
        (
            r#"{"data": [
                {"id": "x-0", "at_ms": 1, "module": "_", "function": "f", "script": "", "worker": "a", "refusal": "",
                 "invocation": {"at_ns": 5000000000, "tag": "t", "capacity_kb": 64, "duration_ns": 12}},
                {"id": "x-1", "at_ms": 1, "module": "_", "function": "g", "script": "s", "worker": "",
                 "refusal": "no_valid_workers",
                 "invocation": {"at_ns": 5000000003, "tag": "", "capacity_kb": 64, "duration_ns": null}},
                {"id": "x-2", "function": "f", "worker": "b", "invocation": {"at_ns": 5000000004}}]}"#,
            vec![
                Invocation { function: "_/f".into(), recorded: on("a"), ..invocation(0, "t", 64, Some(12)) },
                Invocation {
                    function: "_/g".into(),
                    recorded: Some(Place::Refused("no_valid_workers".into())),
                    ..invocation(3, "", 64, Some(0))
                },
                Invocation { function: "f".into(), recorded: on("b"), ..invocation(4, "", 0, None) },
            ],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(read_as(text, load), Ok(expected), "{text}");
    }
}

#[test]
fn invalid_loads_are_reported_with_their_position() {
    let cases = [
        ("- {at: 1s}\n- {tag: t}", "entry 2: expected `at`, such as 1.5s, or `at_ns`"),
        ("- {at: 1s, at_ns: 1}", "entry 1: expected `at` or `at_ns`, not both"),
        ("- {at: 1s, duration: 1s, duration_ns: 1}", "expected `duration` or `duration_ns`, not both"),
        ("- {at: 1s, capacity: 1, capacity_kb: 1}", "expected `capacity` or `capacity_kb`, not both"),
        ("- {at: 1s}\n- {at: 5}", "5: expected a time with a unit, such as 1.5s or 200ms"),
        ("- {at: 1s}\n- {at: 5}", "line 2"),
        ("- {at_ns: -1}", "-1"),
        ("- {at: 0, invocation: {}}", "at_ns"),
    ];
    for (text, expected) in cases {
        let error = read_as(text, load).expect_err(text);
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn a_long_load_is_read() {
    let text = "- {at: 1ms, tag: t, capacity: 64, duration: 1ms}\n".repeat(50_000);
    assert_eq!(read_as(&text, load).map(|load| load.len()), Ok(50_000));
}
