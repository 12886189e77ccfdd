//! ACL policies.

use serde_json::{Value, json};

use super::{ProvisionError, Step};
use crate::spec::model::PolicySpec;
use crate::vault::{Client, VaultError};

/// One policy.
pub struct PolicyStep<'a>(pub &'a PolicySpec);

impl Step for PolicyStep<'_> {
    type Actual = Option<String>;

    fn what(&self) -> String {
        format!("policy {} ({})", self.0.name, self.0.origin)
    }

    async fn read(&self, vault: &Client) -> Result<Self::Actual, VaultError> {
        vault.policy(&self.0.name).await
    }

    fn diff(&self, actual: &Self::Actual) -> Result<Option<Value>, ProvisionError> {
        let same = actual.as_deref().is_some_and(|text| text.trim() == self.0.text.trim());
        Ok((!same).then(|| json!({})))
    }

    async fn apply(&self, vault: &Client, _change: &Value) -> Result<(), VaultError> {
        vault.write_policy(&self.0.name, &self.0.text).await
    }
}
