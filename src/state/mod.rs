//! What a lab keeps on disk: its folder, manifest, lock and secret files.
//!
//! Everything is written by temp file + fsync + rename; files that hold secrets are 0600.

mod accounts;
mod atomic;
mod delivered;
mod encryption;
mod home;
mod keeper;
mod keys;
mod lock;
mod manifest;
mod template_use;
mod token;
mod unlock;

pub use accounts::{Accounts, Credentials, DatabaseAccounts, StaticAccount};
pub use atomic::{Staged, Visibility, give, read_json, write_atomic, write_json, write_json_unsynced};
pub use delivered::DeliveredFiles;
pub use encryption::is_recipient;
pub use home::{Home, LONGEST_NAME, LabDir, valid_lab_name};
pub use keeper::{
    DeliveryRecord, KeeperRecord, KeeperToken, RestartRecord, RotationRecord, StaticRoleRecord, is_kept,
};
pub use keys::{KeyStore, Protection, VaultKeys};
pub use lock::{FileLock, LabLock, LockHolder};
pub use manifest::{DataRecord, Manifest, ServiceRecord};
pub use template_use::TemplateUse;
pub use token::CommandToken;
pub use unlock::{Purpose, Unlock};

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// To be held while one of a lab's files is read, changed and written: a lab's services are worked on
/// side by side. Other programs are kept out by the lab's lock.
pub(crate) fn editing() -> MutexGuard<'static, ()> {
    static EDITING: Mutex<()> = Mutex::new(());
    EDITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For what is written only so that it need not be found out again: on a full disk, labs that take up
/// the room can still be stopped and removed.
pub(crate) fn unless_full(written: Result<(), StateError>) -> Result<(), StateError> {
    match written {
        Err(error) if error.is_full() => Ok(()),
        written => written,
    }
}

/// Why the state on disk could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No home folder is known and `VAULTLAB_HOME` is not set.
    #[error("cannot find a folder for the state of labs: neither VAULTLAB_HOME nor a home folder is known")]
    NoHome,
    /// A file or folder operation failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as in "write".
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A state file does not parse.
    #[error("{} is damaged: {cause}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A state file was written by a newer version.
    #[error("{} was written by a newer vaultlab (format {found}, this one reads up to {supported})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: u32,
        /// The newest format this version reads.
        supported: u32,
    },
    /// A passphrase is needed, and nobody gives one.
    #[error("{} is encrypted with a passphrase, and there is neither one in the environment nor a terminal to ask at", store.display())]
    NoPassphrase {
        /// The key store.
        store: PathBuf,
    },
    /// The passphrase is not the one that the key store was encrypted with.
    #[error("the passphrase does not open {}", store.display())]
    WrongPassphrase {
        /// The key store.
        store: PathBuf,
    },
    /// An identity is needed, and none is known.
    #[error("{} is encrypted to recipients, and no file with an identity of one of them is known", store.display())]
    NoIdentity {
        /// The key store.
        store: PathBuf,
    },
    /// No identity in the file is one of the recipients'.
    #[error("{} holds no identity of the recipients that {} is encrypted to", identity.display(), store.display())]
    WrongIdentity {
        /// The key store.
        store: PathBuf,
        /// The file with identities.
        identity: PathBuf,
    },
    /// The key store cannot be encrypted, or is no encrypted file.
    #[error("cannot encrypt or decrypt {}: {cause}", store.display())]
    Encryption {
        /// The key store.
        store: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// Another vaultlab works on the lab.
    #[error("lab {lab} is being changed by {holder}")]
    Locked {
        /// The lab's name.
        lab: String,
        /// Who holds the lock.
        holder: LockHolder,
    },
    /// Templates are to be removed while labs may be starting from them, or the reverse.
    #[error("the templates of labs are in use: another vaultlab brings up a lab or prunes")]
    TemplatesInUse,
    /// A lab name that would be unsafe as a folder or container name.
    #[error(
        "{name:?} is not a lab name: use 1 to {LONGEST_NAME} of a-z, 0-9 and '-', a letter or digit first and last"
    )]
    Name {
        /// The name as given.
        name: String,
    },
}

impl StateError {
    /// Whether there is no room on the disk.
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }
}
