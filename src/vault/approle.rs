//! `auth/approle/`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::transport::Answer;
use super::{Client, VaultError};
use crate::secret::Secret;

/// What an application logs in with.
#[derive(Debug, Clone)]
pub struct AppRolePair {
    /// Names the role; not secret by itself, but half of a login.
    pub role_id: Secret,
    /// The other half.
    pub secret_id: Secret,
}

/// A freshly generated secret_id.
#[derive(Debug, Clone, Deserialize)]
pub struct SecretId {
    /// The secret_id.
    pub secret_id: Secret,
    /// Names it without giving it away.
    pub secret_id_accessor: String,
    /// Seconds it is valid; 0 is for ever.
    #[serde(default)]
    pub secret_id_ttl: u64,
    /// Logins it allows; 0 is any number.
    #[serde(default)]
    pub secret_id_num_uses: u64,
}

/// What Vault says of a secret_id it knows.
#[derive(Debug, Clone, Deserialize)]
pub struct SecretIdInfo {
    /// Names it.
    pub secret_id_accessor: String,
    /// RFC 3339, by Vault's clock.
    #[serde(default)]
    pub creation_time: String,
    /// RFC 3339; Go's zero time (year 1) when it never expires.
    pub expiration_time: String,
    /// As given at creation; 0 is for ever.
    pub secret_id_ttl: u64,
    /// Logins it allows; 0 is any number.
    pub secret_id_num_uses: u64,
    /// As given at creation.
    #[serde(default)]
    pub metadata: Option<Map<String, Value>>,
    /// When Vault said so, by its clock.
    #[serde(skip)]
    pub told_at: Timestamp,
}

impl SecretIdInfo {
    /// How old it was when Vault was asked, by Vault's clock; `None` where Vault does not tell.
    pub fn age(&self) -> Option<Duration> {
        let made: Timestamp = self.creation_time.parse().ok()?;
        Some(Duration::try_from(self.told_at.duration_since(made)).unwrap_or_default())
    }

    /// What Vault would say of one it has just made.
    pub(crate) fn made_now(accessor: &str, ttl: u64, num_uses: u32) -> Self {
        let now = Timestamp::now();
        let end = now.checked_add(SignedDuration::from_secs(ttl.cast_signed())).ok();
        let expiration = end.filter(|_| ttl > 0).map(|end| end.to_string());
        Self {
            secret_id_accessor: accessor.into(),
            creation_time: now.to_string(),
            expiration_time: expiration.unwrap_or_default(),
            secret_id_ttl: ttl,
            secret_id_num_uses: num_uses.into(),
            metadata: None,
            told_at: now,
        }
    }

    /// Seconds it had left when Vault was asked, by Vault's clock; `None` when it never expires.
    pub fn left(&self) -> Option<f64> {
        let expires: Timestamp = self.expiration_time.parse().ok()?;
        (expires > Timestamp::UNIX_EPOCH).then(|| expires.duration_since(self.told_at).as_secs_f64())
    }
}

/// A login's result.
#[derive(Debug, Clone, Deserialize)]
pub struct AppRoleLogin {
    /// The token.
    pub client_token: Secret,
    /// Names it.
    pub accessor: String,
    /// Seconds it is valid.
    pub lease_duration: u64,
    /// The policies it has.
    pub policies: Vec<String>,
}

impl Client {
    /// A role's settings; `None` when there is no such role.
    pub async fn approle(&self, role: &str) -> Result<Option<Map<String, Value>>, VaultError> {
        self.find(&format!("auth/approle/role/{role}"), &[]).await
    }

    /// Writes a role's settings.
    pub async fn write_approle(&self, role: &str, settings: &Value) -> Result<(), VaultError> {
        self.post(&format!("auth/approle/role/{role}"), settings).await.map(drop)
    }

    /// A role's role_id.
    pub async fn role_id(&self, role: &str) -> Result<Secret, VaultError> {
        #[derive(Deserialize)]
        struct RoleId {
            role_id: Secret,
        }
        let answer = self.get(&format!("auth/approle/role/{role}/role-id")).await?;
        Ok(answer.member::<RoleId>("data")?.role_id)
    }

    /// Generates a secret_id. `metadata` marks whose it is; Vault copies it to the tokens made with it.
    pub async fn generate_secret_id(
        &self,
        role: &str,
        metadata: &Map<String, Value>,
    ) -> Result<SecretId, VaultError> {
        // Vault takes the metadata as a JSON *string*.
        let body = json!({ "metadata": Value::Object(metadata.clone()).to_string() });
        self.post(&format!("auth/approle/role/{role}/secret-id"), &body).await?.member("data")
    }

    /// What Vault knows of a secret_id; `None` (its answer is a 204) when it does not know it.
    pub async fn lookup_secret_id(
        &self,
        role: &str,
        secret_id: &Secret,
    ) -> Result<Option<SecretIdInfo>, VaultError> {
        let body = json!({ "secret_id": secret_id.expose() });
        let answer = self.post(&format!("auth/approle/role/{role}/secret-id/lookup"), &body).await?;
        if answer.status == 204 { Ok(None) } else { told(answer).map(Some) }
    }

    /// The accessors of a role's secret_ids.
    pub async fn secret_id_accessors(&self, role: &str) -> Result<Vec<String>, VaultError> {
        self.list(&format!("auth/approle/role/{role}/secret-id")).await
    }

    /// What Vault knows of the secret_id with this accessor. An unknown one is a 404 or, in older
    /// versions, a 500; of one that has expired and is still listed it says nothing (204).
    pub async fn lookup_secret_id_accessor(
        &self,
        role: &str,
        accessor: &str,
    ) -> Result<Option<SecretIdInfo>, VaultError> {
        let path = format!("auth/approle/role/{role}/secret-id-accessor/lookup");
        match self.post(&path, &json!({ "secret_id_accessor": accessor })).await {
            Ok(answer) if answer.status == 204 => Ok(None),
            Ok(answer) => told(answer).map(Some),
            Err(error) if is_unknown_accessor(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// [`destroy_secret_id_accessor`](Self::destroy_secret_id_accessor), where one that is gone already
    /// is no error.
    pub async fn ensure_secret_id_destroyed(&self, role: &str, accessor: &str) -> Result<(), VaultError> {
        match self.destroy_secret_id_accessor(role, accessor).await {
            Err(error) if is_unknown_accessor(&error) => Ok(()),
            result => result,
        }
    }

    /// Destroys the secret_id with this accessor.
    pub async fn destroy_secret_id_accessor(&self, role: &str, accessor: &str) -> Result<(), VaultError> {
        let path = format!("auth/approle/role/{role}/secret-id-accessor/destroy");
        self.post(&path, &json!({ "secret_id_accessor": accessor })).await.map(drop)
    }

    /// Logs in. The token of this client, if any, is not used.
    pub async fn login_approle(&self, pair: &AppRolePair) -> Result<AppRoleLogin, VaultError> {
        let body = json!({ "role_id": pair.role_id.expose(), "secret_id": pair.secret_id.expose() });
        self.post("auth/approle/login", &body).await?.member("auth")
    }
}

fn told(answer: Answer) -> Result<SecretIdInfo, VaultError> {
    let told_at = answer.at;
    Ok(SecretIdInfo { told_at, ..answer.member("data")? })
}

/// Whether Vault has no secret_id with that accessor: a 404 or, in older versions and when one is to be
/// destroyed, a 500 that says so. Any other 500 tells nothing of the secret_id.
fn is_unknown_accessor(error: &VaultError) -> bool {
    match error {
        VaultError::Refused { status: 404, .. } => true,
        VaultError::Refused { status: 500, errors, .. } => errors.iter().any(|e| e.contains("accessor")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_goes_by_vaults_clock_and_go_s_zero_time_means_never() {
        let mut info = SecretIdInfo {
            secret_id_accessor: "a".into(),
            creation_time: "2026-01-02T03:04:05.678901234Z".into(),
            expiration_time: "0001-01-01T00:00:00Z".into(),
            secret_id_ttl: 0,
            secret_id_num_uses: 0,
            metadata: None,
            told_at: "2026-01-02T03:04:10.678901234Z".parse().unwrap(),
        };
        assert_eq!((info.left(), info.age()), (None, Some(Duration::from_secs(5))));
        info.expiration_time = "2026-01-02T03:05:35.678901234Z".into();
        assert_eq!(info.left(), Some(85.0), "whatever this host's clock shows");
    }
}
