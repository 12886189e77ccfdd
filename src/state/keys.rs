//! The unseal keys and the root token of a lab's Vault.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{LabDir, StateError, Visibility, read_json, write_atomic, write_json};
use crate::secret::{self, Secret};

const VERSION: u32 = 1;

/// What `sys/init` returned; lost keys mean a lost Vault.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VaultKeys {
    version: u32,
    /// Key shares, hex.
    #[serde(serialize_with = "secret::exposed_all")]
    pub unseal_keys: Vec<Secret>,
    /// How many shares unseal.
    pub threshold: u8,
    /// The root token.
    #[serde(serialize_with = "secret::exposed")]
    pub root_token: Secret,
}

impl VaultKeys {
    /// Keys as `sys/init` gave them.
    pub fn new(unseal_keys: Vec<Secret>, threshold: u8, root_token: Secret) -> Self {
        Self { version: VERSION, unseal_keys, threshold, root_token }
    }
}

/// The file that keeps [`VaultKeys`], 0600.
#[derive(Debug, Clone)]
pub struct KeyStore {
    path: PathBuf,
}

impl KeyStore {
    /// The key store of a lab.
    pub fn of(lab: &LabDir) -> Self {
        Self { path: lab.keys() }
    }

    /// Where the keys are.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Proves that the store can be written, by writing, reading and removing a probe of the keys'
    /// size beside it. To be called *before* `sys/init`: keys that cannot be saved are lost for good.
    pub fn prove_writable(&self) -> Result<(), StateError> {
        let probe = self.path.with_extension("probe");
        write_atomic(&probe, &[b'#'; 4096], Visibility::Private)?;
        std::fs::remove_file(&probe).map_err(StateError::io("remove", &probe))
    }

    /// The saved keys, if there are any.
    pub fn load(&self) -> Result<Option<VaultKeys>, StateError> {
        read_json(&self.path, VERSION)
    }

    /// Saves the keys.
    pub fn save(&self, keys: &VaultKeys) -> Result<(), StateError> {
        write_json(&self.path, keys, Visibility::Private)
    }

    /// Puts the keys of a Vault that is gone aside as `keys.json.old`, so that nothing is lost by mistake.
    pub fn set_aside(&self) -> Result<(), StateError> {
        let old = self.path.with_extension("json.old");
        std::fs::rename(&self.path, old).map_err(StateError::io("rename", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Home;

    #[test]
    fn keys_survive_a_round_trip_and_debug_hides_them() {
        let dir = tempfile::tempdir().unwrap();
        let lab = Home::at(dir.path()).unwrap().lab("x").unwrap();
        let store = KeyStore::of(&lab);
        assert!(store.load().unwrap().is_none());
        store.prove_writable().unwrap();
        store.save(&VaultKeys::new(vec!["k1".into(), "k2".into()], 2, "root".into())).unwrap();
        let keys = store.load().unwrap().unwrap();
        assert_eq!(
            (keys.unseal_keys[1].expose(), keys.root_token.expose(), keys.threshold),
            ("k2", "root", 2)
        );
        assert!(!format!("{keys:?}").contains("k1"));
    }
}
