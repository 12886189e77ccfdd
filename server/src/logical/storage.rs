//! Storage as the core and the backends see it: decrypted values under keys with `/`.
//!
//! Reads are synchronous (the ciphertext is in memory and is decrypted on the way out); writes are
//! asynchronous and return once a crash of the server cannot undo them.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::Error;

/// Why storage failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StorageError {
    /// The barrier is sealed: there is no key to read or write with.
    #[error("Vault is sealed")]
    Sealed,
    /// A stored value cannot be decrypted or parsed.
    #[error("stored value at {key:?} is damaged: {cause}")]
    Damaged {
        /// Storage key.
        key: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The write did not reach the disk; nothing of it is visible.
    #[error("cannot write to storage: {0}")]
    Write(String),
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Sealed => Self::Sealed,
            other => Self::Internal(other.to_string()),
        }
    }
}

/// One write of an atomic batch.
#[derive(Clone)]
pub enum Write {
    /// Store the value under the key.
    Put(String, Zeroizing<Vec<u8>>),
    /// Remove the key; absent is fine.
    Delete(String),
}

impl Write {
    /// Store a value as JSON.
    pub fn put_json<T: Serialize + ?Sized>(key: impl Into<String>, value: &T) -> Result<Self, StorageError> {
        let key = key.into();
        Ok(Self::Put(key.clone(), to_json(&key, value)?))
    }

    /// Remove a key.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete(key.into())
    }

    fn prefixed(self, prefix: &str) -> Self {
        match self {
            Self::Put(key, value) => Self::Put(format!("{prefix}{key}"), value),
            Self::Delete(key) => Self::Delete(format!("{prefix}{key}")),
        }
    }
}

/// Writes of one view that go into the batch of another.
#[derive(Default)]
pub struct PartOfBatch(Vec<Write>);

/// An encrypted key-value store; the barrier implements it.
#[async_trait]
pub trait Storage: Send + Sync {
    /// The value under a key.
    fn get(&self, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StorageError>;

    /// Children of a prefix (empty or ending in `/`), sorted: `a` for a value, `b/` for a folder.
    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError>;

    /// All keys below a prefix, whole, sorted.
    fn keys(&self, prefix: &str) -> Result<Vec<String>, StorageError>;

    /// Applies the writes atomically, in order; returns once a crash of the server cannot undo
    /// them.
    async fn apply(&self, writes: Vec<Write>) -> Result<(), StorageError>;

    /// Like [`Storage::apply`], and a power cut cannot undo them either where the store can
    /// promise that. For what exists nowhere else, such as a password just rotated.
    async fn apply_durable(&self, writes: Vec<Write>) -> Result<(), StorageError> {
        self.apply(writes).await
    }
}

/// The part of the storage below a prefix. Cheap to clone.
#[derive(Clone)]
pub struct View {
    store: Arc<dyn Storage>,
    prefix: Arc<str>,
}

impl View {
    /// A view of everything below `prefix` (empty or ending in `/`).
    pub fn new(store: Arc<dyn Storage>, prefix: &str) -> Self {
        Self { store, prefix: prefix.into() }
    }

    /// A view of a folder of this view; `prefix` ends in `/`.
    #[must_use]
    pub fn sub(&self, prefix: &str) -> Self {
        Self { store: Arc::clone(&self.store), prefix: format!("{}{prefix}", self.prefix).into() }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The value under a key.
    pub fn get(&self, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StorageError> {
        self.store.get(&self.key(key))
    }

    /// The value under a key, parsed from JSON.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StorageError> {
        let Some(bytes) = self.get(key)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| StorageError::Damaged { key: self.key(key), cause: error.to_string() })
    }

    /// Children of `prefix` (empty or ending in `/`), sorted: `a` for a value, `b/` for a folder.
    pub fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.store.list(&self.key(prefix))
    }

    /// All keys below `prefix`, relative to this view, sorted.
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let cut = self.prefix.len();
        let keys = self.store.keys(&self.key(prefix))?;
        Ok(keys.into_iter().map(|key| key[cut..].to_owned()).collect())
    }

    /// Stores a value; a crash of the server cannot undo it when it returns.
    pub async fn put(&self, key: &str, value: Vec<u8>) -> Result<(), StorageError> {
        let write = Write::Put(self.key(key), Zeroizing::new(value));
        self.store.apply(vec![write]).await
    }

    /// Stores a value as JSON; a crash of the server cannot undo it when it returns.
    pub async fn put_json<T: Serialize + Sync + ?Sized>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<(), StorageError> {
        let write = Write::put_json(key, value)?;
        self.batch(vec![write]).await
    }

    /// Removes a key; absent is fine.
    pub async fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.store.apply(vec![Write::Delete(self.key(key))]).await
    }

    /// Applies several writes atomically, in order; a crash of the server cannot undo it when it returns.
    pub async fn batch(&self, writes: Vec<Write>) -> Result<(), StorageError> {
        if writes.is_empty() {
            return Ok(());
        }
        self.store.apply(self.prefixed(writes)).await
    }

    /// Like [`View::batch`], but a power cut cannot undo it either: for what exists nowhere
    /// else, such as a password just rotated. Slower.
    pub async fn batch_durable(&self, writes: Vec<Write>) -> Result<(), StorageError> {
        self.store.apply_durable(self.prefixed(writes)).await
    }

    /// [`View::batch`] together with writes of another part of the same storage.
    pub async fn batch_with(&self, writes: Vec<Write>, others: PartOfBatch) -> Result<(), StorageError> {
        let mut all = self.prefixed(writes);
        all.extend(others.0);
        self.store.apply(all).await
    }

    /// Writes to go into the batch of another view of the same storage.
    pub fn part_of_batch(&self, writes: Vec<Write>) -> PartOfBatch {
        PartOfBatch(self.prefixed(writes))
    }

    fn prefixed(&self, writes: Vec<Write>) -> Vec<Write> {
        writes.into_iter().map(|w| w.prefixed(&self.prefix)).collect()
    }

    /// Removes everything below this view.
    pub async fn clear(&self) -> Result<(), StorageError> {
        let writes = self.keys("")?.into_iter().map(Write::Delete).collect();
        self.batch(writes).await
    }
}

fn to_json<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Zeroizing<Vec<u8>>, StorageError> {
    serde_json::to_vec(value)
        .map(Zeroizing::new)
        .map_err(|error| StorageError::Write(format!("{key:?} is not JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logical::testing::MemoryStorage;

    #[tokio::test]
    async fn a_view_sees_only_its_prefix() {
        let root = View::new(Arc::new(MemoryStorage::default()), "");
        let view = root.sub("logical/x/");
        view.put_json("a/b", &1).await.unwrap();
        view.put_json("c", &2).await.unwrap();
        root.put_json("other", &3).await.unwrap();
        assert_eq!(view.list("").unwrap(), ["a/", "c"]);
        assert_eq!(view.keys("a/").unwrap(), ["a/b"]);
        assert_eq!(root.get_json::<u8>("logical/x/c").unwrap(), Some(2));
        view.clear().await.unwrap();
        assert_eq!(root.keys("").unwrap(), ["other"]);
    }

    #[tokio::test]
    async fn damaged_json_names_its_key() {
        let view = View::new(Arc::new(MemoryStorage::default()), "p/");
        view.put("k", b"{".to_vec()).await.unwrap();
        let error = view.get_json::<Vec<u8>>("k").unwrap_err();
        assert!(error.to_string().contains("\"p/k\""), "{error}");
    }
}
