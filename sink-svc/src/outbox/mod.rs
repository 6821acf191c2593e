//! The outbox: results that were taken, until they are delivered or have died. PostgreSQL, or SQLite as
//! the embedded default. Only this module knows SQL, and its entities stay inside.
//!
//! - `changes`: what changes the tables; the ledger changes in the same transaction
//! - `group`: many changes in few transactions
//! - `queries`: what reads, by noun
//! - `capacity`: the bound

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
use mesh::database::{self, DatabaseError, DatabaseUrl};
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
    group: GroupCommit<Change, u64>,
}

/// The database, and what this process knows of it.
#[derive(Debug)]
struct Tables {
    db: DatabaseConnection,
    capacity: Capacity,
    /// What is stored of bindings, so that it need not be written with each result.
    known: Mutex<HashMap<String, Function>>,
    /// The bindings that something waited for when that was last read.
    with_pending: Mutex<HashSet<String>>,
    /// Who waits for results, by binding.
    arrivals: Mutex<HashMap<String, Arc<Notify>>>,
}

/// A result on its way in.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) invocation_id: String,
    pub(crate) function: Function,
    pub(crate) sinks: Vec<Receiver>,
    pub(crate) result: Bytes,
}

/// Who gets a result.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) binding_id: String,
    /// The span that puts it into the outbox.
    pub(crate) trace: Option<TraceParent>,
}

impl Outbox {
    /// Opens the database, of which PostgreSQL need not be there yet. It holds at most `most`.
    pub(crate) async fn open(
        url: &DatabaseUrl,
        connections: u32,
        most: Amount,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let tables = Arc::new(Tables {
            db: database::connect(url, connections, "funless-sink").await?,
            capacity: Capacity::new(most),
            known: Mutex::default(),
            with_pending: Mutex::default(),
            arrivals: Mutex::default(),
        });
        let group = GroupCommit::start(tasks, Arc::clone(&tables));
        Ok(Self { tables, group })
    }

    /// Shows in `metrics` how many connections there are, and how much may wait.
    pub(crate) fn show(&self, metrics: &Registry) {
        database::show_pool(metrics, &self.tables.db);
        let most = self.tables.capacity.most();
        let limits = [
            ("funless_sink_pending_limit", "Results that the outbox may hold.", most.rows),
            ("funless_sink_pending_limit_bytes", "Bytes of results that the outbox may hold.", most.bytes),
        ];
        for (name, help, limit) in limits {
            read_gauge(metrics, name, help, &[], move || limit as f64);
        }
    }

    /// Brings the schema up to date, whatever other replicas do at the same time.
    pub(crate) async fn migrate(&self) -> Result<(), DatabaseError> {
        database::migrate::<migrations::Migrator>(&self.tables.db).await
    }

    /// Learns what waits, as other replicas have changed that, too.
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

    /// Whether something waited for this binding at the last [`Outbox::refresh`].
    pub(crate) fn has_pending(&self, binding_id: &str) -> bool {
        self.tables.with_pending.lock().contains(binding_id)
    }

    /// The bindings that something waited for at the last [`Outbox::refresh`].
    pub(crate) fn with_pending(&self) -> Vec<String> {
        self.tables.with_pending.lock().iter().cloned().collect()
    }

    /// What waits, as far as this process knows.
    pub(crate) fn waiting(&self) -> Amount {
        self.tables.capacity.waiting()
    }

    /// What is under way is written, and nothing after it.
    pub(crate) fn close(&self) {
        self.group.close();
    }

    /// Notified when a result has come for this binding through this process.
    pub(crate) fn arrivals(&self, binding_id: &str) -> Arc<Notify> {
        Arc::clone(self.tables.arrivals.lock().entry(binding_id.to_owned()).or_default())
    }

    /// Nobody waits for results of this binding any more.
    pub(crate) fn forget_arrivals(&self, binding_id: &str) {
        self.tables.arrivals.lock().remove(binding_id);
    }

    /// Keeps a result durably for each of its sinks. Those that have it already are no error. Gives for
    /// how many it is new.
    pub(crate) async fn accept(&self, arrival: Arrival) -> Result<u64> {
        let rows = i64::try_from(arrival.sinks.len()).unwrap_or(i64::MAX);
        let size = i64::try_from(arrival.result.len()).unwrap_or(i64::MAX);
        let amount = Amount { rows, bytes: size.saturating_mul(rows) };
        if !self.tables.capacity.can_ever_hold(amount) {
            return Err(SinkError::NeverFits);
        }
        let room = self.room(amount).ok_or(SinkError::Full)?;
        self.write(Change::Accept(Acceptance { arrival, received_at_ms: now_ms(), _room: room })).await
    }

    /// Keeps what a binding is, for those who look at its results when it is gone.
    pub(crate) async fn describe(&self, binding: &FunctionBinding) -> Result<u64> {
        self.write(Change::Describe(binding.clone())).await
    }

    /// These rows are delivered.
    pub(crate) async fn settle(&self, seqs: Vec<i64>) -> Result<u64> {
        self.write(Change::Settle(seqs)).await
    }

    /// Attempts failed because of these results.
    pub(crate) async fn postpone(&self, postponed: Vec<Postponement>) -> Result<u64> {
        self.write(Change::Postpone(postponed)).await
    }

    /// Makes rows that wait dead letters.
    pub(crate) async fn bury(&self, dead_lettered: Vec<DeadLettered>) -> Result<u64> {
        self.write(Change::Bury(dead_lettered)).await
    }

    /// Takes letters back into the outbox, as if they came now, in this span.
    pub(crate) async fn redrive(
        &self,
        ids: Vec<String>,
        trace: Option<TraceParent>,
        rooms: Vec<ReservedCapacity>,
    ) -> Result<u64> {
        self.write(Change::Redrive { ids, trace, _rooms: rooms }).await
    }

    /// Throws letters away.
    pub(crate) async fn purge(&self, ids: Vec<String>) -> Result<u64> {
        self.write(Change::Purge(ids)).await
    }

    /// Forgets results that have left: all but the newest `rows`, and those that left before
    /// `before_ms`. A bounded number at a time; gives how many.
    pub(crate) async fn forget(&self, before_ms: i64, rows: i64) -> Result<u64> {
        let seqs = self.tables.forgettable(before_ms, rows).await?;
        if seqs.is_empty() {
            return Ok(0);
        }
        self.write(Change::Forget(seqs)).await
    }

    /// ReservedCapacity for this much; `None` when the outbox is full.
    pub(crate) fn room(&self, amount: Amount) -> Option<ReservedCapacity> {
        self.tables.capacity.reserve(amount)
    }

    /// How many rows it concerned.
    async fn write(&self, change: Change) -> Result<u64> {
        Ok(self.group.write(change).await.map_err(|_| SinkError::Stopping)??)
    }
}

impl From<DbErr> for SinkError {
    fn from(error: DbErr) -> Self {
        Self::Database(error.into())
    }
}
