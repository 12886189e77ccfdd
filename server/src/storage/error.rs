use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What went wrong in physical storage.
#[derive(Debug, Error)]
pub enum StorageError {
    /// A file operation failed.
    #[error("cannot {operation} {}: {cause}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// No room for a write; nothing of it was kept and the store goes on without it.
    #[error("no room to write to {}: {cause}; the change was not made", path.display())]
    Full {
        /// The log.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// Another process has the store open.
    #[error("the store in {} is in use by another server{}", dir.display(), holder(*pid))]
    Locked {
        /// The store's folder.
        dir: PathBuf,
        /// The process that holds it, if its lock file says so.
        pid: Option<u32>,
    },
    /// The file is not a log of this store.
    #[error("{} is not a vaultlab store", .0.display())]
    NotAStore(PathBuf),
    /// The folder holds the store of another program.
    #[error("{} holds a store of HashiCorp Vault or OpenBao, which this server cannot read", .0.display())]
    ForeignStore(PathBuf),
    /// The file was written by a later version in a way this one cannot read.
    #[error("{} has store format {format} and needs a reader of version {needed}; this one is {reader}", path.display())]
    TooNew {
        /// The log.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// The oldest reader that understands it.
        needed: u32,
        /// This reader.
        reader: u32,
    },
    /// Data before the end of the log is damaged. Nothing was changed.
    #[error("{} is damaged at byte {offset} ({reason}) and valid data follows; restore it from a copy", path.display())]
    Corrupt {
        /// The log.
        path: PathBuf,
        /// Where the damaged record starts.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A batch larger than a record can be.
    #[error("a change of {bytes} bytes is above the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size.
        limit: usize,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StorageError {
    pub(super) fn io(operation: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), cause }
    }

    /// A failed write, told apart by whether there was room.
    pub(super) fn write(path: &Path, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path: path.to_owned(), cause }
            }
            _ => Self::io("write to", path, cause),
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}
