use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::logical;

/// What went wrong with an audit device.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The device's options cannot be used; the text is for the client who gave them.
    #[error("{0}")]
    Options(String),
    /// A device is there already.
    #[error("path already in use")]
    PathInUse,
    /// No device has this path.
    #[error("unknown audit backend {0:?}")]
    UnknownDevice(String),
    /// The device's salt cannot be kept.
    #[error("cannot keep the salt of an audit device: {0}")]
    Salt(#[from] logical::StorageError),
    /// The file cannot be opened or written.
    #[error("cannot {operation} the audit log {}: {cause}", path.display())]
    File {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The log.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// There are devices and none of them took the entry. What was to be recorded must not
    /// happen; Vault answers `internal error` with status 500.
    #[error("no audit backend succeeded in logging the {0}")]
    NoneSucceeded(&'static str),
    /// The device was disabled meanwhile.
    #[error("the audit device was closed")]
    Closed,
}
