//! Secrets engines and auth methods.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ProvisionError, Step};
use crate::vault::{Client, Mount, VaultError};

/// The database secrets engine at a path.
pub struct EngineStep {
    /// Mount path without `/`.
    pub path: String,
}

/// The AppRole auth method at its usual path. Nobody is locked out: five logins with a secret_id that has
/// ended, by whoever still has it, would refuse a role's good ones for a quarter of an hour.
pub struct AuthStep;

const DESCRIPTION: &str = "made by vaultlab";

fn diff(
    mounts: &BTreeMap<String, Mount>,
    path: &str,
    wanted: &'static str,
) -> Result<Option<Value>, ProvisionError> {
    match mounts.get(&format!("{path}/")) {
        Some(mount) if mount.kind == wanted => Ok(None),
        Some(mount) => {
            Err(ProvisionError::Occupied { path: format!("{path}/"), found: mount.kind.clone(), wanted })
        }
        None => Ok(Some(json!({ "type": wanted }))),
    }
}

impl Step for EngineStep {
    type Actual = BTreeMap<String, Mount>;

    fn what(&self) -> String {
        format!("secrets engine {}/", self.path)
    }

    async fn read(&self, vault: &Client) -> Result<Self::Actual, VaultError> {
        vault.mounts().await
    }

    fn diff(&self, actual: &Self::Actual) -> Result<Option<Value>, ProvisionError> {
        diff(actual, &self.path, "database")
    }

    async fn apply(&self, vault: &Client, _change: &Value) -> Result<(), VaultError> {
        vault.enable_engine(&self.path, "database", DESCRIPTION).await
    }
}

impl Step for AuthStep {
    type Actual = BTreeMap<String, Mount>;

    fn what(&self) -> String {
        "auth method approle/".into()
    }

    async fn read(&self, vault: &Client) -> Result<Self::Actual, VaultError> {
        vault.auth_methods().await
    }

    fn diff(&self, actual: &Self::Actual) -> Result<Option<Value>, ProvisionError> {
        let missing = diff(actual, "approle", "approle")?;
        let locks_out = actual.get("approle/").is_some_and(Mount::locks_out);
        Ok(missing.or_else(|| locks_out.then(|| json!({ "lockout": false }))))
    }

    async fn apply(&self, vault: &Client, change: &Value) -> Result<(), VaultError> {
        if change.get("type").is_some() {
            vault.enable_auth("approle", "approle", DESCRIPTION).await?;
        }
        vault.switch_off_lockout("approle").await
    }
}
