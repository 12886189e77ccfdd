//! One static role: Vault replaces its password, and after each time the keeper sees that the new one
//! logs in and the one before is refused.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::Shared;
use super::vault::{is_lost, open};
use crate::provision::{self, ProvisionError};
use crate::report::KeeperEvent;
use crate::spec::model::{DatabaseSpec, StaticRoleSpec};
use crate::state::StaticRoleRecord;
use crate::vault::{Client, StaticCredential};

/// Longest pause between two looks: somebody may have Vault rotate it before its time.
const LOOK: Duration = Duration::from_secs(5);

/// Pause between two looks while a rotation is due.
const DUE: Duration = Duration::from_millis(500);

/// A rotation that is due for longer than Vault takes to come to it is told.
const OVERDUE: Duration = Duration::from_secs(30);

/// First and longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A password that was refused so often in a row is replaced. Vault itself may be in the middle of a
/// rotation the first time.
const REFUSED: u32 = 2;

/// Watches for ever.
pub(super) async fn keep(shared: &Shared, database: &DatabaseSpec, role: &StaticRoleSpec) {
    let mut watch = Watch { shared, database, role, known: None, due_since: None, failures: 0 };
    let mut state = shared.vault.subscribe();
    loop {
        let vault = open(&mut state).await;
        let work = shared.work.read().await;
        let pause = match watch.look(&vault).await {
            Ok(pause) => pause,
            Err(error) => watch.failed(&error),
        };
        drop(work);
        tokio::time::sleep(pause).await;
    }
}

struct Watch<'a> {
    shared: &'a Shared,
    database: &'a DatabaseSpec,
    role: &'a StaticRoleSpec,
    /// What logged in last.
    known: Option<StaticCredential>,
    /// Since when a rotation was seen to be due.
    due_since: Option<Instant>,
    failures: u32,
}

impl Watch<'_> {
    /// One look; gives how long nothing is to be done.
    async fn look(&mut self, vault: &Client) -> Result<Duration, ProvisionError> {
        let what = || format!("credential of static role {}", self.role.name);
        let now = vault.static_credential(&self.database.mount, &self.role.name).await;
        let now = now.map_err(|source| ProvisionError::On { what: what(), source })?;
        self.not_overdue(now.ttl)?;
        let same = |known: &StaticCredential| known.last_vault_rotation == now.last_vault_rotation;
        if self.known.as_ref().is_none_or(|known| !same(known)) || self.failures > 0 {
            self.prove(vault).await?;
        }
        Ok(match now.ttl {
            0 => DUE,
            ttl => LOOK.min(Duration::from_secs(ttl)),
        })
    }

    /// Vault tells nobody that it cannot rotate: it tries again.
    fn not_overdue(&mut self, ttl: u64) -> Result<(), ProvisionError> {
        if ttl > 0 {
            self.due_since = None;
            return Ok(());
        }
        let since = *self.due_since.get_or_insert_with(Instant::now);
        if since.elapsed() < OVERDUE {
            return Ok(());
        }
        Err(ProvisionError::not_proven(
            format!("rotation of static role {}", self.role.name),
            format!(
                "it is overdue, and Vault does not do it; its log or the one of {} says why",
                self.database.name
            ),
        ))
    }

    async fn prove(&mut self, vault: &Client) -> Result<(), ProvisionError> {
        let began = Instant::now();
        let target = self.shared.target(self.database).await?;
        let mut repaired = false;
        let mut found = provision::log_in(vault, &target, self.role).await?;
        if found.is_err() && self.failures + 1 >= REFUSED {
            repaired = provision::repair_static_role(vault, &target, self.role).await?;
            found = provision::log_in(vault, &target, self.role).await?;
        }
        let (now, _) = found.map_err(|refusal| {
            ProvisionError::not_proven(
                format!("static role {}", self.role.name),
                format!("its password is refused: {refusal}"),
            )
        })?;
        let proof = match &self.known {
            Some(old) if old.last_vault_rotation != now.last_vault_rotation => {
                if !provision::is_refused(&target, old).await? {
                    return Err(ProvisionError::not_proven(
                        format!("rotation of static role {}", self.role.name),
                        "the old password still works",
                    ));
                }
                "the new password logs in, the old one is refused"
            }
            _ => "the password logs in",
        };
        let proof = if repaired { "its password was refused: rotated, the new one logs in" } else { proof };
        self.proven(now, proof, began.elapsed());
        Ok(())
    }

    fn proven(&mut self, now: StaticCredential, proof: &str, took: Duration) {
        let rotated_at = now.last_vault_rotation;
        let left = SignedDuration::from_secs(i64::try_from(now.ttl).unwrap_or(i64::MAX));
        let next_at = Timestamp::now().checked_add(left).ok();
        let before = {
            let mut record = self.shared.record();
            let entry = record.static_roles.entry(self.role.name.clone()).or_default();
            let before = entry.rotated_at;
            *entry =
                StaticRoleRecord { rotated_at: Some(rotated_at), next_at, ..StaticRoleRecord::default() };
            before
        };
        self.failures = 0;
        self.known = Some(now);
        // What `up` has proven is not told again.
        if before.is_some_and(|before| before != rotated_at) {
            self.shared.report.keeper(KeeperEvent::StaticRoleRotated {
                role: self.role.name.clone(),
                proof: proof.to_owned(),
                rotated_at,
                next_at,
                took,
            });
        }
    }

    /// Notes a failure; gives how long to wait.
    fn failed(&mut self, error: &ProvisionError) -> Duration {
        if is_lost(error) {
            self.shared.look_at_vault.notify_one();
            return RETRY.0;
        }
        self.failures += 1;
        let retry = (RETRY.0 * 2_u32.saturating_pow(self.failures - 1)).min(RETRY.1);
        let error = error.to_string();
        {
            let mut record = self.shared.record();
            let entry = record.static_roles.entry(self.role.name.clone()).or_default();
            (entry.failures, entry.error) = (self.failures, Some(error.clone()));
        }
        if self.failures.is_power_of_two() {
            let role = self.role.name.clone();
            self.shared.report.keeper(KeeperEvent::StaticRoleFailed { role, error, retry });
        }
        retry
    }
}
