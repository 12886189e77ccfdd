//! Identity entities, as far as logins need them: one entity per name at an auth mount.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use serde::{Deserialize, Serialize};

use crate::logical::{Alias, Entity, Error, View, Write};
use crate::{policy, random};

/// A stored entity. Each belongs to one alias.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEntity {
    /// UUID.
    pub id: String,
    /// Name, `entity_` and eight digits.
    pub name: String,
    /// Metadata.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Policies tokens of this entity get besides their own.
    #[serde(default)]
    pub policies: Vec<String>,
    /// UUID of the alias.
    pub alias_id: String,
    /// Name at the auth mount.
    pub alias_name: String,
    /// Accessor of the auth mount.
    pub mount_accessor: String,
    /// Metadata the auth method gave.
    #[serde(default)]
    pub alias_metadata: BTreeMap<String, String>,
}

impl StoredEntity {
    /// The form policy templates take.
    pub fn for_policies(&self) -> policy::Identity {
        policy::Identity {
            entity: Entity { id: self.id.clone(), name: self.name.clone(), metadata: self.metadata.clone() },
            aliases: vec![policy::MountAlias {
                mount_accessor: self.mount_accessor.clone(),
                id: self.alias_id.clone(),
                name: self.alias_name.clone(),
                metadata: self.alias_metadata.clone(),
                custom_metadata: BTreeMap::new(),
            }],
            groups: Vec::new(),
        }
    }
}

/// Entities kept parsed in memory; beyond it they are read again from storage.
const CACHE_LIMIT: usize = 4096;

/// What was read from storage, kept ready: every login and every request of its token asks for it.
#[derive(Default)]
struct Cache {
    /// By id.
    entities: HashMap<String, Arc<StoredEntity>>,
    /// Ids by the alias' key.
    aliases: HashMap<String, String>,
    /// Counts changes: what was read before one must not be kept after it.
    changes: u64,
}

/// The entities.
pub struct IdentityStore {
    view: View,
    cache: RwLock<Cache>,
    /// Held while an entity is looked up and made, so that one name gets one entity.
    creating: tokio::sync::Mutex<()>,
}

impl IdentityStore {
    /// The entities below `sys/identity/`.
    pub fn new(storage: &View) -> Self {
        Self {
            view: storage.sub("sys/identity/"),
            cache: RwLock::default(),
            creating: tokio::sync::Mutex::new(()),
        }
    }

    /// The entity with this id.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<StoredEntity>, Error> {
        Ok(self.shared(id)?.map(|entity| StoredEntity::clone(&entity)))
    }

    /// The entity with this id, not copied.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn shared(&self, id: &str) -> Result<Option<Arc<StoredEntity>>, Error> {
        let cache = self.cache();
        if let Some(entity) = cache.entities.get(id) {
            return Ok(Some(Arc::clone(entity)));
        }
        let changes = cache.changes;
        drop(cache);
        let Some(entity) = self.view.get_json::<Arc<StoredEntity>>(&format!("entity/{id}"))? else {
            return Ok(None);
        };
        self.keep(changes, |cache| {
            cache.entities.insert(id.to_owned(), Arc::clone(&entity));
        });
        Ok(Some(entity))
    }

    fn cache(&self) -> RwLockReadGuard<'_, Cache> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps something that was read when there had been so many changes, unless there were more.
    fn keep(&self, changes: u64, insert: impl FnOnce(&mut Cache)) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        if cache.changes != changes {
            return;
        }
        if cache.entities.len().max(cache.aliases.len()) >= CACHE_LIMIT {
            cache.entities.clear();
            cache.aliases.clear();
        }
        insert(&mut cache);
    }

    /// Forgets an entity that was changed in storage.
    fn forget(&self, entity: &StoredEntity) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.changes += 1;
        cache.entities.remove(&entity.id);
        cache.aliases.remove(&alias_key(&entity.mount_accessor, &entity.alias_name));
    }

    /// Writes what changes an entity, and sees to it that nobody goes on with what it was.
    async fn write(&self, entity: &StoredEntity, writes: Vec<Write>) -> Result<(), Error> {
        // Also when this is given up on the way: it may have been written by then.
        let _forgotten = Forget { store: self, entity };
        Ok(self.view.batch(writes).await?)
    }

    /// Ids of all entities.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn ids(&self) -> Result<Vec<String>, Error> {
        Ok(self.view.list("entity/")?)
    }

    /// The entity of a name at an auth mount.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn find_stored(&self, accessor: &str, name: &str) -> Result<Option<StoredEntity>, Error> {
        Ok(self.find_shared(accessor, name)?.map(|entity| StoredEntity::clone(&entity)))
    }

    fn find_shared(&self, accessor: &str, name: &str) -> Result<Option<Arc<StoredEntity>>, Error> {
        let key = alias_key(accessor, name);
        let cache = self.cache();
        if let Some(entity) = cache.aliases.get(&key).and_then(|id| cache.entities.get(id)) {
            return Ok(Some(Arc::clone(entity)));
        }
        let changes = cache.changes;
        drop(cache);
        let Some(id) = self.view.get_json::<String>(&key)? else {
            return Ok(None);
        };
        let found = self.shared(&id)?;
        self.keep(changes, |cache| {
            cache.aliases.insert(key, id);
        });
        Ok(found)
    }

    /// The same, as backends see it.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn find(&self, accessor: &str, name: &str) -> Result<Option<Entity>, Error> {
        let found = self.find_stored(accessor, name)?;
        Ok(found.map(|e| Entity { id: e.id, name: e.name, metadata: e.metadata }))
    }

    /// The entity of an alias, made on its first login.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn ensure(&self, accessor: &str, alias: &Alias) -> Result<Arc<StoredEntity>, Error> {
        if let Some(found) = self.find_shared(accessor, &alias.name)?
            && found.alias_metadata == alias.metadata
        {
            return Ok(found);
        }
        let _creating = self.creating.lock().await;
        let entity = match self.find_stored(accessor, &alias.name)? {
            Some(found) => StoredEntity { alias_metadata: alias.metadata.clone(), ..found },
            None => StoredEntity {
                id: random::uuid(),
                name: format!("entity_{:08x}", u32::from_be_bytes(random::bytes())),
                metadata: BTreeMap::new(),
                policies: Vec::new(),
                alias_id: random::uuid(),
                alias_name: alias.name.clone(),
                mount_accessor: accessor.to_owned(),
                alias_metadata: alias.metadata.clone(),
            },
        };
        let writes = vec![
            Write::put_json(format!("entity/{}", entity.id), &entity)?,
            Write::put_json(alias_key(accessor, &alias.name), &entity.id)?,
        ];
        self.write(&entity, writes).await?;
        Ok(Arc::new(entity))
    }

    /// Changes an entity that exists; `change` sees it as it is stored now. None where it is gone.
    ///
    /// # Errors
    /// Those of `change`; when storage fails.
    pub async fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut StoredEntity) -> Result<(), Error>,
    ) -> Result<Option<()>, Error> {
        let _changing = self.creating.lock().await;
        let Some(mut entity) = self.get(id)? else {
            return Ok(None);
        };
        change(&mut entity)?;
        let write = Write::put_json(format!("entity/{id}"), &entity)?;
        self.write(&entity, vec![write]).await?;
        Ok(Some(()))
    }

    /// Removes an entity with its alias; the next login makes a new one.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn remove(&self, entity: &StoredEntity) -> Result<(), Error> {
        let _changing = self.creating.lock().await;
        let writes = vec![
            Write::delete(format!("entity/{}", entity.id)),
            Write::delete(alias_key(&entity.mount_accessor, &entity.alias_name)),
        ];
        self.write(entity, writes).await
    }
}

/// Forgets an entity when dropped.
struct Forget<'a> {
    store: &'a IdentityStore,
    entity: &'a StoredEntity,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.store.forget(self.entity);
    }
}

fn alias_key(accessor: &str, name: &str) -> String {
    format!("alias/{accessor}/{}", name.replace('%', "%25").replace('/', "%2f"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logical::testing::MemoryStorage;

    #[tokio::test]
    async fn what_is_kept_ready_is_what_is_stored() {
        let storage = View::new(Arc::new(MemoryStorage::default()), "");
        let store = IdentityStore::new(&storage);
        let alias = Alias { name: "role".to_owned(), metadata: BTreeMap::new() };
        let made = store.ensure("auth_approle_1", &alias).await.unwrap();
        for _ in 0..2 {
            assert_eq!(store.find_stored("auth_approle_1", "role").unwrap().as_ref(), Some(&*made));
        }
        let other = Alias { metadata: BTreeMap::from([("a".to_owned(), "b".to_owned())]), ..alias.clone() };
        assert_eq!(store.ensure("auth_approle_1", &other).await.unwrap().alias_metadata, other.metadata);
        let add = |entity: &mut StoredEntity| {
            entity.policies.push("p".to_owned());
            Ok(())
        };
        store.change(&made.id, add).await.unwrap().unwrap();
        let found = store.shared(&made.id).unwrap().unwrap();
        assert_eq!(found.policies, ["p"]);
        // Another store over the same storage has read nothing before.
        assert_eq!(IdentityStore::new(&storage).get(&made.id).unwrap().as_ref(), Some(&*found));
        store.remove(&found).await.unwrap();
        assert_eq!(store.get(&made.id).unwrap(), None);
        assert_eq!(store.find_stored("auth_approle_1", "role").unwrap(), None);
        assert_ne!(store.ensure("auth_approle_1", &alias).await.unwrap().id, made.id);
    }

    #[tokio::test]
    async fn what_was_read_before_a_change_is_not_kept_after_it() {
        let storage = View::new(Arc::new(MemoryStorage::default()), "");
        let store = IdentityStore::new(&storage);
        let alias = Alias { name: "role".to_owned(), metadata: BTreeMap::new() };
        let old = store.ensure("auth_approle_1", &alias).await.unwrap();
        let changes = store.cache().changes;
        let add = |entity: &mut StoredEntity| {
            entity.policies.push("p".to_owned());
            Ok(())
        };
        store.change(&old.id, add).await.unwrap().unwrap();
        store.keep(changes, |cache| {
            cache.entities.insert(old.id.clone(), Arc::clone(&old));
        });
        assert_eq!(store.get(&old.id).unwrap().unwrap().policies, ["p"]);
    }
}
