//! One server per store: a lock file that the operating system releases with the process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::StorageError;

const NAME: &str = "store.lock";

/// The store's folder is ours while this lives.
#[derive(Debug)]
pub(super) struct DirLock {
    _file: File,
}

impl DirLock {
    pub(super) fn take(dir: &Path) -> Result<Self, StorageError> {
        let path = dir.join(NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|cause| StorageError::io("open", &path, cause))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it only makes the message better.
                let _ = file.read_to_string(&mut holder);
                return Err(StorageError::Locked { dir: dir.to_owned(), pid: holder.trim().parse().ok() });
            }
            Err(TryLockError::Error(cause)) => {
                return Err(StorageError::io("lock", &path, cause));
            }
        }
        // The pid is a service to whoever finds the store locked; a full disk must not
        // keep a server from starting on what it has.
        if let Err(error) = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())) {
            tracing::warn!(path = %path.display(), %error, "cannot note the pid in the lock file");
        }
        Ok(Self { _file: file })
    }
}
