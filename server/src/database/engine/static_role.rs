//! `static-roles/NAME`, `static-creds/NAME` and `rotate-role/NAME`: users that exist already and whose passwords
//! are changed periodically.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::credential::Credential;
use super::rotation::RotationError;
use super::wal::{self, Intent};
use super::{Engine, role, statements};
use crate::database::cron::Cron;
use crate::database::secret::SecretText;
use crate::logical::{Error, Fields, Response};

/// Where static roles are stored.
pub const PREFIX: &str = "static-role/";
/// Parameters of static roles.
pub const PARAMETERS: &[&str] =
    &["username", "rotation_period", "rotation_schedule", "rotation_window", "rotation_statements"];
/// Shortest rotation period: the interval at which due rotations are looked for.
const SHORTEST_PERIOD: Duration = Duration::from_secs(5);
/// Shortest rotation window.
const SHORTEST_WINDOW: Duration = Duration::from_hours(1);

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
    /// Time between rotations; zero with a schedule.
    pub rotation_period: Duration,
    /// When to rotate, as five fields; empty with a period.
    #[serde(default)]
    pub rotation_schedule: String,
    /// How long after a time of the schedule it still may be done; zero for until the next one.
    #[serde(default)]
    pub rotation_window: Duration,
    /// The password now.
    pub password: SecretText,
    /// When it was set.
    pub last_rotation: Option<Timestamp>,
    /// Kind of credential.
    #[serde(flatten)]
    pub credential: Credential,
}

impl StaticRole {
    /// When the next rotation is due; at once for a role that never was rotated. A time of the schedule whose
    /// window is over is left out.
    pub fn next_rotation(&self, now: Timestamp) -> Timestamp {
        let Some(last) = self.last_rotation else {
            return Timestamp::UNIX_EPOCH;
        };
        match self.schedule() {
            None => last.checked_add(self.rotation_period).unwrap_or(Timestamp::MAX),
            Some(schedule) if self.rotation_window.is_zero() => schedule.after(last),
            Some(schedule) => {
                let opened = now.checked_sub(self.rotation_window).unwrap_or(Timestamp::UNIX_EPOCH);
                schedule.after(last.max(opened))
            }
        }
    }

    /// Whether the time it was to be rotated at has passed with its window.
    pub fn missed(&self, now: Timestamp) -> bool {
        let (Some(schedule), Some(last)) = (self.schedule(), self.last_rotation) else {
            return false;
        };
        let closes = schedule.after(last).checked_add(self.rotation_window).unwrap_or(Timestamp::MAX);
        !self.rotation_window.is_zero() && closes <= now && self.next_rotation(now) > now
    }

    /// What it is rotated by, unless by a period. It was read before it was stored.
    fn schedule(&self) -> Option<Cron> {
        if self.rotation_schedule.is_empty() { None } else { Cron::parse(&self.rotation_schedule).ok() }
    }

    /// Whole seconds until the next rotation; zero when it is due. Those by a schedule count to its next time, as
    /// in Vault, also while they are late.
    fn ttl(&self, now: Timestamp) -> u64 {
        let next = self.schedule().map_or_else(|| self.next_rotation(now), |schedule| schedule.after(now));
        if next == Timestamp::MAX {
            return 0;
        }
        u64::try_from((next.duration_since(now).as_millis() + 500) / 1000).unwrap_or(0)
    }

    /// Adds what it is rotated by to an answer.
    fn show_rotation(&self, data: &mut Value) {
        if self.rotation_schedule.is_empty() {
            data["rotation_period"] = self.rotation_period.as_secs().into();
            return;
        }
        data["rotation_schedule"] = self.rotation_schedule.as_str().into();
        if !self.rotation_window.is_zero() {
            data["rotation_window"] = self.rotation_window.as_secs().into();
        }
    }

    /// Takes over a period, or a schedule with its window; one takes the other's place.
    fn update_rotation(&mut self, fields: Fields<'_>, is_new: bool) -> Result<(), Error> {
        let period = fields.duration("rotation_period")?;
        let schedule = fields.string("rotation_schedule")?;
        let window = fields.duration("rotation_window")?;
        match (period, schedule) {
            (Some(_), Some(_)) => Err(Error::bad_request(
                "mutually exclusive fields rotation_period and rotation_schedule were both specified; only one \
                 of them can be provided",
            )),
            (None, None) if is_new => Err(Error::bad_request(
                "one of rotation_schedule or rotation_period must be provided to create a static account",
            )),
            (None, None) => Ok(()),
            (Some(period), None) => self.rotate_by_period(period, window),
            (None, Some(schedule)) => self.rotate_by_schedule(schedule, window),
        }
    }

    fn rotate_by_period(&mut self, period: Duration, window: Option<Duration>) -> Result<(), Error> {
        if period < SHORTEST_PERIOD {
            let shortest = SHORTEST_PERIOD.as_secs();
            return Err(Error::bad_request(format!("rotation_period must be {shortest} seconds or more")));
        }
        if window.is_some() {
            return Err(Error::bad_request("rotation_window is invalid with use of rotation_period"));
        }
        self.rotation_period = Duration::from_secs(period.as_secs());
        self.rotation_schedule.clear();
        self.rotation_window = Duration::ZERO;
        Ok(())
    }

    fn rotate_by_schedule(&mut self, schedule: String, window: Option<Duration>) -> Result<(), Error> {
        Cron::parse(&schedule).map_err(|e| misprinted("could not parse rotation_schedule", &e))?;
        if let Some(window) = window {
            if window < SHORTEST_WINDOW {
                let text = format!("rotation_window must be {} seconds or more", SHORTEST_WINDOW.as_secs());
                return Err(misprinted("rotation_window is invalid", &text));
            }
            self.rotation_window = Duration::from_secs(window.as_secs());
        }
        self.rotation_schedule = schedule;
        self.rotation_period = Duration::ZERO;
        Ok(())
    }
}

/// Vault has no place for the cause in these texts, so that Go prints it in its own way.
fn misprinted(text: &str, cause: &str) -> Error {
    Error::bad_request(format!("{text}%!(EXTRA string=error, *errors.errorString={cause})"))
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
            "credential_type": role.credential.kind.name(),
        });
        role.show_rotation(&mut data);
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
        let mut data = json!({
            "username": role.username,
            "password": role.password.reveal(),
            "ttl": role.ttl(self.system.now()),
            "last_vault_rotation": role.last_rotation.unwrap_or_default().to_string(),
        });
        role.show_rotation(&mut data);
        Ok(Response::json(data))
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
        role.update_rotation(fields, is_new)?;
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
        self.schedule_at(name, role.next_rotation(self.system.now()));
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
