//! One vaultlab at a time changes a lab, delivers for an AppRole, or is a lab's keeper.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::atomic::make_private_folder;
use super::{LabDir, StateError, unless_full};

/// A locked file, until dropped. The system releases it when the last process that has it open dies,
/// however it dies.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

/// Holds the lab's lock until dropped.
#[derive(Debug)]
pub struct LabLock {
    lock: FileLock,
    predecessor_was_killed: bool,
}

/// Who holds a lock, as written in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder(String);

impl LockHolder {
    /// The process id in `… (pid N)`.
    pub fn pid(&self) -> Option<u32> {
        self.0.rsplit_once("(pid ")?.1.strip_suffix(')')?.parse().ok()
    }
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FileLock {
    /// Locks the file at `path`, which is made (0600) when it is missing, or says who has it. The
    /// holder's name is not written yet: see [`sign`](Self::sign).
    pub fn try_lock(path: &Path) -> Result<Result<Self, LockHolder>, StateError> {
        Self::try_lock_in(path, make_private_folder)
    }

    /// The same, `folder` seeing to the folder it is in.
    fn try_lock_in(
        path: &Path,
        folder: fn(&Path) -> Result<(), StateError>,
    ) -> Result<Result<Self, LockHolder>, StateError> {
        loop {
            folder(path.parent().unwrap_or(Path::new(".")))?;
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)
                .map_err(StateError::io("open", path))?;
            match file.try_lock() {
                Ok(()) => {
                    let lock = Self { file, path: path.into() };
                    // `down --volumes` removes the folder: a lock on a removed file guards nothing.
                    if lock.is_in_place() {
                        return Ok(Ok(lock));
                    }
                }
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    file.read_to_string(&mut text).map_err(StateError::io("read", path))?;
                    let holder = if text.is_empty() { "another vaultlab".into() } else { text };
                    return Ok(Err(LockHolder(holder)));
                }
                Err(TryLockError::Error(e)) => return Err(StateError::io("lock", path)(e)),
            }
        }
    }

    /// Waits up to `patience` for a lock; for `None` when that was not enough, with the holder.
    pub async fn lock(path: &Path, patience: Duration) -> Result<Result<Self, LockHolder>, StateError> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match Self::try_lock(path)? {
                Err(_) if tokio::time::Instant::now() < deadline => {
                    // flock has no asynchronous form; this polls.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                result => return Ok(result),
            }
        }
    }

    /// The lock on `path` that came with standard input: a parent that took it hands it on without a
    /// moment in which nobody has it. `None` when standard input is something else.
    pub fn inherited(path: &Path) -> Result<Option<Self>, StateError> {
        let Ok(stdin) = std::io::stdin().as_fd().try_clone_to_owned() else { return Ok(None) };
        let lock = Self { file: stdin.into(), path: path.into() };
        if !lock.is_in_place() {
            return Ok(None);
        }
        match lock.file.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(StateError::io("lock", path)(e)),
        }
    }

    /// The open file, for a child's standard input: the child holds the lock along with us.
    pub fn to_hand_on(&self) -> Result<File, StateError> {
        self.file.try_clone().map_err(StateError::io("open", &self.path))
    }

    /// Whether somebody's name is written in it.
    fn is_signed(&self) -> Result<bool, StateError> {
        let metadata = self.file.metadata().map_err(StateError::io("look at", &self.path))?;
        Ok(metadata.len() > 0)
    }

    /// Writes who holds it, as in `vaultlab up (pid 7)`.
    pub fn sign(&mut self, holder: &str, pid: u32) -> Result<(), StateError> {
        let text = format!("{holder} (pid {pid})");
        // Never empty in between: whoever reads it then would not learn whom to ask.
        self.file
            .rewind()
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .and_then(|()| self.file.set_len(text.len() as u64))
            .map_err(StateError::io("write", &self.path))
    }

    /// Whether the file is still the one at its path.
    pub fn is_in_place(&self) -> bool {
        match (self.file.metadata(), std::fs::metadata(&self.path)) {
            (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
            _ => false,
        }
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
            match Self::take(lab, purpose, make_private_folder)? {
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

    /// Takes the lock of a lab that is there, or says who has it.
    pub fn try_acquire(lab: &LabDir, purpose: &str) -> Result<Result<Self, LockHolder>, StateError> {
        Self::take(lab, purpose, |_| Ok(()))
    }

    fn take(
        lab: &LabDir,
        purpose: &str,
        folder: fn(&Path) -> Result<(), StateError>,
    ) -> Result<Result<Self, LockHolder>, StateError> {
        match FileLock::try_lock_in(&lab.lock(), folder)? {
            Ok(mut lock) => {
                let predecessor_was_killed = lock.is_signed()?;
                // It holds without a name in it, too.
                unless_full(lock.sign(&format!("vaultlab {purpose}"), std::process::id()))?;
                Ok(Ok(Self { lock, predecessor_was_killed }))
            }
            Err(holder) => Ok(Err(holder)),
        }
    }

    /// Whether the one who held it before did not live to let go of it.
    pub fn predecessor_was_killed(&self) -> bool {
        self.predecessor_was_killed
    }
}

impl Drop for LabLock {
    fn drop(&mut self) {
        // Whoever comes next tells by it that this one was not killed. If that fails, it is careful.
        drop(self.lock.file.set_len(0));
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
        assert_eq!(told.and_then(|holder| holder.pid()), Some(std::process::id()));
        drop(first);
        let second = LabLock::acquire(&lab, "down", Duration::ZERO, |_| {}).await.unwrap();
        assert!(!second.predecessor_was_killed());
        drop(second);
        // What one leaves that is killed.
        std::fs::write(lab.lock(), "vaultlab up (pid 7)").unwrap();
        assert!(
            LabLock::acquire(&lab, "down", Duration::ZERO, |_| {}).await.unwrap().predecessor_was_killed()
        );
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

    #[test]
    fn a_child_that_has_the_file_open_holds_the_lock_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let mut lock = FileLock::try_lock(&path).unwrap().unwrap();
        let mut child =
            std::process::Command::new("sleep").arg("60").stdin(lock.to_hand_on().unwrap()).spawn().unwrap();
        lock.sign("sleep", child.id()).unwrap();
        drop(lock);
        let holder = FileLock::try_lock(&path).unwrap().unwrap_err();
        assert_eq!(holder.pid(), Some(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(FileLock::try_lock(&path).unwrap().is_ok());
    }
}
