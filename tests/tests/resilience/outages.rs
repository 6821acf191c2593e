//! A short version of `scripts/chaos outages`.

use std::time::Duration;

use tests::Shape;
use tests::outages::{CallKind, Plan, run};

/// The calls that may fail while a part is away. All others succeed, and no event is lost, doubled or dead-lettered.
const MAY_FAIL: [(&str, &[CallKind]); 4] = [
    ("nothing", &[]),
    ("scheduler", &[CallKind::Invoke, CallKind::InvokeWithSink]),
    ("sink", &[CallKind::InvokeWithSink]),
    ("postgresql", &[CallKind::InvokeWithSink, CallKind::Read, CallKind::Write]),
];

pub async fn callers_see_no_more_of_an_outage_than_they_have_to(_: Shape) {
    let parts = MAY_FAIL.iter().map(|(part, _)| *part).filter(|part| *part != "nothing").collect();
    let plan = Plan { parts, outage: Duration::from_secs(2), afterwards: Duration::from_secs(1) };
    let report = run(&plan, |_| {}).await;
    assert_eq!(report.missing_results, 0, "{report}");
    assert_eq!(report.rows.len(), MAY_FAIL.len());
    for (row, (part, may_fail)) in report.rows.iter().zip(MAY_FAIL) {
        assert_eq!(row.part, part);
        for calls in &row.calls {
            assert!(calls.failed() == 0 || may_fail.contains(&calls.kind), "{part}: {calls:?}");
            let is_clear = |failure: &String| failure.starts_with("503 ");
            assert!(calls.failures.keys().all(is_clear), "{part}: {calls:?}");
        }
        let events = &row.events;
        assert_eq!((events.delivered, events.doubled), (events.published, 0), "{part}");
        assert_eq!(events.dead_letters, 0, "{part}");
    }
}
