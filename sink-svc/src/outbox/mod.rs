//! The outbox: accepted results, dead letters and ledgers. In PostgreSQL, which replicas share, or in SQLite
//! as the embedded default. Only this module knows SQL, and its entities stay inside.
//!
//! - `changes`: changes to the tables, with the ledgers in the same transaction
//! - `group`: commits many changes in few transactions
//! - `queries`: queries, by subject
//! - `capacity`: the outbox's capacity

mod capacity;
mod changes;
mod entity;
mod group;
mod migrations;
mod queries;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh::clock::now_ms;
use mesh::database::{self, DatabaseError, DatabaseUrl, DiskSpace};
use mesh::group_commit::GroupCommit;
use mesh::metrics::read_gauge;
use mesh::shutdown::Tasks;
use mesh::telemetry::TraceParent;
use parking_lot::Mutex;
use prometheus::Registry;
use proto::registry::v1::FunctionBinding;
use sea_orm::{DatabaseConnection, DbErr};
use tokio::sync::Notify;

use self::capacity::Capacity;
pub(crate) use self::capacity::{Amount, ReservedCapacity};
use self::changes::{Acceptance, Change};
pub(crate) use self::changes::{DeadLettered, Function, Postponement};
pub(crate) use self::queries::dead_letters::{LetterFilter, LetterKey};
pub(crate) use self::queries::pending::{Page, PageLimits, Pending};
use crate::error::{Result, SinkError};

/// How long [`Outbox::refresh`] waits for a database that does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The outbox. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    tables: Arc<Tables>,
    space: DiskSpace,
    group: GroupCommit<Change, u64>,
}

/// The database, and the state that this process keeps in memory.
#[derive(Debug)]
struct Tables {
    db: DatabaseConnection,
    capacity: Capacity,
    /// The functions that are stored for bindings, so that they are not written with each result.
    known: Mutex<HashMap<String, Function>>,
    /// The bindings that had pending results at the last [`Outbox::refresh`].
    with_pending: Mutex<HashSet<String>>,
    /// Notified of new results, by binding.
    arrivals: Mutex<HashMap<String, Arc<Notify>>>,
}

/// A result to accept.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) invocation_id: String,
    pub(crate) function: Function,
    pub(crate) sinks: Vec<Receiver>,
    pub(crate) result: Bytes,
}

/// A binding that gets a result.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) binding_id: String,
    /// The span that puts it into the outbox.
    pub(crate) trace: Option<TraceParent>,
}

impl Outbox {
    /// Opens the database. PostgreSQL need not be available yet. The outbox holds at most `limit`. A task of
    /// `tasks` commits changes until [`Outbox::close`].
    pub(crate) async fn open(
        url: &DatabaseUrl,
        connections: u32,
        limit: Amount,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let db = database::open(url, connections, "funless-sink", tasks).await?;
        let tables = Arc::new(Tables {
            db,
            capacity: Capacity::new(limit),
            known: Mutex::default(),
            with_pending: Mutex::default(),
            arrivals: Mutex::default(),
        });
        let group = GroupCommit::start(tasks, Arc::clone(&tables));
        Ok(Self { tables, space: DiskSpace::of(url), group })
    }

    /// Shows in `metrics` how many connections there are, and the outbox's capacity.
    pub(crate) fn show(&self, metrics: &Registry) {
        database::show_pool(metrics, &self.tables.db);
        let limit = self.tables.capacity.limit();
        let limits = [
            ("funless_sink_pending_limit", "The maximum number of results in the outbox.", limit.rows),
            (
                "funless_sink_pending_limit_bytes",
                "The maximum size of the results in the outbox.",
                limit.bytes,
            ),
        ];
        for (name, help, value) in limits {
            read_gauge(metrics, name, help, &[], move || value as f64);
        }
    }

    /// Brings the schema up to date, whatever other replicas do at the same time.
    pub(crate) async fn migrate(&self) -> Result<(), DatabaseError> {
        database::migrate::<migrations::Migrator>(&self.tables.db, &entity::tables()).await
    }

    /// Reads how much is pending, since other replicas change that, too.
    pub(crate) async fn refresh(&self) -> Result<(), DatabaseError> {
        let waiting = tokio::time::timeout(ANSWER_TIMEOUT, self.tables.waiting()).await;
        let no_answer = |_| DatabaseError::Unavailable("it does not answer".into());
        let waiting = waiting.map_err(no_answer)??;
        let mut all = Amount::default();
        waiting.iter().for_each(|(_, amount)| all += *amount);
        self.tables.capacity.set(all);
        *self.tables.with_pending.lock() = waiting.into_iter().map(|(binding_id, _)| binding_id).collect();
        Ok(())
    }

    /// Whether this binding had pending results at the last [`Outbox::refresh`].
    pub(crate) fn has_pending(&self, binding_id: &str) -> bool {
        self.tables.with_pending.lock().contains(binding_id)
    }

    /// The bindings that had pending results at the last [`Outbox::refresh`].
    pub(crate) fn with_pending(&self) -> Vec<String> {
        self.tables.with_pending.lock().iter().cloned().collect()
    }

    /// How much is pending, as far as this process knows.
    pub(crate) fn waiting(&self) -> Amount {
        self.tables.capacity.waiting()
    }

    /// Stops accepting changes. Those in progress are still written.
    pub(crate) fn close(&self) {
        self.group.close();
    }

    /// Notified when this process has put a result for this binding into the outbox.
    pub(crate) fn arrivals(&self, binding_id: &str) -> Arc<Notify> {
        Arc::clone(self.tables.arrivals.lock().entry(binding_id.to_owned()).or_default())
    }

    /// Removes the notification of this binding.
    pub(crate) fn remove_arrivals(&self, binding_id: &str) {
        self.tables.arrivals.lock().remove(binding_id);
    }

    /// Stores a result durably for each of its sinks. It is not an error if a sink has it already. Returns
    /// for how many it is new.
    pub(crate) async fn accept(&self, arrival: Arrival) -> Result<u64> {
        let rows = i64::try_from(arrival.sinks.len()).unwrap_or(i64::MAX);
        let size = i64::try_from(arrival.result.len()).unwrap_or(i64::MAX);
        let amount = Amount { rows, bytes: size.saturating_mul(rows) };
        if !self.tables.capacity.can_ever_hold(amount) {
            return Err(SinkError::NeverFits);
        }
        self.space.check()?;
        let reservation = self.reserve(amount).ok_or(SinkError::Full)?;
        self.write(Change::Accept(Acceptance {
            arrival,
            received_at_ms: now_ms(),
            _reservation: reservation,
        }))
        .await
    }

    /// Stores the description of a binding, which outlives the binding.
    pub(crate) async fn describe(&self, binding: &FunctionBinding) -> Result<u64> {
        self.write(Change::Describe(binding.clone())).await
    }

    /// Marks rows as delivered.
    pub(crate) async fn settle(&self, seqs: Vec<i64>) -> Result<u64> {
        self.write(Change::Settle(seqs)).await
    }

    /// Records failed attempts that count against their results.
    pub(crate) async fn postpone(&self, postponed: Vec<Postponement>) -> Result<u64> {
        self.write(Change::Postpone(postponed)).await
    }

    /// Turns pending rows into dead letters.
    pub(crate) async fn dead_letter(&self, dead_lettered: Vec<DeadLettered>) -> Result<u64> {
        self.write(Change::DeadLetter(dead_lettered)).await
    }

    /// Puts dead letters back into the outbox, as if they arrived now, in the span `trace`.
    pub(crate) async fn redrive(
        &self,
        ids: Vec<String>,
        trace: Option<TraceParent>,
        reservations: Vec<ReservedCapacity>,
    ) -> Result<u64> {
        self.write(Change::Redrive { ids, trace, _reservations: reservations }).await
    }

    /// Deletes dead letters.
    pub(crate) async fn purge(&self, ids: Vec<String>) -> Result<u64> {
        self.write(Change::Purge(ids)).await
    }

    /// Deletes settled rows, which are kept for deduplication: all but the newest `rows`, and those that were
    /// settled before `before_ms`. Deletes a bounded number at a time. Returns how many.
    pub(crate) async fn delete_settled(&self, before_ms: i64, rows: i64) -> Result<u64> {
        let seqs = self.tables.deletable(before_ms, rows).await?;
        if seqs.is_empty() {
            return Ok(0);
        }
        self.write(Change::DeleteSettled(seqs)).await
    }

    /// Reserves capacity. `None` if the outbox is full.
    pub(crate) fn reserve(&self, amount: Amount) -> Option<ReservedCapacity> {
        self.tables.capacity.reserve(amount)
    }

    /// Writes a change. Returns how many rows it has changed.
    async fn write(&self, change: Change) -> Result<u64> {
        Ok(self.group.write(change).await.map_err(|_| SinkError::Stopping)??)
    }
}

impl From<DbErr> for SinkError {
    fn from(error: DbErr) -> Self {
        Self::Database(error.into())
    }
}
