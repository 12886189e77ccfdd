//! A copy of a PostgreSQL's data while the server runs.

use std::path::Path;

use super::programs::{PostgresProgram, numbers};
use super::template::Pack;
use crate::database::Database;
use crate::runtime::{RuntimeError, folder};

/// Folder of the log that the rest of a copy is repaired from.
const LOG: &str = "pg_wal";

/// Goes in last, with the log.
const CONTROL: &str = "global/pg_control";

/// Belongs to the server that runs.
const NOT_COPIED: &[&str] = &["postmaster.pid", "postmaster.opts"];

/// Folders whose content is of no use to another server.
const COPIED_EMPTY: &[&str] =
    &["pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"];

impl PostgresProgram {
    /// Writes the data of the running server to `archive`, as
    /// <https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-LOWLEVEL-BASE-BACKUP>
    /// says. `connection` is the superuser's.
    pub async fn back_up(
        &self,
        service: &str,
        connection: &mut dyn Database,
        data: &Path,
        archive: &Path,
    ) -> Result<(), RuntimeError> {
        let failed = || RuntimeError::database(service);
        let write = || folder(service, "write", archive);
        // Renamed, and without the exclusive mode, since 15.
        let (begin, end) = if numbers(&self.version).first().is_some_and(|major| *major < 15) {
            ("pg_start_backup('template', true, false)", "pg_stop_backup(false, false)")
        } else {
            ("pg_backup_start('template', true)", "pg_backup_stop(false)")
        };
        connection.scalar(&format!("SELECT {begin}::text")).await.map_err(failed())?;
        let mut pack = Pack::begin(archive, data).map_err(write())?;
        let pack = blocking(move || pack.add(&in_copy).map(|()| pack)).await.map_err(write())?;
        let label = connection.scalar(&format!("SELECT labelfile FROM {end}")).await.map_err(failed())?;
        let finish = move || {
            let mut pack = pack;
            pack.add(&|path| path == Path::new(CONTROL) || path.parent() == Some(Path::new(LOG)))?;
            pack.add_file("backup_label", label.unwrap_or_default().as_bytes())?;
            pack.finish()
        };
        blocking(finish).await.map_err(write())
    }
}

/// What is copied before the log.
fn in_copy(path: &Path) -> bool {
    let below = |folder: &&str| path.starts_with(folder) && path != Path::new(folder);
    path != Path::new(CONTROL)
        && !NOT_COPIED.iter().any(|name| path == Path::new(name))
        && !COPIED_EMPTY.iter().chain(&[LOG]).any(below)
}

/// Runs work on files where it holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
