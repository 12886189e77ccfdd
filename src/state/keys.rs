//! The unseal keys of a lab's Vault and, as long as it is not revoked, its root token.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{LabDir, StateError, Visibility, read_json, write_atomic, write_json};
use crate::secret::{self, Secret};

/// Since 2 the root token may be missing.
const VERSION: u32 = 2;

/// What `sys/init` returned; lost keys mean a lost Vault.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VaultKeys {
    version: u32,
    /// Key shares, hex.
    #[serde(serialize_with = "secret::exposed_all")]
    pub unseal_keys: Vec<Secret>,
    /// How many shares unseal.
    pub threshold: u8,
    /// The root token; `None` once it is revoked.
    #[serde(default, serialize_with = "secret::exposed_if_any", skip_serializing_if = "Option::is_none")]
    pub root_token: Option<Secret>,
}

impl VaultKeys {
    /// Keys as `sys/init` gave them.
    pub fn new(unseal_keys: Vec<Secret>, threshold: u8, root_token: Secret) -> Self {
        Self { version: VERSION, unseal_keys, threshold, root_token: Some(root_token) }
    }

    /// The same keys with another root token, or none.
    #[must_use]
    pub fn with_root_token(self, root_token: Option<Secret>) -> Self {
        Self { version: VERSION, root_token, ..self }
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
            (keys.unseal_keys[1].expose(), keys.root_token.as_ref().unwrap().expose(), keys.threshold),
            ("k2", "root", 2)
        );
        assert!(!format!("{keys:?}").contains("k1"));
        store.save(&keys.with_root_token(None)).unwrap();
        assert!(!std::fs::read_to_string(store.path()).unwrap().contains("root"));
        assert_eq!(store.load().unwrap().unwrap().root_token, None);
    }
}
