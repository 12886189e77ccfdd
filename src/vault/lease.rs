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
