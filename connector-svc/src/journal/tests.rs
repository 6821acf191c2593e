//! What the journal promises, on SQLite and on PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh::Caller;
use mesh::database::{DatabaseError, DatabaseUrl};
use mesh::database_contract;
use mesh::hash::Hash;
use mesh::shutdown::Tasks;
use mesh::telemetry::TraceParent;
use mesh::testing::database::Database;
use mesh::testing::disk::SmallDisk;
use proto::connector::v1::EventCounts;
use proto::deadletter::v1::{DeadLetter, DeadLetterFilter};
use sea_orm::{ConnectionTrait as _, DbErr};
use sea_orm_migration::MigratorTrait as _;
use uuid::Uuid;

use super::answer::within;
use super::{Change, DeadLetterRecord, Entry, Journal, Write};
use crate::binding::BoundFunction;

database_contract!(
    events_begin_and_end,
    a_change_counts_once_however_often_it_is_written,
    invalid_and_passing_events_are_counted,
    dead_letters_are_written_with_the_counts,
    one_of_two_replicas_moves_the_cursor,
    a_bad_write_fails_alone,
    concurrent_writes_add_up,
    lost_events_show_as_drift,
    a_former_holder_begins_no_events,
    an_event_is_dead_lettered_once,
    a_restart_keeps_everything,
    a_renamed_function_renames_its_ledger,
    a_letter_keeps_the_span_that_failed_last,
    an_older_schema_is_migrated,
);

async fn open(database: &Database) -> Journal {
    mesh::tls::install_crypto();
    let journal = Journal::open(&database.url(), 4, &Tasks::default()).await.expect("opened");
    journal.migrate().await.expect("migrated");
    journal.migrate().await.expect("migrated again");
    journal.poll().await.expect("it answers");
    journal
}

/// An open journal with a ledger for the binding `b`.
async fn open_with_ledger(database: &Database) -> Journal {
    let journal = open(database).await;
    write(&journal, Change::Open(Arc::new(bound("f")))).await;
    journal
}

fn bound(function: &str) -> BoundFunction {
    BoundFunction {
        binding_id: "b".into(),
        kind: "mqtt".into(),
        function_id: "id".into(),
        module: "m".into(),
        function: function.into(),
        owner: "ann".into(),
    }
}

fn entry(key: &str) -> Entry {
    Entry {
        id: Uuid::now_v7(),
        key: key.into(),
        fingerprint: Some(Hash::of(key.as_bytes())),
        invocation_id: Uuid::now_v7(),
        received_at_ms: 7,
        args: Some("[1]".into()),
        ended: false,
        trace: None,
    }
}

fn trace() -> TraceParent {
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().expect("a traceparent")
}

fn letter() -> DeadLetter {
    DeadLetter {
        id: Uuid::now_v7().to_string(),
        role: 1,
        binding_id: "b".into(),
        binding_type: "mqtt".into(),
        function_id: "id".into(),
        module: "m".into(),
        function: "f".into(),
        owner: "ann".into(),
        invocation_id: Uuid::now_v7().to_string(),
        reason: "a zero\0byte".into(),
        attempts: 3,
        received_at_ms: 7,
        dead_lettered_at_ms: 8,
        payload_bytes: 2,
        payload: "{}".into(),
        trace_id: String::new(),
        invalid: false,
    }
}

/// A letter without a trace.
fn boxed(letter: DeadLetter) -> Option<Box<DeadLetterRecord>> {
    Some(Box::new(DeadLetterRecord { letter, trace: None }))
}

async fn write(journal: &Journal, change: Change) -> u64 {
    journal.write(Write { binding_id: "b".into(), change }).await.expect("open")
}

/// By the first holder.
fn begin(entry: &Entry) -> Change {
    Change::Begin { epoch: 1, entry: entry.clone() }
}

/// By the first holder.
fn invalid(entry: &Entry, letter: Option<DeadLetter>) -> Change {
    Change::Invalid { epoch: 1, entry: entry.clone(), letter: letter.and_then(boxed) }
}

async fn unchecked_counts(journal: &Journal) -> EventCounts {
    let ledgers = journal.ledgers(&Caller::Service).await.expect("read");
    let counts = ledgers.into_iter().find(|ledger| ledger.binding_id == "b").and_then(|ledger| ledger.counts);
    counts.unwrap_or_default()
}

/// The counts, whose sums are checked.
async fn counts(journal: &Journal) -> EventCounts {
    let counts = unchecked_counts(journal).await;
    assert_eq!(counts.received, counts.acknowledged + counts.in_flight + counts.lost, "{counts:?}");
    assert_eq!(counts.dead_lettered, counts.dead_letters + counts.redriven + counts.purged, "{counts:?}");
    let rows = journal.entries("b").await.expect("read").into_iter().filter(|entry| !entry.ended).count();
    assert_eq!(counts.in_flight, rows as u64, "{counts:?}");
    let filter = DeadLetterFilter::default();
    let letters = journal.dead_letters(&Caller::Service, &filter, "", 1000).await.expect("read").letters;
    assert_eq!(counts.dead_letters, letters.len() as u64, "{counts:?}");
    counts
}

async fn events_begin_and_end(database: Database) {
    let journal = open_with_ledger(&database).await;
    assert_eq!(counts(&journal).await, EventCounts::default());
    let entries = [entry("1"), entry("2"), entry("3"), entry("4")];
    for entry in &entries {
        assert_eq!(write(&journal, begin(entry)).await, 1);
    }
    assert_eq!(journal.entries("b").await.expect("read"), entries);
    assert_eq!(journal.busy_bindings().await.expect("read"), ["b"]);
    assert_eq!(counts(&journal).await.in_flight, 4);

    write(&journal, Change::End { id: entries[0].id, invalid: false, letter: None }).await;
    let forget = Change::MarkLost(vec![entries[1].id, entries[0].id]);
    assert_eq!(write(&journal, forget).await, 1, "the other one has ended");
    write(&journal, Change::Clear(vec![entries[2].id])).await;
    let now = counts(&journal).await;
    assert_eq!((now.received, now.acknowledged, now.in_flight, now.lost), (4, 1, 2, 1));
    let kept: Vec<_> =
        journal.entries("b").await.expect("read").into_iter().map(|e| (e.key, e.ended)).collect();
    assert_eq!(kept, [("1".into(), true), ("3".into(), false), ("4".into(), false)]);

    write(&journal, Change::Clear(vec![entries[0].id])).await;
    assert_eq!(journal.entries("b").await.expect("read").len(), 2);
    assert_eq!(write(&journal, Change::MarkAllLost).await, 2);
    assert!(journal.busy_bindings().await.expect("read").is_empty());
    let now = counts(&journal).await;
    assert_eq!((now.received, now.acknowledged, now.in_flight, now.lost), (4, 1, 0, 3));
}

async fn a_change_counts_once_however_often_it_is_written(database: Database) {
    let journal = open_with_ledger(&database).await;
    let (entry, dropped, kept, letter) = (entry("1"), entry("2"), entry("3"), letter());
    let invalid_letter = DeadLetter { id: Uuid::now_v7().to_string(), invalid: true, ..letter.clone() };
    for _ in 0..2 {
        assert_eq!(write(&journal, begin(&entry)).await, 1);
        assert_eq!(write(&journal, invalid(&dropped, None)).await, 1);
        assert_eq!(write(&journal, invalid(&kept, Some(invalid_letter.clone()))).await, 1);
    }
    write(&journal, Change::Purge(vec![invalid_letter.id.clone()])).await;
    assert_eq!(write(&journal, invalid(&kept, Some(invalid_letter))).await, 1, "not dead-lettered again");
    for found in [1, 0] {
        let end = Change::End { id: entry.id, invalid: false, letter: boxed(letter.clone()) };
        assert_eq!(write(&journal, end).await, found);
    }
    let now = counts(&journal).await;
    assert_eq!((now.received, now.acknowledged, now.invalid, now.dead_lettered, now.purged), (3, 3, 2, 2, 1));
    assert_eq!(write(&journal, Change::Redriven(letter.id.clone())).await, 1);
    assert_eq!(write(&journal, Change::Redriven(letter.id.clone())).await, 0);
    assert_eq!(counts(&journal).await.redriven, 1);
}

async fn invalid_and_passing_events_are_counted(database: Database) {
    let journal = open_with_ledger(&database).await;
    write(&journal, invalid(&entry("1"), None)).await;
    write(&journal, invalid(&entry("2"), Some(letter()))).await;
    let begun = entry("3");
    write(&journal, begin(&begun)).await;
    for found in [1, 0] {
        let end = Change::End { id: begun.id, invalid: true, letter: boxed(letter()) };
        assert_eq!(write(&journal, end).await, found);
    }
    write(&journal, Change::Pass { invalid: true, letter: None }).await;
    write(&journal, Change::Pass { invalid: false, letter: None }).await;
    write(&journal, Change::Pass { invalid: false, letter: boxed(letter()) }).await;
    let now = counts(&journal).await;
    assert_eq!((now.received, now.acknowledged, now.invalid, now.dead_lettered), (6, 6, 4, 3));
    assert!(journal.entries("b").await.expect("read").iter().all(|entry| entry.ended));
}

async fn dead_letters_are_written_with_the_counts(database: Database) {
    let journal = open_with_ledger(&database).await;
    let mut letters = [letter(), letter(), letter()];
    // More came than is kept.
    letters[1] = DeadLetter {
        payload: Bytes::from_static(b"\xff\0"),
        payload_bytes: 99,
        invalid: true,
        ..letters[1].clone()
    };
    for letter in &letters {
        write(&journal, Change::Pass { invalid: letter.invalid, letter: boxed(letter.clone()) }).await;
    }
    for letter in &letters {
        let kept = journal.dead_letter(&Caller::Service, &letter.id).await.expect("read").expect("kept");
        let expected = DeadLetter { reason: "a zero\u{fffd}byte".into(), ..letter.clone() };
        assert_eq!(kept, DeadLetterRecord { letter: expected, trace: None });
    }
    let listed = journal.dead_letters(&Caller::Service, &DeadLetterFilter::default(), "", 9).await;
    let listed: Vec<_> = listed.expect("read").letters.iter().map(|letter| letter.invalid).collect();
    assert_eq!(listed, [false, true, false]);
    for (caller, reaches) in [(Caller::Subject("ann".into()), true), (Caller::Subject("bob".into()), false)] {
        let found = journal.dead_letter(&caller, &letters[0].id).await.expect("read");
        assert_eq!(found.is_some(), reaches, "{caller:?}");
    }
    let reason = "still broken".to_owned();
    let redrive_failed = Change::RedriveFailed { id: letters[0].id.clone(), reason, trace: None };
    assert_eq!(write(&journal, redrive_failed).await, 1);
    let kept = journal.dead_letter(&Caller::Service, &letters[0].id).await.expect("read").expect("kept");
    let kept = kept.letter;
    assert_eq!((kept.reason.as_str(), kept.attempts), ("still broken", 4));

    assert_eq!(write(&journal, Change::Redriven(letters[0].id.clone())).await, 1);
    let ids = letters.iter().map(|letter| letter.id.clone()).collect();
    assert_eq!(write(&journal, Change::Purge(ids)).await, 2);
    let now = counts(&journal).await;
    assert_eq!((now.dead_lettered, now.redriven, now.purged, now.dead_letters), (3, 1, 2, 0));
}

async fn one_of_two_replicas_moves_the_cursor(database: Database) {
    let journal = open_with_ledger(&database).await;
    assert_eq!(journal.cursor("b").await.expect("read"), None);
    write(&journal, Change::SetCursor(5)).await;
    write(&journal, Change::SetCursor(6)).await;
    assert_eq!(journal.cursor("b").await.expect("read"), Some(5));
    let (first, second) = (entry("1"), entry("2"));
    let advance = |entry: &Entry| Change::Advance { epoch: 1, from: 5, to: 9, entry: entry.clone() };
    assert_eq!(write(&journal, advance(&first)).await, 1);
    assert_eq!(write(&journal, advance(&second)).await, 0);
    assert_eq!(write(&journal, advance(&first)).await, 1, "its answer was lost");
    assert_eq!(journal.cursor("b").await.expect("read"), Some(9));
    for (epoch, from, to, moved) in [(1, 5, 7, 0), (2, 9, 7, 0), (1, 9, 7, 1)] {
        assert_eq!(write(&journal, Change::MoveCursor { epoch, from, to }).await, moved, "{from} to {to}");
    }
    assert_eq!(journal.cursor("b").await.expect("read"), Some(7));
    assert_eq!(journal.entries("b").await.expect("read"), [first]);
    assert_eq!(counts(&journal).await.received, 1);
}

async fn a_bad_write_fails_alone(database: Database) {
    let journal = open_with_ledger(&database).await;
    let good: Vec<_> = (0..20).map(|n| entry(&n.to_string())).collect();
    let begin = |binding_id: &str, entry: &Entry| {
        journal.try_write(Write { binding_id: binding_id.into(), change: begin(entry) })
    };
    let no_ledger = entry("no");
    let bad = begin("unheard of", &no_ledger);
    let all = futures::future::join_all(good.iter().map(|entry| begin("b", entry)));
    let (bad, all) = tokio::join!(bad, all);
    assert!(bad.expect("open").is_err(), "it has no ledger");
    assert!(all.into_iter().all(|outcome| outcome.expect("open").is_ok()));
    assert_eq!(counts(&journal).await.in_flight, 20);
    assert!(journal.entries("unheard of").await.expect("read").is_empty());
}

async fn concurrent_writes_add_up(database: Database) {
    let (here, there) = (open_with_ledger(&database).await, open(&database).await);
    let journeys = (0..400).map(|n: u32| {
        let journal = if n.is_multiple_of(2) { &here } else { &there };
        async move {
            let entry = entry(&n.to_string());
            write(journal, begin(&entry)).await;
            let letter = n.is_multiple_of(10).then(letter).and_then(boxed);
            write(journal, Change::End { id: entry.id, invalid: false, letter }).await;
            if n.is_multiple_of(4) {
                write(journal, Change::Clear(vec![entry.id])).await;
            }
        }
    });
    futures::future::join_all(journeys).await;
    let now = counts(&here).await;
    assert_eq!((now.received, now.acknowledged, now.dead_lettered), (400, 400, 40));
    assert_eq!(here.entries("b").await.expect("read").len(), 300);
}

async fn lost_events_show_as_drift(database: Database) {
    let journal = open_with_ledger(&database).await;
    for key in ["1", "2"] {
        write(&journal, begin(&entry(key))).await;
        write(&journal, Change::Pass { invalid: false, letter: boxed(letter()) }).await;
    }
    let before = counts(&journal).await;
    assert_eq!((before.received, before.in_flight, before.dead_lettered, before.dead_letters), (4, 2, 2, 2));
    for lost in ["DELETE FROM connector_in_flight WHERE key = '1'", "DELETE FROM connector_dead_letter"] {
        journal.db.execute_unprepared(lost).await.expect(lost);
    }
    let now = unchecked_counts(&journal).await;
    assert_eq!((now.in_flight, now.dead_letters), (1, 0));
    assert_ne!(now.received, now.acknowledged + now.in_flight + now.lost, "{now:?}");
    assert_ne!(now.dead_lettered, now.dead_letters + now.redriven + now.purged, "{now:?}");
}

async fn a_former_holder_begins_no_events(database: Database) {
    let (former, later) = (open(&database).await, open(&database).await);
    let open = || Change::Open(Arc::new(bound("f")));
    assert_eq!(write(&former, open()).await, 1);
    let known = entry("1");
    write(&former, begin(&known)).await;
    write(&former, Change::SetCursor(5)).await;
    assert_eq!(write(&later, open()).await, 2);
    assert_eq!(later.entries("b").await.expect("read").as_slice(), std::slice::from_ref(&known));

    let unknown = entry("2");
    assert_eq!(write(&former, begin(&unknown)).await, 0);
    assert_eq!(write(&former, begin(&known)).await, 0, "its successor goes on with it");
    assert_eq!(write(&former, invalid(&unknown, None)).await, 0);
    assert_eq!(write(&former, invalid(&unknown, Some(letter()))).await, 0);
    let advance = |epoch| Change::Advance { epoch, from: 5, to: 9, entry: unknown.clone() };
    assert_eq!(write(&former, advance(1)).await, 0);
    assert_eq!(later.cursor("b").await.expect("read"), Some(5));
    assert_eq!(later.entries("b").await.expect("read").as_slice(), std::slice::from_ref(&known));
    assert_eq!(counts(&later).await.received, 1);

    assert_eq!(write(&later, advance(2)).await, 1);
    write(&former, Change::End { id: known.id, invalid: false, letter: None }).await;
    let now = counts(&later).await;
    assert_eq!((now.received, now.acknowledged, now.in_flight), (2, 1, 1), "what it began it may end");
}

async fn an_event_is_dead_lettered_once(database: Database) {
    let (here, there) = (open_with_ledger(&database).await, open(&database).await);
    let entry = entry("1");
    write(&here, begin(&entry)).await;
    let end = |letter: DeadLetter| Change::End { id: entry.id, invalid: false, letter: boxed(letter) };
    let (first, second) = (letter(), letter());
    assert_eq!(write(&here, end(first.clone())).await, 1);
    assert_eq!(write(&there, end(second)).await, 0);
    assert_eq!(write(&here, Change::Redriven(first.id)).await, 1);
    assert_eq!(write(&there, end(letter())).await, 0, "nor when it is not a dead letter any more");
    let now = counts(&here).await;
    assert_eq!((now.acknowledged, now.dead_lettered, now.redriven, now.dead_letters), (1, 1, 1, 0));
}

#[tokio::test]
async fn a_database_that_falls_silent_is_not_available() {
    let silence = std::future::pending::<Result<(), DbErr>>();
    let answer = within(Duration::from_millis(10), silence).await;
    assert!(matches!(answer, Err(DatabaseError::Unavailable(_))), "{answer:?}");
}

async fn a_restart_keeps_everything(database: Database) {
    let journal = open_with_ledger(&database).await;
    let entry = Entry { trace: Some(trace()), ..entry("1") };
    write(&journal, begin(&entry)).await;
    write(&journal, Change::SetCursor(5)).await;
    journal.close();
    let late = || journal.write(Write { binding_id: "b".into(), change: Change::SetCursor(6) });
    mesh::testing::eventually("nothing is written any more", async || late().await.is_err()).await;
    let journal = open(&database).await;
    assert_eq!(journal.entries("b").await.expect("read"), [entry]);
    assert_eq!(journal.cursor("b").await.expect("read"), Some(5));
    assert_eq!(counts(&journal).await.received, 1);
}

async fn a_renamed_function_renames_its_ledger(database: Database) {
    let journal = open_with_ledger(&database).await;
    write(&journal, Change::Pass { invalid: false, letter: None }).await;
    write(&journal, Change::Open(Arc::new(bound("renamed")))).await;
    let ledgers = journal.ledgers_of(&["b".into(), "c".into()]).await.expect("read");
    assert_eq!(ledgers.len(), 1);
    assert_eq!((ledgers[0].function.as_str(), ledgers[0].binding_type.as_str()), ("renamed", "mqtt"));
    assert_eq!(counts(&journal).await.received, 1, "the counts go on");
    assert!(journal.ledgers(&Caller::Subject("bob".into())).await.expect("read").is_empty());
}

async fn a_letter_keeps_the_span_that_failed_last(database: Database) {
    let journal = open_with_ledger(&database).await;
    let letter = letter();
    let record = DeadLetterRecord { letter: letter.clone(), trace: Some(trace()) };
    write(&journal, Change::Pass { invalid: false, letter: Some(Box::new(record)) }).await;
    let again = "00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203332-00".parse::<TraceParent>();
    let again = again.expect("a traceparent");
    for (redriven_in, expected) in [(None, trace()), (Some(again), again), (None, again)] {
        let redrive_failed =
            Change::RedriveFailed { id: letter.id.clone(), reason: "no".into(), trace: redriven_in };
        assert_eq!(write(&journal, redrive_failed).await, 1);
        let kept = journal.dead_letter(&Caller::Service, &letter.id).await.expect("read").expect("kept");
        assert_eq!((kept.trace, kept.letter.trace_id), (Some(expected), expected.trace_id()));
        let page = journal.dead_letters(&Caller::Service, &DeadLetterFilter::default(), "", 9).await;
        assert_eq!(page.expect("read").letters[0].trace_id, expected.trace_id());
    }
}

async fn an_older_schema_is_migrated(database: Database) {
    mesh::tls::install_crypto();
    let journal = Journal::open(&database.url(), 4, &Tasks::default()).await.expect("opened");
    super::migrations::Migrator::up(&journal.db, Some(1)).await.expect("the first schema");
    let (event, letter) = (Uuid::now_v7(), Uuid::now_v7().to_string());
    for statement in [
        format!(
            "INSERT INTO connector_in_flight (binding_id, id, key, invocation_id, received_at_ms)
             VALUES ('b', '{event}', 'k', '{event}', 1)"
        ),
        format!(
            "INSERT INTO connector_dead_letter (id, binding_id, binding_type, function_id, module, function,
             owner, invocation_id, reason, attempts, received_at_ms, died_at_ms, payload_bytes, payload)
             VALUES ('{letter}', 'b', 'mqtt', 'f', 'm', 'f', '', 'i', 'no', 1, 1, 1, 0, '')"
        ),
    ] {
        journal.db.execute_unprepared(&statement).await.expect("written");
    }
    let journal = open_with_ledger(&database).await;
    let entries = journal.entries("b").await.expect("read");
    assert_eq!((entries.len(), entries[0].id, entries[0].trace), (1, event, None));
    let kept = journal.dead_letter(&Caller::Service, &letter).await.expect("read").expect("kept");
    assert_eq!((kept.trace, kept.letter.trace_id.as_str()), (None, ""));
    assert_eq!((kept.letter.dead_lettered_at_ms, kept.letter.invalid), (1, false));
}

#[tokio::test]
async fn a_full_disk_refuses_events_and_lets_accepted_ones_end() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let url = DatabaseUrl::SqliteFile(disk.path().join("connector.db"));
    let journal = Journal::open(&url, 4, &Tasks::default()).await.expect("opened");
    journal.migrate().await.expect("migrated");
    let epoch = write(&journal, Change::Open(Arc::new(bound("f")))).await;
    let (accepted, refused) = (entry("accepted"), entry("refused"));
    write(&journal, Change::Begin { epoch, entry: accepted.clone() }).await;

    disk.fill(4 << 20);
    let begin = Change::Begin { epoch, entry: refused };
    let outcome = journal.try_write(Write { binding_id: "b".into(), change: begin }).await.expect("open");
    assert!(matches!(outcome, Err(DatabaseError::Unavailable(_))), "{outcome:?}");
    assert_eq!(write(&journal, Change::End { id: accepted.id, invalid: false, letter: None }).await, 1);

    disk.empty();
    assert_eq!(write(&journal, Change::Begin { epoch, entry: entry("later") }).await, 1);
}
