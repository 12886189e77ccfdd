//! The unseal keys of a lab's Vault and, as long as it is not revoked, its root token.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::atomic::parse_json;
use super::encryption::{Key, Lock, OpenError, Sealed, encrypt};
use super::unlock::{Purpose, Unlock, identity_file};
use super::{LabDir, StateError, Visibility, write_atomic};
use crate::secret::{self, Secret};

/// Since 2 the root token may be missing.
const VERSION: u32 = 2;

/// What `sys/init` returned; lost keys mean a lost Vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The recipients the file is encrypted to: it does not tell by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<String>,
}

impl VaultKeys {
    /// Keys as `sys/init` gave them.
    pub fn new(unseal_keys: Vec<Secret>, threshold: u8, root_token: Secret) -> Self {
        Self {
            version: VERSION,
            unseal_keys,
            threshold,
            root_token: Some(root_token),
            recipients: Vec::new(),
        }
    }

    /// The same keys with another root token, or none.
    #[must_use]
    pub fn with_root_token(self, root_token: Option<Secret>) -> Self {
        Self { version: VERSION, root_token, ..self }
    }
}

/// How a key store is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Protection {
    /// As it is, in a file that only its owner may read.
    #[default]
    Plain,
    /// Encrypted with a passphrase.
    Passphrase,
    /// Encrypted to age recipients.
    Recipients {
        /// `age1…`
        recipients: Vec<String>,
        /// File with the identity of one of them; without it the environment names one.
        identity: Option<PathBuf>,
    },
}

/// The file that keeps [`VaultKeys`], 0600: `keys.json`, or `keys.json.age` when it is encrypted.
#[derive(Debug, Clone)]
pub struct KeyStore {
    plain: PathBuf,
    encrypted: PathBuf,
    /// How it is to be kept; `None` leaves it as it is.
    wanted: Option<Protection>,
    unlock: Unlock,
    /// What was opened last: file content and keys, so that a passphrase is worked on once.
    opened: Arc<Mutex<Option<Opened>>>,
}

/// A file's content and the keys in it.
type Opened = (Vec<u8>, VaultKeys);

impl KeyStore {
    /// The key store of a lab, kept as it is and opened with what the environment has.
    pub fn of(lab: &LabDir) -> Self {
        let plain = lab.keys();
        let encrypted = plain.with_extension("json.age");
        Self { plain, encrypted, wanted: None, unlock: Unlock::default(), opened: Arc::default() }
    }

    /// The same, to be kept like this from now on.
    #[must_use]
    pub fn protected(self, wanted: Protection) -> Self {
        Self { wanted: Some(wanted), ..self }
    }

    /// The same, opened like this.
    #[must_use]
    pub fn unlocked_by(self, unlock: Unlock) -> Self {
        Self { unlock, ..self }
    }

    /// Where the keys are or, when there are none, will be.
    pub fn path(&self) -> &Path {
        match (self.encrypted.exists(), self.plain.exists(), &self.wanted) {
            (true, _, _) => &self.encrypted,
            (false, true, _) | (_, _, None | Some(Protection::Plain)) => &self.plain,
            _ => &self.encrypted,
        }
    }

    /// Whether there are keys.
    pub fn exists(&self) -> bool {
        self.encrypted.exists() || self.plain.exists()
    }

    /// Proves that keys of this size can be saved and read back, with a probe beside them. To be called
    /// *before* `sys/init`: keys that cannot be saved, or opened again, are lost for good.
    pub fn prove_writable(&self) -> Result<(), StateError> {
        let probe = self.plain.with_extension("probe");
        let plain = [b'#'; 4096];
        let bytes = self.encode(&plain)?;
        write_atomic(&probe, &bytes, Visibility::Private)?;
        let read = std::fs::read(&probe).map_err(StateError::io("read", &probe));
        std::fs::remove_file(&probe).map_err(StateError::io("remove", &probe))?;
        // What a passphrase has closed it opens; an identity may be another's.
        if matches!(self.wanted, Some(Protection::Recipients { .. })) {
            self.decode(&self.encrypted, &read?)?;
        }
        Ok(())
    }

    /// The saved keys, if there are any.
    ///
    /// # Errors
    /// [`StateError::WrongPassphrase`], [`StateError::WrongIdentity`] and the like for an encrypted
    /// store.
    pub fn load(&self) -> Result<Option<VaultKeys>, StateError> {
        let read = |path: &Path| match std::fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StateError::io("read", path)(e)),
        };
        let (path, bytes) = match read(&self.encrypted)? {
            Some(bytes) => (&self.encrypted, bytes),
            None => match read(&self.plain)? {
                Some(bytes) => (&self.plain, bytes),
                None => return Ok(None),
            },
        };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, keys)) = &*opened
            && *known == bytes
        {
            return Ok(Some(keys.clone()));
        }
        let plain = if *path == self.encrypted { self.decode(path, &bytes)? } else { bytes.clone() };
        let keys: VaultKeys = parse_json(path, &plain, VERSION)?;
        *opened = Some((bytes, keys.clone()));
        Ok(Some(keys))
    }

    /// Saves the keys in the form that is wanted, and removes what there is in another.
    pub fn save(&self, keys: &VaultKeys) -> Result<(), StateError> {
        let wanted = self.form(Some(keys));
        let recipients = match &wanted {
            Protection::Recipients { recipients, .. } => recipients.clone(),
            _ => Vec::new(),
        };
        let keys = VaultKeys { recipients, ..keys.clone() };
        let mut plain = serde_json::to_vec_pretty(&keys)
            .map_err(|e| StateError::Damaged { path: self.plain.clone(), cause: e.to_string() })?;
        plain.push(b'\n');
        let (to, other) = match wanted {
            Protection::Plain => (&self.plain, &self.encrypted),
            _ => (&self.encrypted, &self.plain),
        };
        let bytes = self.encode_as(&plain, &wanted)?;
        write_atomic(to, &bytes, Visibility::Private)?;
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some((bytes, keys));
        match std::fs::remove_file(other) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StateError::io("remove", other)(e)),
            _ => Ok(()),
        }
    }

    /// Whether what is saved is not in the form that is wanted.
    pub fn is_to_be_converted(&self) -> Result<bool, StateError> {
        let Some(wanted) = &self.wanted else { return Ok(false) };
        let Some(keys) = self.load()? else { return Ok(false) };
        let both = self.encrypted.exists() && self.plain.exists();
        Ok(both || self.current(&keys) != without_identity(wanted))
    }

    /// Puts the keys of a Vault that is gone aside as `keys.json.old` (or `….age.old`), so that nothing
    /// is lost by mistake.
    pub fn set_aside(&self) -> Result<(), StateError> {
        let path = self.path().to_path_buf();
        let mut old = path.clone().into_os_string();
        old.push(".old");
        std::fs::rename(&path, old).map_err(StateError::io("rename", path))
    }

    /// The form to write in: as wanted, else as it is.
    fn form(&self, keys: Option<&VaultKeys>) -> Protection {
        match (&self.wanted, keys) {
            (Some(wanted), _) => wanted.clone(),
            (None, Some(keys)) => self.current(keys),
            (None, None) => Protection::Plain,
        }
    }

    /// The form it has.
    fn current(&self, keys: &VaultKeys) -> Protection {
        match (self.encrypted.exists(), keys.recipients.as_slice()) {
            (false, _) => Protection::Plain,
            (true, []) => Protection::Passphrase,
            (true, recipients) => Protection::Recipients { recipients: recipients.into(), identity: None },
        }
    }

    fn encode(&self, plain: &[u8]) -> Result<Vec<u8>, StateError> {
        self.encode_as(plain, &self.form(None))
    }

    fn encode_as(&self, plain: &[u8], form: &Protection) -> Result<Vec<u8>, StateError> {
        let store = &self.encrypted;
        let failed = |cause| StateError::Encryption { store: store.clone(), cause };
        match form {
            Protection::Plain => Ok(plain.to_vec()),
            Protection::Passphrase => {
                let purpose = if store.exists() { Purpose::Open } else { Purpose::Choose };
                let passphrase = self.unlock.passphrase(store, purpose)?;
                encrypt(plain, &Lock::Passphrase(&passphrase)).map_err(failed)
            }
            Protection::Recipients { recipients, .. } => {
                encrypt(plain, &Lock::Recipients(recipients)).map_err(failed)
            }
        }
    }

    fn decode(&self, path: &Path, bytes: &[u8]) -> Result<Vec<u8>, StateError> {
        let damaged = |cause| StateError::Encryption { store: path.into(), cause };
        let sealed = match Sealed::read(bytes) {
            Ok(sealed) => sealed,
            Err(OpenError::WrongKey) => return Err(damaged("its head cannot be read".into())),
            Err(OpenError::Damaged(cause)) => return Err(damaged(cause)),
        };
        match sealed.needs() {
            Key::Passphrase => {
                let passphrase = self.unlock.passphrase(path, Purpose::Open)?;
                sealed.open_with_passphrase(&passphrase).map_err(|error| match error {
                    OpenError::WrongKey => StateError::WrongPassphrase { store: path.into() },
                    OpenError::Damaged(cause) => damaged(cause),
                })
            }
            Key::Identity => {
                let declared = match &self.wanted {
                    Some(Protection::Recipients { identity, .. }) => identity.as_ref(),
                    _ => None,
                };
                let identity = identity_file(declared, path)?;
                sealed.open_with_identities(&identity).map_err(|error| match error {
                    OpenError::WrongKey => {
                        StateError::WrongIdentity { store: path.into(), identity: identity.clone() }
                    }
                    OpenError::Damaged(cause) => damaged(cause),
                })
            }
        }
    }
}

fn without_identity(protection: &Protection) -> Protection {
    match protection {
        Protection::Recipients { recipients, .. } => {
            Protection::Recipients { recipients: recipients.clone(), identity: None }
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::state::Home;

    fn lab() -> (tempfile::TempDir, LabDir) {
        let dir = tempfile::tempdir().unwrap();
        let lab = Home::at(dir.path()).unwrap().lab("x").unwrap();
        (dir, lab)
    }

    fn some_keys() -> VaultKeys {
        VaultKeys::new(vec!["key-one".into(), "key-two".into()], 2, "root".into())
    }

    #[test]
    fn keys_survive_a_round_trip_and_debug_hides_them() {
        let (_dir, lab) = lab();
        let store = KeyStore::of(&lab);
        assert!(store.load().unwrap().is_none() && !store.exists());
        store.prove_writable().unwrap();
        store.save(&some_keys()).unwrap();
        let keys = KeyStore::of(&lab).load().unwrap().unwrap();
        assert_eq!(
            (keys.unseal_keys[1].expose(), keys.root_token.as_ref().unwrap().expose(), keys.threshold),
            ("key-two", "root", 2)
        );
        assert!(!format!("{keys:?} {store:?}").contains("key-"));
        store.save(&keys.with_root_token(None)).unwrap();
        assert!(!std::fs::read_to_string(store.path()).unwrap().contains("root"));
        assert_eq!(store.load().unwrap().unwrap().root_token, None);
    }

    #[test]
    fn a_passphrase_opens_what_it_closed_and_no_other_does() {
        let (_dir, lab) = lab();
        let with = |passphrase: &str| {
            KeyStore::of(&lab)
                .protected(Protection::Passphrase)
                .unlocked_by(Unlock::with_passphrase(passphrase.into()))
        };
        with("open sesame").prove_writable().unwrap();
        with("open sesame").save(&some_keys()).unwrap();
        let path = with("").path().to_path_buf();
        assert!(path.ends_with("keys.json.age") && !lab.keys().exists());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"age-encryption.org/v1") && !bytes.windows(4).any(|w| w == b"key-"));
        let keys = with("open sesame").load().unwrap().unwrap();
        assert_eq!(keys.unseal_keys, some_keys().unseal_keys);
        let error = with("open barley").load().unwrap_err();
        assert!(matches!(error, StateError::WrongPassphrase { .. }), "{error}");
        assert!(!error.to_string().contains("barley"), "{error}");
        // One that is damaged is not taken for one that is closed with another passphrase.
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let error = with("open sesame").load().unwrap_err();
        assert!(matches!(error, StateError::Encryption { .. }), "{error}");
    }

    #[test]
    fn a_store_for_recipients_is_opened_by_an_identity_that_was_tried_before() {
        let (dir, lab) = lab();
        let identity = |name: &str| {
            let key = age_identity();
            let path = dir.path().join(name);
            std::fs::write(&path, format!("# made for a test\n{}\n", key.0)).unwrap();
            (path, key.1)
        };
        let ((ours, recipient), (others, _)) = (identity("ours"), identity("others"));
        let with = |file: &PathBuf| {
            let recipients = vec![recipient.clone()];
            KeyStore::of(&lab).protected(Protection::Recipients { recipients, identity: Some(file.clone()) })
        };
        let error = with(&others).prove_writable().unwrap_err();
        assert!(matches!(error, StateError::WrongIdentity { .. }), "{error}");
        assert_eq!(std::fs::read_dir(lab.path()).unwrap().count(), 0, "the probe is gone");
        with(&ours).prove_writable().unwrap();
        with(&ours).save(&some_keys()).unwrap();
        assert_eq!(with(&ours).load().unwrap().unwrap().unseal_keys, some_keys().unseal_keys);
        assert!(matches!(with(&others).load(), Err(StateError::WrongIdentity { .. })));
        let missing = dir.path().join("missing");
        assert!(with(&missing).load().unwrap_err().to_string().contains("missing"));
    }

    #[test]
    fn a_store_is_converted_and_the_other_form_is_removed() {
        let (_dir, lab) = lab();
        KeyStore::of(&lab).save(&some_keys()).unwrap();
        let unlock = Unlock::with_passphrase("p".into());
        let encrypted = KeyStore::of(&lab).protected(Protection::Passphrase).unlocked_by(unlock.clone());
        assert!(encrypted.is_to_be_converted().unwrap());
        // What a crash between writing the one and removing the other leaves.
        let left = std::fs::read(lab.keys()).unwrap();
        encrypted.save(&encrypted.load().unwrap().unwrap()).unwrap();
        assert!(!encrypted.is_to_be_converted().unwrap() && !lab.keys().exists());
        std::fs::write(lab.keys(), left).unwrap();
        assert!(encrypted.is_to_be_converted().unwrap());
        encrypted.save(&encrypted.load().unwrap().unwrap()).unwrap();
        assert!(!lab.keys().exists());
        // Whoever wants no particular form leaves it as it is.
        let as_it_is = KeyStore::of(&lab).unlocked_by(unlock.clone());
        as_it_is.save(&as_it_is.load().unwrap().unwrap().with_root_token(None)).unwrap();
        assert!(!lab.keys().exists() && !encrypted.is_to_be_converted().unwrap());
        let plain = KeyStore::of(&lab).protected(Protection::Plain).unlocked_by(unlock);
        assert!(plain.is_to_be_converted().unwrap());
        plain.save(&plain.load().unwrap().unwrap()).unwrap();
        assert_eq!(KeyStore::of(&lab).load().unwrap().unwrap().unseal_keys, some_keys().unseal_keys);
        assert!(!encrypted.encrypted.exists());
    }

    /// An identity and its recipient.
    fn age_identity() -> (String, String) {
        super::super::encryption::testing::identity()
    }
}
