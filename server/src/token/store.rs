//! Token records: stored, and the most recently used ones kept ready.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::key::{Hasher, TokenKey};
use crate::logical::{Error, Object, PartOfBatch, TokenEntry, View, Write};
use crate::random;

/// Records kept parsed in memory; beyond it they are read again from storage.
const CACHE_LIMIT: usize = 4096;

/// How long a token lives and who renews it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenLease {
    /// Full path of the auth mount that made it, such as `auth/approle/`; it answers renewals.
    pub mount: String,
    /// What the auth method needs for that.
    #[serde(default)]
    pub internal: Object,
    /// Whether it may be renewed.
    pub renewable: bool,
    /// Largest TTL the auth method allows; zero leaves it to the mount.
    #[serde(default)]
    pub max_ttl: Duration,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it ends; none never.
    pub expires: Option<Timestamp>,
    /// Last renewal.
    #[serde(default)]
    pub renewed: Option<Timestamp>,
    /// Uses the token was made with, which renewals go on telling; 0 is unlimited.
    #[serde(default)]
    pub num_uses: i64,
}

impl TokenLease {
    /// The TTL that was granted last; zero for a token without an end.
    pub fn granted(&self) -> Duration {
        let since = self.renewed.unwrap_or(self.issued);
        let granted = self.expires.map(|expires| expires.duration_since(since));
        granted.and_then(|granted| Duration::try_from(granted).ok()).unwrap_or_default()
    }
}

/// A token with its lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredToken {
    /// Entry.
    pub entry: Arc<TokenEntry>,
    /// Life.
    pub lease: TokenLease,
}

impl StoredToken {
    /// Whether its life has ended.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.lease.expires.is_some_and(|expires| expires <= now)
    }

    /// What is left of its life; none never ends.
    pub fn remaining(&self, now: Timestamp) -> Option<Duration> {
        let left = self.lease.expires?.duration_since(now);
        Some(Duration::try_from(left).unwrap_or_default())
    }
}

/// The token records.
pub struct TokenStore {
    view: View,
    hasher: Hasher,
    cache: RwLock<HashMap<TokenKey, Arc<StoredToken>>>,
}

impl TokenStore {
    /// Opens the records below `sys/token/`; makes the salt on first use.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn open(storage: &View) -> Result<Self, Error> {
        let view = storage.sub("sys/token/");
        let stored: Option<[u8; 32]> = view.get_json("salt")?;
        let salt = stored.unwrap_or_else(random::bytes);
        if stored.is_none() {
            view.put_json("salt", &salt).await?;
        }
        Ok(Self { view, hasher: Hasher::new(&salt), cache: RwLock::default() })
    }

    /// The key of a token.
    pub fn key(&self, token: &str) -> TokenKey {
        self.hasher.key(token)
    }

    /// The record if it is kept ready.
    pub fn cached(&self, key: &TokenKey) -> Option<Arc<StoredToken>> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        cache.get(key).cloned()
    }

    /// The record from storage.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(&self, key: &TokenKey) -> Result<Option<StoredToken>, Error> {
        Ok(self.view.get_json(&storage_key(key))?)
    }

    /// Keeps a record ready.
    pub fn remember(&self, key: TokenKey, token: Arc<StoredToken>) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE_LIMIT && !cache.contains_key(&key) {
            // Any half will do: what is in use comes back with its next request.
            let mut keep = false;
            cache.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
        cache.insert(key, token);
    }

    /// Forgets a record that was kept ready.
    pub fn forget(&self, key: &TokenKey) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.remove(key);
    }

    /// Stores a record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn save(&self, key: &TokenKey, token: &StoredToken) -> Result<(), Error> {
        Ok(self.view.put_json(&storage_key(key), token).await?)
    }

    /// Stores a new record in one go with what else comes with it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn save_with(
        &self,
        key: &TokenKey,
        token: &StoredToken,
        others: PartOfBatch,
    ) -> Result<(), Error> {
        let write = Write::put_json(storage_key(key), token)?;
        Ok(self.view.batch_with(vec![write], others).await?)
    }

    /// Removes records, all or none.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn delete(&self, keys: &[TokenKey]) -> Result<(), Error> {
        let writes = keys.iter().map(|key| Write::delete(storage_key(key))).collect();
        Ok(self.view.batch(writes).await?)
    }

    /// Keys of all records.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn all(&self) -> Result<Vec<TokenKey>, Error> {
        let names = self.view.keys("id/")?;
        Ok(names.iter().filter_map(|name| TokenKey::from_hex(name.strip_prefix("id/")?)).collect())
    }

    /// Storage of the token roles.
    pub fn roles(&self) -> View {
        self.view.sub("roles/")
    }
}

fn storage_key(key: &TokenKey) -> String {
    format!("id/{}", key.hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logical::testing::MemoryStorage;

    fn token(name: &str) -> StoredToken {
        StoredToken {
            entry: Arc::new(TokenEntry { id: name.to_owned(), ..TokenEntry::default() }),
            lease: TokenLease { issued: Timestamp::UNIX_EPOCH, ..TokenLease::default() },
        }
    }

    #[tokio::test]
    async fn records_and_their_keys_survive_reopening() {
        let storage = View::new(Arc::new(MemoryStorage::default()), "");
        let store = TokenStore::open(&storage).await.unwrap();
        let key = store.key("hvs.a");
        store.save(&key, &token("hvs.a")).await.unwrap();
        let store = TokenStore::open(&storage).await.unwrap();
        assert_eq!(store.key("hvs.a"), key);
        assert_eq!(store.load(&key).unwrap(), Some(token("hvs.a")));
        assert_eq!(store.all().unwrap(), [key]);
        assert!(!storage.keys("").unwrap().iter().any(|k| k.contains("hvs.a")));
        store.delete(&[key]).await.unwrap();
        assert_eq!(store.load(&key).unwrap(), None);
    }

    #[tokio::test]
    async fn the_cache_is_bounded() {
        let storage = View::new(Arc::new(MemoryStorage::default()), "");
        let store = TokenStore::open(&storage).await.unwrap();
        for i in 0..=CACHE_LIMIT {
            store.remember(store.key(&i.to_string()), Arc::new(token("x")));
        }
        assert!(store.cache.read().unwrap().len() <= CACHE_LIMIT);
        let last = store.key(&CACHE_LIMIT.to_string());
        assert!(store.cached(&last).is_some());
        store.forget(&last);
        assert!(store.cached(&last).is_none());
    }
}
