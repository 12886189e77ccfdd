//! Periodic rotation of static roles.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;

use super::Engine;
use super::static_role::{self, StaticRole};
use super::wal::{self, Intent};
use crate::database::secret::SecretText;
use crate::logical::{Error, Write};

/// When a failed rotation is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// Rotations that run at a time.
const PARALLEL: usize = 8;

/// When which role is due, and the entry of a rotation that did not finish.
#[derive(Default)]
pub struct Schedule(HashMap<String, Due>);

#[derive(Clone)]
struct Due {
    at: Timestamp,
    intent: Option<String>,
    /// Being rotated by the periodic work: the next tick leaves it alone.
    running: bool,
}

impl Due {
    fn at(at: Timestamp, intent: Option<String>) -> Self {
        Self { at, intent, running: false }
    }
}

/// A role in the hands of the periodic work, until dropped.
struct Running {
    engine: Arc<Engine>,
    role: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(due) = self.engine.schedule().0.get_mut(&self.role) {
            due.running = false;
        }
    }
}

/// A rotation that failed.
pub struct RotationError {
    /// Why.
    pub error: Error,
    /// The entry it left, whose password the next attempt uses.
    pub intent: Option<String>,
}

impl Engine {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn schedule_at(&self, role: &str, at: Timestamp) {
        let mut schedule = self.schedule();
        let intent = schedule.0.get(role).and_then(|due| due.intent.clone());
        schedule.0.insert(role.to_owned(), Due::at(at, intent));
    }

    pub(super) fn unschedule(&self, role: &str) {
        self.schedule().0.remove(role);
    }

    /// Fills the schedule from storage; unfinished rotations are due at once.
    pub(super) async fn load_schedule(&self) -> Result<(), Error> {
        let mut schedule = HashMap::new();
        for name in self.storage.list(static_role::PREFIX)? {
            if let Some(role) = self.find_static_role(&name)? {
                schedule.insert(name, Due::at(role.next_rotation(self.system.now()), None));
            }
        }
        let mut stale = Vec::new();
        for entry in self.intents()? {
            let Intent::RotateStatic { role, last_rotation, .. } = &entry.intent else {
                continue;
            };
            let stored = self.find_static_role(role)?.and_then(|role| role.last_rotation);
            // An entry older than the role's last rotation was overtaken by it; one without belongs to a
            // role whose creation failed.
            let resumes = last_rotation.is_some() && stored.is_some() && last_rotation >= &stored;
            match schedule.get_mut(role).filter(|_| resumes) {
                Some(due) => {
                    due.at = Timestamp::UNIX_EPOCH;
                    stale.extend(due.intent.replace(entry.id));
                }
                None => stale.push(entry.id),
            }
        }
        self.storage.batch(stale.iter().map(|id| wal::removal(id)).collect()).await?;
        self.schedule().0 = schedule;
        Ok(())
    }

    /// Rotates all roles that are due and not being rotated, several at a time.
    pub(super) async fn rotate_due(self: &Arc<Self>) {
        let now = self.system.now();
        let taken = |role: &String| Running { engine: Arc::clone(self), role: role.clone() };
        let due: Vec<Running> = self
            .schedule()
            .0
            .iter_mut()
            .filter(|(_, due)| due.at <= now && !due.running)
            .map(|(role, due)| {
                due.running = true;
                taken(role)
            })
            .collect();
        let mut running = JoinSet::new();
        for role in due {
            if self.is_closed() {
                break;
            }
            if running.len() >= PARALLEL {
                running.join_next().await;
            }
            running.spawn(async move { role.engine.rotate_if_due(&role.role).await });
        }
        while running.join_next().await.is_some() {}
    }

    async fn rotate_if_due(&self, name: &str) {
        let _lock = self.role_locks.lock(name).await;
        // Somebody may have rotated or deleted it while this waited.
        let now = self.system.now();
        let is_due = self.schedule().0.get(name).is_some_and(|due| due.at <= now);
        if !is_due || self.is_closed() {
            return;
        }
        let result = match self.find_static_role(name) {
            // Its window closed while this server or the database was away.
            Ok(Some(role)) if role.missed(now) => {
                self.schedule_at(name, role.next_rotation(now));
                Ok(())
            }
            Ok(Some(mut role)) => self.rotate_and_reschedule(name, &mut role).await,
            Ok(None) => {
                self.unschedule(name);
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::error!(role = name, %error, "unable to rotate credentials in periodic function");
        }
    }

    /// Rotates a role now and sets when it is due next: after its period, or soon when it failed.
    pub(super) async fn rotate_and_reschedule(&self, name: &str, role: &mut StaticRole) -> Result<(), Error> {
        let intent = self.schedule().0.get(name).and_then(|due| due.intent.clone());
        let (due, result) = match self.rotate_static(name, role, intent).await {
            Ok(()) => (Due::at(role.next_rotation(self.system.now()), None), Ok(())),
            Err(RotationError { error, intent }) => {
                let at = self.system.now().checked_add(RETRY).unwrap_or(Timestamp::MAX);
                (Due::at(at, intent), Err(error))
            }
        };
        self.schedule().0.insert(name.to_owned(), due);
        result
    }

    /// Sets a new password on the database and stores it: that of the entry `intent` when there is one, so that
    /// a password the database may already have is never lost.
    pub(super) async fn rotate_static(
        &self,
        name: &str,
        role: &mut StaticRole,
        intent: Option<String>,
    ) -> Result<(), RotationError> {
        let mut intent = intent;
        let result = self.try_rotate_static(name, role, &mut intent).await;
        result.map_err(|error| RotationError { error, intent })
    }

    async fn try_rotate_static(
        &self,
        name: &str,
        role: &mut StaticRole,
        intent: &mut Option<String>,
    ) -> Result<(), Error> {
        let config = self.connection(&role.db_name)?;
        if !config.allows(name) {
            return Err(Error::internal(format!("{name:?} is not an allowed role")));
        }
        if let Some(text) = role.credential.kind.unsupported() {
            return Err(Error::internal(text));
        }
        let resumed = match intent.as_deref() {
            Some(id) => self.intent(id)?.map(|entry| (id.to_owned(), entry.intent)),
            None => None,
        };
        let (id, password) = if let Some((id, Intent::RotateStatic { new_password, .. })) = resumed {
            (id, new_password)
        } else {
            let made = self.new_password(role.credential.password_policy(), &config).await?;
            let password = SecretText::from(made);
            let entry = Intent::RotateStatic {
                role: name.to_owned(),
                new_password: password.clone(),
                last_rotation: role.last_rotation,
            };
            (self.put_intent(entry).await?, password)
        };
        *intent = Some(id.clone());
        let work = Arc::new((role.username.clone(), password.clone(), role.rotation_statements.clone()));
        self.with_plugin(&role.db_name, |plugin| {
            let work = Arc::clone(&work);
            Box::pin(async move {
                let (username, password, statements) = work.as_ref();
                plugin.change_password(username, password.reveal(), statements).await
            })
        })
        .await
        .map_err(|e| Error::internal(format!("error setting credentials: {e}")))?;
        role.password = password;
        role.last_rotation = Some(self.system.now());
        let writes = vec![Write::put_json(static_role::key(name), role)?, wal::removal(&id)];
        self.storage.batch(writes).await?;
        Ok(())
    }
}
