//! Free disk space. New work is refused before the disk is full, while there is room to finish what was accepted.

use std::path::PathBuf;

use super::{DatabaseError, DatabaseUrl, Result};

/// The free space that is kept for finishing accepted work, in bytes.
const RESERVE_BYTES: u64 = 8 << 20;

/// The free space on the disk of an SQLite database. PostgreSQL has a disk of its own, and refuses statements when it
/// is full.
#[derive(Debug, Clone)]
pub struct DiskSpace {
    /// The directory of the SQLite database.
    directory: Option<PathBuf>,
}

impl DiskSpace {
    /// The space for the database at `url`.
    pub fn of(url: &DatabaseUrl) -> Self {
        let directory = match url {
            DatabaseUrl::SqliteFile(path) => match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => Some(parent.to_owned()),
                _ => Some(PathBuf::from(".")),
            },
            DatabaseUrl::SqliteMemory | DatabaseUrl::Postgres(_) => None,
        };
        Self { directory }
    }

    /// Fails as unavailable while too little space is free to accept new work. To be called before work is accepted;
    /// finishing and deleting may use the reserve.
    pub fn check(&self) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        // The database itself reports a directory that is gone.
        let Ok(disk) = rustix::fs::statvfs(directory) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free >= RESERVE_BYTES {
            return Ok(());
        }
        Err(DatabaseError::Unavailable(format!(
            "the disk of {} is full: {free} bytes are free, and {RESERVE_BYTES} are needed to accept new work",
            directory.display()
        )))
    }
}
