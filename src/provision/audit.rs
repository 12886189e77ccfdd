//! The file audit device.

use serde_json::{Value, json};

use super::{ProvisionError, Step};
use crate::vault::{AuditDevice, Client, VaultError};

/// The audit device at `sys/audit/<path>`.
pub struct AuditStep {
    /// Mount path without `/`.
    pub path: String,
    /// The log file as Vault sees it.
    pub file: String,
}

impl Step for AuditStep {
    type Actual = Option<AuditDevice>;

    fn what(&self) -> String {
        format!("audit device {}", self.path)
    }

    async fn read(&self, vault: &Client) -> Result<Self::Actual, VaultError> {
        Ok(vault.audit_devices().await?.remove(&format!("{}/", self.path)))
    }

    fn diff(&self, actual: &Self::Actual) -> Result<Option<Value>, ProvisionError> {
        match actual {
            // A device cannot be changed; one that logs elsewhere still logs every request.
            Some(device) if device.kind == "file" => Ok(None),
            Some(device) => Err(ProvisionError::Occupied {
                path: format!("sys/audit/{}", self.path),
                found: device.kind.clone(),
                wanted: "file",
            }),
            None => Ok(Some(json!({ "file": self.file }))),
        }
    }

    async fn apply(&self, vault: &Client, _change: &Value) -> Result<(), VaultError> {
        vault.enable_file_audit(&self.path, &self.file).await
    }
}
