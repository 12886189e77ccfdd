//! The barrier: everything that is stored passes through it and is encrypted there.
//!
//! Values are sealed with AES-256-GCM under the newest key of a *keyring*; the path of an
//! entry is authenticated with it, so that values cannot be swapped between paths. The
//! keyring itself is stored under the *root key*, which exists only in memory and, split by
//! [Shamir's scheme](crate::shamir), with the operators. Paths are stored in clear, as
//! Vault's own file storage has them.
//!
//! While sealed there is no key in memory and every access is an error.

mod error;
mod keyring;
mod record;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use error::BarrierError;
pub use keyring::{KEY_LEN, Key};

use crate::logical;
use crate::storage::{Store, WriteBatch};
use keyring::Keyring;

/// Where the barrier keeps what it needs itself; out of reach for everyone else.
const RESERVED: &str = "barrier/";
const KEYRING: &str = "barrier/keyring";
const SEAL_CONFIG: &str = "barrier/seal-config";

/// How the root key is split. Stored in clear: it is needed while sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealConfig {
    /// Unseal keys that exist.
    pub secret_shares: u8,
    /// Unseal keys that are needed.
    pub secret_threshold: u8,
}

/// The newest encryption key, as `sys/key-status` reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its number, from 1.
    pub term: u32,
    /// When it was made.
    pub install_time: Timestamp,
    /// Values encrypted with it since the last unseal or rotation.
    pub encryptions: u64,
}

/// The barrier over a store; clones are handles on the same one.
#[derive(Clone)]
pub struct Barrier {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    /// `None` while sealed.
    keyring: RwLock<Option<Arc<Keyring>>>,
    /// Held while the keyring changes.
    changing: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Barrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Barrier")
            .field("store", &self.inner.store)
            .field("sealed", &self.is_sealed())
            .finish()
    }
}

impl Barrier {
    /// A sealed barrier over `store`.
    pub fn new(store: Store) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                keyring: RwLock::new(None),
                changing: tokio::sync::Mutex::new(()),
            }),
        }
    }

    /// The store below.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Everything stored through the barrier, below `prefix` (empty or ending in `/`).
    pub fn view(&self, prefix: &str) -> logical::View {
        logical::View::new(Arc::new(self.clone()), prefix)
    }

    /// Whether the store has a keyring.
    pub fn is_initialised(&self) -> bool {
        self.inner.store.get(KEYRING).is_some()
    }

    /// How the root key is split; `None` before initialisation.
    ///
    /// # Errors
    /// When what is stored cannot be understood.
    pub fn seal_config(&self) -> Result<Option<SealConfig>, BarrierError> {
        let Some(stored) = self.inner.store.get(SEAL_CONFIG) else {
            return Ok(None);
        };
        serde_json::from_slice(&stored)
            .map(Some)
            .map_err(|error| BarrierError::Damaged { key: SEAL_CONFIG.to_owned(), cause: error.to_string() })
    }

    /// Makes the first keyring, under `root_key`. The barrier stays sealed.
    ///
    /// # Errors
    /// When there is one already, or it cannot be stored.
    pub async fn initialise(&self, root_key: &Key, config: &SealConfig) -> Result<(), BarrierError> {
        let _changing = self.inner.changing.lock().await;
        if self.is_initialised() {
            return Err(BarrierError::AlreadyInitialised);
        }
        let keyring = Keyring::new(root_key.clone(), Timestamp::now());
        self.store_keyring(&keyring, Some(config)).await
    }

    /// Opens the barrier. One that is open stays so.
    ///
    /// # Errors
    /// [`BarrierError::WrongKey`] when `root_key` is not the one in use.
    pub async fn unseal(&self, root_key: &Key) -> Result<(), BarrierError> {
        let _changing = self.inner.changing.lock().await;
        let keyring = self.open_keyring(root_key)?;
        if self.is_sealed() {
            *self.write_keyring() = Some(Arc::new(keyring));
        }
        Ok(())
    }

    /// Whether `root_key` is the one in use; works sealed or not.
    ///
    /// # Errors
    /// [`BarrierError::WrongKey`] when it is not.
    pub fn verify_root_key(&self, root_key: &Key) -> Result<(), BarrierError> {
        self.open_keyring(root_key).map(drop)
    }

    /// Closes the barrier: the keys are wiped as soon as no access that is under way uses
    /// them.
    pub fn seal(&self) {
        *self.write_keyring() = None;
    }

    /// Whether the barrier is closed.
    pub fn is_sealed(&self) -> bool {
        self.read_keyring().is_none()
    }

    /// The newest key.
    ///
    /// # Errors
    /// When sealed.
    pub fn key_info(&self) -> Result<KeyInfo, BarrierError> {
        Ok(self.keyring()?.info())
    }

    /// Adds a key that all later writes use. What was written before stays readable.
    ///
    /// # Errors
    /// When sealed, or the keyring cannot be stored; then nothing has changed.
    pub async fn rotate(&self) -> Result<KeyInfo, BarrierError> {
        let _changing = self.inner.changing.lock().await;
        let keyring = self.keyring()?.with_new_term(Timestamp::now())?;
        self.store_keyring(&keyring, None).await?;
        let info = keyring.info();
        self.replace_keyring(keyring);
        Ok(info)
    }

    /// Puts the keyring under another root key and notes how that one is split, atomically.
    ///
    /// # Errors
    /// When sealed, or the keyring cannot be stored; then nothing has changed.
    pub async fn rekey(&self, root_key: &Key, config: &SealConfig) -> Result<(), BarrierError> {
        let _changing = self.inner.changing.lock().await;
        let keyring = self.keyring()?.with_root_key(root_key.clone());
        self.store_keyring(&keyring, Some(config)).await?;
        self.replace_keyring(keyring);
        Ok(())
    }

    /// Like [`logical::Storage::apply`]; with `durable` the change also survives a power cut
    /// when this returns (see [`SyncPolicy`](crate::storage::SyncPolicy)).
    ///
    /// # Errors
    /// When sealed, a key is reserved, or the store refuses the change.
    pub async fn commit(&self, writes: Vec<logical::Write>, durable: bool) -> Result<(), BarrierError> {
        let keyring = self.keyring()?;
        let mut batch = WriteBatch::new();
        if durable {
            batch.durable();
        }
        for write in writes {
            match write {
                logical::Write::Put(key, value) => {
                    refuse_reserved(&key)?;
                    let record = keyring.encrypt(&key, &value)?;
                    batch.put(key, record);
                }
                logical::Write::Delete(key) => {
                    refuse_reserved(&key)?;
                    batch.delete(key);
                }
            }
        }
        Ok(self.inner.store.commit(batch).await?)
    }

    fn open_keyring(&self, root_key: &Key) -> Result<Keyring, BarrierError> {
        let stored = self.inner.store.get(KEYRING).ok_or(BarrierError::NotInitialised)?;
        Keyring::open(&stored, root_key, KEYRING)
    }

    async fn store_keyring(
        &self,
        keyring: &Keyring,
        config: Option<&SealConfig>,
    ) -> Result<(), BarrierError> {
        let mut batch = WriteBatch::new();
        batch.durable();
        batch.put(KEYRING, keyring.close(KEYRING)?);
        if let Some(config) = config {
            let config = serde_json::to_vec(config).map_err(|error| BarrierError::Damaged {
                key: SEAL_CONFIG.to_owned(),
                cause: error.to_string(),
            })?;
            batch.put(SEAL_CONFIG, config);
        }
        Ok(self.inner.store.commit(batch).await?)
    }

    /// Uses another keyring, unless the barrier was sealed meanwhile.
    fn replace_keyring(&self, keyring: Keyring) {
        let mut current = self.write_keyring();
        if current.is_some() {
            *current = Some(Arc::new(keyring));
        }
    }

    fn keyring(&self) -> Result<Arc<Keyring>, BarrierError> {
        self.read_keyring().clone().ok_or(BarrierError::Sealed)
    }

    fn read_keyring(&self) -> std::sync::RwLockReadGuard<'_, Option<Arc<Keyring>>> {
        self.inner.keyring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_keyring(&self) -> std::sync::RwLockWriteGuard<'_, Option<Arc<Keyring>>> {
        self.inner.keyring.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl logical::Storage for Barrier {
    fn get(&self, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>, logical::StorageError> {
        let keyring = self.keyring()?;
        refuse_reserved(key)?;
        match self.inner.store.get(key) {
            Some(record) => Ok(Some(keyring.decrypt(key, &record)?)),
            None => Ok(None),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, logical::StorageError> {
        self.keyring()?;
        refuse_reserved(prefix)?;
        let mut names = self.inner.store.list(prefix);
        if prefix.is_empty() {
            names.retain(|name| name != RESERVED);
        }
        Ok(names)
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, logical::StorageError> {
        self.keyring()?;
        refuse_reserved(prefix)?;
        let keys = self.inner.store.keys(prefix);
        Ok(keys.iter().filter(|key| !key.starts_with(RESERVED)).map(ToString::to_string).collect())
    }

    async fn apply(&self, writes: Vec<logical::Write>) -> Result<(), logical::StorageError> {
        Ok(self.commit(writes, false).await?)
    }

    async fn apply_durable(&self, writes: Vec<logical::Write>) -> Result<(), logical::StorageError> {
        Ok(self.commit(writes, true).await?)
    }
}

fn refuse_reserved(key: &str) -> Result<(), BarrierError> {
    if key.starts_with(RESERVED) {
        return Err(BarrierError::Reserved(key.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
