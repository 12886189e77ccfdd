//! `database/`: connections, roles, credentials, root rotation.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Client, VaultError};
use crate::secret::Secret;

/// A dynamic credential and its lease.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The database account.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// The lease; revoking it drops the account.
    pub lease_id: String,
    /// Seconds it is valid.
    pub lease_duration: u64,
}

/// The credential of a static role; it has no lease.
#[derive(Debug, Clone, Deserialize)]
pub struct StaticCredential {
    /// The database account.
    pub username: String,
    /// Its password, until the next rotation.
    pub password: Secret,
    /// Seconds until then; zero while it is due.
    pub ttl: u64,
    /// Seconds between two rotations.
    pub rotation_period: u64,
    /// When Vault set the password, by its own clock.
    pub last_vault_rotation: jiff::Timestamp,
}

impl Client {
    /// The names of the static roles below a mount.
    pub async fn static_roles(&self, mount: &str) -> Result<Vec<String>, VaultError> {
        self.list(&format!("{mount}/static-roles")).await
    }

    /// A static role's settings; `None` when there is no such static role.
    pub async fn static_role(
        &self,
        mount: &str,
        name: &str,
    ) -> Result<Option<Map<String, Value>>, VaultError> {
        self.find(&format!("{mount}/static-roles/{name}"), &[]).await
    }

    /// Writes a static role. A new one has Vault replace the account's password at once.
    pub async fn write_static_role(
        &self,
        mount: &str,
        name: &str,
        settings: &Value,
    ) -> Result<(), VaultError> {
        self.post(&format!("{mount}/static-roles/{name}"), settings).await.map(drop)
    }

    /// The account and password of a static role.
    pub async fn static_credential(&self, mount: &str, name: &str) -> Result<StaticCredential, VaultError> {
        self.get(&format!("{mount}/static-creds/{name}")).await?.member("data")
    }

    /// Has Vault replace the password of a static role now.
    pub async fn rotate_static_role(&self, mount: &str, name: &str) -> Result<(), VaultError> {
        self.post(&format!("{mount}/rotate-role/{name}"), &json!({})).await.map(drop)
    }

    /// A connection's settings, without its password; `None` when there is no such connection.
    pub async fn database_config(
        &self,
        mount: &str,
        name: &str,
    ) -> Result<Option<Map<String, Value>>, VaultError> {
        self.find(&format!("{mount}/config/{name}"), &[]).await
    }

    /// Writes a connection; Vault connects to the database first unless told not to. Settings
    /// left out keep their value, the password among them.
    pub async fn write_database_config(
        &self,
        mount: &str,
        name: &str,
        settings: &Value,
    ) -> Result<(), VaultError> {
        self.post(&format!("{mount}/config/{name}"), settings).await.map(drop)
    }

    /// The names of the dynamic roles below a mount.
    pub async fn database_roles(&self, mount: &str) -> Result<Vec<String>, VaultError> {
        self.list(&format!("{mount}/roles")).await
    }

    /// A role's settings; `None` when there is no such role.
    pub async fn database_role(
        &self,
        mount: &str,
        name: &str,
    ) -> Result<Option<Map<String, Value>>, VaultError> {
        self.find(&format!("{mount}/roles/{name}"), &[]).await
    }

    /// Writes a role. Vault does not run its statements until a credential is asked for.
    pub async fn write_database_role(
        &self,
        mount: &str,
        name: &str,
        settings: &Value,
    ) -> Result<(), VaultError> {
        self.post(&format!("{mount}/roles/{name}"), settings).await.map(drop)
    }

    /// Has Vault close its connections and log in to the database anew.
    pub async fn reset_connection(&self, mount: &str, name: &str) -> Result<(), VaultError> {
        self.post(&format!("{mount}/reset/{name}"), &json!({})).await.map(drop)
    }

    /// Replaces the connection's password by one that only Vault knows.
    pub async fn rotate_root(&self, mount: &str, name: &str) -> Result<(), VaultError> {
        self.post(&format!("{mount}/rotate-root/{name}"), &json!({})).await.map(drop)
    }

    /// Asks for whatever credential is at a path; gives its lease, if it has one.
    pub async fn read_credential(&self, path: &str) -> Result<Option<String>, VaultError> {
        #[derive(Deserialize)]
        struct Envelope {
            #[serde(default)]
            lease_id: String,
        }
        let Envelope { lease_id } = self.get(path).await?.parse()?;
        Ok(Some(lease_id).filter(|id| !id.is_empty()))
    }

    /// Makes a credential.
    pub async fn credential(&self, mount: &str, role: &str) -> Result<Credential, VaultError> {
        #[derive(Deserialize)]
        struct Envelope {
            lease_id: String,
            lease_duration: u64,
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            username: String,
            password: Secret,
        }
        let Envelope { lease_id, lease_duration, data } =
            self.get(&format!("{mount}/creds/{role}")).await?.parse()?;
        Ok(Credential { username: data.username, password: data.password, lease_id, lease_duration })
    }
}
