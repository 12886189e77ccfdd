//! `sys/`: init, seal, health, mounts, audit, policies.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::transport::Method;
use super::{Client, VaultError};
use crate::secret::Secret;

/// `sys/seal-status`.
#[derive(Debug, Clone, Deserialize)]
pub struct SealStatus {
    /// Whether `sys/init` was done.
    pub initialized: bool,
    /// Whether unseal keys are needed.
    pub sealed: bool,
    /// Key shares needed.
    pub t: u8,
    /// Key shares made.
    pub n: u8,
    /// Key shares given so far.
    pub progress: u8,
    /// The server's version.
    #[serde(default)]
    pub version: String,
}

/// `sys/health`: the body; the status says the same.
#[derive(Debug, Clone, Deserialize)]
pub struct Health {
    /// Whether `sys/init` was done.
    pub initialized: bool,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Whether another node is active.
    pub standby: bool,
    /// The server's version.
    pub version: String,
}

/// What `sys/init` gives once and never again.
#[derive(Debug, Deserialize)]
pub struct InitKeys {
    /// Key shares, hex.
    pub keys: Vec<Secret>,
    /// The first root token.
    pub root_token: Secret,
}

/// One row of `sys/mounts` or `sys/auth`.
#[derive(Debug, Clone, Deserialize)]
pub struct Mount {
    /// `database`, `kv`, `approle` …
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    config: MountConfig,
    /// Older ones than Vault 1.12 do not tell it.
    #[serde(default)]
    running_plugin_version: Option<String>,
}

impl Mount {
    /// Whether a user with some failed logins is refused for a while, with good ones too: since Vault 1.13.
    pub fn locks_out(&self) -> bool {
        self.running_plugin_version.is_some()
            && !self.config.user_lockout_config.as_ref().is_some_and(|config| config.disabled)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
struct MountConfig {
    user_lockout_config: Option<LockoutConfig>,
}

#[derive(Debug, Clone, Deserialize)]
struct LockoutConfig {
    /// Lists call it otherwise than it is called when it is written.
    #[serde(default, rename = "user_lockout_disable", alias = "lockout_disable")]
    disabled: bool,
}

/// One row of `sys/audit`.
#[derive(Debug, Clone, Deserialize)]
pub struct AuditDevice {
    /// `file`, `socket`, `syslog`.
    #[serde(rename = "type")]
    pub kind: String,
    /// As given when it was enabled.
    #[serde(default)]
    pub options: BTreeMap<String, Value>,
}

impl Client {
    /// GET `sys/seal-status`; needs no token.
    pub async fn seal_status(&self) -> Result<SealStatus, VaultError> {
        self.get("sys/seal-status").await?.parse()
    }

    /// GET `sys/health`, whatever the status.
    pub async fn health(&self) -> Result<Health, VaultError> {
        self.raw(Method::GET, "sys/health", None).await?.parse()
    }

    /// PUT `sys/init`. The keys exist only in this answer.
    pub async fn init(&self, shares: u8, threshold: u8) -> Result<InitKeys, VaultError> {
        let body = json!({ "secret_shares": shares, "secret_threshold": threshold });
        self.send(Method::PUT, "sys/init", Some(&body)).await?.parse()
    }

    /// PUT `sys/unseal` with one key share (hex or base64). A wrong share is noticed only at the
    /// threshold, with a 400.
    pub async fn unseal(&self, key: &Secret) -> Result<SealStatus, VaultError> {
        self.send(Method::PUT, "sys/unseal", Some(&json!({ "key": key.expose() }))).await?.parse()
    }

    /// PUT `sys/seal`: Vault answers nothing but its status until it is unsealed.
    pub async fn seal(&self) -> Result<(), VaultError> {
        self.send(Method::PUT, "sys/seal", None).await.map(drop)
    }

    /// PUT `sys/unseal` that forgets the key shares given so far.
    pub async fn reset_unseal(&self) -> Result<SealStatus, VaultError> {
        self.send(Method::PUT, "sys/unseal", Some(&json!({ "reset": true }))).await?.parse()
    }

    /// The secrets engines, by path with its `/`.
    pub async fn mounts(&self) -> Result<BTreeMap<String, Mount>, VaultError> {
        self.get("sys/mounts").await?.member("data")
    }

    /// Mounts a secrets engine.
    pub async fn enable_engine(&self, path: &str, kind: &str, description: &str) -> Result<(), VaultError> {
        let body = json!({ "type": kind, "description": description });
        self.post(&format!("sys/mounts/{path}"), &body).await.map(drop)
    }

    /// The auth methods, by path with its `/`.
    pub async fn auth_methods(&self) -> Result<BTreeMap<String, Mount>, VaultError> {
        self.get("sys/auth").await?.member("data")
    }

    /// Enables an auth method.
    pub async fn enable_auth(&self, path: &str, kind: &str, description: &str) -> Result<(), VaultError> {
        let body = json!({ "type": kind, "description": description });
        self.post(&format!("sys/auth/{path}"), &body).await.map(drop)
    }

    /// Has an auth method let in whoever has a good credential, whatever was tried before.
    pub async fn switch_off_lockout(&self, path: &str) -> Result<(), VaultError> {
        let body = json!({ "user_lockout_config": { "lockout_disable": true } });
        self.post(&format!("sys/auth/{path}/tune"), &body).await.map(drop)
    }

    /// The audit devices, by path with its `/`.
    pub async fn audit_devices(&self) -> Result<BTreeMap<String, AuditDevice>, VaultError> {
        self.get("sys/audit").await?.member("data")
    }

    /// Enables an audit device of type `file`. OpenBao refuses this (400) since 2.3.2: there the
    /// device is declared in the server's configuration.
    pub async fn enable_file_audit(&self, path: &str, file: &str) -> Result<(), VaultError> {
        let body = json!({ "type": "file", "options": { "file_path": file } });
        self.send(Method::PUT, &format!("sys/audit/{path}"), Some(&body)).await.map(drop)
    }

    /// A policy's text.
    pub async fn policy(&self, name: &str) -> Result<Option<String>, VaultError> {
        #[derive(Deserialize)]
        struct Policy {
            policy: String,
        }
        Ok(self.find::<Policy>(&format!("sys/policies/acl/{name}"), &[]).await?.map(|p| p.policy))
    }

    /// Writes a policy.
    pub async fn write_policy(&self, name: &str, text: &str) -> Result<(), VaultError> {
        self.post(&format!("sys/policies/acl/{name}"), &json!({ "policy": text })).await.map(drop)
    }

    /// What the client's token may do on `path`.
    pub async fn capabilities(&self, path: &str) -> Result<Vec<String>, VaultError> {
        #[derive(Deserialize)]
        struct Capabilities {
            capabilities: Vec<String>,
        }
        let answer = self.post("sys/capabilities-self", &json!({ "paths": [path] })).await?;
        Ok(answer.member::<Capabilities>("data")?.capabilities)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_vault_that_knows_of_lockout_is_asked_to_switch_it_off() {
        let locks_out = |row: Value| serde_json::from_value::<Mount>(row).unwrap().locks_out();
        let off = json!({ "user_lockout_config": { "user_lockout_disable": true } });
        assert!(locks_out(json!({ "type": "approle", "running_plugin_version": "v1.19.3+builtin.vault" })));
        assert!(!locks_out(json!({ "type": "approle", "running_plugin_version": "", "config": off })));
        assert!(!locks_out(json!({ "type": "approle" })), "Vault 1.10");
    }
}
