//! One AppRole whose secret_id is delivered wrapped: replaced once it was taken, and before its token ends.
//!
//! There are at most three live secret_ids: what is in the file, what was taken last, and for a while what
//! was replaced last.

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

/// How long one that was replaced lives on for those who took it just before, unless its life is short.
const GRACE: Duration = Duration::from_secs(5);

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
        taken: None,
        former: Vec::new(),
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
    /// Whether what an earlier keeper left was looked for.
    looked: bool,
    /// When files and Vault were compared, if nothing is known to have changed either since.
    compared_at: Option<Instant>,
    current: Option<Current>,
    /// What was unwrapped last: somebody logs in with it.
    taken: Option<String>,
    /// What is to be destroyed, and since when.
    former: Vec<(String, Instant, &'static str)>,
    failures: Failures,
}

/// What is in the file.
struct Current {
    token: Secret,
    accessor: String,
    due: Instant,
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
        let (Some(current), Some(compared_at)) = (&self.current, self.compared_at) else { return Ok(false) };
        let now = Instant::now();
        if current.due <= now || compared_at + COMPARE <= now || !self.former.is_empty() {
            return Ok(false);
        }
        Ok(vault.wrapping_info(&current.token).await.map_err(self.on())?.is_some())
    }

    /// Compares the files with what Vault knows, and does what is to be done.
    async fn compare(&mut self, vault: &Client) -> Result<(), ProvisionError> {
        let courier = Courier::begin(vault, self.spec, &self.shared.dir).await?;
        let (role_id, _) = courier.ensure_role_id().await?;
        // Before they are read: whatever is written from here on is another change.
        self.files.see();
        if !self.looked {
            self.look(&courier).await?;
        }
        let in_file = courier.wrapped().await?;
        let due = match (&self.current, in_file) {
            (Some(current), Some((token, _))) if token == current.token => {
                (current.due <= Instant::now()).then_some(Due::Old)
            }
            // Somebody else delivered: `up`.
            (_, Some(_)) => {
                self.look(&courier).await?;
                None
            }
            (Some(current), None) => {
                let live = vault.wrapping_info(&current.token).await.map_err(self.on())?;
                Some(if live.is_some() { Due::Missing } else { Due::Taken })
            }
            (None, None) => Some(Due::Missing),
        };
        if let Some(due) = due {
            // What is replaced now is the one that may live on for a while.
            self.destroy_former(vault, Duration::ZERO).await?;
            self.replace(&courier, &role_id, due).await?;
        }
        drop(courier);
        let grace = match self.spec.secret_id_ttl {
            Duration::ZERO => GRACE,
            ttl => GRACE.min(ttl / 4),
        };
        self.destroy_former(vault, grace).await?;
        self.failures.end(self.shared, self.spec);
        Ok(())
    }

    /// Finds out what there is: which secret_id is in the file, which was taken from it before, and what
    /// nobody can have.
    async fn look(&mut self, courier: &Courier<'_>) -> Result<(), ProvisionError> {
        let in_file = courier.wrapped().await?;
        let mut ours = courier.ours().await.map_err(self.on())?;
        ours.sort_by_key(SecretIdInfo::age);
        let inside = in_file.as_ref().and_then(|(_, info)| courier.inside(info, &ours)).cloned();
        self.current = in_file.zip(inside.as_ref()).map(|((token, info), inside)| {
            let gone = Duration::try_from_secs_f64(info.creation_ttl as f64 - info.left());
            let left = self.life().saturating_sub(gone.unwrap_or_default());
            Current { token, accessor: inside.secret_id_accessor.clone(), due: Instant::now() + left }
        });
        let inside = inside.map(|inside| inside.secret_id_accessor);
        let others = ours.into_iter().map(|info| info.secret_id_accessor);
        let mut others = others.filter(|accessor| Some(accessor) != inside.as_ref());
        // The youngest may be in use.
        self.taken = others.next();
        self.former = others.map(|accessor| (accessor, Instant::now(), "orphan")).collect();
        self.looked = true;
        Ok(())
    }

    async fn replace(
        &mut self,
        courier: &Courier<'_>,
        role_id: &Secret,
        due: Due,
    ) -> Result<(), ProvisionError> {
        let began = Instant::now();
        // A failure may leave what was made: it is looked for.
        self.looked = false;
        let fresh = courier.turn_over_wrapped(role_id, self.wrap_ttl).await?;
        self.looked = true;
        let former = match (self.current.take(), due) {
            (Some(current), Due::Taken) => self.taken.replace(current.accessor),
            (current, _) => current.map(|current| current.accessor),
        };
        self.former.extend(former.map(|accessor| (accessor, Instant::now(), "predecessor")));
        let courier_token = fresh.login.client_token;
        let accessor = fresh.accessor.clone();
        self.current =
            Some(Current { token: fresh.token, accessor: fresh.accessor, due: began + self.life() });
        self.shared.report.keeper(KeeperEvent::SecretIdDelivered {
            approle: self.spec.name.clone(),
            accessor,
            reason: due.reason().into(),
            ttl: self.spec.secret_id_ttl.as_secs(),
            took: began.elapsed(),
        });
        let after = |wait: Duration| {
            Timestamp::now().checked_add(SignedDuration::try_from(wait).unwrap_or_default()).ok()
        };
        {
            let mut record = self.shared.record();
            let entry = record.approles.entry(self.spec.name.clone()).or_default();
            entry.delivered_at = Some(Timestamp::now());
            entry.deliveries += 1;
            (entry.expires_at, entry.next_at) = (after(self.wrap_ttl), after(self.life()));
        }
        courier.revoke(courier_token).await;
        Ok(())
    }

    /// Destroys those whose grace is over.
    async fn destroy_former(&mut self, vault: &Client, grace: Duration) -> Result<(), ProvisionError> {
        while let Some((accessor, since, reason)) = self.former.first().cloned() {
            if since.elapsed() < grace && reason != "orphan" {
                return Ok(());
            }
            vault.ensure_secret_id_destroyed(&self.spec.name, &accessor).await.map_err(self.on())?;
            self.former.remove(0);
            let (approle, reason) = (self.spec.name.clone(), reason.into());
            self.shared.report.keeper(KeeperEvent::SecretIdDestroyed { approle, accessor, reason });
        }
        Ok(())
    }

    fn failed(&mut self, error: &ProvisionError) -> Duration {
        self.compared_at = None;
        self.failures.add(self.shared, self.spec, self.files, self.wrap_ttl, error)
    }
}

/// Why a successor is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Old,
    Taken,
    Missing,
}

impl Due {
    fn reason(self) -> &'static str {
        match self {
            Self::Old => "the end of its wrapping token was near",
            Self::Taken => "it was unwrapped",
            Self::Missing => "its file held no good wrapping token",
        }
    }
}
