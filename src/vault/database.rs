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

impl Client {
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
