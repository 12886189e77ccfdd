//! `sys/leases/`.

use serde::Deserialize;
use serde_json::json;

use super::{Client, VaultError};

impl Client {
    /// Revokes a lease and waits until it is done in the database. Unknown leases are no error.
    pub async fn revoke_lease(&self, lease_id: &str) -> Result<(), VaultError> {
        let body = json!({ "lease_id": lease_id, "sync": true });
        self.post("sys/leases/revoke", &body).await.map(drop)
    }

    /// Revokes every lease below a prefix and waits until it is done in the database. Needs sudo.
    ///
    /// # Errors
    /// When one of them cannot be revoked; Vault goes on trying.
    pub async fn revoke_leases_below(&self, prefix: &str) -> Result<(), VaultError> {
        self.post(&format!("sys/leases/revoke-prefix/{prefix}"), &json!({ "sync": true })).await.map(drop)
    }

    /// Renews a lease to end `increment` seconds from now (sooner than before, if that is less), or
    /// by its own TTL for `None`; gives the seconds it has now.
    pub async fn renew_lease(&self, lease_id: &str, increment: Option<u64>) -> Result<u64, VaultError> {
        #[derive(Deserialize)]
        struct Envelope {
            lease_duration: u64,
        }
        let body = match increment {
            Some(seconds) => json!({ "lease_id": lease_id, "increment": seconds }),
            None => json!({ "lease_id": lease_id }),
        };
        let answer = self.post("sys/leases/renew", &body).await?;
        Ok(answer.parse::<Envelope>()?.lease_duration)
    }

    /// Seconds a lease has left; `None` when Vault does not know it (any more).
    pub async fn lease_ttl(&self, lease_id: &str) -> Result<Option<u64>, VaultError> {
        #[derive(Deserialize)]
        struct Lease {
            ttl: i64,
        }
        let answer = match self.post("sys/leases/lookup", &json!({ "lease_id": lease_id })).await {
            Ok(answer) => answer,
            Err(error) if error.is_status(400) || error.is_status(404) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(u64::try_from(answer.member::<Lease>("data")?.ttl).unwrap_or(0)))
    }
}
