//! Roles of the AppRole auth method.

use serde_json::{Map, Value, json};

use super::{ProvisionError, Step, differences};
use crate::spec::model::AppRoleSpec;
use crate::vault::{Client, VaultError};

/// One AppRole.
pub struct AppRoleStep<'a>(pub &'a AppRoleSpec);

impl Step for AppRoleStep<'_> {
    type Actual = Option<Map<String, Value>>;

    fn what(&self) -> String {
        format!("AppRole {}", self.0.name)
    }

    async fn read(&self, vault: &Client) -> Result<Self::Actual, VaultError> {
        vault.approle(&self.0.name).await
    }

    fn diff(&self, actual: &Self::Actual) -> Result<Option<Value>, ProvisionError> {
        let wanted = json!({
            "bind_secret_id": true,
            "token_policies": self.0.policies,
            "token_ttl": self.0.token_ttl.as_secs(),
            "token_max_ttl": self.0.token_max_ttl.as_secs(),
            "secret_id_ttl": self.0.secret_id_ttl.as_secs(),
            "secret_id_num_uses": self.0.secret_id_num_uses,
            // What the lab file says nothing of is as Vault makes it: somebody's change of these would
            // keep the application out, or let it do more.
            "secret_id_bound_cidrs": [],
            "token_bound_cidrs": [],
            "token_explicit_max_ttl": 0,
            "token_no_default_policy": false,
            "token_num_uses": 0,
            "token_period": 0,
            "token_type": "default",
        });
        let same = actual.as_ref().is_some_and(|actual| !differences(actual, &wanted));
        Ok((!same).then_some(wanted))
    }

    async fn apply(&self, vault: &Client, change: &Value) -> Result<(), VaultError> {
        vault.write_approle(&self.0.name, change).await
    }
}
