//! `static-roles/NAME`, `static-creds/NAME` and `rotate-role/NAME`: users that exist already and whose passwords
//! are changed periodically.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::credential::Credential;
use super::rotation::RotationError;
use super::wal::{self, Intent};
use super::{Engine, role, statements};
use crate::database::secret::SecretText;
use crate::logical::{Error, Fields, Response};

/// Where static roles are stored.
pub const PREFIX: &str = "static-role/";
/// Parameters of static roles.
pub const PARAMETERS: &[&str] = &["username", "rotation_period", "rotation_statements"];
/// Shortest rotation period: the interval at which due rotations are looked for.
const SHORTEST_PERIOD: Duration = Duration::from_secs(5);

/// Storage key of a static role.
pub fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// A static role with its user's password.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StaticRole {
    /// Connection.
    pub db_name: String,
    /// The user; never changes.
    pub username: String,
    /// Change the password; empty for the plugin's default.
    pub rotation_statements: Vec<String>,
    /// Time between rotations.
    pub rotation_period: Duration,
    /// The password now.
    pub password: SecretText,
    /// When it was set.
    pub last_rotation: Option<Timestamp>,
    /// Kind of credential.
    #[serde(flatten)]
    pub credential: Credential,
}

impl StaticRole {
    /// When the next rotation is due; at once for a role that never was rotated.
    pub fn next_rotation(&self) -> Timestamp {
        self.last_rotation.map_or(Timestamp::UNIX_EPOCH, |last| {
            last.checked_add(self.rotation_period).unwrap_or(Timestamp::MAX)
        })
    }

    /// Whole seconds until the next rotation; zero when it is due.
    fn ttl(&self, now: Timestamp) -> u64 {
        let left = self.next_rotation().duration_since(now);
        u64::try_from((left.as_millis() + 500) / 1000).unwrap_or(0)
    }
}

impl Engine {
    pub(super) fn find_static_role(&self, name: &str) -> Result<Option<StaticRole>, Error> {
        Ok(self.storage.get_json(&key(name))?)
    }

    pub(super) fn read_static_role(&self, name: &str) -> Result<Option<Response>, Error> {
        let Some(role) = self.find_static_role(name)? else {
            return Ok(None);
        };
        let mut data = json!({
            "db_name": role.db_name,
            "username": role.username,
            "rotation_statements": role.rotation_statements,
            "rotation_period": role.rotation_period.as_secs(),
            "credential_type": role.credential.kind.name(),
        });
        if let Some(last) = role.last_rotation {
            data["last_vault_rotation"] = last.to_string().into();
        }
        if !role.credential.config.is_empty() {
            data["credential_config"] = role.credential.config.into();
        }
        Ok(Some(Response::json(data)))
    }

    pub(super) fn read_static_creds(&self, name: &str) -> Result<Response, Error> {
        let role = self
            .find_static_role(name)?
            .ok_or_else(|| Error::bad_request(format!("unknown role: {name}")))?;
        if !self.connection(&role.db_name)?.allows(name) {
            return Err(Error::internal(format!("{name:?} is not an allowed role")));
        }
        Ok(Response::json(json!({
            "username": role.username,
            "password": role.password.reveal(),
            "ttl": role.ttl(self.system.now()),
            "rotation_period": role.rotation_period.as_secs(),
            "last_vault_rotation": role.last_rotation.unwrap_or_default().to_string(),
        })))
    }

    pub(super) async fn delete_static_role(&self, name: &str) -> Result<Option<Response>, Error> {
        let _lock = self.role_locks.lock(name).await;
        self.unschedule(name);
        self.storage.delete(&key(name)).await?;
        let stale = self
            .intents()?
            .into_iter()
            .filter(|entry| matches!(&entry.intent, Intent::RotateStatic { role, .. } if role == name));
        self.storage.batch(stale.map(|entry| wal::removal(&entry.id)).collect()).await?;
        Ok(None)
    }

    /// Creates a static role, which rotates its user's password at once, or changes what is given.
    pub(super) async fn write_static_role(
        &self,
        name: &str,
        fields: Fields<'_>,
    ) -> Result<Option<Response>, Error> {
        let _lock = self.role_locks.lock(name).await;
        if self.storage.get(&role::key(name))?.is_some() {
            return Err(Error::bad_request("Role and Static Role names must be unique"));
        }
        let stored = self.find_static_role(name)?;
        let is_new = stored.is_none();
        let mut role = stored.unwrap_or_default();
        if let Some(db_name) = fields.string("db_name")? {
            role.db_name = db_name;
        }
        if role.db_name.is_empty() {
            return Err(Error::bad_request("database name is a required field"));
        }
        let username = fields.string("username")?.unwrap_or_default();
        if username.is_empty() && is_new {
            return Err(Error::bad_request("username is a required field to create a static account"));
        }
        if !is_new && role.username != username {
            return Err(Error::bad_request("cannot update static account username"));
        }
        role.username = username;
        match fields.duration("rotation_period")? {
            None if is_new => {
                return Err(Error::bad_request("rotation_period is required to create static accounts"));
            }
            None => {}
            Some(period) if period < SHORTEST_PERIOD => {
                let shortest = SHORTEST_PERIOD.as_secs();
                return Err(Error::bad_request(format!(
                    "rotation_period must be {shortest} seconds or more"
                )));
            }
            Some(period) => role.rotation_period = Duration::from_secs(period.as_secs()),
        }
        if let Some(given) = statements(fields, "rotation_statements")? {
            role.rotation_statements = given;
        }
        role.credential.update(fields)?;
        if is_new {
            if let Err(RotationError { error, intent }) = self.rotate_static(name, &mut role, None).await {
                // The role does not exist: nothing is to be resumed.
                if let Some(id) = intent {
                    self.drop_intent(&id).await?;
                }
                return Err(error);
            }
        } else {
            self.storage.put_json(&key(name), &role).await?;
        }
        self.schedule_at(name, role.next_rotation());
        Ok(None)
    }

    pub(super) async fn rotate_role(&self, name: &str) -> Result<Option<Response>, Error> {
        let _lock = self.role_locks.lock(name).await;
        let mut role = self
            .find_static_role(name)?
            .ok_or_else(|| Error::bad_request("no static role found for role name"))?;
        self.rotate_and_reschedule(name, &mut role).await.map_err(|error| {
            Error::internal(format!(
                "unable to finish rotating credentials; retries will continue in the background but it is \
                 also safe to retry manually: {error}"
            ))
        })?;
        Ok(None)
    }
}
