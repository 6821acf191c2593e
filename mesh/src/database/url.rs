//! Where the database is.

use std::path::PathBuf;
use std::str::FromStr;

use sea_orm::sqlx::postgres::PgConnectOptions;
use serde::{Deserialize, Deserializer};

/// Where the database is: `sqlite:PATH`, `sqlite::memory:` or `postgres://user:password@host/database`.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file of this process.
    SqliteFile(PathBuf),
    /// Gone with the process; for tests.
    SqliteMemory,
    /// A PostgreSQL server, by its whole URL. A Unix socket is `postgres:///database?host=/directory`.
    Postgres(String),
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let forms = "expected sqlite:PATH, sqlite::memory: or postgres://user:password@host/database";
        if let Some(path) = text.strip_prefix("sqlite:") {
            return match path.strip_prefix("//").unwrap_or(path) {
                "" => Err(format!("there is no path in it; {forms}")),
                ":memory:" => Ok(Self::SqliteMemory),
                path => Ok(Self::SqliteFile(path.into())),
            };
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(format!("an unknown kind of database; {forms}"));
        }
        match text.parse::<PgConnectOptions>() {
            Ok(_) => Ok(Self::Postgres(text.to_owned())),
            Err(error) => Err(format!("{error}; {forms}")),
        }
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Without the password.
impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SqliteFile(path) => write!(f, "sqlite:{}", path.display()),
            Self::SqliteMemory => f.write_str("sqlite::memory:"),
            Self::Postgres(url) => match url.parse::<PgConnectOptions>() {
                Ok(options) => write!(
                    f,
                    "postgres://{}@{}:{}/{}",
                    options.get_username(),
                    options.get_host(),
                    options.get_port(),
                    options.get_database().unwrap_or_default()
                ),
                Err(_) => f.write_str("postgres:***"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let file = |path: &str| Ok(DatabaseUrl::SqliteFile(path.into()));
        let postgres = "postgres://user:secret@db:5433/registry";
        let cases = [
            ("sqlite:./.funless/registry.db", file("./.funless/registry.db")),
            ("sqlite:///var/lib/registry.db", file("/var/lib/registry.db")),
            ("sqlite::memory:", Ok(DatabaseUrl::SqliteMemory)),
            (postgres, Ok(DatabaseUrl::Postgres(postgres.to_owned()))),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for bad in ["", "sqlite:", "mysql://db/registry", "registry.db", "postgres://db:port/registry"] {
            let error = bad.parse::<DatabaseUrl>().expect_err(bad);
            assert!(error.contains("expected sqlite:PATH"), "{error}");
        }
    }

    #[test]
    fn the_password_does_not_show() {
        let url: DatabaseUrl = "postgres://user:secret@db:5433/registry".parse().expect("valid");
        assert_eq!(format!("{url:?}"), "postgres://user@db:5433/registry");
    }
}
