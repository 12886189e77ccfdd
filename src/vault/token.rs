//! `auth/token/`.

use serde_json::json;

use super::{Client, VaultError};

impl Client {
    /// Revokes the client's own token, and with it every lease it made.
    pub async fn revoke_self(&self) -> Result<(), VaultError> {
        self.post("auth/token/revoke-self", &json!({})).await.map(drop)
    }
}
