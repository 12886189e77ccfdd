//! One AppRole's secret_id: replaced before it ends, by one that was proven to work.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Shared;
use super::clock::Watched;
use super::failure::Failures;
use super::vault::open;
use crate::provision::{Courier, ProvisionError};
use crate::report::KeeperEvent;
use crate::spec::model::AppRoleSpec;
use crate::vault::{Client, SecretIdInfo, VaultError};

/// A successor is made when this part of a secret_id's life is over: two failures of Vault as long as
/// that are survived.
const REPLACE_AFTER: f64 = 1.0 / 3.0;

/// Up to this part of that time is taken off at random, so that many AppRoles do not all come at once.
const JITTER: f64 = 0.1;

/// Whatever the keeper's own clock says, one with less than this part of its life left is replaced.
const REPLACE_BELOW: f64 = 0.5;

/// How long a predecessor lives on for those who read the file just before, unless its life is short.
const GRACE: Duration = Duration::from_secs(5);

/// The same where the delivered one is about to run out of uses, or is gone.
const SHORT_GRACE: Duration = Duration::from_millis(250);

/// Longest pause between two questions to Vault whether the secret_id is still good.
const CHECK: Duration = Duration::from_secs(10);

/// The same where uses are counted: while it is used, and while it is not.
const CHECK_USES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// Longest pause between two comparisons of the files with Vault although neither seems changed.
const LOOK: Duration = Duration::from_secs(60);

/// Delivers for ever.
pub(super) async fn keep(shared: &Shared, spec: &AppRoleSpec, files: &Watched) {
    let mut delivery = Delivery::new(shared, spec, files);
    let mut state = shared.vault.subscribe();
    loop {
        let vault = open(&mut state).await;
        let pause = match delivery.step(&vault).await {
            Ok(pause) => pause,
            Err(error) => delivery.failed(&error),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => continue,
            () = files.changed() => {}
            _ = state.changed() => {}
        }
        delivery.looked = false;
    }
}

struct Delivery<'a> {
    shared: &'a Shared,
    spec: &'a AppRoleSpec,
    files: &'a Watched,
    /// Whether files and Vault were compared since something may have changed them.
    looked: bool,
    looked_at: Instant,
    current: Option<Current>,
    /// Secret_ids that are no longer in the file, oldest first; at most one between two steps.
    former: Vec<Former>,
    /// Why there is no current one.
    missing: &'static str,
    last_use: Instant,
    failures: Failures,
}

/// What is in the file.
struct Current {
    accessor: String,
    due: Option<Instant>,
    /// Seconds; zero is for ever.
    ttl: u64,
    uses_left: u64,
    /// Seconds it has left by Vault's clock; `None` is for ever.
    left: Option<f64>,
}

/// What was in the file, or never came there.
struct Former {
    accessor: String,
    since: Instant,
    reason: &'static str,
}

impl Current {
    fn new(info: &SecretIdInfo, made: Instant) -> Self {
        let life = Duration::from_secs(info.secret_id_ttl).mul_f64(REPLACE_AFTER);
        let due = life.mul_f64(1.0 - JITTER * rand::random::<f64>());
        Self {
            accessor: info.secret_id_accessor.clone(),
            due: (info.secret_id_ttl > 0).then(|| made + due),
            ttl: info.secret_id_ttl,
            uses_left: info.secret_id_num_uses,
            left: info.left(),
        }
    }

    /// Why a successor is due; `None` while none is. `uses` is how many logins a new one allows.
    fn due(&self, uses: u32) -> Option<&'static str> {
        if uses > 0 && self.uses_left * 3 <= u64::from(uses) * 2 && self.uses_left < u64::from(uses) {
            return Some("its uses were running out");
        }
        if self.due.is_some_and(|due| due <= Instant::now()) {
            return Some("its time had come");
        }
        let end_is_near = self.left.is_some_and(|left| left < self.ttl as f64 * REPLACE_BELOW);
        (self.ttl > 0 && end_is_near).then_some("by Vault's clock its end was near")
    }
}

impl<'a> Delivery<'a> {
    fn new(shared: &'a Shared, spec: &'a AppRoleSpec, files: &'a Watched) -> Self {
        Self {
            shared,
            spec,
            files,
            looked: false,
            looked_at: Instant::now(),
            current: None,
            former: Vec::new(),
            missing: "there was none",
            last_use: Instant::now(),
            failures: Failures::default(),
        }
    }

    /// Does what is to be done now; gives how long nothing is.
    async fn step(&mut self, vault: &Client) -> Result<Duration, ProvisionError> {
        let _work = self.shared.work.read().await;
        if self.looked && self.looked_at.elapsed() < LOOK {
            self.check(vault).await?;
        } else {
            self.look(vault).await?;
        }
        let due = match &self.current {
            None => Some(self.missing),
            Some(current) => current.due(self.spec.secret_id_num_uses),
        };
        let hurry = match &self.current {
            None => true,
            Some(current) => {
                self.spec.secret_id_num_uses > 0 && current.due.is_none_or(|d| d > Instant::now())
            }
        };
        let grace = if due.is_some() && hurry { SHORT_GRACE.min(self.grace()) } else { self.grace() };
        let ends = self.destroy_former(vault, grace).await?;
        let Some(reason) = due else {
            self.failures.end(self.shared, self.spec);
            return Ok(self.next_look(ends));
        };
        // Never more than two: a predecessor that may still be in somebody's hands is waited for.
        if let Some(ends) = ends
            && (self.current.is_some() || self.former.len() > 1)
        {
            return Ok(ends);
        }
        self.replace(vault, reason).await?;
        self.failures.end(self.shared, self.spec);
        Ok(self.next_look(None))
    }

    /// How long a predecessor lives on: it is over before the next successor is due.
    fn grace(&self) -> Duration {
        match self.spec.secret_id_ttl {
            Duration::ZERO => GRACE,
            ttl => GRACE.min(ttl / 4),
        }
    }

    fn on(&self) -> impl FnOnce(VaultError) -> ProvisionError {
        let what = format!("AppRole {}", self.spec.name);
        move |source| ProvisionError::On { what, source }
    }

    /// Compares the files with what Vault knows, whoever may have changed either.
    async fn look(&mut self, vault: &Client) -> Result<(), ProvisionError> {
        let courier = Courier::begin(vault, self.spec, &self.shared.dir).await?;
        courier.ensure_role_id().await?;
        self.files.see_delivered();
        let delivered = courier.delivered().await?.map(|(_, info)| info);
        let ours = courier.ours().await.map_err(self.on())?;
        drop(courier);
        let now = Instant::now();
        let ago = |info: &SecretIdInfo| now.checked_sub(info.age().unwrap_or_default()).unwrap_or(now);
        let current = delivered.as_ref().map(|info| match self.current.take() {
            // The schedule goes by the keeper's own clock where it made the secret_id itself.
            Some(known) if known.accessor == info.secret_id_accessor => {
                Current { uses_left: info.secret_id_num_uses, left: info.left(), ..known }
            }
            _ => Current::new(info, ago(info)),
        });
        if current.is_none() {
            self.missing = if self.files.has_secret_id() {
                "Vault did not know what was in its file"
            } else {
                "its file was missing"
            };
        }
        let is_current =
            |info: &SecretIdInfo| current.as_ref().is_some_and(|c| c.accessor == info.secret_id_accessor);
        // When the successor came into its file, the predecessor's grace began.
        let succeeded =
            delivered.as_ref().and_then(|_| now.checked_sub(self.files.published_ago()?)).unwrap_or(now);
        let mut known: Vec<Former> = std::mem::take(&mut self.former);
        let mut others: Vec<&SecretIdInfo> = ours.iter().filter(|info| !is_current(info)).collect();
        others.sort_by_key(|info| std::cmp::Reverse(info.age()));
        for info in others {
            let at = known.iter().position(|former| former.accessor == info.secret_id_accessor);
            self.former.push(match at {
                Some(at) => known.swap_remove(at),
                None => {
                    Former { accessor: info.secret_id_accessor.clone(), since: succeeded, reason: "orphan" }
                }
            });
        }
        self.current = current;
        (self.looked, self.looked_at) = (true, now);
        self.tell_record();
        Ok(())
    }

    /// Asks Vault whether the delivered secret_id is still good.
    async fn check(&mut self, vault: &Client) -> Result<(), ProvisionError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let info = vault.lookup_secret_id_accessor(&self.spec.name, &current.accessor).await;
        let on = |source| ProvisionError::On { what: format!("AppRole {}", self.spec.name), source };
        if let Some(info) = info.map_err(on)? {
            if info.secret_id_num_uses != current.uses_left {
                self.last_use = Instant::now();
            }
            current.uses_left = info.secret_id_num_uses;
            current.left = info.left();
        } else {
            self.last_use = Instant::now();
            self.current = None;
            self.missing = if self.spec.secret_id_num_uses > 0 {
                "its last use was over"
            } else {
                "Vault did not know it any more"
            };
        }
        Ok(())
    }

    /// Destroys the former ones whose grace is over; gives when the next one's is. Of several, only the
    /// youngest can be in somebody's hands.
    async fn destroy_former(
        &mut self,
        vault: &Client,
        grace: Duration,
    ) -> Result<Option<Duration>, ProvisionError> {
        while let Some(former) = self.former.first() {
            let left = (former.since + grace).saturating_duration_since(Instant::now());
            if self.former.len() == 1 && !left.is_zero() {
                return Ok(Some(left));
            }
            let (accessor, reason) = (former.accessor.clone(), former.reason);
            vault.ensure_secret_id_destroyed(&self.spec.name, &accessor).await.map_err(self.on())?;
            self.former.remove(0);
            let approle = self.spec.name.clone();
            self.shared.report.keeper(KeeperEvent::SecretIdDestroyed {
                approle,
                accessor,
                reason: reason.into(),
            });
        }
        Ok(None)
    }

    async fn replace(&mut self, vault: &Client, reason: &'static str) -> Result<(), ProvisionError> {
        let began = Instant::now();
        let courier = Courier::begin(vault, self.spec, &self.shared.dir).await?;
        let (role_id, _) = courier.ensure_role_id().await?;
        let known = self.current.as_ref().map(|current| current.accessor.as_str());
        let delivered = courier.delivered().await?;
        if let Some((_, info)) = &delivered
            && known != Some(info.secret_id_accessor.as_str())
        {
            // Somebody else delivered in between.
            self.looked = false;
            return Ok(());
        }
        // A failure may leave what was made: it is looked for.
        self.looked = false;
        // What is in the files now is seen at the next look: somebody may write over it at once.
        let fresh = courier.turn_over(&role_id).await?;
        drop(courier);
        self.looked = true;
        // A token that is left over ends by itself.
        let _ = vault.with_token(fresh.login.client_token).revoke_self().await;
        if let Some(current) = self.current.take() {
            let since = Instant::now();
            self.former.push(Former { accessor: current.accessor, since, reason: "predecessor" });
        }
        let info = SecretIdInfo::made_now(&fresh.accessor, fresh.ttl, self.spec.secret_id_num_uses);
        self.current = Some(Current::new(&info, began));
        self.shared.report.keeper(KeeperEvent::SecretIdDelivered {
            approle: self.spec.name.clone(),
            accessor: fresh.accessor,
            reason: reason.into(),
            ttl: fresh.ttl,
            took: began.elapsed(),
        });
        let mut record = self.shared.record();
        let entry = record.approles.entry(self.spec.name.clone()).or_default();
        entry.delivered_at = Some(Timestamp::now());
        entry.deliveries += 1;
        drop(record);
        self.tell_record();
        Ok(())
    }

    /// When to look again, at the latest when a former one's grace ends.
    fn next_look(&self, grace_ends: Option<Duration>) -> Duration {
        let now = Instant::now();
        let mut pause = match (self.spec.secret_id_num_uses, self.last_use.elapsed() < CHECK) {
            (0, _) => match self.spec.secret_id_ttl {
                Duration::ZERO => CHECK,
                ttl => CHECK.min(ttl / 10).max(CHECK_USES.0),
            },
            (_, true) => CHECK_USES.0,
            (_, false) => CHECK_USES.1,
        };
        if let Some(due) = self.current.as_ref().and_then(|current| current.due) {
            pause = pause.min(due.saturating_duration_since(now));
        }
        if let Some(former) = self.former.first() {
            pause = pause.min((former.since + self.grace()).saturating_duration_since(now));
        }
        grace_ends.map_or(pause, |ends| pause.min(ends)).max(Duration::from_millis(1))
    }

    fn tell_record(&self) {
        let Some(current) = &self.current else { return };
        let now = Timestamp::now();
        let after = |seconds: f64| now.checked_add(jiff::SignedDuration::from_secs_f64(seconds)).ok();
        let due = current.due.map(|due| due.saturating_duration_since(Instant::now()).as_secs_f64());
        let mut record = self.shared.record();
        let entry = record.approles.entry(self.spec.name.clone()).or_default();
        entry.expires_at = current.left.and_then(after);
        entry.next_at = due.and_then(after);
    }

    /// Notes a failure; gives how long to wait. What was delivered before stays where it is.
    fn failed(&mut self, error: &ProvisionError) -> Duration {
        self.looked = false;
        self.failures.add(self.shared, self.spec, self.files, self.spec.secret_id_ttl, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current(ttl: u64, uses: u32, age: u64) -> Current {
        let info = SecretIdInfo::made_now("a", ttl, uses);
        Current::new(&info, Instant::now().checked_sub(Duration::from_secs(age)).unwrap())
    }

    #[test]
    fn a_successor_is_due_after_a_third_of_a_life_and_never_for_one_without_end() {
        assert_eq!(current(90, 0, 26).due(0), None);
        assert!(current(90, 0, 30).due(0).is_some());
        assert_eq!(current(0, 0, 3000).due(0), None);
    }

    #[test]
    fn a_clock_that_was_set_counts_as_vault_sees_it() {
        let set = |left| Current { left: Some(left), ..current(90, 0, 1) };
        assert_eq!(set(80.0).due(0), None);
        assert!(set(40.0).due(0).is_some() && set(-3600.0).due(0).is_some());
        assert_eq!(set(3600.0).due(0), None, "set back: the keeper's own clock decides");
    }

    #[test]
    fn a_successor_comes_well_before_the_last_use() {
        let used = |uses, left| Current { uses_left: left, ..current(0, uses, 0) }.due(uses).is_some();
        assert!(!used(5, 5) && !used(5, 4) && used(5, 3));
        assert!(!used(2, 2) && used(2, 1) && !used(1, 1));
        assert!(!used(100, 67) && used(100, 66));
    }
}
