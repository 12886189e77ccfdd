//! Whether the keeper is to end, whether somebody touched the delivered files, and whether the clock was
//! set.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use super::Shared;
use super::notice::Notice;
use crate::state::FileLock;

/// A clock that moved by so much more or less than time went by was set.
const JUMP: Duration = Duration::from_secs(2);

/// What tells one version of a file from another: number, time of change, length.
type Print = Option<(u64, i64, i64, u64)>;

/// The files of one AppRole, which anybody may touch.
pub(super) struct Watched {
    role_id: PathBuf,
    secret_id: PathBuf,
    /// As the delivery saw them last, if it did.
    seen: Mutex<Option<[Print; 2]>>,
    changed: Notify,
}

impl Watched {
    pub fn new(role_id: PathBuf, secret_id: PathBuf) -> Self {
        Self { role_id, secret_id, seen: Mutex::default(), changed: Notify::new() }
    }

    /// Completes when the files are no longer as they were seen last, or the clock was set.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether an application finds a secret_id.
    pub fn has_secret_id(&self) -> bool {
        self.secret_id.exists()
    }

    /// How long ago the secret_id came into its place, by the time of its rename.
    pub fn published_ago(&self) -> Option<Duration> {
        let meta = std::fs::metadata(&self.secret_id).ok()?;
        let renamed = jiff::Timestamp::new(meta.ctime(), i32::try_from(meta.ctime_nsec()).ok()?).ok()?;
        Some(Duration::try_from(jiff::Timestamp::now().duration_since(renamed)).unwrap_or_default())
    }

    /// Takes the files as they are now for seen.
    pub fn see(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.prints());
    }

    /// The same, unless there is no secret_id: it may be taken away again right after it was delivered.
    pub fn see_delivered(&self) {
        if self.has_secret_id() {
            self.see();
        }
    }

    fn folders(&self) -> impl Iterator<Item = PathBuf> {
        [&self.role_id, &self.secret_id].into_iter().filter_map(|file| Some(file.parent()?.to_owned()))
    }

    fn look(&self, jumped: bool) {
        if jumped || *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != Some(self.prints()) {
            self.changed.notify_one();
        }
    }

    fn prints(&self) -> [Print; 2] {
        [print(&self.role_id), print(&self.secret_id)]
    }
}

/// Gives why the keeper is to end, once it is. Until then tells the deliveries what changed.
pub(super) async fn until_told(shared: &Shared, lock: &FileLock) -> String {
    let stop = shared.dir.keeper_stop();
    let folders = shared.files.iter().flat_map(Watched::folders);
    let mut notice = Notice::of(folders.chain([shared.dir.path().into()]).collect());
    let mut clock = (Instant::now(), SystemTime::now());
    loop {
        notice.changed().await;
        if stop.exists() {
            return "the lab is being stopped".into();
        }
        if !lock.is_in_place() {
            return "the lab's folder is gone".into();
        }
        let now = (Instant::now(), SystemTime::now());
        // Vault ends secret_ids by the wall clock, so that one counts when it is set. A machine that
        // slept looks the same.
        let jumped = jumped(clock, now);
        clock = now;
        for files in &shared.files {
            files.look(jumped);
        }
        if jumped {
            shared.look_at_vault.notify_one();
        }
    }
}

fn print(file: &Path) -> Print {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}

/// Whether the wall clock went another way than time did.
fn jumped(before: (Instant, SystemTime), now: (Instant, SystemTime)) -> bool {
    let went_by = now.0.saturating_duration_since(before.0);
    match now.1.duration_since(before.1) {
        Ok(wall) => wall.abs_diff(went_by) > JUMP,
        Err(backwards) => backwards.duration() + went_by > JUMP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_told_from_one_that_goes() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(!jumped((start, wall), (after(60), wall + Duration::from_secs(60))));
        assert!(!jumped((start, wall), (after(60), wall + Duration::from_secs(61))));
        assert!(jumped((start, wall), (after(1), wall + Duration::from_secs(3600))), "forward, or asleep");
        assert!(jumped((start, wall), (after(1), wall - Duration::from_secs(3600))), "backward");
        assert!(jumped((start, wall), (after(60), wall)), "stopped");
    }
}
