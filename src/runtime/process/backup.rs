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

/// A copy that was begun, and only lacks the log.
pub(super) struct Backup {
    connection: Box<dyn Database>,
    pack: Pack,
    /// What the server calls the end of a backup.
    end: &'static str,
}

impl PostgresProgram {
    /// Begins to write the data of the running server to `archive`, as
    /// <https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-LOWLEVEL-BASE-BACKUP>
    /// says. `connection` is the superuser's, and busy until the [end](Backup::finish); others may
    /// change whatever they like meanwhile.
    pub async fn begin_backup(
        &self,
        service: &str,
        mut connection: Box<dyn Database>,
        data: &Path,
        archive: &Path,
    ) -> Result<Backup, RuntimeError> {
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
        Ok(Backup { connection, pack, end })
    }
}

impl Backup {
    /// Ends the backup: the copy is of the data as it is now.
    pub async fn finish(self, service: &str, archive: &Path) -> Result<(), RuntimeError> {
        let Self { mut connection, mut pack, end } = self;
        let sql = format!("SELECT pg_walfile_name(lsn) || ' ' || labelfile FROM {end}");
        let told = connection.scalar(&sql).await.map_err(RuntimeError::database(service))?;
        connection.close().await;
        let finish = move || {
            let told = told.unwrap_or_default();
            let (last, label) = told.split_once(' ').unwrap_or_default();
            let first = first_segment(label);
            pack.add(&|path| match path.strip_prefix(LOG) {
                // Segments after the last one are only kept to be written over.
                Ok(name) => name.to_str().is_some_and(|name| (first..=last).contains(&name)),
                Err(_) => path == Path::new(CONTROL),
            })?;
            pack.add_file("backup_label", label.as_bytes())?;
            pack.finish()
        };
        blocking(finish).await.map_err(folder(service, "write", archive))
    }
}

/// The file a backup label names as the first that is needed, as in
/// `START WAL LOCATION: 0/9000028 (file 000000010000000000000009)`.
fn first_segment(label: &str) -> &str {
    label.split("(file ").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_names_the_first_segment_and_copies_hold_no_state_of_the_server() {
        let label =
            "START WAL LOCATION: 0/9000028 (file 000000010000000000000009)\nCHECKPOINT LOCATION: 0/9\n";
        assert_eq!(first_segment(label), "000000010000000000000009");
        assert_eq!(first_segment(""), "");
        for (path, copied) in [
            ("base/1/2619", true),
            ("pg_wal", true),
            ("pg_wal/000000010000000000000009", false),
            ("pg_notify", true),
            ("pg_notify/0000", false),
            ("postmaster.pid", false),
            ("global/pg_control", false),
            ("global/1262", true),
        ] {
            assert_eq!(in_copy(Path::new(path)), copied, "{path}");
        }
    }
}
