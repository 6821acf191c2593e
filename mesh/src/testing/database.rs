//! A fresh database for a test.

use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement, Value};
use tempfile::TempDir;

use super::postgres;
use crate::database::{self, DatabaseUrl};

/// Runs each test of a contract against SQLite and against PostgreSQL. Each is an `async fn(Database)`.
#[macro_export]
macro_rules! database_contract {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            use $crate::testing::database::Database;
            $(#[tokio::test] async fn $test() { super::$test(Database::sqlite()).await })*
        }
        mod on_postgres {
            use $crate::testing::database::Database;
            $(#[tokio::test] async fn $test() { super::$test(Database::postgres().await).await })*
        }
    };
}

/// A fresh database.
#[derive(Debug)]
pub enum Database {
    /// A file in this directory.
    Sqlite(TempDir),
    /// A database of the test's PostgreSQL server, by its name.
    Postgres(String),
}

impl Database {
    /// An SQLite file that does not exist yet.
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a directory"))
    }

    /// An empty PostgreSQL database.
    pub async fn postgres() -> Self {
        Self::Postgres(postgres::create_database().await)
    }

    /// Its URL.
    pub fn url(&self) -> DatabaseUrl {
        let url = match self {
            Self::Sqlite(directory) => format!("sqlite:{}/data/test.db", directory.path().display()),
            Self::Postgres(name) => postgres::url(name),
        };
        url.parse().expect("a URL")
    }

    /// The contents of the files of an SQLite database, by path. A PostgreSQL database has none.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let Self::Sqlite(directory) = self else { return Vec::new() };
        let files = std::fs::read_dir(directory.path().join("data")).expect("a directory");
        let files = files.map(|file| {
            let path = file.expect("a file").path();
            (path.display().to_string(), std::fs::read(&path).expect("a file"))
        });
        files.collect()
    }

    /// Executes a statement with parameters `$1`, `$2` and so on, bypassing the service under test.
    pub async fn execute<const N: usize>(&self, statement: &str, values: [Value; N]) {
        let db = self.connect().await;
        let statement = Statement::from_sql_and_values(db.get_database_backend(), statement, values);
        db.execute_raw(statement).await.expect("a valid statement");
        db.close().await.expect("a connection");
    }

    /// The first column of each row of a query.
    pub async fn query<T: sea_orm::TryGetable>(&self, query: &str) -> Vec<T> {
        let db = self.connect().await;
        let query = Statement::from_string(db.get_database_backend(), query);
        let rows = db.query_all_raw(query).await.expect("a valid query");
        db.close().await.expect("a connection");
        rows.iter().map(|row| row.try_get_by(0).expect("of this type")).collect()
    }

    /// The number that a query returns.
    pub async fn number(&self, query: &str) -> i64 {
        self.query(query).await.pop().expect("a row")
    }

    async fn connect(&self) -> DatabaseConnection {
        database::connect(&self.url(), 1, "test").await.expect("a database")
    }
}
