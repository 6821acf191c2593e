//! Cron schedules.
//!
//! The journal's cursor is the time of the last firing. A firing moves it and begins its event in one
//! transaction, so that of two replicas that both believe they hold the binding only one fires.

use std::time::Duration;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use mesh::backoff::Backoff;
use mesh::bindings::{End, HeldBinding};
use mesh::clock::now_ms;
use mesh::telemetry::{self, TraceParent};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tracing::Span;
use tracing::field::display;
use uuid::Uuid;

use super::connection_status::ConnectionStatus;
use super::shutdown::{DRAIN_TIMEOUT, unless_panicked};
use crate::arrival::Abandoned;
use crate::event::derived_id;
use crate::handling::{self, Handling};
use crate::intake::Intake;
use crate::journal::{Change, Entry};
use crate::trace::Origin;

/// A firing is missed when no replica was running for this long after its time. It is longer than a takeover by
/// another replica takes.
const LATE: SignedDuration = SignedDuration::from_secs(15);
/// How far the cursor may lie in the future: replicas on several machines have clocks of their own.
const MAX_AHEAD: SignedDuration = SignedDuration::from_secs(60);
/// The sleep of a schedule that has no later time.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// When to fire.
#[derive(Debug, Clone)]
pub(crate) struct Params {
    schedule: Schedule,
    missed: Missed,
    /// The function's argument. Absent: the scheduled time.
    args: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduleSpec {
    schedule: String,
    #[serde(default = "utc")]
    timezone: String,
    #[serde(default)]
    missed: Missed,
    #[serde(default, deserialize_with = "present")]
    args: Option<Value>,
}

/// What becomes of missed firings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Missed {
    /// They are skipped.
    #[default]
    Skip,
    /// The last one fires late.
    Once,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// An explicit null is not absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Params {
    /// Reads the parameters' JSON text.
    pub(crate) fn parse(params: &str) -> Result<(Self, Handling), String> {
        let (spec, handling): (ScheduleSpec, _) = handling::read("cron", params, handling::COMMON_PARAMS)?;
        let schedule = Schedule::parse(&spec.schedule, &spec.timezone);
        let schedule = schedule.map_err(|problem| format!("cron: {problem}"))?;
        Ok((Self { schedule, missed: spec.missed, args: spec.args }, handling))
    }

    /// How traces describe it.
    pub(crate) fn origin(&self) -> Origin {
        Origin::Timer { schedule: self.schedule.expression.clone() }
    }

    fn args(&self, at: Timestamp) -> Value {
        self.args.clone().unwrap_or_else(|| json!({ "scheduled_at": at.to_string() }))
    }
}

/// The times of a cron expression in a time zone. The expression is parsed whenever times are asked for, since it takes
/// several kilobytes once it is parsed, and most schedules seldom fire.
#[derive(Debug, Clone)]
struct Schedule {
    /// As it was given.
    expression: String,
    timezone: TimeZone,
}

impl Schedule {
    fn parse(expression: &str, timezone: &str) -> Result<Self, String> {
        let timezone = TimeZone::get(timezone)
            .map_err(|_| format!("timezone {timezone:?}: expected a name such as \"Europe/Rome\""))?;
        times(expression).map_err(|error| {
            format!("schedule {expression:?}: expected 5 or 6 fields of a cron expression: {error}")
        })?;
        let schedule = Self { expression: expression.to_owned(), timezone };
        if schedule.next_after(Timestamp::now()).is_none() {
            return Err(format!("schedule {expression:?}: it never fires"));
        }
        Ok(schedule)
    }

    /// The next time to fire after `last`, which is in the past if it is due.
    fn next_firing(&self, now: Timestamp, last: Timestamp, missed: Missed) -> Option<Timestamp> {
        match missed {
            Missed::Skip => {
                let in_time = now.checked_sub(LATE).unwrap_or(now);
                self.next_after(last.max(in_time))
            }
            Missed::Once => match self.last_until(now) {
                Some(due) if due > last => Some(due),
                _ => self.next_after(last.max(now)),
            },
        }
    }

    fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let next = times(&self.expression).ok()?.find_next_occurrence(&self.zoned(time), false);
        next.ok().map(|next| next.timestamp())
    }

    fn last_until(&self, time: Timestamp) -> Option<Timestamp> {
        let last = times(&self.expression).ok()?.find_previous_occurrence(&self.zoned(time), true);
        last.ok().map(|last| last.timestamp())
    }

    fn zoned(&self, time: Timestamp) -> Zoned {
        time.to_zoned(self.timezone.clone())
    }
}

fn times(expression: &str) -> Result<Cron, CronError> {
    CronParser::builder().year(Year::Disallowed).build().parse(expression)
}

/// Hands the firings to `intake` until the lease ends.
pub(crate) async fn run(params: Params, intake: Intake, entries: Vec<Entry>, held: HeldBinding) {
    let mut status = ConnectionStatus::new(&held.report, intake.metrics());
    let mut handling = JoinSet::new();
    for entry in entries {
        handling.spawn(handle(intake.clone(), entry, None));
    }
    status.connected();
    let end = {
        let mut firing = Box::pin(fire(&params, &intake));
        loop {
            let has_capacity = handling.len() < usize::from(intake.handling().max_in_flight);
            tokio::select! {
                end = held.ended() => break end,
                Some(handled) = handling.join_next() => match unless_panicked(handled) {
                    Ok(()) => {}
                    Err(Abandoned) => break End::HandOver,
                },
                // Not cancelled while the lease lasts: it may have moved the cursor.
                fired = &mut firing, if has_capacity => match fired {
                    Ok((entry, span)) => {
                        status.active();
                        intake.metrics().received.inc();
                        handling.spawn(handle(intake.clone(), entry, Some(span)));
                        firing = Box::pin(fire(&params, &intake));
                    }
                    Err(Abandoned) => break End::HandOver,
                },
            }
        }
    };
    intake.stop();
    let _ =
        tokio::time::timeout(DRAIN_TIMEOUT, async { while handling.join_next().await.is_some() {} }).await;
    handling.shutdown().await;
    if end == End::Removed {
        intake.mark_all_lost().await;
    }
}

/// A firing is never redelivered: once its event has ended, the journal does not need it.
async fn handle(intake: Intake, entry: Entry, begun: Option<Span>) -> Result<(), Abandoned> {
    let id = entry.id;
    if !entry.ended {
        intake.resume(entry, begun).await?;
    }
    Ok(intake.clean_up(Vec::new(), vec![id]).await?)
}

/// Waits for the next firing and begins its event and its span, unless a later holder does.
///
/// It does not wait for the lease: the cursor admits one firing only, and schedules go on while the registry is
/// away.
///
/// What it does when it fires is boxed: most of the time, most schedules wait.
async fn fire(params: &Params, intake: &Intake) -> Result<(Entry, Span), Abandoned> {
    let mut backoff = Backoff::reconnect();
    let (mut begun, mut clock_set_at) = (None, Timestamp::MIN);
    loop {
        let last = Box::pin(cursor(intake)).await?;
        // Times that the clock has skipped are missed, however near they are.
        let after = match params.missed {
            Missed::Skip => last.max(clock_set_at),
            Missed::Once => last,
        };
        let Some(at) = due(params, after).await else {
            clock_set_at = Timestamp::now();
            continue;
        };
        let span = begun.get_or_insert_with(|| intake.event_span(None));
        let key = format!("at:{}", at.as_millisecond());
        let entry = Entry {
            id: Uuid::now_v7(),
            invocation_id: derived_id(intake.binding_id(), &key),
            key,
            fingerprint: None,
            received_at_ms: now_ms(),
            args: Some(params.args(at).to_string().into()),
            ended: false,
            trace: TraceParent::of(span),
        };
        let (from, to) = (last.as_millisecond(), at.as_millisecond());
        let advance = Change::Advance { epoch: intake.epoch(), from, to, entry: entry.clone() };
        match Box::pin(intake.try_write(advance)).await? {
            Ok(0) => {
                telemetry::failed(span, "abandoned");
                return Err(Abandoned);
            }
            Ok(_) => return Ok(begin(entry, span, at)),
            Err(error) => tracing::debug!(%error, "a firing could not be written; trying again"),
        }
        tokio::time::sleep(backoff.next_wait()).await;
        // The write may have succeeded. If not, the firing may be missed by now.
        if intake.entries().await.iter().any(|begun| begun.id == entry.id) {
            return Ok(begin(entry, span, at));
        }
    }
}

fn begin(entry: Entry, span: &Span, at: Timestamp) -> (Entry, Span) {
    span.record("faas.time", display(at));
    (entry, span.clone())
}

/// The time of the last firing; for a new binding, the time when it began.
///
/// A time in the future was written while the clock was wrong. The schedule would stand still until then, so the cursor
/// is set back. What fires again at the same time is the same invocation.
async fn cursor(intake: &Intake) -> Result<Timestamp, Abandoned> {
    let mut cursor = intake.cursor().await;
    if cursor.is_none() {
        intake.write(Change::SetCursor(now_ms())).await?;
        cursor = intake.cursor().await;
    }
    let at = cursor.and_then(|at| Timestamp::from_millisecond(at).ok()).ok_or(Abandoned)?;
    let now = Timestamp::now();
    if !is_ahead(at, now) {
        return Ok(at);
    }
    tracing::warn!(
        binding = intake.binding_id(),
        last = %at,
        "the clock was set back: the last firing lies in the future, and the schedule goes on from now"
    );
    let (from, to) = (at.as_millisecond(), now.as_millisecond());
    intake.write(Change::MoveCursor { epoch: intake.epoch(), from, to }).await?;
    let cursor = intake.cursor().await;
    cursor.and_then(|at| Timestamp::from_millisecond(at).ok()).ok_or(Abandoned)
}

/// Whether the last firing lies in the future.
fn is_ahead(last: Timestamp, now: Timestamp) -> bool {
    last.duration_since(now) > MAX_AHEAD
}

/// Waits for the first firing after `last` that is not missed. If the wait took longer than planned, that may be a
/// later one. Returns `None` when the clock is set.
async fn due(params: &Params, last: Timestamp) -> Option<Timestamp> {
    let mut clock = mesh::clock::changes();
    loop {
        let now = Timestamp::now();
        let wait = match params.schedule.next_firing(now, last, params.missed) {
            Some(at) if at <= now => return Some(at),
            Some(at) => Duration::try_from(at.duration_since(now)).unwrap_or_default(),
            // There is no later time.
            None => LONGEST_SLEEP,
        };
        tokio::select! {
            () = tokio::time::sleep(wait.min(LONGEST_SLEEP)) => {}
            _ = clock.changed() => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Schedule | time zone | policy | the last firing | now | the next firing.
    const FIRINGS: &str = "
        0 12 * * *     | UTC         | skip | 2024-05-01T12:00:00Z | 2024-05-01T12:00:01Z | 2024-05-02T12:00:00Z
        0 12 * * *     | UTC         | once | 2024-05-01T12:00:00Z | 2024-05-01T12:00:01Z | 2024-05-02T12:00:00Z

        a little late is not missed
        0 12 * * *     | UTC         | skip | 2024-05-01T12:00:00Z | 2024-05-02T12:00:09Z | 2024-05-02T12:00:00Z
        0 12 * * *     | UTC         | once | 2024-05-01T12:00:00Z | 2024-05-02T12:00:09Z | 2024-05-02T12:00:00Z

        missed three times
        0 12 * * *     | UTC         | skip | 2024-05-01T12:00:00Z | 2024-05-04T13:00:00Z | 2024-05-05T12:00:00Z
        0 12 * * *     | UTC         | once | 2024-05-01T12:00:00Z | 2024-05-04T13:00:00Z | 2024-05-04T12:00:00Z

        seconds
        */10 * * * * * | UTC         | skip | 2024-05-01T12:00:00Z | 2024-05-01T12:00:03Z | 2024-05-01T12:00:10Z
        */10 * * * * * | UTC         | skip | 2024-05-01T12:00:00Z | 2024-05-01T13:00:05Z | 2024-05-01T13:00:00Z

        Rome is an hour ahead in winter and two in summer
        30 8 * * *     | Europe/Rome | skip | 2024-01-10T07:30:00Z | 2024-01-10T08:00:00Z | 2024-01-11T07:30:00Z
        30 8 * * *     | Europe/Rome | skip | 2024-07-10T06:30:00Z | 2024-07-10T08:00:00Z | 2024-07-11T06:30:00Z

        the day on which the clock skips from 2 to 3: half past two is at three
        30 2 * * *     | Europe/Rome | skip | 2024-03-30T01:30:00Z | 2024-03-30T12:00:00Z | 2024-03-31T01:00:00Z
        30 2 * * *     | Europe/Rome | skip | 2024-03-31T01:00:00Z | 2024-03-31T12:00:00Z | 2024-04-01T00:30:00Z

        the day on which the hour from 2 to 3 comes twice: a fixed time fires once, an interval goes on
        30 2 * * *     | Europe/Rome | skip | 2024-10-26T00:30:00Z | 2024-10-26T12:00:00Z | 2024-10-27T00:30:00Z
        30 2 * * *     | Europe/Rome | skip | 2024-10-27T00:30:00Z | 2024-10-27T00:31:00Z | 2024-10-28T01:30:00Z
        */30 * * * *   | Europe/Rome | skip | 2024-10-27T00:30:00Z | 2024-10-27T00:31:00Z | 2024-10-27T01:00:00Z

        the clock was set back: what has been done is not done again
        0 12 * * *     | UTC         | once | 2024-05-02T12:00:00Z | 2024-05-01T13:00:00Z | 2024-05-03T12:00:00Z
    ";

    #[test]
    fn firings() {
        let time = |text: &str| text.parse::<Timestamp>().expect(text);
        let mut checked = 0;
        for case in FIRINGS.lines() {
            let cells: Vec<_> = case.split('|').map(str::trim).collect();
            let [expression, timezone, missed, last, now, expected] = cells[..] else { continue };
            let schedule = Schedule::parse(expression, timezone).expect(expression);
            let missed = if missed == "once" { Missed::Once } else { Missed::Skip };
            let next = schedule.next_firing(time(now), time(last), missed);
            assert_eq!(next, Some(time(expected)), "{case}");
            checked += 1;
        }
        assert_eq!(checked, 16);
    }

    #[test]
    fn a_last_firing_in_the_future_is_noticed() {
        let now: Timestamp = "2024-05-01T12:00:00Z".parse().expect("a time");
        for (ahead_s, expected) in [(-3600, false), (0, false), (60, false), (61, true), (30 * 86_400, true)]
        {
            assert_eq!(is_ahead(now + SignedDuration::from_secs(ahead_s), now), expected, "{ahead_s} s");
        }
    }

    #[test]
    fn a_schedule_that_waits_takes_little_memory() {
        fn run_size<F: Future>(_: impl FnOnce(Params, Intake, Vec<Entry>, HeldBinding) -> F) -> usize {
            size_of::<F>()
        }
        fn fire_size<'a, F: Future>(_: impl FnOnce(&'a Params, &'a Intake) -> F) -> usize {
            size_of::<F>()
        }
        let (run, fire) = (run_size(run), fire_size(fire));
        assert!(run <= 1 << 10 && fire <= 2 << 10, "{run} and {fire} bytes");
    }

    #[test]
    fn errors_say_what_was_expected() {
        for (params, expected) in [
            ("{}", "missing field `schedule`"),
            (r#"{"schedule":"* * *"}"#, "expected 5 or 6 fields"),
            (r#"{"schedule":"99 * * * *"}"#, "expected 5 or 6 fields"),
            (r#"{"schedule":"0 0 0 1 1 * 2030"}"#, "expected 5 or 6 fields"),
            (r#"{"schedule":"0 0 30 2 *"}"#, "it never fires"),
            (r#"{"schedule":"0 0 * * *","timezone":"Mars"}"#, "expected a name such as \"Europe/Rome\""),
            (r#"{"schedule":"0 0 * * *","missed":"all"}"#, "expected `skip` or `once`"),
            (r#"{"schedule":"0 0 * * *","envelope":true}"#, "unknown field `envelope`"),
        ] {
            let error = Params::parse(params).expect_err(params);
            assert!(error.starts_with("cron: ") && error.contains(expected), "{error:?} says {expected:?}");
        }
    }

    #[test]
    fn arguments() {
        let at: Timestamp = "2024-05-01T12:00:00Z".parse().expect("a time");
        for (params, expected) in [
            (r#"{"schedule":"0 12 * * *"}"#, json!({ "scheduled_at": "2024-05-01T12:00:00Z" })),
            (r#"{"schedule":"0 12 * * *","args":[1]}"#, json!([1])),
            (r#"{"schedule":"0 12 * * *","args":null}"#, Value::Null),
        ] {
            assert_eq!(Params::parse(params).expect(params).0.args(at), expected);
        }
    }
}
