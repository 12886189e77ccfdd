//! One database's root, rotated at its interval.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::Shared;
use super::vault::{is_lost, open};
use crate::provision::{self, ProvisionError};
use crate::report::KeeperEvent;
use crate::spec::model::{DatabaseSpec, RootRotation};
use crate::state::{LabLock, RotationRecord};
use crate::vault::Client;

/// First and longest pause before a failed rotation is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Pause before another try where somebody else works on the lab.
const BUSY: Duration = Duration::from_millis(200);

/// Rotates for ever; never, where the lab file does not ask for it.
pub(super) async fn keep(shared: &Shared, spec: &DatabaseSpec) {
    let RootRotation::Every(every) = spec.root_rotation else { return std::future::pending().await };
    let rotation = Rotation { shared, spec, every };
    let mut state = shared.vault.subscribe();
    let mut failures = 0;
    loop {
        rotation.until_due().await;
        let vault = open(&mut state).await;
        let work = shared.work.read().await;
        let began = Instant::now();
        let pause = match rotation.turn(&vault).await {
            Ok(Some(proof)) => {
                failures = 0;
                rotation.done(proof, began.elapsed());
                continue;
            }
            Ok(None) => BUSY,
            Err(error) => {
                failures += 1;
                rotation.failed(&error, failures)
            }
        };
        drop(work);
        tokio::time::sleep(pause).await;
    }
}

struct Rotation<'a> {
    shared: &'a Shared,
    spec: &'a DatabaseSpec,
    every: Duration,
}

impl Rotation<'_> {
    /// Waits for the next time by the record, which outlives the keeper; a rotation that was cut off is
    /// looked after at once. The clock may have been set: no wait is longer than the interval.
    async fn until_due(&self) {
        loop {
            let called = self.shared.look_at_rotations.notified();
            let Some(wait) = self.wait() else { return };
            tokio::select! {
                () = tokio::time::sleep(wait) => return,
                () = called => {}
            }
        }
    }

    /// `None` when it is due.
    fn wait(&self) -> Option<Duration> {
        let now = Timestamp::now();
        let wait = {
            let mut record = self.shared.record();
            let entry = record.rotations.entry(self.spec.name.clone()).or_default();
            let whole = now.checked_add(SignedDuration::try_from(self.every).unwrap_or(SignedDuration::MAX));
            let next = *entry.next_at.get_or_insert(whole.unwrap_or(Timestamp::MAX));
            if entry.under_way {
                return None;
            }
            Duration::try_from(next.duration_since(now)).unwrap_or_default()
        };
        Some(wait.min(self.every))
    }

    /// One rotation, or the recovery of one; gives what was proven, or `None` when somebody else works
    /// on the lab.
    async fn turn(&self, vault: &Client) -> Result<Option<&'static str>, ProvisionError> {
        let Ok(_lock) = LabLock::try_acquire(&self.shared.dir, "supervise")? else { return Ok(None) };
        let mut target = self.shared.target(self.spec).await?;
        if self.entry(|entry| entry.under_way) {
            // Cut off: it may have been done or not; either way Vault has to be able to log in.
            if provision::recover_rotation(vault, &mut target, &self.shared.dir).await? {
                return Ok(Some("Vault was locked out: repaired, rotated"));
            }
            self.under_way(false)?;
        }
        self.under_way(true)?;
        let proof = provision::rotate_root_in_use(vault, &mut target, &self.shared.dir).await?;
        Ok(Some(proof))
    }

    fn entry<T>(&self, look: impl FnOnce(&mut RotationRecord) -> T) -> T {
        look(self.shared.record().rotations.entry(self.spec.name.clone()).or_default())
    }

    /// On disk before anything is done: whoever keeps the lab next looks after it.
    fn under_way(&self, under_way: bool) -> Result<(), ProvisionError> {
        self.entry(|entry| entry.under_way = under_way);
        self.shared.save()?;
        Ok(())
    }

    fn done(&self, proof: &str, took: Duration) {
        let now = Timestamp::now();
        self.entry(|entry| {
            *entry = RotationRecord {
                rotated_at: Some(now),
                next_at: now.checked_add(SignedDuration::try_from(self.every).unwrap_or_default()).ok(),
                ..RotationRecord::default()
            };
        });
        // One that is not noted is looked after once more, which does no harm.
        let _ = self.shared.save();
        let (database, proof) = (self.spec.name.clone(), proof.to_owned());
        self.shared.report.keeper(KeeperEvent::RootRotated { database, proof, took });
    }

    /// Notes a failure; gives how long to wait.
    fn failed(&self, error: &ProvisionError, failures: u32) -> Duration {
        if is_lost(error) {
            self.shared.look_at_vault.notify_one();
            return RETRY.0;
        }
        let retry = (RETRY.0 * 2_u32.saturating_pow(failures - 1)).min(RETRY.1);
        let error = error.to_string();
        self.entry(|entry| (entry.failures, entry.error) = (failures, Some(error.clone())));
        if failures.is_power_of_two() {
            let database = self.spec.name.clone();
            self.shared.report.keeper(KeeperEvent::RotationFailed { database, error, retry });
        }
        retry
    }
}
