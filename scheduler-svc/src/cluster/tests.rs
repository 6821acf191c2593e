use proto::scheduler::v1::{CodeProblem, RunningWork, WorkerLoad};

use super::*;
use crate::policy::KB;
use bytes::Bytes;

const SECOND: Duration = Duration::from_secs(1);
const ME: &str = "me";

fn cluster() -> Cluster<()> {
    Cluster::new(ME.into())
}

fn identity(name: &str) -> WorkerIdentity {
    WorkerIdentity { id: format!("id of {name}"), name: name.into(), ..WorkerIdentity::default() }
}

fn memory(available_kb: u64) -> Report {
    let load =
        WorkerLoad { memory_total: 1000 * KB, memory_available: available_kb * KB, ..WorkerLoad::default() };
    Report { load: Some(load), ..Report::default() }
}

/// A report of work beside `memory`.
fn work(available_kb: u64, work: &[(&str, &str, u32, u64)]) -> Report {
    let mut report = memory(available_kb);
    if let Some(load) = &mut report.load {
        load.work = work
            .iter()
            .map(|&(scheduler_id, tag, running, capacity_kb)| RunningWork {
                scheduler_id: scheduler_id.into(),
                tag: tag.into(),
                running,
                capacity_kb,
            })
            .collect();
    }
    report
}

fn available_kb(cluster: &Cluster<()>) -> Option<u64> {
    cluster.workers().first().expect("a worker").memory.map(|memory| memory.available / KB)
}

fn reserve(cluster: &mut Cluster<()>, tag: &str, kb: u64) -> Reservation {
    cluster.reserve(0, tag, kb * KB).0
}

/// What runs on the first worker: all, and those with the tag `t`.
fn running(cluster: &Cluster<()>) -> (u32, u32) {
    let worker = cluster.workers().first().expect("a worker");
    (worker.running, worker.tags.of("t"))
}

#[test]
fn reservations_count_from_placement_until_release() {
    let now = Instant::now();
    let mut cluster = cluster();
    let session = cluster.join(identity("w"), memory(500), (), now);
    let first = reserve(&mut cluster, "t", 100);
    let second = reserve(&mut cluster, "", 50);
    assert_eq!((available_kb(&cluster), running(&cluster)), (Some(350), (2, 1)));
    cluster.release(&second);
    assert_eq!(available_kb(&cluster), Some(400));
    // Whether the report has seen `first` already or not changes nothing.
    for reported in [work(500, &[]), work(500, &[(ME, "t", 1, 100)])] {
        assert!(cluster.report("w", session, reported, now));
        assert_eq!((available_kb(&cluster), running(&cluster)), (Some(400), (1, 1)));
    }
    cluster.release(&first);
    assert_eq!((available_kb(&cluster), running(&cluster)), (Some(500), (0, 0)));
}

#[test]
fn reservations_of_other_schedulers_count_as_reported() {
    let now = Instant::now();
    let mut cluster = cluster();
    let session =
        cluster.join(identity("w"), work(500, &[("other", "t", 2, 200), (ME, "t", 7, 70)]), (), now);
    assert_eq!((available_kb(&cluster), running(&cluster)), (Some(300), (2, 2)));
    let own = reserve(&mut cluster, "t", 100);
    assert_eq!((available_kb(&cluster), running(&cluster)), (Some(200), (3, 3)));
    cluster.report("w", session, work(500, &[("other", "u", 1, 50)]), now);
    assert_eq!((available_kb(&cluster), running(&cluster)), (Some(350), (2, 1)));
    cluster.release(&own);
    assert_eq!((available_kb(&cluster), running(&cluster)), (Some(450), (1, 0)));
}

#[test]
fn memory_held_beyond_reservations_is_not_available() {
    let now = Instant::now();
    let mut cluster = cluster();
    let session = cluster.join(identity("w"), memory(500), (), now);
    let _one = reserve(&mut cluster, "", 100);
    let holding = |guests_kb: u64| {
        let mut report = memory(500 - guests_kb);
        report.load.as_mut().expect("a load").memory_guests = guests_kb * KB;
        report
    };
    for (guests_kb, expected) in [(0, 400), (100, 400), (300, 200)] {
        cluster.report("w", session, holding(guests_kb), now);
        assert_eq!(available_kb(&cluster), Some(expected), "{guests_kb} KB held");
    }
}

/// A report of work by which guests hold this much of 1000 KB.
fn holding(guests_kb: u64, reported: &[(&str, &str, u32, u64)]) -> Report {
    let mut report = work(1000 - guests_kb, reported);
    report.load.as_mut().expect("a load").memory_guests = guests_kb * KB;
    report
}

#[test]
fn guests_that_have_ended_since_the_report_hold_no_memory() {
    let now = Instant::now();
    let mut cluster = cluster();
    let session = cluster.join(identity("w"), memory(1000), (), now);
    let report = |cluster: &mut Cluster<()>, report| assert!(cluster.report("w", session, report, now));

    // The guest in the report has ended.
    let first = reserve(&mut cluster, "", 64);
    report(&mut cluster, holding(300, &[(ME, "", 1, 64)]));
    assert_eq!(available_kb(&cluster), Some(700));
    cluster.release(&first);
    assert_eq!(available_kb(&cluster), Some(1000), "all of it, before the next report");

    // It had ended when the report arrived.
    report(&mut cluster, holding(300, &[(ME, "", 1, 64)]));
    assert_eq!(available_kb(&cluster), Some(1000));
    let next = reserve(&mut cluster, "", 1000);
    cluster.release(&next);
    assert_eq!(available_kb(&cluster), Some(1000));

    // An invocation that began after the report holds no part of the memory in it, and frees none.
    let (first, second) = (reserve(&mut cluster, "", 100), reserve(&mut cluster, "", 100));
    report(&mut cluster, holding(800, &[(ME, "", 2, 200)]));
    let later = reserve(&mut cluster, "", 100);
    cluster.release(&later);
    assert_eq!(available_kb(&cluster), Some(200));
    cluster.release(&first);
    assert_eq!(available_kb(&cluster), Some(600), "one of two is left, with half of it");
    cluster.release(&second);
    assert_eq!(available_kb(&cluster), Some(1000));
}

#[test]
fn guests_of_other_schedulers_hold_memory_until_a_report_says_otherwise() {
    let now = Instant::now();
    let mut cluster = cluster();
    let session = cluster.join(identity("w"), memory(1000), (), now);
    let own = reserve(&mut cluster, "", 100);
    cluster.report("w", session, holding(800, &[(ME, "", 1, 100), ("other", "", 1, 300)]), now);
    assert_eq!(available_kb(&cluster), Some(200));
    cluster.release(&own);
    assert_eq!(available_kb(&cluster), Some(400), "three quarters are the other's");
}

#[test]
fn a_worker_that_rejoins_frees_what_its_first_report_counts() {
    let now = Instant::now();
    let mut cluster = cluster();
    let session = cluster.join(identity("w"), memory(1000), (), now);
    let reservation = reserve(&mut cluster, "", 64);
    assert!(cluster.leave("w", session).is_some());
    cluster.join(identity("w"), holding(300, &[(ME, "", 1, 64)]), (), now);
    assert_eq!(available_kb(&cluster), Some(700));
    cluster.release(&reservation);
    assert_eq!(available_kb(&cluster), Some(1000));
}

#[test]
fn guests_that_have_ended_since_prometheus_measured_hold_no_memory() {
    let now = Instant::now();
    let mut cluster = cluster();
    let session = cluster.join(identity("w"), memory(1000), (), now);
    let reservation = reserve(&mut cluster, "", 64);
    let measured = Measured {
        memory_total: 1000 * KB,
        memory_available: 700 * KB,
        memory_guests: 300 * KB,
        cpu_use: 0.0,
    };
    cluster.measured("w", Some(measured));
    cluster.report("w", session, holding(300, &[(ME, "", 1, 64)]), now);
    assert_eq!(available_kb(&cluster), Some(700));
    cluster.release(&reservation);
    cluster.report("w", session, memory(1000), now);
    assert_eq!(available_kb(&cluster), Some(1000));
}

#[test]
fn reservations_beyond_the_memory_leave_none_available() {
    let mut cluster = cluster();
    cluster.join(identity("w"), memory(10), (), Instant::now());
    cluster.reserve(0, "", u64::MAX);
    assert_eq!(available_kb(&cluster), Some(0));
}

#[test]
fn unknown_memory_is_unknown() {
    let mut cluster = cluster();
    cluster.join(identity("w"), Report::default(), (), Instant::now());
    assert_eq!(available_kb(&cluster), None);
}

#[test]
fn measurements_of_prometheus_count_while_it_has_them() {
    let mut cluster = cluster();
    cluster.join(identity("w"), memory(500), (), Instant::now());
    let _one = reserve(&mut cluster, "", 100);
    let measured =
        Measured { memory_total: 2000 * KB, memory_available: 800 * KB, memory_guests: 0, cpu_use: 0.5 };
    assert!(cluster.measured("w", Some(measured)));
    assert_eq!(available_kb(&cluster), Some(700));
    assert!(cluster.measured("w", None));
    assert_eq!(available_kb(&cluster), Some(400));
    assert!(!cluster.measured("nobody", Some(measured)));
}

#[test]
fn a_worker_that_replaces_another_inherits_no_reservations() {
    let now = Instant::now();
    let mut cluster = cluster();
    let old = cluster.join(identity("w"), memory(10), (), now);
    let reservation = reserve(&mut cluster, "t", 5);
    cluster.join(WorkerIdentity { id: "another".into(), ..identity("w") }, memory(20), (), now);
    assert!(cluster.leave("w", old).is_none());
    assert!(!cluster.report("w", old, memory(1), now));
    assert_eq!((available_kb(&cluster), running(&cluster)), (Some(20), (0, 0)));
    cluster.release(&reservation);
    assert_eq!((available_kb(&cluster), running(&cluster)), (Some(20), (0, 0)));
    assert!(cluster.departed.is_empty());
}

#[test]
fn a_worker_that_rejoins_keeps_its_reservations() {
    let now = Instant::now();
    let mut cluster = cluster();
    let session = cluster.join(identity("w"), memory(100), (), now);
    let (first, second) = (reserve(&mut cluster, "t", 10), reserve(&mut cluster, "t", 20));
    assert!(cluster.leave("w", session).is_some());
    cluster.release(&first);
    cluster.join(identity("w"), work(100, &[(ME, "t", 1, 20)]), (), now);
    assert_eq!((available_kb(&cluster), running(&cluster)), (Some(80), (1, 1)));
    cluster.release(&second);
    assert_eq!((available_kb(&cluster), running(&cluster)), (Some(100), (0, 0)));
}

#[test]
fn silent_workers_are_removed() {
    let start = Instant::now();
    let mut cluster = cluster();
    cluster.join(identity("b"), memory(1), (), start);
    let a = cluster.join(identity("a"), memory(1), (), start);
    cluster.join(identity("c"), memory(1), (), start);
    cluster.report("a", a, memory(1), start + 2 * SECOND);
    assert_eq!(cluster.oldest_report(), Some(start));
    let silent = cluster.expire(3 * SECOND, start + 3 * SECOND);
    assert_eq!(silent.iter().map(|name| &**name).collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(cluster.names().iter().map(|name| &**name).collect::<Vec<_>>(), ["a"]);
    assert_eq!(cluster.workers().len(), 1);
    assert_eq!(cluster.oldest_report(), Some(start + 2 * SECOND));
}

#[test]
fn workers_are_in_order_of_name() {
    let mut cluster = cluster();
    for name in ["b", "a", "c", "b"] {
        cluster.join(identity(name), memory(1), (), Instant::now());
    }
    let names: Vec<_> =
        cluster.members().map(|(worker, member)| (&*worker.name, &*member.identity.name)).collect();
    assert_eq!(names, [("a", "a"), ("b", "b"), ("c", "c")]);
    assert_eq!(cluster.names().len(), 3);
}

#[test]
fn code_becomes_ready_fails_and_is_dropped() {
    let now = Instant::now();
    let code = Bytes::from_static(b"hash");
    let mut cluster = cluster();
    let session = cluster.join(identity("w"), Report::default(), (), now);
    let state = |cluster: &Cluster<()>| {
        let (worker, member) = cluster.members().next().expect("w has joined");
        member.code_state(worker, &code)
    };
    assert_eq!(state(&cluster), CodeState::Unknown);
    let problem = CodeProblem { hash: code.clone(), message: "broken".into() };
    cluster.report("w", session, Report { code_failed: vec![problem], ..Report::default() }, now);
    assert_eq!(state(&cluster), CodeState::Failed("broken".into()));
    cluster.report("w", session, Report { code_ready: vec![code.clone()], ..Report::default() }, now);
    assert_eq!(state(&cluster), CodeState::Ready);
    cluster.report("w", session, Report { code_dropped: vec![code.clone()], ..Report::default() }, now);
    assert_eq!(state(&cluster), CodeState::Unknown);
}
