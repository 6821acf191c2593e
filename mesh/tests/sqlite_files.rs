//! SQLite databases as files: they can be copied, become smaller, and are refused when a part of them is missing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh::database::{self, DatabaseUrl};
use mesh::shutdown::Tasks;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

/// A database that a service has open.
struct Served {
    folder: TempDir,
    db: DatabaseConnection,
    tasks: Tasks,
}

impl Served {
    async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let (db, tasks) = open(folder.path()).await.expect("a database");
        db.execute_unprepared("CREATE TABLE item (payload blob)").await.expect("created");
        Self { folder, db, tasks }
    }

    /// Inserts so many rows of a megabyte.
    async fn insert(&self, rows: u32) {
        for _ in 0..rows {
            let insert = "INSERT INTO item VALUES (zeroblob(1000000))";
            self.db.execute_unprepared(insert).await.expect("inserted");
        }
    }

    /// Waits until the size of a file of the database is as expected.
    async fn wait_until(&self, file: &str, expected: impl Fn(u64) -> bool) {
        let path = self.folder.path().join(file);
        let size = async {
            while !std::fs::metadata(&path).is_ok_and(|file| expected(file.len())) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, size).await.unwrap_or_else(|_| panic!("{file} does not get its size"));
    }

    /// Waits until the file is marked, and its log has just begun.
    async fn wait_for_checkpoint(&self) {
        self.wait_until("test.db-wal", |bytes| bytes < 1_000_000).await;
        let marked = async {
            // The number at this offset is `user_version`.
            while std::fs::read(path(self.copy(&["test.db"]).path())).expect("a file")[60..64] != [0, 0, 0, 1]
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, marked).await.expect("a checkpoint");
    }

    /// Copies these files of the database.
    fn copy(&self, files: &[&str]) -> TempDir {
        let copy = tempfile::tempdir().expect("a directory");
        for file in files {
            std::fs::copy(self.folder.path().join(file), copy.path().join(file)).expect("copied");
        }
        copy
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("test.db")
}

async fn open(folder: &Path) -> anyhow::Result<(DatabaseConnection, Tasks)> {
    let tasks = Tasks::default();
    let url = DatabaseUrl::SqliteFile(path(folder));
    Ok((database::open(&url, 4, "test", &tasks).await?, tasks))
}

async fn rows(db: &DatabaseConnection) -> i64 {
    let count = Statement::from_string(DbBackend::Sqlite, "SELECT count(*) FROM item");
    let row = db.query_one_raw(count).await.expect("a table").expect("a row");
    row.try_get_by(0).expect("a number")
}

#[tokio::test]
async fn the_file_of_a_stopped_service_is_the_whole_database() {
    let served = Served::open().await;
    served.insert(3).await;
    served.tasks.stop(LIMIT).await;
    assert!(!served.folder.path().join("test.db-wal").exists(), "the log has been merged");
    let copy = served.copy(&["test.db"]);
    let (db, _) = open(copy.path()).await.expect("complete");
    assert_eq!(rows(&db).await, 3);
}

#[tokio::test]
async fn a_file_that_has_lost_its_log_is_refused() {
    let served = Served::open().await;
    // A new database, and one that has seen a checkpoint.
    for inserted in [0, 5] {
        served.insert(inserted).await;
        served.wait_for_checkpoint().await;
        served.insert(1).await;
        let copy = served.copy(&["test.db"]);
        // However often it is tried.
        for _ in 0..2 {
            let error = format!("{:#}", open(copy.path()).await.expect_err("incomplete"));
            let expected = ["test.db is incomplete", "test.db-wal, which is missing"];
            assert!(expected.iter().all(|text| error.contains(text)), "{error}");
        }
    }
    let copy = served.copy(&["test.db", "test.db-wal"]);
    let (db, _) = open(copy.path()).await.expect("complete");
    assert_eq!(rows(&db).await, 7);
}

#[tokio::test]
async fn deleted_rows_give_their_space_back() {
    let served = Served::open().await;
    served.insert(40).await;
    served.wait_until("test.db", |bytes| bytes > 30_000_000).await;
    served.db.execute_unprepared("DELETE FROM item").await.expect("deleted");
    served.wait_until("test.db", |bytes| bytes < 2_000_000).await;
    served.wait_until("test.db-wal", |bytes| bytes < 1_000_000).await;
}

struct NoMigrations;

impl MigratorTrait for NoMigrations {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        Vec::new()
    }
}

#[tokio::test]
async fn a_database_that_has_lost_a_table_is_refused() {
    let served = Served::open().await;
    database::migrate::<NoMigrations>(&served.db, &["item"]).await.expect("complete");
    let error =
        database::migrate::<NoMigrations>(&served.db, &["item", "code"]).await.expect_err("incomplete");
    assert!(error.to_string().contains("it lacks these tables, though it has had them: code"), "{error}");
}
