//! One vaultlab at a time changes a lab.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use super::{LabDir, StateError};

/// Holds the lab's lock until dropped. The system releases it when the process dies, however it dies.
#[derive(Debug)]
pub struct LabLock {
    _file: File,
}

/// Who holds a lock, as written in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder(String);

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LabLock {
    /// Takes the lock of `lab` to do `purpose` ("up", "down"), waiting up to `patience` for another
    /// vaultlab to finish. `waiting` is told once who is waited for.
    ///
    /// # Errors
    /// [`StateError::Locked`] names the holder when patience ends.
    pub async fn acquire(
        lab: &LabDir,
        purpose: &str,
        patience: Duration,
        waiting: impl FnOnce(&LockHolder),
    ) -> Result<Self, StateError> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut waiting = Some(waiting);
        loop {
            match Self::try_acquire(lab, purpose)? {
                Ok(lock) => return Ok(lock),
                Err(holder) if tokio::time::Instant::now() >= deadline => {
                    return Err(StateError::Locked { lab: lab.name().into(), holder });
                }
                Err(holder) => {
                    if let Some(tell) = waiting.take() {
                        tell(&holder);
                    }
                    // flock has no asynchronous form; this polls.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Takes the lock, or says who has it.
    pub fn try_acquire(lab: &LabDir, purpose: &str) -> Result<Result<Self, LockHolder>, StateError> {
        loop {
            lab.create()?;
            let path = lab.lock();
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(StateError::io("open", &path))?;
            match file.try_lock() {
                Ok(()) => {
                    // `down --volumes` removes the folder: a lock on a removed file guards nothing.
                    if !same_file(&file, &path) {
                        continue;
                    }
                    let text = format!("vaultlab {purpose} (pid {})", std::process::id());
                    file.set_len(0)
                        .and_then(|()| file.rewind())
                        .and_then(|()| file.write_all(text.as_bytes()))
                        .map_err(StateError::io("write", &path))?;
                    return Ok(Ok(Self { _file: file }));
                }
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    file.read_to_string(&mut text).map_err(StateError::io("read", &path))?;
                    let holder = if text.is_empty() { "another vaultlab".into() } else { text };
                    return Ok(Err(LockHolder(holder)));
                }
                Err(TryLockError::Error(e)) => return Err(StateError::io("lock", path)(e)),
            }
        }
    }
}

fn same_file(open: &File, path: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (open.metadata(), std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Home;

    #[tokio::test]
    async fn the_second_is_told_who_holds_it_and_gets_it_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let lab = Home::at(dir.path()).unwrap().lab("x").unwrap();
        let first = LabLock::acquire(&lab, "up", Duration::ZERO, |_| {}).await.unwrap();
        let mut told = None;
        let error = LabLock::acquire(&lab, "down", Duration::from_millis(60), |h| told = Some(h.clone()))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("vaultlab up (pid"), "{error}");
        assert!(told.is_some());
        drop(first);
        LabLock::acquire(&lab, "down", Duration::ZERO, |_| {}).await.unwrap();
    }

    #[tokio::test]
    async fn a_lock_on_a_removed_folder_is_not_taken_for_the_lab() {
        let dir = tempfile::tempdir().unwrap();
        let lab = Home::at(dir.path()).unwrap().lab("x").unwrap();
        let first = LabLock::acquire(&lab, "down", Duration::ZERO, |_| {}).await.unwrap();
        lab.remove().unwrap();
        let second = LabLock::acquire(&lab, "up", Duration::ZERO, |_| {}).await;
        assert!(second.is_ok() && lab.lock().exists());
        drop(first);
    }
}
