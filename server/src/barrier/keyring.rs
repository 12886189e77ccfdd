//! The keys values are encrypted with, by term, and the root key that protects them.
//!
//! ```text
//! keyring = 1 (term:u32 install_seconds:i64 install_nanos:i32 key:[32])+
//! ```
//! Big-endian, stored as a [record](super::record) under the root key with term 0. It is built
//! and taken apart in place: no key is copied anywhere that is not wiped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aes_gcm::{Aes256Gcm, KeyInit};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::record::{self, OpenError};
use super::{BarrierError, KeyInfo};
use crate::random;

/// Length of every key in bytes.
pub const KEY_LEN: usize = 32;

/// The term under which the keyring itself is stored; no key of the ring has it.
const ROOT_TERM: u32 = 0;

const VERSION: u8 = 1;
const STORED_TERM_LEN: usize = 4 + 8 + 4 + KEY_LEN;

/// An AES-256 key, wiped when its last clone is dropped and never shown.
#[derive(Clone)]
pub struct Key(Arc<Zeroizing<[u8; KEY_LEN]>>);

impl Key {
    /// A new random key.
    pub fn generate() -> Self {
        Self::filled(|bytes| random::secret(bytes))
    }

    /// A key of these bytes.
    ///
    /// # Errors
    /// When there are not 32 of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BarrierError> {
        if bytes.len() != KEY_LEN {
            return Err(BarrierError::KeyLength(bytes.len()));
        }
        Ok(Self::filled(|key| key.copy_from_slice(bytes)))
    }

    /// Fills the key where it will stay: an array that is moved leaves copies behind.
    fn filled(fill: impl FnOnce(&mut [u8; KEY_LEN])) -> Self {
        let mut key = Arc::new(Zeroizing::new([0; KEY_LEN]));
        if let Some(bytes) = Arc::get_mut(&mut key) {
            fill(bytes);
        }
        Self(key)
    }

    /// The bytes, to be split into unseal keys.
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(self.expose().into())
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

    #[cfg(test)]
    pub(super) fn term_keys(&self) -> impl Iterator<Item = &Key> {
        self.terms.values().map(|term| &term.key)
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
        let length = 1 + self.terms.len() * STORED_TERM_LEN;
        // Never grows, which would leave unwiped copies.
        let mut plain = Zeroizing::new(Vec::with_capacity(length));
        plain.push(VERSION);
        for (term, entry) in &self.terms {
            plain.extend_from_slice(&term.to_be_bytes());
            plain.extend_from_slice(&entry.install_time.as_second().to_be_bytes());
            plain.extend_from_slice(&entry.install_time.subsec_nanosecond().to_be_bytes());
            plain.extend_from_slice(entry.key.expose());
        }
        record::seal(&self.root_key.cipher(), ROOT_TERM, path, &plain)
            .ok_or_else(|| BarrierError::damaged(path, "it is too large"))
    }

    /// Opens what [`Keyring::close`] made.
    pub(super) fn open(stored: &[u8], root_key: &Key, path: &str) -> Result<Self, BarrierError> {
        let plain = record::open(&root_key.cipher(), path, stored).map_err(|error| match error {
            OpenError::NotAuthentic => BarrierError::WrongKey,
            OpenError::Malformed => BarrierError::damaged(path, "unknown record format"),
        })?;
        let terms = parse(&plain).ok_or_else(|| BarrierError::damaged(path, "it is not a keyring"))?;
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

/// The terms of a decrypted keyring.
fn parse(plain: &[u8]) -> Option<BTreeMap<u32, Arc<Term>>> {
    let (&VERSION, entries) = plain.split_first()? else {
        return None;
    };
    let (entries, []) = entries.as_chunks::<STORED_TERM_LEN>() else {
        return None;
    };
    let mut terms = BTreeMap::new();
    for entry in entries {
        let (term, rest) = entry.split_first_chunk()?;
        let (seconds, rest) = rest.split_first_chunk()?;
        let (nanos, key) = rest.split_first_chunk()?;
        let seconds = i64::from_be_bytes(*seconds);
        let installed = Timestamp::new(seconds, i32::from_be_bytes(*nanos)).ok()?;
        let key = Key::from_bytes(key).ok()?;
        terms.insert(u32::from_be_bytes(*term), Term::new(key, installed));
    }
    Some(terms)
}
