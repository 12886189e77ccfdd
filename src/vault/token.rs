//! `auth/token/`.

use serde::Deserialize;
use serde_json::json;

use super::{Client, VaultError};
use crate::secret::Secret;

impl Client {
    /// Makes a child of the client's own token, with the same policies. It can be renewed for as
    /// long as the mount's maximum allows, and dies with everything made with it when revoked.
    pub async fn create_token(&self, display_name: &str) -> Result<Secret, VaultError> {
        #[derive(Deserialize)]
        struct Auth {
            client_token: Secret,
        }
        let answer = self.post("auth/token/create", &json!({ "display_name": display_name })).await?;
        Ok(answer.member::<Auth>("auth")?.client_token)
    }

    /// Seconds the client's own token has left; 0 when it never ends.
    pub async fn token_ttl(&self) -> Result<u64, VaultError> {
        #[derive(Deserialize)]
        struct Lookup {
            ttl: u64,
        }
        Ok(self.get("auth/token/lookup-self").await?.member::<Lookup>("data")?.ttl)
    }

    /// Renews the client's own token by its own TTL. A token that never expires is no error.
    pub async fn renew_self(&self) -> Result<(), VaultError> {
        self.post("auth/token/renew-self", &json!({})).await.map(drop)
    }

    /// Revokes the client's own token, and with it every lease it made.
    pub async fn revoke_self(&self) -> Result<(), VaultError> {
        self.post("auth/token/revoke-self", &json!({})).await.map(drop)
    }
}
