//! `rotate-root/NAME`: a new password for the account of a connection, known to nobody else.
//!
//! Order: write-ahead entry, change on the database, proof by a login, then the stored connection and the removal
//! of the entry in one write. A crash in between leaves the entry, which is resolved when the mount starts, every
//! few seconds, and when the database refuses the stored password.

use std::time::Duration;

use super::Engine;
use super::config::{self, ConnectionConfig};
use super::wal::{self, Entry, Intent};
use crate::database::PluginError;
use crate::database::secret::SecretText;
use crate::logical::{Error, Response, Write};

/// While an entry is younger, the database may still be about to carry out a change whose sender died: the
/// entry is kept although the stored password works.
const SETTLED: Duration = Duration::from_mins(1);

impl Engine {
    pub(super) async fn rotate_root(&self, name: &str) -> Result<Option<Response>, Error> {
        let _lock = self.connection_locks.lock(name).await;
        self.recover_root(name).await?;
        let config = self.connection(name)?;
        let username = config.detail("username");
        let lacking = |what: &str| {
            Error::internal(format!("unable to rotate root credentials: no {what} in configuration"))
        };
        if username.is_empty() {
            return Err(lacking("username"));
        }
        if config.detail("password").is_empty() {
            return Err(lacking("password"));
        }
        let new_password = SecretText::from(self.new_password("", &config).await?);
        let intent = Intent::RotateRoot {
            connection: name.to_owned(),
            old_password: config.detail("password").into(),
            new_password: new_password.clone(),
        };
        self.put_intent(intent).await?;

        let plugin = self.plugin(name)?;
        let statements = &config.root_credentials_rotate_statements;
        if let Err(error) = plugin.change_password(username, new_password.reveal(), statements).await {
            // Whatever came of it is found out now if the database answers, else later.
            if let Err(unsettled) = self.recover_root(name).await {
                tracing::warn!(connection = name, error = %unsettled, "the outcome of a rotation is open");
            }
            return Err(error.during("failed to update user").into());
        }
        let rotated = config.with_password(new_password.reveal());
        let opened = rotated.open()?;
        match opened.verify().await {
            Ok(()) => {
                self.adopt(name, &rotated).await?;
                self.instances.put(name, opened);
                Ok(None)
            }
            Err(error) if error.is_authentication() => {
                // The statements changed another account than the one that logs in (an account of the same
                // name for another host, for example). The open session can still put that right.
                let undone = plugin.change_password(username, config.detail("password"), statements).await;
                if let Err(unsettled) = self.recover_root(name).await {
                    tracing::warn!(connection = name, error = %unsettled, "the outcome of a rotation is open");
                }
                Err(not_proven(&error, undone.err().as_ref()))
            }
            Err(error) => {
                // The change was confirmed, so the new password counts. The entry stays until a login proved it.
                tracing::warn!(connection = name, %error, "the rotated password could not be tried yet");
                self.storage.put_json(&config::key(name), &rotated).await?;
                self.instances.put(name, opened);
                Ok(None)
            }
        }
    }

    /// Resolves what interrupted rotations of a connection left. The caller holds the connection's lock.
    ///
    /// The first of the stored password, the new and the old ones that logs in is stored; the database is not
    /// changed.
    ///
    /// # Errors
    /// When the database cannot be asked; the entries stay.
    pub(super) async fn recover_root(&self, name: &str) -> Result<(), Error> {
        let entries: Vec<Entry> = self.intents()?.into_iter().filter(|e| is_of(e, name)).collect();
        if entries.is_empty() {
            return Ok(());
        }
        let Some(config) = self.find_connection(name)? else {
            return Ok(self.storage.batch(entries.iter().map(|e| wal::removal(&e.id)).collect()).await?);
        };
        for password in candidates(&config, &entries) {
            let tried = config.with_password(password.reveal());
            let opened = tried.open()?;
            match opened.verify().await {
                Ok(()) if password.reveal() == config.detail("password") => {
                    let now = self.system.now();
                    let settled =
                        entries.iter().filter(|e| now.duration_since(e.created).unsigned_abs() >= SETTLED);
                    let removals = settled.map(|e| wal::removal(&e.id)).collect();
                    return Ok(self.storage.batch(removals).await?);
                }
                Ok(()) => {
                    tracing::info!(connection = name, "an interrupted rotation was completed");
                    self.adopt(name, &tried).await?;
                    self.instances.put(name, opened);
                    return Ok(());
                }
                Err(error) if error.is_authentication() => opened.close(),
                Err(error) => return Err(error.into()),
            }
        }
        tracing::warn!(connection = name, "neither the stored nor a rotated password logs in");
        Ok(())
    }

    /// Stores a connection whose password was proven, and forgets its entries, in one write.
    async fn adopt(&self, name: &str, config: &ConnectionConfig) -> Result<(), Error> {
        let mut writes = vec![Write::put_json(config::key(name), config)?];
        writes.extend(self.intents()?.iter().filter(|e| is_of(e, name)).map(|e| wal::removal(&e.id)));
        Ok(self.storage.batch(writes).await?)
    }

    /// Resolves the interrupted rotations of all connections.
    pub(super) async fn recover_connections(&self) {
        let mut names: Vec<String> = match self.intents() {
            Ok(entries) => entries.into_iter().filter_map(|e| connection_of(e.intent)).collect(),
            Err(error) => {
                tracing::warn!(%error, "cannot read write-ahead entries");
                return;
            }
        };
        names.sort_unstable();
        names.dedup();
        for name in names {
            if self.is_closed() {
                return;
            }
            let _lock = self.connection_locks.lock(&name).await;
            if let Err(error) = self.recover_root(&name).await {
                tracing::warn!(connection = name, %error, "cannot resolve an interrupted rotation yet");
            }
        }
    }
}

fn connection_of(intent: Intent) -> Option<String> {
    match intent {
        Intent::RotateRoot { connection, .. } => Some(connection),
        Intent::RotateStatic { .. } | Intent::RemoveUser { .. } => None,
    }
}

fn is_of(entry: &Entry, name: &str) -> bool {
    matches!(&entry.intent, Intent::RotateRoot { connection, .. } if connection == name)
}

/// Passwords to try: the stored one, then those of the newest entry first; each once.
fn candidates(config: &ConnectionConfig, entries: &[Entry]) -> Vec<SecretText> {
    let mut all = vec![SecretText::from(config.detail("password"))];
    for entry in entries.iter().rev() {
        if let Intent::RotateRoot { old_password, new_password, .. } = &entry.intent {
            all.extend([new_password.clone(), old_password.clone()]);
        }
    }
    let mut distinct: Vec<SecretText> = Vec::new();
    for password in all {
        if !distinct.contains(&password) {
            distinct.push(password);
        }
    }
    distinct
}

fn not_proven(error: &PluginError, undoing: Option<&PluginError>) -> Error {
    let outcome = match undoing {
        None => "the old password was set again".to_owned(),
        Some(failed) => format!("setting the old password again failed: {failed}"),
    };
    Error::internal(format!("the rotated password does not log in: {error}; {outcome}"))
}
