//! Asking a keeper to end, from another process or another container.
//!
//! A file that stands in the lab's folder is the request: it reaches a keeper wherever it runs, and
//! no process is ever mistaken for it. A keeper that is a process of this host is also sent a signal,
//! so that it need not find the file first.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::{KeeperError, SUPERVISE};
use crate::runtime::process::{signal_program, signal_readers, signal_readers_of_removed};
use crate::state::{FileLock, LabDir, LockHolder, StateError, Visibility, write_json_unsynced};

/// How long a keeper may take to end before it is killed. It finishes what it has begun for 3 s.
const PATIENCE: Duration = Duration::from_secs(6);

/// How long it takes until a killed one is gone.
const KILLED: Duration = Duration::from_secs(5);

/// How long a lock may be busy that nobody holds for long: `status` looks at it for a moment.
const MOMENT: Duration = Duration::from_millis(500);

/// Takes the keeper's lock.
pub(super) async fn take_lock(dir: &LabDir) -> Result<FileLock, KeeperError> {
    FileLock::lock(&dir.keeper_lock(), MOMENT)
        .await?
        .map_err(|holder| KeeperError::Kept { lab: dir.name().into(), holder })
}

/// Asks the lab's keeper to end, if there is one, and does not wait. Gives who it is.
pub fn request_stop(dir: &LabDir) -> Result<Option<LockHolder>, KeeperError> {
    if !dir.keeper_lock().exists() {
        return Ok(None);
    }
    let Err(holder) = FileLock::try_lock(&dir.keeper_lock())? else { return Ok(None) };
    let written = write_json_unsynced(&dir.keeper_stop(), &"end", Visibility::Private);
    let told = signal(dir, &holder, Signal::SIGTERM);
    match written {
        // Only the file reaches one that is no process of this host, unless it has ended by now.
        Err(error) if !told && FileLock::try_lock(&dir.keeper_lock())?.is_err() => Err(error.into()),
        _ => Ok(Some(holder)),
    }
}

/// Ends the lab's keeper, if there is one, and gives its lock: as long as it is held no other begins.
/// Whether there was one is the second value.
///
/// # Errors
/// [`KeeperError::WillNotStop`] when it lives in another program and does not listen.
pub async fn stop(dir: &LabDir) -> Result<(FileLock, bool), KeeperError> {
    let path = dir.keeper_lock();
    let mut asked = None;
    for (kill, patience) in [(false, PATIENCE), (true, KILLED)] {
        let deadline = Instant::now() + patience;
        loop {
            match FileLock::try_lock(&path)? {
                Ok(lock) => {
                    forget_request(dir)?;
                    return Ok((lock, asked.is_some()));
                }
                // One that has only just been started may not have signed, or not have been asked yet.
                Err(holder) if asked.as_ref() != Some(&holder) => {
                    request_stop(dir)?;
                    asked = Some(holder);
                }
                Err(holder) if kill => drop(signal(dir, &holder, Signal::SIGKILL)),
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
    match asked {
        Some(holder) => Err(KeeperError::WillNotStop { lab: dir.name().into(), holder }),
        None => take_lock(dir).await.map(|lock| (lock, false)),
    }
}

/// Ends a keeper whose lab's folder was removed under it, which nothing on disk names any more: it holds
/// the lock that is gone. By itself it sees that only a moment later.
pub async fn stop_lost(dir: &LabDir) -> std::io::Result<()> {
    let began = Instant::now();
    loop {
        let signal = if began.elapsed() < PATIENCE { Signal::SIGTERM } else { Signal::SIGKILL };
        if !signal_readers_of_removed(&dir.keeper_lock(), signal)? {
            return Ok(());
        }
        if began.elapsed() > PATIENCE + KILLED {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Removes a request: it was for an earlier keeper.
pub(super) fn forget_request(dir: &LabDir) -> Result<(), KeeperError> {
    let path = dir.keeper_stop();
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StateError::io("remove", path)(e).into()),
        _ => Ok(()),
    }
}

/// Only a process that runs `supervise` on this host is sent a signal; one that has ended by now needs
/// none. One that is not known by what is written in its lock is known by the lock, which is the standard
/// input it was given. Gives whether it was sent.
fn signal(dir: &LabDir, holder: &LockHolder, signal: Signal) -> bool {
    let pid = holder.pid().filter(|_| holder.to_string().starts_with(SUPERVISE));
    pid.is_some_and(|pid| signal_program(pid, "supervise", signal).unwrap_or(false))
        || signal_readers(&dir.keeper_lock(), signal).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::state::Home;

    #[test]
    fn a_keeper_that_has_not_signed_is_told_although_nothing_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Home::at(folder.path()).unwrap().lab("unsigned").unwrap();
        dir.create().unwrap();
        let lock = FileLock::try_lock(&dir.keeper_lock()).unwrap().unwrap();
        let stdin = Stdio::from(lock.to_hand_on().unwrap());
        let mut keeper = Command::new("sleep").arg("60").stdin(stdin).spawn().unwrap();
        drop(lock);
        // Nothing can be put in its place.
        std::fs::create_dir_all(dir.keeper_stop().join("full")).unwrap();
        assert!(request_stop(&dir).unwrap().is_some());
        assert!(!keeper.wait().unwrap().success(), "it was ended by the signal");
        assert_eq!(request_stop(&dir).unwrap(), None);
    }
}
