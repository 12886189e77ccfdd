//! Taking secrets back, with retries.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::RngExt;

use super::StoredLease;
use crate::core::active::Active;
use crate::logical::Error;

/// Longest a backend may take for one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(90);

/// The failed attempt that makes a lease irrevocable.
pub(super) const MAX_ATTEMPTS: u32 = 6;

/// Unit of the delay between attempts.
const RETRY_BASE: Duration = Duration::from_secs(10);

impl Active {
    /// One attempt at the backend.
    ///
    /// # Errors
    /// The backend's, or that it took too long or there is none.
    pub(super) async fn revoke_at_backend(&self, id: &str, lease: &StoredLease) -> Result<(), Error> {
        let (backend, path) = self
            .lease_backend(lease)
            .ok_or_else(|| Error::internal(format!("no mount serves the lease's path {:?}", lease.path)))?;
        let view = lease.for_backend(id, &path, Duration::ZERO);
        match tokio::time::timeout(ATTEMPT_TIMEOUT, backend.revoke(&view)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::internal("the backend did not answer in time")),
        }
    }

    /// Revokes a lease now. Unknown is fine. With `force` the backend's failure is ignored and the
    /// lease removed all the same.
    ///
    /// # Errors
    /// The backend's; the lease then lives on to its end.
    pub async fn revoke_lease(&self, id: &str, force: bool) -> Result<(), Error> {
        // Should this request be dropped on the way, the worker takes over.
        self.index().end_lease(id, Timestamp::now() + ATTEMPT_TIMEOUT);
        self.attempt(id, force).await.map_err(|error| {
            self.revive(id);
            Error::bad_request(format!("failed to revoke entry: resp: (*logical.Response)(nil) err: {error}"))
        })
    }

    /// Gives a lease whose revocation was asked for and failed the rest of its life back.
    fn revive(&self, id: &str) {
        if let Ok(Some(lease)) = self.load_lease(id)
            && lease.irrevocable.is_none()
        {
            self.index().revive_lease(id, lease.expires);
            self.reschedule();
        }
    }

    async fn attempt(&self, id: &str, force: bool) -> Result<(), Error> {
        let Some(lease) = self.load_lease(id)? else {
            self.index().remove_lease(id);
            return Ok(());
        };
        match self.revoke_at_backend(id, &lease).await {
            Ok(()) => {}
            Err(error) if force => {
                tracing::warn!(lease_id = id, %error, "revocation failed and is ignored as asked");
            }
            Err(error) => return Err(error),
        }
        self.leases().delete(id).await?;
        self.index().remove_lease(id);
        Ok(())
    }

    /// One attempt by the worker; failures are retried or given up.
    pub(super) async fn expire_lease(self: &Arc<Self>, id: &str) {
        let outcome = self.attempt(id, false).await;
        if outcome.is_err() && !*self.closing.borrow() {
            self.after_failure(id, &outcome).await;
        }
    }

    async fn after_failure(&self, id: &str, outcome: &Result<(), Error>) {
        let Err(error) = outcome else {
            return;
        };
        let attempts = self.index().lease_failed(id);
        if attempts >= MAX_ATTEMPTS {
            tracing::error!(lease_id = id, %error, "lease is irrevocable: maximum revoke attempts reached");
            self.index().give_up(id);
            if let Err(error) = self.mark_irrevocable(id, &error.to_string()).await {
                tracing::error!(lease_id = id, %error, "irrevocable lease could not be stored");
            }
            return;
        }
        let delay = retry_delay(attempts);
        tracing::warn!(lease_id = id, attempts, ?delay, %error, "failed to revoke lease; will retry");
        self.index().retry_lease(id, Timestamp::now() + delay);
        self.reschedule();
    }

    async fn mark_irrevocable(&self, id: &str, cause: &str) -> Result<(), Error> {
        if let Some(mut lease) = self.load_lease(id)? {
            lease.irrevocable = Some(cause.to_owned());
            self.leases().put_json(id, &lease).await?;
        }
        Ok(())
    }

    /// Revokes all leases below a prefix now, one after the other.
    ///
    /// # Errors
    /// The first failure; with `force` none.
    pub async fn revoke_prefix(&self, prefix: &str, force: bool) -> Result<(), Error> {
        let ids: Vec<Arc<str>> = self.index().leases_below(prefix).map(|(id, _)| Arc::clone(id)).collect();
        for id in ids {
            self.revoke_lease(&id, force).await?;
        }
        for key in self.tokens_below(prefix)? {
            self.revoke_token_tree(&key).await?;
        }
        Ok(())
    }
}

/// Vault's delay before the next attempt: 2ⁿ · 10 s, ±50 %.
fn retry_delay(attempts: u32) -> Duration {
    let spread = rand::rng().random_range(0.5..1.5);
    (RETRY_BASE * 2_u32.pow(attempts)).mul_f64(spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_spread() {
        for attempts in 1..MAX_ATTEMPTS {
            let middle = RETRY_BASE * 2_u32.pow(attempts);
            for _ in 0..20 {
                let delay = retry_delay(attempts);
                assert!(delay >= middle / 2 && delay <= middle * 3 / 2, "{delay:?}");
            }
        }
    }
}
