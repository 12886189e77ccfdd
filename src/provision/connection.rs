//! Connections of the database secrets engine.

use serde_json::{Map, Value, json};

use super::{ProvisionError, Step, differences};
use crate::database::Target;
use crate::secret::Secret;
use crate::service::Endpoint;
use crate::spec::model::{ADMIN_USER, DatabaseSpec, Engine};
use crate::state::DatabaseAccounts;
use crate::vault::{Client, VaultError};

/// A database that is ready to be connected to Vault.
#[derive(Debug, Clone)]
pub struct DatabaseTarget<'a> {
    /// As declared.
    pub spec: &'a DatabaseSpec,
    /// How this host reaches it.
    pub from_host: Target,
    /// The superuser and Vault's account.
    pub accounts: DatabaseAccounts,
}

/// One connection, as the dedicated account [`ADMIN_USER`].
pub struct ConnectionStep<'a> {
    /// The database.
    pub spec: &'a DatabaseSpec,
    /// How Vault reaches it.
    pub from_vault: &'a Endpoint,
    /// The account's password; sent only when the connection is new, so that one that was rotated
    /// is never set back.
    pub password: &'a Secret,
}

impl ConnectionStep<'_> {
    fn url(&self) -> String {
        let Endpoint { host, port } = self.from_vault;
        match self.spec.engine {
            Engine::Postgres => format!(
                "postgresql://{{{{username}}}}:{{{{password}}}}@{host}:{port}/{}?sslmode=disable",
                self.spec.database
            ),
            Engine::Mysql(_) => format!("{{{{username}}}}:{{{{password}}}}@tcp({host}:{port})/"),
        }
    }
}

impl Step for ConnectionStep<'_> {
    type Actual = Option<Map<String, Value>>;

    fn what(&self) -> String {
        format!("connection {}", self.spec.name)
    }

    async fn read(&self, vault: &Client) -> Result<Self::Actual, VaultError> {
        vault.database_config(&self.spec.mount, &self.spec.name).await
    }

    fn diff(&self, actual: &Self::Actual) -> Result<Option<Value>, ProvisionError> {
        let plugin = match self.spec.engine {
            Engine::Postgres => "postgresql-database-plugin",
            Engine::Mysql(_) => "mysql-database-plugin",
        };
        let fixed = self.spec.static_roles.iter().map(|role| role.name.as_str());
        let roles: Vec<&str> = self.spec.roles.iter().map(|role| role.name.as_str()).chain(fixed).collect();
        let shown = json!({
            "plugin_name": plugin,
            "allowed_roles": roles,
            "connection_details": { "connection_url": self.url(), "username": ADMIN_USER },
        });
        if actual.as_ref().is_some_and(|actual| !differences(actual, &shown)) {
            return Ok(None);
        }
        let mut change = json!({
            "plugin_name": plugin,
            "allowed_roles": roles,
            "connection_url": self.url(),
            "username": ADMIN_USER,
        });
        if actual.is_none() {
            change["password"] = self.password.expose().into();
        }
        Ok(Some(change))
    }

    async fn apply(&self, vault: &Client, change: &Value) -> Result<(), VaultError> {
        vault.write_database_config(&self.spec.mount, &self.spec.name, change).await
    }
}
