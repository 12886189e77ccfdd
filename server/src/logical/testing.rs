//! Doubles for unit tests of backends: plain memory in place of the barrier, a clock to set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{
    Alias, BackendContext, Entity, Error, Lockout, MountInfo, Object, Operation, Request, Storage,
    StorageError, System, View, Write,
};

/// Storage in a map, without encryption.
#[derive(Default)]
pub struct MemoryStorage {
    values: Mutex<BTreeMap<String, Zeroizing<Vec<u8>>>>,
}

#[async_trait]
impl Storage for MemoryStorage {
    fn get(&self, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StorageError> {
        Ok(self.values.lock().unwrap().get(key).cloned())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let children: BTreeSet<String> = self
            .keys(prefix)?
            .iter()
            .map(|key| {
                let rest = &key[prefix.len()..];
                rest.split_inclusive('/').next().unwrap_or(rest).to_owned()
            })
            .collect();
        Ok(children.into_iter().collect())
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let values = self.values.lock().unwrap();
        Ok(values.keys().filter(|k| k.starts_with(prefix)).cloned().collect())
    }

    async fn apply(&self, writes: Vec<Write>) -> Result<(), StorageError> {
        let mut values = self.values.lock().unwrap();
        for write in writes {
            match write {
                Write::Put(key, value) => values.insert(key, value),
                Write::Delete(key) => values.remove(&key),
            };
        }
        Ok(())
    }
}

/// A system with Vault's defaults and a clock that stands until it is set.
pub struct TestSystem {
    /// The time; starts at 2026-01-01T00:00:00Z.
    pub now: Mutex<Timestamp>,
    /// Default TTL.
    pub default_ttl: Duration,
    /// Longest TTL.
    pub max_ttl: Duration,
}

impl Default for TestSystem {
    fn default() -> Self {
        Self {
            now: Mutex::new("2026-01-01T00:00:00Z".parse().unwrap()),
            default_ttl: Duration::from_hours(768),
            max_ttl: Duration::from_hours(768),
        }
    }
}

impl TestSystem {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        *self.now.lock().unwrap() += by;
    }
}

#[async_trait]
impl System for TestSystem {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    fn default_lease_ttl(&self) -> Duration {
        self.default_ttl
    }

    fn max_lease_ttl(&self) -> Duration {
        self.max_ttl
    }

    fn lockout(&self) -> Lockout {
        Lockout::default()
    }

    async fn generate_password(&self, policy: &str) -> Result<String, Error> {
        Err(Error::internal(format!("no password policy {policy:?}")))
    }

    fn entity(&self, _alias: &Alias) -> Result<Option<Entity>, Error> {
        Ok(None)
    }
}

/// A context for a mount at `path` of a type, with its own storage and system.
pub fn context(path: &str, kind: &str) -> (BackendContext, Arc<TestSystem>) {
    let system = Arc::new(TestSystem::default());
    let context = BackendContext {
        storage: View::new(Arc::new(MemoryStorage::default()), "test/"),
        system: Arc::clone(&system) as Arc<dyn System>,
        mount: MountInfo {
            path: path.to_owned(),
            kind: kind.to_owned(),
            accessor: format!("{kind}_00000000"),
            uuid: "00000000-0000-4000-8000-000000000000".to_owned(),
            options: Object::new(),
        },
    };
    (context, system)
}

/// A request with JSON data.
pub fn request(operation: Operation, path: &str, data: serde_json::Value) -> Request {
    let data = match data {
        serde_json::Value::Object(map) => map,
        _ => Object::new(),
    };
    Request {
        id: "11111111-1111-4111-8111-111111111111".to_owned(),
        operation,
        path: path.to_owned(),
        data,
        ..Request::default()
    }
}
