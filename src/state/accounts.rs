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
    /// The account that is kept outside Vault for emergencies, where the lab file asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<Credentials>,
    /// The accounts made for static roles, by the static role's name. Only Vault knows their passwords.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub static_roles: BTreeMap<String, StaticAccount>,
}

/// An account made for a static role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticAccount {
    /// Its name.
    pub username: String,
    /// Digest of the statements that were run for it.
    pub grants: Option<String>,
    /// Whether Vault was seen to replace its password: the old one refused, the new one accepted.
    pub rotation_proven: bool,
}

impl DatabaseAccounts {
    /// Saves these as the accounts of the database `service`.
    pub fn save_as(&self, service: &str, lab: &LabDir) -> Result<(), StateError> {
        let _guard = super::editing();
        let mut accounts = Accounts::load(lab)?;
        accounts.databases.insert(service.into(), self.clone());
        accounts.save(lab)
    }
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
