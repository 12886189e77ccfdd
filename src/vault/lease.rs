//! `sys/leases/`.

use serde::Deserialize;
use serde_json::json;

use super::{Client, VaultError};

/// What Vault says of a lease.
#[derive(Debug, Clone, Deserialize)]
pub struct LeaseInfo {
    /// Its id.
    pub id: String,
    /// When it was issued.
    pub issue_time: jiff::Timestamp,
    /// When it ends, if it does.
    #[serde(default)]
    pub expire_time: Option<jiff::Timestamp>,
    /// Seconds it has left; negative when it has ended and could not be revoked.
    pub ttl: i64,
}

impl Client {
    /// The ids of the leases below a prefix that has no further levels. Needs sudo.
    pub async fn leases_below(&self, prefix: &str) -> Result<Vec<String>, VaultError> {
        let ids = self.list(&format!("sys/leases/lookup/{prefix}/")).await?;
        Ok(ids.into_iter().map(|id| format!("{prefix}/{id}")).collect())
    }

    /// What Vault knows of a lease; `None` when it does not know it (any more).
    pub async fn lease(&self, lease_id: &str) -> Result<Option<LeaseInfo>, VaultError> {
        match self.post("sys/leases/lookup", &json!({ "lease_id": lease_id })).await {
            Ok(answer) => answer.member("data").map(Some),
            Err(error) if error.is_status(400) || error.is_status(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The hash that a text has in the log of an audit device.
    pub async fn audit_hash(&self, device: &str, text: &str) -> Result<String, VaultError> {
        #[derive(Deserialize)]
        struct Hash {
            hash: String,
        }
        let answer = self.post(&format!("sys/audit-hash/{device}"), &json!({ "input": text })).await?;
        Ok(answer.member::<Hash>("data")?.hash)
    }

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
