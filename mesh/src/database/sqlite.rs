//! SQLite files: committed writes survive, deleted ones give their space back, and a file that lacks a part is refused.
//!
//! SQLite commits to a write-ahead log beside the file, and merges it into the file at checkpoints. A file that has
//! lost its log opens without an error, as an older database or an empty one. Therefore the file is marked: at a
//! checkpoint its `user_version` is [`LOG_NEEDED`], and the log that follows begins with [`COMPLETE`]. Whoever reads the
//! file with its log, or after a clean stop, reads that.

use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions, Permissions, set_permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::bail;
use sea_orm::sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sea_orm::sqlx::{ConnectOptions as _, Connection as _, Error as SqlxError, query_scalar, raw_sql};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, SqlxSqliteConnector};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::error::is_busy;
use super::pool::{ACQUIRE_TIMEOUT, is_out_of_transaction};
use crate::backoff::Backoff;

/// The `user_version` of a file whose newest writes are in its log.
const LOG_NEEDED: i64 = 1;
/// Makes it [`COMPLETE`].
const COMPLETE: &str = "PRAGMA user_version = 0";
/// Merges the log into the file, where it is [`LOG_NEEDED`], and begins a new log with [`COMPLETE`].
const CHECKPOINT: &str = "PRAGMA user_version = 1; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA user_version = 0";
/// Gives at most 4 MiB back, so that writers do not wait long.
const COMPACT: &str = "PRAGMA incremental_vacuum(1024)";

/// How long a writer waits for another one of the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a checkpoint waits for readers. Writers wait for it.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(500);
/// How long a mark that another process sets at this moment may be seen.
const MARK_PATIENCE: Duration = Duration::from_secs(2);
/// The size of the log at which it is merged into the file.
const CHECKPOINT_BYTES: u64 = 4 << 20;
/// The size of the log, in pages, at which SQLite merges it in the middle of a write.
const LARGEST_LOG_PAGES: &str = "4096";
/// How often the size of the log is read.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// How often free pages are counted, while there are writes.
const COMPACT_INTERVAL: Duration = Duration::from_secs(10);
/// So many free pages may remain for the next writes, and a quarter of a larger file.
const FREE_PAGES_KEPT: i64 = 256;

/// Opens a pool of connections to a file, which is created if it does not exist.
pub(super) async fn open(path: &Path, connections: u32) -> anyhow::Result<DatabaseConnection> {
    prepare_file(path)?;
    let has_log = log_of(path).exists();
    let pool = SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // The last connection that is closed merges the log.
        .idle_timeout(None)
        .max_lifetime(None)
        .after_release(|connection, _| Box::pin(is_out_of_transaction(connection)));
    let pool = connect_pool(&pool, &options(path)).await?;
    if !has_log && let Err(incomplete) = check_complete(path, &pool).await {
        // Without the log that was created just now.
        pool.close().await;
        return Err(incomplete);
    }
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

/// Until `stopping`, merges the log into the file and gives the space of deleted rows back to the file system.
pub(super) async fn keep_compact(path: PathBuf, stopping: CancellationToken) {
    let log = log_of(&path);
    let (mut compacted, mut written) = (Instant::now(), modified(&log));
    while stopping.run_until_cancelled(sleep(LOG_INTERVAL)).await.is_some() {
        if compacted.elapsed() >= COMPACT_INTERVAL && modified(&log) != written {
            try_again_later(&path, compact(&path).await);
            (compacted, written) = (Instant::now(), modified(&log));
        } else if std::fs::metadata(&log).is_ok_and(|log| log.len() >= CHECKPOINT_BYTES) {
            try_again_later(&path, checkpoint(&path).await);
        }
    }
}

/// Marks the file, unless it is in use.
pub(super) async fn mark(path: &Path) {
    try_again_later(path, checkpoint(path).await);
}

fn try_again_later(path: &Path, outcome: Result<(), SqlxError>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, path = %path.display(), "no checkpoint of the database; trying again later");
    }
}

/// Before the connections are closed. The last one merges the log, and then the file alone is the whole database.
pub(super) async fn complete(db: DatabaseConnection) {
    // A checkpoint may have failed halfway.
    if let Err(error) = db.execute_unprepared(COMPLETE).await {
        tracing::warn!(%error, "the database could not be marked as complete");
    }
}

async fn checkpoint(path: &Path) -> Result<(), SqlxError> {
    let mut connection = options(path).busy_timeout(CHECKPOINT_PATIENCE).connect().await?;
    let done = raw_sql(CHECKPOINT).execute(&mut connection).await;
    connection.close().await?;
    done.map(drop)
}

async fn compact(path: &Path) -> Result<(), SqlxError> {
    let mut connection = options(path).busy_timeout(CHECKPOINT_PATIENCE).connect().await?;
    let freed = give_back(&mut connection).await;
    connection.close().await?;
    // The file becomes shorter at a checkpoint.
    if freed? { checkpoint(path).await } else { Ok(()) }
}

/// Gives free pages back, and tells whether there were any.
async fn give_back(connection: &mut SqliteConnection) -> Result<bool, SqlxError> {
    let mut freed = false;
    while has_many_free_pages(connection).await? {
        raw_sql(COMPACT).execute(&mut *connection).await?;
        freed = true;
    }
    Ok(freed)
}

async fn has_many_free_pages(connection: &mut SqliteConnection) -> Result<bool, SqlxError> {
    let all = query_scalar::<_, i64>("PRAGMA page_count").fetch_one(&mut *connection).await?;
    let free = query_scalar::<_, i64>("PRAGMA freelist_count").fetch_one(&mut *connection).await?;
    Ok(free > FREE_PAGES_KEPT.max(all / 4))
}

/// Fails if the file lacks its log.
async fn check_complete(path: &Path, pool: &SqlitePool) -> anyhow::Result<()> {
    let patience = Instant::now() + MARK_PATIENCE;
    while query_scalar::<_, i64>("PRAGMA user_version").fetch_one(pool).await? == LOG_NEEDED {
        // Another process that has just created the database may be at its first checkpoint.
        if Instant::now() >= patience {
            let (file, log) = (path.display(), log_of(path));
            bail!(
                "{file} is incomplete: its newest writes are in its write-ahead log {}, which is missing. Restore both, \
                 or a copy made as docs/configuration.md says. To go on without those writes, run: sqlite3 {file} \
                 \"{COMPLETE}\"",
                log.display()
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        // Committed writes survive a power failure.
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", LARGEST_LOG_PAGES)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

/// Retries while another process creates the same database: there SQLite itself does not wait.
async fn connect_pool(
    pool: &SqlitePoolOptions,
    options: &SqliteConnectOptions,
) -> Result<SqlitePool, SqlxError> {
    let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(100));
    let patience = Instant::now() + BUSY_TIMEOUT;
    loop {
        match pool.clone().connect_with(options.clone()).await {
            Err(error) if is_busy(&error) && Instant::now() < patience => sleep(backoff.next_wait()).await,
            connected => return connected,
        }
    }
}

/// Creates the file and its directories, accessible to their owner only. SQLite gives its other files the same mode.
fn prepare_file(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
    {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    // A file that exists is not opened here: closing it would release the locks that SQLite has in this process.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        created => drop(created?),
    }
    set_permissions(path, Permissions::from_mode(0o600))
}

/// The write-ahead log of a file.
fn log_of(path: &Path) -> PathBuf {
    let mut log = OsString::from(path);
    log.push("-wal");
    log.into()
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}
