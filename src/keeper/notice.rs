//! What the system tells of by itself: a folder in which something changed, a clock that was set. Where
//! it does not, the keeper looks often.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

/// Longest pause between two looks where the system tells of changes: it may see one side only of a
/// folder that is shared with another machine.
const SELDOM: Duration = Duration::from_secs(10);

/// The same where it does not, or not of every folder.
const OFTEN: Duration = Duration::from_millis(500);

/// Shortest pause between two looks, however much changes.
const SPACE: Duration = Duration::from_millis(250);

/// Tells when it is time to look at some folders and at the clock.
pub(super) struct Notice {
    folders: Vec<PathBuf>,
    system: Option<system::Watch>,
    looked_at: Instant,
}

impl Notice {
    /// Of what happens in these folders, which need not be there.
    pub fn of(mut folders: Vec<PathBuf>) -> Self {
        folders.sort();
        folders.dedup();
        Self { folders, system: system::Watch::begin(), looked_at: Instant::now() }
    }

    /// Completes when something may have changed since the last time: soon after it did where the system
    /// tells, else after a while.
    pub async fn changed(&mut self) {
        // Again each time: a folder may have been removed and made anew.
        let all = self.system.as_ref().is_some_and(|system| system.watch(&self.folders));
        let pause = if all { SELDOM } else { OFTEN };
        let told = async {
            match &self.system {
                Some(system) => system.told().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = told => tokio::time::sleep_until(self.looked_at + SPACE).await,
        }
        self.looked_at = Instant::now();
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::path::PathBuf;

    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use crate::told::Told;

    /// inotify, and a timer that is cancelled when the clock is set.
    pub struct Watch {
        folders: Told,
        clock: Told,
    }

    impl Watch {
        /// `None` where the system has no room for another one.
        pub fn begin() -> Option<Self> {
            let folders = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let clock = timerfd_create(TimerfdClockId::Realtime, flags).ok()?;
            // It is there to be cancelled: the year is 2106.
            let far = Timespec { tv_sec: u32::MAX.into(), tv_nsec: 0 };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: far };
            timerfd_settime(&clock, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &once)
                .ok()?;
            Some(Self { folders: Told::by(folders)?, clock: Told::by(clock)? })
        }

        /// Watches these folders from now on, too; gives whether every one of them is there and watched.
        pub fn watch(&self, folders: &[PathBuf]) -> bool {
            let changes = WatchFlags::CREATE
                | WatchFlags::CLOSE_WRITE
                | WatchFlags::DELETE
                | WatchFlags::MOVE
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF
                | WatchFlags::ONLYDIR;
            let watched = |folder: &PathBuf| inotify::add_watch(self.folders.file(), folder, changes).is_ok();
            folders.iter().filter(|folder| watched(folder)).count() == folders.len()
        }

        /// Completes when something happened since the last time.
        pub async fn told(&self) {
            tokio::select! {
                () = self.folders.happens() => {}
                () = self.clock.happens() => {}
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::path::PathBuf;

    pub struct Watch;

    impl Watch {
        pub fn begin() -> Option<Self> {
            None
        }

        pub fn watch(&self, _: &[PathBuf]) -> bool {
            false
        }

        pub async fn told(&self) {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;

    use super::*;

    /// Whether a change is told, and not only found at the next look. What it itself stirred up before is
    /// waited out.
    async fn is_told(notice: &mut Notice, change: impl FnOnce()) -> bool {
        while tokio::time::timeout(SPACE * 2, notice.changed()).await.is_ok() {}
        change();
        tokio::time::timeout(SELDOM / 2, notice.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn what_happens_in_a_folder_is_told_whatever_it_is() {
        let place = tempfile::tempdir().unwrap();
        let (folder, file) = (place.path().join("in"), place.path().join("in/file"));
        fs::create_dir(&folder).unwrap();
        let mut notice = Notice::of(vec![folder.clone(), place.path().into()]);
        assert!(is_told(&mut notice, || fs::write(&file, "one").unwrap()).await, "made");
        assert!(is_told(&mut notice, || fs::write(&file, "two").unwrap()).await, "written over");
        let other = folder.join("other");
        assert!(is_told(&mut notice, || fs::rename(&file, &other).unwrap()).await, "moved");
        assert!(is_told(&mut notice, || fs::remove_file(&other).unwrap()).await, "removed");
        assert!(is_told(&mut notice, || fs::remove_dir(&folder).unwrap()).await, "its folder removed");
        fs::create_dir(&folder).unwrap();
        assert!(is_told(&mut notice, || fs::write(&file, "three").unwrap()).await, "made anew");
        assert!(!is_told(&mut notice, || drop(fs::read(&file).unwrap())).await, "a reader changes nothing");
    }

    /// One that is not there is looked for often.
    #[tokio::test]
    async fn a_folder_that_cannot_be_watched_is_looked_at_often() {
        let place = tempfile::tempdir().unwrap();
        let mut notice = Notice::of(vec![place.path().join("missing")]);
        assert!(tokio::time::timeout(SELDOM / 2, notice.changed()).await.is_ok());
    }
}
