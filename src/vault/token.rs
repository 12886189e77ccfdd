//! `auth/token/`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{Client, VaultError};
use crate::secret::Secret;

/// A token to be made that depends on no other: it outlives the token that makes it.
#[derive(Debug, Clone)]
pub struct OrphanToken<'a> {
    /// Shown in lookups, audit logs and the names of database accounts, after `token-`.
    pub display_name: &'a str,
    /// Its policies, besides `default`.
    pub policies: &'a [&'a str],
    /// How long it lives unless it is renewed.
    pub life: TokenLife,
}

/// How long a token lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLife {
    /// So long; renewals end at the mount's maximum.
    Ttl(Duration),
    /// So long after every renewal, without an end.
    Periodic(Duration),
}

/// What Vault says of a token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TokenInfo {
    /// Its policies, in their order in Vault.
    pub policies: Vec<String>,
    /// Seconds it has left; 0 when it never ends.
    pub ttl: u64,
    /// Seconds that every renewal gives it; `None` when it is not periodic.
    #[serde(default)]
    pub period: Option<u64>,
}

#[derive(Deserialize)]
struct Auth {
    client_token: Secret,
}

impl Client {
    /// Makes a child of the client's own token, with the same policies. It can be renewed for as
    /// long as the mount's maximum allows, and dies with everything made with it when revoked.
    pub async fn create_token(&self, display_name: &str) -> Result<Secret, VaultError> {
        let answer = self.post("auth/token/create", &json!({ "display_name": display_name })).await?;
        Ok(answer.member::<Auth>("auth")?.client_token)
    }

    /// Makes a token without a parent.
    pub async fn create_orphan_token(&self, wanted: &OrphanToken<'_>) -> Result<Secret, VaultError> {
        let mut body = json!({
            "display_name": wanted.display_name,
            "policies": wanted.policies,
            "no_parent": true,
        });
        match wanted.life {
            TokenLife::Ttl(ttl) => body["ttl"] = format!("{}s", ttl.as_secs()).into(),
            TokenLife::Periodic(period) => body["period"] = format!("{}s", period.as_secs()).into(),
        }
        Ok(self.post("auth/token/create", &body).await?.member::<Auth>("auth")?.client_token)
    }

    /// What Vault says of the client's own token; `None` when it does not accept it.
    pub async fn token_info(&self) -> Result<Option<TokenInfo>, VaultError> {
        match self.get("auth/token/lookup-self").await {
            Ok(answer) => answer.member("data").map(Some),
            Err(error) if error.is_status(403) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the token is one this Vault accepts.
    pub async fn token_is_valid(&self) -> Result<bool, VaultError> {
        Ok(self.token_info().await?.is_some())
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
