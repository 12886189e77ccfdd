//! The token that commands use.

use serde::{Deserialize, Serialize};

use super::{LabDir, StateError, Visibility, read_json, write_json_unsynced};
use crate::secret::{self, Secret};

const VERSION: u32 = 1;

/// What `creds`, `exec`, `env` and the like ask Vault with (`token.json`, 0600): a token that may do
/// what they need and no more or, where the lab file keeps it, the root token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommandToken {
    version: u32,
    /// The token.
    #[serde(serialize_with = "secret::exposed")]
    pub token: Secret,
}

impl CommandToken {
    /// Wraps a token.
    pub fn new(token: Secret) -> Self {
        Self { version: VERSION, token }
    }

    /// The saved token, if there is one.
    pub fn load(lab: &LabDir) -> Result<Option<Self>, StateError> {
        read_json(&lab.token(), VERSION)
    }

    /// Saves it, without waiting for the disk: one that a power cut loses is made anew.
    pub fn save(&self, lab: &LabDir) -> Result<(), StateError> {
        write_json_unsynced(&lab.token(), self, Visibility::Private)
    }
}
