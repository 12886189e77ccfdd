//! Response wrapping: `sys/wrapping/`, and secret_ids that come wrapped.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Client, SecretId, VaultError};
use crate::secret::Secret;

/// A token that stands for an answer of Vault, which it gives once.
#[derive(Debug, Clone, Deserialize)]
pub struct WrappingToken {
    /// The token.
    pub token: Secret,
    /// Seconds it lives.
    pub ttl: u64,
}

/// What Vault says of a wrapping token that was not used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WrappingInfo {
    /// Seconds it lives from its creation on.
    pub creation_ttl: u64,
    /// When it was made, by Vault's clock.
    pub creation_time: jiff::Timestamp,
    /// The request whose answer it stands for.
    pub creation_path: String,
    /// When Vault said so, by its clock.
    #[serde(skip)]
    pub told_at: jiff::Timestamp,
}

impl WrappingInfo {
    /// Seconds it had left when Vault was asked, by Vault's clock.
    pub fn left(&self) -> f64 {
        self.creation_ttl as f64 - self.told_at.duration_since(self.creation_time).as_secs_f64()
    }
}

impl Client {
    /// Generates a secret_id, as [`generate_secret_id`](Self::generate_secret_id) does, and gives a token
    /// that it can be unwrapped with once.
    pub async fn generate_wrapped_secret_id(
        &self,
        role: &str,
        metadata: &Map<String, Value>,
        ttl: Duration,
    ) -> Result<WrappingToken, VaultError> {
        let body = json!({ "metadata": Value::Object(metadata.clone()).to_string() });
        let path = secret_id_path(role);
        self.wrapping(ttl).post(&path, &body).await?.member("wrap_info")
    }

    /// What Vault knows of a wrapping token; `None` when it was used, has ended, or is none.
    pub async fn wrapping_info(&self, token: &Secret) -> Result<Option<WrappingInfo>, VaultError> {
        let body = json!({ "token": token.expose() });
        match self.without_token().post("sys/wrapping/lookup", &body).await {
            Ok(answer) => {
                let told_at = answer.at;
                Ok(Some(WrappingInfo { told_at, ..answer.member("data")? }))
            }
            Err(error) if is_no_token(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Uses a wrapping token up: gives the secret_id it stands for.
    pub async fn unwrap_secret_id(&self, token: &Secret) -> Result<SecretId, VaultError> {
        self.with_token(token.clone()).post("sys/wrapping/unwrap", &json!({})).await?.member("data")
    }

    /// The same where somebody else may have been first: `None` when the token was used or has ended.
    pub async fn try_unwrap_secret_id(&self, token: &Secret) -> Result<Option<SecretId>, VaultError> {
        match self.unwrap_secret_id(token).await {
            Err(error) if is_no_token(&error) => Ok(None),
            result => result.map(Some),
        }
    }
}

/// Whether that is how Vault says that a wrapping token is not, or no longer, good.
fn is_no_token(error: &VaultError) -> bool {
    [400, 403, 404].iter().any(|status| error.is_status(*status))
}

/// The request that makes a secret_id of a role: what a Vault Agent compares a wrapping token with.
pub fn secret_id_path(role: &str) -> String {
    format!("auth/approle/role/{role}/secret-id")
}
