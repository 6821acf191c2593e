//! Databases on a full disk: a commit that succeeds is durable, and once there is space again everything works as
//! before.

use std::ops::Range;
use std::process::Command;

use futures::{StreamExt as _, stream};
use mesh::database::{self, DatabaseError, DatabaseUrl};
use mesh::testing::disk::SmallDisk;
use mesh::testing::postgres;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};

const CONNECTIONS: u32 = 4;

/// Inserts rows of 64 KB, several at a time, and returns those whose commit succeeded.
async fn insert(db: &DatabaseConnection, ids: Range<i64>) -> Vec<i64> {
    let insert = |id: i64| async move {
        let outcome = async {
            let transaction = database::begin_write(db).await?;
            // PostgreSQL would compress anything that is not random.
            let payload = Vec::from_iter(std::iter::repeat_with(rand::random::<u8>).take(64 << 10));
            let values = [id.into(), payload.into()];
            let backend = transaction.get_database_backend();
            let insert = "INSERT INTO item (id, payload) VALUES ($1, $2)";
            transaction.execute_raw(Statement::from_sql_and_values(backend, insert, values)).await?;
            transaction.commit().await.map_err(DatabaseError::of_commit)
        };
        match outcome.await {
            Ok(()) => Some(id),
            Err(DatabaseError::Failed(error)) => {
                panic!("a full disk is not a fault of the statement: {error}")
            }
            Err(DatabaseError::Unavailable(_) | DatabaseError::Uncertain(_)) => None,
        }
    };
    stream::iter(ids).map(insert).buffer_unordered(8).filter_map(std::future::ready).collect().await
}

/// The rows as another connection sees them.
async fn stored(url: &DatabaseUrl) -> Vec<i64> {
    let db = database::connect(url, 1, "test").await.expect("a database");
    let select = Statement::from_string(db.get_database_backend(), "SELECT id FROM item ORDER BY id");
    let rows = db.query_all_raw(select).await.expect("rows");
    rows.iter().map(|row| row.try_get_by(0).expect("a number")).collect()
}

async fn survives_a_full_disk(disk: &SmallDisk, url: &DatabaseUrl, payload: &str) {
    let db = database::connect(url, CONNECTIONS, "test").await.expect("a database");
    let create = format!("CREATE TABLE item (id bigint PRIMARY KEY, payload {payload} NOT NULL)");
    db.execute_unprepared(&create).await.expect("created");
    let mut expected = insert(&db, 0..10).await;
    assert_eq!(expected.len(), 10);
    for round in 1..4_i64 {
        disk.fill(0);
        let during = insert(&db, round * 100..round * 100 + 60).await;
        assert!(during.len() < 60, "the disk is full");
        disk.empty();
        let after = insert(&db, round * 100 + 60..round * 100 + 80).await;
        assert_eq!(after.len(), 20, "there is space again");
        expected.extend(during.into_iter().chain(after));
        expected.sort_unstable();
        assert_eq!(stored(url).await, expected, "round {round}");
    }
}

#[tokio::test]
async fn sqlite_survives_a_full_disk() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let url = DatabaseUrl::SqliteFile(disk.path().join("test.db"));
    survives_a_full_disk(&disk, &url, "blob").await;
}

#[tokio::test]
async fn postgresql_survives_a_full_disk() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let directory = disk.path().join("tablespace");
    std::fs::create_dir(&directory).expect("a directory");
    for (program, argument) in [("chown", "postgres"), ("chmod", "0700")] {
        assert!(Command::new(program).arg(argument).arg(&directory).status().expect(program).success());
    }
    assert!(Command::new("chmod").arg("0755").arg(disk.path()).status().expect("chmod").success());
    let database = postgres::create_database_in(&directory).await;
    let url = postgres::url(&database).parse().expect("a URL");
    survives_a_full_disk(&disk, &url, "bytea").await;
}
