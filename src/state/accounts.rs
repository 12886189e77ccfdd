//! The database accounts a lab made for itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LabDir, StateError, Visibility, read_json, write_json, write_json_unsynced};
use crate::secret::{self, Secret};

const VERSION: u32 = 1;

/// A user name and its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The account.
    pub username: String,
    /// Its password.
    #[serde(serialize_with = "secret::exposed")]
    pub password: Secret,
}

impl Credentials {
    /// Pairs a name with a password.
    pub fn new(username: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self { username: username.into(), password: password.into() }
    }
}

/// The accounts of one database service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DatabaseAccounts {
    /// The server's own superuser: the lab's way in for proofs and repairs; Vault never sees it.
    pub superuser: Credentials,
    /// The dedicated account Vault connects as, with the password it was *first* given. After
    /// root rotation that password is refused, and only Vault knows the new one.
    pub admin: Credentials,
    /// Set when both passwords are known to be in force in the database; until then the ones of
    /// the template may still be.
    #[serde(default)]
    pub applied: bool,
}

/// The accounts of all databases of a lab (`accounts.json`, 0600), by service name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Accounts {
    version: u32,
    /// By service name.
    pub databases: BTreeMap<String, DatabaseAccounts>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { version: VERSION, databases: BTreeMap::new() }
    }
}

impl Accounts {
    /// The saved accounts, or none yet.
    pub fn load(lab: &LabDir) -> Result<Self, StateError> {
        Ok(read_json(&lab.accounts(), VERSION)?.unwrap_or_default())
    }

    /// Saves the accounts.
    pub fn save(&self, lab: &LabDir) -> Result<(), StateError> {
        write_json(&lab.accounts(), self, Visibility::Private)
    }

    /// [`save`](Self::save) without waiting for the disk, when no password has changed.
    pub fn save_unsynced(&self, lab: &LabDir) -> Result<(), StateError> {
        write_json_unsynced(&lab.accounts(), self, Visibility::Private)
    }
}
