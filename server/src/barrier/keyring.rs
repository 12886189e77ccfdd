//! The keys values are encrypted with, by term, and the root key that protects them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aes_gcm::{Aes256Gcm, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::record::{self, OpenError};
use super::{BarrierError, KeyInfo};

/// Length of every key in bytes.
pub const KEY_LEN: usize = 32;

/// The term under which the keyring itself is stored; no key of the ring has it.
const ROOT_TERM: u32 = 0;

/// An AES-256 key, wiped when dropped and never shown.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY_LEN]>);

impl Key {
    /// A new random key.
    pub fn generate() -> Self {
        Self(Zeroizing::new(crate::random::bytes()))
    }

    /// A key of these bytes.
    ///
    /// # Errors
    /// When there are not 32 of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BarrierError> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        if bytes.len() != KEY_LEN {
            return Err(BarrierError::KeyLength(bytes.len()));
        }
        key.copy_from_slice(bytes);
        Ok(Self(key))
    }

    /// The bytes, to be split into unseal keys.
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new((&*self.0).into())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(redacted)")
    }
}

struct Term {
    key: Key,
    /// Its key schedule wipes itself when dropped.
    cipher: Aes256Gcm,
    install_time: Timestamp,
    encryptions: AtomicU64,
}

impl Term {
    fn new(key: Key, install_time: Timestamp) -> Arc<Self> {
        Arc::new(Self { cipher: key.cipher(), key, install_time, encryptions: AtomicU64::new(0) })
    }
}

/// The open keyring. It has at least one term.
pub(super) struct Keyring {
    root_key: Key,
    terms: BTreeMap<u32, Arc<Term>>,
    newest: u32,
}

/// The keyring as it is stored, encrypted.
#[derive(Serialize, Deserialize)]
struct StoredKeyring {
    terms: Vec<StoredTerm>,
}

#[derive(Serialize, Deserialize)]
struct StoredTerm {
    term: u32,
    install_time: Timestamp,
    /// Base64.
    key: String,
}

impl Drop for StoredTerm {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Keyring {
    /// A ring with one new key.
    pub(super) fn new(root_key: Key, now: Timestamp) -> Self {
        Self { root_key, terms: BTreeMap::from([(1, Term::new(Key::generate(), now))]), newest: 1 }
    }

    /// The same ring and one more key, which becomes the one to encrypt with.
    pub(super) fn with_new_term(&self, now: Timestamp) -> Result<Self, BarrierError> {
        let newest = self.newest.checked_add(1).ok_or(BarrierError::KeyringFull)?;
        let mut terms = self.terms.clone();
        terms.insert(newest, Term::new(Key::generate(), now));
        Ok(Self { root_key: self.root_key.clone(), terms, newest })
    }

    /// The same ring under another root key.
    pub(super) fn with_root_key(&self, root_key: Key) -> Self {
        Self { root_key, terms: self.terms.clone(), newest: self.newest }
    }

    pub(super) fn info(&self) -> KeyInfo {
        let newest = &self.terms[&self.newest];
        KeyInfo {
            term: self.newest,
            install_time: newest.install_time,
            encryptions: newest.encryptions.load(Ordering::Relaxed),
        }
    }

    /// The ring encrypted with its root key, to be stored at `path`.
    pub(super) fn close(&self, path: &str) -> Result<Vec<u8>, BarrierError> {
        let stored = StoredKeyring {
            terms: self
                .terms
                .iter()
                .map(|(&term, entry)| StoredTerm {
                    term,
                    install_time: entry.install_time,
                    key: BASE64.encode(entry.key.expose()),
                })
                .collect(),
        };
        let plain = serde_json::to_vec(&stored)
            .map(Zeroizing::new)
            .map_err(|error| BarrierError::damaged(path, &error.to_string()))?;
        record::seal(&self.root_key.cipher(), ROOT_TERM, path, &plain)
            .ok_or_else(|| BarrierError::damaged(path, "it is too large"))
    }

    /// Opens what [`Keyring::close`] made.
    pub(super) fn open(stored: &[u8], root_key: &Key, path: &str) -> Result<Self, BarrierError> {
        let plain = record::open(&root_key.cipher(), path, stored).map_err(|error| match error {
            OpenError::NotAuthentic => BarrierError::WrongKey,
            OpenError::Malformed => BarrierError::damaged(path, "unknown record format"),
        })?;
        // The cause of a parse error could quote key material.
        let stored: StoredKeyring =
            serde_json::from_slice(&plain).map_err(|_| BarrierError::damaged(path, "it is not a keyring"))?;
        let mut terms = BTreeMap::new();
        for entry in &stored.terms {
            let bytes = BASE64
                .decode(&entry.key)
                .map(Zeroizing::new)
                .map_err(|_| BarrierError::damaged(path, "a key is not base64"))?;
            let key = Key::from_bytes(&bytes)?;
            terms.insert(entry.term, Term::new(key, entry.install_time));
        }
        let newest =
            *terms.last_key_value().ok_or_else(|| BarrierError::damaged(path, "the keyring is empty"))?.0;
        Ok(Self { root_key: root_key.clone(), terms, newest })
    }

    /// Encrypts a value for `path` with the newest key.
    pub(super) fn encrypt(&self, path: &str, value: &[u8]) -> Result<Vec<u8>, BarrierError> {
        let newest = &self.terms[&self.newest];
        newest.encryptions.fetch_add(1, Ordering::Relaxed);
        record::seal(&newest.cipher, self.newest, path, value)
            .ok_or_else(|| BarrierError::damaged(path, "it is too large to encrypt"))
    }

    /// Decrypts the record stored at `path`.
    pub(super) fn decrypt(&self, path: &str, record: &[u8]) -> Result<Zeroizing<Vec<u8>>, BarrierError> {
        let malformed = |_| BarrierError::damaged(path, "unknown record format");
        let number = record::term(record).map_err(malformed)?;
        let term = self.terms.get(&number).ok_or_else(|| {
            BarrierError::damaged(path, &format!("the keyring has no key of term {number}"))
        })?;
        record::open(&term.cipher, path, record).map_err(|error| match error {
            OpenError::NotAuthentic => {
                BarrierError::damaged(path, "it was changed or belongs to another path")
            }
            OpenError::Malformed => BarrierError::damaged(path, "unknown record format"),
        })
    }
}
