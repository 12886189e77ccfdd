//! `roles/NAME`: dynamic roles.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::credential::Credential;
use super::{Engine, statements, static_role};
use crate::logical::{Error, Fields, Response};

/// Where roles are stored.
pub const PREFIX: &str = "role/";
/// Parameters of dynamic and static roles.
pub const COMMON_PARAMETERS: &[&str] = &["db_name", "credential_type", "credential_config"];
/// Parameters of dynamic roles.
pub const PARAMETERS: &[&str] = &[
    "default_ttl",
    "max_ttl",
    "creation_statements",
    "revocation_statements",
    "renew_statements",
    "rollback_statements",
];

/// Storage key of a role.
pub fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// A dynamic role.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Role {
    /// Connection.
    pub db_name: String,
    /// Create a user.
    pub creation_statements: Vec<String>,
    /// Remove a user; empty for the plugin's default.
    pub revocation_statements: Vec<String>,
    /// Undo a failed creation; empty for the plugin's default.
    pub rollback_statements: Vec<String>,
    /// Move a user's expiration; empty for the plugin's default.
    pub renew_statements: Vec<String>,
    /// Zero takes the mount's.
    pub default_ttl: Duration,
    /// Zero leaves it to the mount.
    pub max_ttl: Duration,
    /// Kind of credential.
    #[serde(flatten)]
    pub credential: Credential,
}

impl Engine {
    pub(super) fn find_role(&self, name: &str) -> Result<Option<Role>, Error> {
        Ok(self.storage.get_json(&key(name))?)
    }

    pub(super) fn read_role(&self, name: &str) -> Result<Option<Response>, Error> {
        let Some(role) = self.find_role(name)? else {
            return Ok(None);
        };
        let mut data = json!({
            "db_name": role.db_name,
            "creation_statements": role.creation_statements,
            "revocation_statements": role.revocation_statements,
            "rollback_statements": role.rollback_statements,
            "renew_statements": role.renew_statements,
            "default_ttl": role.default_ttl.as_secs(),
            "max_ttl": role.max_ttl.as_secs(),
            "credential_type": role.credential.kind.name(),
        });
        if !role.credential.config.is_empty() {
            data["credential_config"] = role.credential.config.into();
        }
        Ok(Some(Response::json(data)))
    }

    pub(super) async fn delete_role(&self, name: &str) -> Result<Option<Response>, Error> {
        self.storage.delete(&key(name)).await?;
        Ok(None)
    }

    /// Creates a role or changes what is given. Like Vault it takes a `default_ttl` above the `max_ttl`, and
    /// caps it with a warning when a credential is issued.
    pub(super) async fn write_role(&self, name: &str, fields: Fields<'_>) -> Result<Option<Response>, Error> {
        let _lock = self.role_locks.lock(name).await;
        if self.storage.get(&static_role::key(name))?.is_some() {
            return Err(Error::bad_request("Role and Static Role names must be unique"));
        }
        let mut role = self.find_role(name)?.unwrap_or_default();
        if let Some(db_name) = fields.string("db_name")? {
            role.db_name = db_name;
        }
        if role.db_name.is_empty() {
            return Err(Error::bad_request("database name is required"));
        }
        role.credential.update(fields)?;
        for (parameter, target) in [
            ("creation_statements", &mut role.creation_statements),
            ("revocation_statements", &mut role.revocation_statements),
            ("rollback_statements", &mut role.rollback_statements),
            ("renew_statements", &mut role.renew_statements),
        ] {
            if let Some(given) = statements(fields, parameter)? {
                *target = given;
            }
        }
        role.revocation_statements.retain(|statement| !statement.is_empty());
        if let Some(ttl) = fields.duration("default_ttl")? {
            role.default_ttl = whole_seconds(ttl);
        }
        if let Some(ttl) = fields.duration("max_ttl")? {
            role.max_ttl = whole_seconds(ttl);
        }
        self.storage.put_json(&key(name), &role).await?;
        Ok(None)
    }
}

/// Vault keeps TTLs in whole seconds.
fn whole_seconds(ttl: Duration) -> Duration {
    Duration::from_secs(ttl.as_secs())
}
