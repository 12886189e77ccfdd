//! Whether Vault still gets into a database: somebody may have changed the password of its account there.
//!
//! Only Vault knows that password, and applications are who would notice. Asking Vault for a credential
//! now and then would cost an account each time, and the keeper the right to have one; so it asks the
//! database, whose superuser belongs to the lab, whether the account has another password than before, and
//! only then has Vault log in anew.

use std::time::Duration;

use super::Shared;
use super::vault::{is_lost, open};
use crate::provision::{self, ProvisionError};
use crate::report::KeeperEvent;
use crate::spec::model::{DatabaseSpec, RootRotation};
use crate::state::LabLock;
use crate::vault::Client;

/// Pause between two looks.
const LOOK: Duration = Duration::from_secs(20);

/// The same while Vault is locked out, and after something that may pass.
const SOON: Duration = Duration::from_secs(2);

/// So many refusals in a row are told: Vault may be in the middle of a rotation the first time.
const REFUSED: u32 = 2;

/// Watches for ever.
pub(super) async fn keep(shared: &Shared, spec: &DatabaseSpec) {
    let mut watch = Watch { shared, spec, known: None, refused: 0 };
    let mut state = shared.vault.subscribe();
    loop {
        let vault = open(&mut state).await;
        let work = shared.work.read().await;
        let pause = match watch.look(&vault).await {
            Ok(pause) => pause,
            Err(error) => {
                if is_lost(&error) {
                    shared.look_at_vault.notify_one();
                }
                // A database that does not answer is told of by others.
                tracing::debug!(%error, database = spec.name, "cannot look whether Vault gets in");
                LOOK
            }
        };
        drop(work);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // A Vault that was restored from a backup knows the password of then.
            _ = state.changed() => watch.known = None,
        }
    }
}

struct Watch<'a> {
    shared: &'a Shared,
    spec: &'a DatabaseSpec,
    /// What the database kept of the password when Vault got in last.
    known: Option<String>,
    /// Refusals in a row.
    refused: u32,
}

impl Watch<'_> {
    /// One look; gives how long nothing is to be done.
    async fn look(&mut self, vault: &Client) -> Result<Duration, ProvisionError> {
        let target = self.shared.target(self.spec).await?;
        if self.known.is_some() && provision::password_digest(&target).await? == self.known {
            return Ok(LOOK);
        }
        // Nobody rotates it meanwhile, neither `up` nor this keeper.
        let Ok(_lock) = LabLock::try_acquire(&self.shared.dir, "supervise")? else { return Ok(SOON) };
        let now = provision::password_digest(&target).await?;
        match provision::login_of_vault(vault, &target).await? {
            Ok(()) => {
                (self.known, self.refused) = (now, 0);
                self.gets_in();
                Ok(LOOK)
            }
            Err(refusal) => {
                self.known = None;
                self.refused = self.refused.saturating_add(1);
                if self.refused >= REFUSED {
                    self.is_locked_out(refusal);
                }
                Ok(SOON)
            }
        }
    }

    fn is_locked_out(&self, refusal: String) {
        let name = &self.spec.name;
        let mut record = self.shared.record();
        if let RootRotation::Every(_) = self.spec.root_rotation {
            // To be looked after like a rotation that was cut off, and at once.
            record.rotations.entry(name.clone()).or_default().under_way = true;
            self.shared.look_at_rotations.notify_waiters();
        }
        let told = record.locked_out.insert(name.clone(), refusal.clone());
        drop(record);
        if told.is_none() {
            self.shared.report.keeper(KeeperEvent::LockedOut { database: name.clone(), error: refusal });
        }
    }

    fn gets_in(&self) {
        let told = self.shared.record().locked_out.remove(&self.spec.name);
        if told.is_some() {
            self.shared.report.keeper(KeeperEvent::LetIn { database: self.spec.name.clone() });
        }
    }
}
