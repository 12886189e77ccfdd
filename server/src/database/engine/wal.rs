//! Write-ahead entries: what a rotation is about to do, and what is left to be removed, kept until it is done.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Engine;
use crate::database::secret::SecretText;
use crate::logical::{Error, Write};
use crate::random;

/// Where entries are stored.
const PREFIX: &str = "wal/";

/// What is about to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Intent {
    /// The account of a connection gets a new password.
    RotateRoot {
        /// Connection.
        connection: String,
        /// Password before.
        old_password: SecretText,
        /// Password after.
        new_password: SecretText,
    },
    /// The user of a static role gets a new password.
    RotateStatic {
        /// Role.
        role: String,
        /// Password after.
        new_password: SecretText,
        /// The role's last rotation when this one began.
        last_rotation: Option<Timestamp>,
    },
    /// A user that a failed creation left behind, without a lease, is to be removed.
    RemoveUser {
        /// Connection.
        connection: String,
        /// The user.
        username: String,
        /// Revocation statements of its role.
        statements: Vec<String>,
    },
}

/// A stored entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Identifies it; not part of its value.
    #[serde(skip)]
    pub id: String,
    /// When it was written.
    pub created: Timestamp,
    /// What was about to be done.
    #[serde(flatten)]
    pub intent: Intent,
}

/// The write that removes an entry.
pub fn removal(id: &str) -> Write {
    Write::delete(format!("{PREFIX}{id}"))
}

impl Engine {
    /// Stores an entry and returns its id; it is durable before anything is done.
    pub(super) async fn put_intent(&self, intent: Intent) -> Result<String, Error> {
        let id = random::uuid();
        let entry = Entry { id: id.clone(), created: self.system.now(), intent };
        // Durable: after a power cut the new password exists nowhere but here.
        let write = Write::put_json(format!("{PREFIX}{id}"), &entry)?;
        self.storage.batch_durable(vec![write]).await?;
        Ok(id)
    }

    /// All entries, oldest first.
    pub(super) fn intents(&self) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for id in self.storage.list(PREFIX)? {
            if let Some(mut entry) = self.storage.get_json::<Entry>(&format!("{PREFIX}{id}"))? {
                entry.id = id;
                entries.push(entry);
            }
        }
        entries.sort_by_key(|entry| entry.created);
        Ok(entries)
    }

    /// One entry; none when it is gone.
    pub(super) fn intent(&self, id: &str) -> Result<Option<Entry>, Error> {
        Ok(self.storage.get_json(&format!("{PREFIX}{id}"))?)
    }

    /// Removes an entry.
    pub(super) async fn drop_intent(&self, id: &str) -> Result<(), Error> {
        Ok(self.storage.batch(vec![removal(id)]).await?)
    }
}
