//! What a lab's keeper keeps on disk besides its lock: its token, and what it says of itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FileLock, LabDir, StateError, Visibility, read_json, write_json, write_json_unsynced};
use crate::secret::{self, Secret};

const VERSION: u32 = 1;

/// The keeper's own token (`keeper-token.json`, 0600): it may deliver secret_ids and rotate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeeperToken {
    version: u32,
    /// The token.
    #[serde(serialize_with = "secret::exposed")]
    pub token: Secret,
}

impl KeeperToken {
    /// Wraps a token.
    pub fn new(token: Secret) -> Self {
        Self { version: VERSION, token }
    }

    /// The saved token, if there is one.
    pub fn load(lab: &LabDir) -> Result<Option<Self>, StateError> {
        read_json(&lab.keeper_token(), VERSION)
    }

    /// Saves it, before it is used.
    pub fn save(&self, lab: &LabDir) -> Result<(), StateError> {
        lab.is_there()?;
        write_json(&lab.keeper_token(), self, Visibility::Private)
    }
}

/// What a keeper says of itself (`keeper.json`). It holds no secret.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeeperRecord {
    version: u32,
    /// Whether it runs now. What the file says of it is not read: its lock tells.
    #[serde(skip_deserializing)]
    pub running: bool,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// Since when it has kept the lab.
    pub since: Option<Timestamp>,
    /// Digest of the lab it keeps; one that keeps an earlier version of the lab file is replaced.
    pub keeps: String,
    /// The AppRoles, by name.
    #[serde(default)]
    pub approles: BTreeMap<String, DeliveryRecord>,
    /// The databases whose root is rotated on a schedule, by name.
    #[serde(default)]
    pub rotations: BTreeMap<String, RotationRecord>,
    /// The static roles, by name.
    #[serde(default)]
    pub static_roles: BTreeMap<String, StaticRoleRecord>,
    /// The services that were started again since it began, by name.
    #[serde(default)]
    pub services: BTreeMap<String, RestartRecord>,
    /// How often it has unsealed Vault.
    #[serde(default)]
    pub unseals: u64,
    /// The databases that Vault cannot log in to, with what they say.
    #[serde(default)]
    pub locked_out: BTreeMap<String, String>,
    /// What is wrong with Vault now.
    #[serde(default)]
    pub vault_trouble: Option<String>,
}

/// What is known of one AppRole's delivery.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// When the delivered secret_id was put into its file.
    pub delivered_at: Option<Timestamp>,
    /// When it ends; none is never.
    pub expires_at: Option<Timestamp>,
    /// When its successor is due; none while nothing ends it but its use.
    pub next_at: Option<Timestamp>,
    /// How many were delivered since the keeper began.
    pub deliveries: u64,
    /// Failures in a row.
    pub failures: u32,
    /// Why the last one failed, while it is not put right.
    pub error: Option<String>,
}

/// What is known of one database's root rotation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RotationRecord {
    /// When root was last rotated, and that proven.
    pub rotated_at: Option<Timestamp>,
    /// When it is due again.
    pub next_at: Option<Timestamp>,
    /// Set from before a rotation until it is proven: one that was cut off is looked after first.
    pub under_way: bool,
    /// Failures in a row.
    pub failures: u32,
    /// Why the last one failed, while it is not put right.
    pub error: Option<String>,
}

/// What is known of a static role, whose password Vault replaces.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StaticRoleRecord {
    /// When Vault set the password that was last seen to log in.
    pub rotated_at: Option<Timestamp>,
    /// When the next one is due.
    pub next_at: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// What was wrong last, while it is not put right.
    pub error: Option<String>,
}

/// What is known of a service that died.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RestartRecord {
    /// How often it was started again.
    pub restarts: u32,
    /// When it was last found dead.
    pub died_at: Option<Timestamp>,
    /// Whether it is no longer started: it failed too often in a row.
    pub given_up: bool,
    /// Why the last start failed, while it is not put right.
    pub error: Option<String>,
}

impl KeeperRecord {
    /// A keeper that has just begun to keep the lab with this digest. The rotations go on from what
    /// the one before it knew.
    pub fn begun(lab: &LabDir, keeps: String, pid: u32) -> Self {
        let earlier = read_json::<Self>(&lab.keeper(), VERSION).ok().flatten().unwrap_or_default();
        Self {
            version: VERSION,
            running: true,
            pid: Some(pid),
            since: Some(Timestamp::now()),
            keeps,
            rotations: earlier.rotations,
            static_roles: earlier.static_roles,
            ..Self::default()
        }
    }

    /// What the lab's keeper said last; `None` when there never was one.
    pub fn load(lab: &LabDir) -> Result<Option<Self>, StateError> {
        let Some(mut record) = read_json::<Self>(&lab.keeper(), VERSION)? else { return Ok(None) };
        record.running = is_kept(lab)?;
        if !record.running {
            record.pid = None;
        }
        Ok(Some(record))
    }

    /// Saves it, without waiting for the disk: a new keeper finds everything out again.
    pub fn save(&self, lab: &LabDir) -> Result<(), StateError> {
        write_json_unsynced(&lab.keeper(), self, Visibility::Private)
    }
}

/// Whether a keeper runs.
pub fn is_kept(lab: &LabDir) -> Result<bool, StateError> {
    let path = lab.keeper_lock();
    if !path.exists() {
        return Ok(false);
    }
    Ok(FileLock::try_lock(&path)?.is_err())
}
