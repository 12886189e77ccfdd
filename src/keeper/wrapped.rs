//! One AppRole whose secret_id is delivered wrapped: replaced once it was taken, and before its token ends.
//!
//! Whoever unwrapped a secret_id logs in with it until he has taken the next one: none is destroyed before
//! that, unless the keeper itself unwrapped it, so that nobody has it. There are at most two: what was taken
//! last, and what is in the file or, where nothing was taken yet, what it replaced a moment ago. While one is
//! in use, what is in the file is withdrawn before its successor is made, and a token that was read but not
//! unwrapped by then is refused, as one that another reader used is: the file is to be read again. A third
//! one lives only where nobody can tell who has which, until the next one is taken: after a crash or a failure
//! half-way, or where a token ended unseen because Vault was away or its clock was set.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::Shared;
use super::clock::Watched;
use super::failure::Failures;
use super::vault::open;
use crate::provision::{Courier, ProvisionError};
use crate::report::KeeperEvent;
use crate::secret::Secret;
use crate::spec::model::AppRoleSpec;
use crate::vault::{Client, SecretIdInfo, VaultError};

/// Pause between two questions to Vault whether the token was used.
const CHECK: Duration = Duration::from_millis(500);

/// Longest pause between two comparisons of files and Vault although neither seems changed.
const COMPARE: Duration = Duration::from_secs(60);

/// A token is replaced when this part of its life is over, and at the latest when this part of its
/// secret_id's is.
const REPLACE_AFTER: f64 = 0.5;

/// How long one that was replaced may still be unwrapped by those who read it just before, unless its life
/// is short.
const GRACE: Duration = Duration::from_secs(5);

const OLD: &str = "the end of its wrapping token was near";
const TAKEN: &str = "it was unwrapped";
const MISSING: &str = "its file held no good wrapping token";
const PUT_BACK: &str = "its file did not hold it any more";

/// Delivers for ever.
pub(super) async fn keep(shared: &Shared, spec: &AppRoleSpec, files: &Watched, wrap_ttl: Duration) {
    let mut delivery = Wrapped {
        shared,
        spec,
        files,
        wrap_ttl,
        looked: false,
        compared_at: None,
        current: None,
        former: None,
        taken: Vec::new(),
        failures: Failures::default(),
    };
    let mut state = shared.vault.subscribe();
    loop {
        let vault = open(&mut state).await;
        let work = shared.work.read().await;
        let pause = match delivery.step(&vault).await {
            Ok(()) => CHECK,
            Err(error) => delivery.failed(&error),
        };
        drop(work);
        tokio::select! {
            () = tokio::time::sleep(pause) => continue,
            () = files.changed() => {}
            _ = state.changed() => {}
        }
        delivery.compared_at = None;
    }
}

struct Wrapped<'a> {
    shared: &'a Shared,
    spec: &'a AppRoleSpec,
    files: &'a Watched,
    wrap_ttl: Duration,
    /// Whether what there is was looked for since something may have changed it.
    looked: bool,
    /// When files and Vault were compared, if nothing is known to have changed either since.
    compared_at: Option<Instant>,
    /// What is in the file, and when it is to be replaced.
    current: Option<(Delivered, Instant)>,
    /// What was in it before, and since when it is not.
    former: Option<(Delivered, Instant)>,
    /// What somebody may log in with; more than one only where nobody can tell with which.
    taken: Vec<String>,
    failures: Failures,
}

/// A wrapped secret_id that nobody is known to have taken.
struct Delivered {
    token: Secret,
    accessor: String,
}

impl Wrapped<'_> {
    fn on(&self) -> impl FnOnce(VaultError) -> ProvisionError {
        let what = format!("AppRole {}", self.spec.name);
        move |source| ProvisionError::On { what, source }
    }

    /// How old a token becomes before it is replaced.
    fn life(&self) -> Duration {
        let ends = match self.spec.secret_id_ttl {
            Duration::ZERO => self.wrap_ttl,
            ttl => self.wrap_ttl.min(ttl),
        };
        ends.mul_f64(REPLACE_AFTER)
    }

    /// Over before the token of the one that was replaced ends, and before its successor is replaced.
    fn grace(&self) -> Duration {
        GRACE.min(self.life() / 2)
    }

    async fn step(&mut self, vault: &Client) -> Result<(), ProvisionError> {
        if self.is_settled(vault).await? {
            return Ok(());
        }
        self.compared_at = None;
        self.compare(vault).await?;
        self.compared_at = Some(Instant::now());
        Ok(())
    }

    /// Whether there is nothing to do, by the one question that has to be asked often: only Vault knows
    /// that a token was used.
    async fn is_settled(&self, vault: &Client) -> Result<bool, ProvisionError> {
        let (Some((current, due)), Some(compared_at)) = (&self.current, self.compared_at) else {
            return Ok(false);
        };
        let now = Instant::now();
        if *due <= now || compared_at + COMPARE <= now || self.former.is_some() {
            return Ok(false);
        }
        Ok(vault.wrapping_info(&current.token).await.map_err(self.on())?.is_some())
    }

    /// Compares the files with what Vault knows, and does what is to be done.
    async fn compare(&mut self, vault: &Client) -> Result<(), ProvisionError> {
        let began = Instant::now();
        let courier = Courier::begin(vault, self.spec, &self.shared.dir).await?;
        let (role_id, _) = courier.ensure_role_id().await?;
        // Before they are read: whatever is written from here on is another change.
        self.files.see_delivered();
        if !self.looked {
            self.look(&courier).await?;
        }
        let in_file = courier.wrapped().await?.map(|(token, _)| token);
        match (&self.current, in_file) {
            (Some((current, due)), Some(token)) if token == current.token => {
                if *due <= Instant::now() {
                    self.replace_old(&courier, &role_id).await?;
                }
            }
            // Somebody else delivered: `up`.
            (_, Some(_)) => {
                self.look(&courier).await?;
                if self.current.is_none() {
                    self.replace(&courier, &role_id, MISSING).await?;
                }
            }
            (Some((current, _)), None) => {
                if vault.wrapping_info(&current.token).await.map_err(self.on())?.is_some() {
                    // Whoever took its file away may still unwrap it.
                    courier.put_back(&current.token)?;
                    self.tell_delivered(current.accessor.clone(), PUT_BACK, began);
                } else {
                    let accessor = current.accessor.clone();
                    self.settle_former(&courier).await?;
                    let reason = self.take_note(vault, accessor).await?;
                    self.current = None;
                    self.replace(&courier, &role_id, reason).await?;
                }
            }
            (None, None) => self.replace(&courier, &role_id, MISSING).await?,
        }
        let is_over = |since: Instant| !self.taken.is_empty() || since.elapsed() >= self.grace();
        if self.former.as_ref().is_some_and(|(_, since)| is_over(*since)) {
            self.settle_former(&courier).await?;
        }
        self.failures.end(self.shared, self.spec);
        Ok(())
    }

    /// Finds out what there is. Of what is not in the file, anything may be in use.
    async fn look(&mut self, courier: &Courier<'_>) -> Result<(), ProvisionError> {
        let in_file = courier.wrapped().await?;
        let ours = courier.ours().await.map_err(self.on())?;
        let inside = in_file.as_ref().and_then(|(_, info)| courier.inside(info, &ours));
        let replaced = self.current.take().map(|(replaced, _)| (replaced, Instant::now()));
        self.current = in_file.as_ref().zip(inside).map(|((token, info), inside)| {
            let gone = Duration::try_from_secs_f64(info.creation_ttl as f64 - info.left());
            let left = self.life().saturating_sub(gone.unwrap_or_default());
            let accessor = inside.secret_id_accessor.clone();
            (Delivered { token: token.clone(), accessor }, Instant::now() + left)
        });
        let mut others: Vec<String> = ours.iter().map(|info| info.secret_id_accessor.clone()).collect();
        others.retain(|other| self.current.as_ref().is_none_or(|(current, _)| current.accessor != *other));
        let former = replaced.or_else(|| self.former.take());
        self.former = former.filter(|(former, _)| others.contains(&former.accessor));
        others.retain(|other| self.former.as_ref().is_none_or(|(former, _)| former.accessor != *other));
        self.taken = others;
        self.looked = true;
        Ok(())
    }

    /// Replaces what nobody took yet.
    async fn replace_old(&mut self, courier: &Courier<'_>, role_id: &Secret) -> Result<(), ProvisionError> {
        self.settle_former(courier).await?;
        let in_use = self.is_any_in_use(courier).await?;
        let reason = match self.current.take() {
            Some((current, _)) if in_use => self.retire(courier, current).await?,
            replaced => {
                self.former = replaced.map(|(replaced, _)| (replaced, Instant::now()));
                OLD
            }
        };
        self.replace(courier, role_id, reason).await
    }

    /// Whether Vault still knows anything that was taken.
    async fn is_any_in_use(&mut self, courier: &Courier<'_>) -> Result<bool, ProvisionError> {
        if !self.taken.is_empty() {
            let ours = courier.ours().await.map_err(self.on())?;
            self.taken.retain(|taken| ours.iter().any(|info| info.secret_id_accessor == *taken));
        }
        Ok(!self.taken.is_empty())
    }

    /// Ends the time of what was in the file before.
    async fn settle_former(&mut self, courier: &Courier<'_>) -> Result<(), ProvisionError> {
        if let Some((former, _)) = self.former.take() {
            self.retire(courier, former).await?;
        }
        Ok(())
    }

    /// Destroys what nobody has taken, and notes it where somebody has; gives why a successor is due.
    async fn retire(
        &mut self,
        courier: &Courier<'_>,
        delivered: Delivered,
    ) -> Result<&'static str, ProvisionError> {
        // Where this fails, nobody can tell any more who has it.
        let looked = std::mem::replace(&mut self.looked, false);
        let reason = match courier.withdraw(&delivered.token).await? {
            Some(accessor) => {
                self.tell_destroyed(accessor);
                OLD
            }
            None => self.take_note(courier.vault, delivered.accessor).await?,
        };
        self.looked = looked;
        Ok(reason)
    }

    /// Notes that somebody has a secret_id whose token is good no longer; whoever has it needs no older one.
    async fn take_note(&mut self, vault: &Client, accessor: String) -> Result<&'static str, ProvisionError> {
        let info = vault.lookup_secret_id_accessor(&self.spec.name, &accessor).await.map_err(self.on())?;
        let Some(age) = info.as_ref().map(SecretIdInfo::age) else {
            // It ended, or somebody destroyed it.
            return Ok(MISSING);
        };
        if age.is_none_or(|age| age >= self.wrap_ttl) {
            // The token's own time was over: nobody can tell whether it was used before.
            self.taken.push(accessor);
            return Ok(MISSING);
        }
        while let Some(older) = self.taken.first().cloned() {
            vault.ensure_secret_id_destroyed(&self.spec.name, &older).await.map_err(self.on())?;
            self.taken.remove(0);
            self.tell_destroyed(older);
        }
        self.taken.push(accessor);
        Ok(TAKEN)
    }

    async fn replace(
        &mut self,
        courier: &Courier<'_>,
        role_id: &Secret,
        reason: &'static str,
    ) -> Result<(), ProvisionError> {
        let began = Instant::now();
        // A failure may leave what was made: it is looked for.
        self.looked = false;
        let fresh = courier.turn_over_wrapped(role_id, self.wrap_ttl).await?;
        self.looked = true;
        let accessor = fresh.accessor.clone();
        let delivered = Delivered { token: fresh.token, accessor: fresh.accessor };
        self.current = Some((delivered, began + self.life()));
        self.tell_delivered(accessor, reason, began);
        courier.revoke(fresh.login.client_token).await;
        Ok(())
    }

    fn tell_delivered(&self, accessor: String, reason: &'static str, began: Instant) {
        let (approle, reason) = (self.spec.name.clone(), reason.into());
        let (ttl, took) = (self.spec.secret_id_ttl.as_secs(), began.elapsed());
        self.shared.report.keeper(KeeperEvent::SecretIdDelivered { approle, accessor, reason, ttl, took });
        let now = Timestamp::now();
        let due = self.current.as_ref().map(|(_, due)| due.saturating_duration_since(Instant::now()));
        let after = |wait: Duration| now.checked_add(SignedDuration::try_from(wait).ok()?).ok();
        let next_at = due.and_then(after);
        let mut record = self.shared.record();
        let entry = record.approles.entry(self.spec.name.clone()).or_default();
        entry.deliveries += 1;
        entry.delivered_at = Some(now);
        // It is due when half of its life is over.
        (entry.next_at, entry.expires_at) = (next_at, due.and_then(|due| after(due + self.life())));
    }

    fn tell_destroyed(&self, accessor: String) {
        let (approle, reason) = (self.spec.name.clone(), "predecessor".into());
        self.shared.report.keeper(KeeperEvent::SecretIdDestroyed { approle, accessor, reason });
    }

    fn failed(&mut self, error: &ProvisionError) -> Duration {
        self.compared_at = None;
        self.failures.add(self.shared, self.spec, self.files, self.wrap_ttl, error)
    }
}
