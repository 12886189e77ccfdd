//! Identity: entities, their aliases and groups, as far as logins need them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use super::groups::{Groups, Membership, StoredGroup};
use crate::logical::{Alias, Entity, Error, View, Write};
use crate::{policy, random};

/// A stored entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "EntityRecord")]
pub struct StoredEntity {
    /// UUID.
    pub id: String,
    /// Name; of those that logins make `entity_` and eight digits.
    pub name: String,
    /// Metadata.
    pub metadata: BTreeMap<String, String>,
    /// Policies tokens of this entity get besides their own.
    pub policies: Vec<String>,
    /// Its logins and tokens are refused.
    pub disabled: bool,
    /// Its names at auth mounts, one at each.
    pub aliases: Vec<StoredAlias>,
    /// Its groups and what they give it, worked out when it is read.
    #[serde(skip)]
    pub membership: Membership,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// A name at an auth mount.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredAlias {
    /// UUID.
    pub id: String,
    /// Name at the mount: the role_id for AppRole, the user name for userpass.
    pub name: String,
    /// Accessor of the mount.
    pub mount_accessor: String,
    /// Metadata the auth method gave.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Metadata given over the API; none for an alias that a login made.
    #[serde(default)]
    pub custom_metadata: Option<BTreeMap<String, String>>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// The stored form. Once an entity was one with its only alias: those are still read.
#[derive(Deserialize)]
struct EntityRecord {
    id: String,
    name: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    policies: Vec<String>,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    aliases: Vec<StoredAlias>,
    #[serde(default)]
    created: Timestamp,
    #[serde(default)]
    updated: Timestamp,
    #[serde(default)]
    alias_id: String,
    #[serde(default)]
    alias_name: String,
    #[serde(default)]
    mount_accessor: String,
    #[serde(default)]
    alias_metadata: BTreeMap<String, String>,
}

impl From<EntityRecord> for StoredEntity {
    fn from(record: EntityRecord) -> Self {
        let mut aliases = record.aliases;
        if !record.alias_id.is_empty() {
            aliases.push(StoredAlias {
                id: record.alias_id,
                name: record.alias_name,
                mount_accessor: record.mount_accessor,
                metadata: record.alias_metadata,
                custom_metadata: None,
                created: record.created,
                updated: record.updated,
            });
        }
        Self {
            id: record.id,
            name: record.name,
            metadata: record.metadata,
            policies: record.policies,
            disabled: record.disabled,
            aliases,
            membership: Membership::default(),
            created: record.created,
            updated: record.updated,
        }
    }
}

impl StoredAlias {
    /// A new alias.
    pub fn new(name: &str, mount_accessor: &str) -> Self {
        let now = Timestamp::now();
        Self {
            id: random::uuid(),
            name: name.to_owned(),
            mount_accessor: mount_accessor.to_owned(),
            metadata: BTreeMap::new(),
            custom_metadata: None,
            created: now,
            updated: now,
        }
    }
}

impl StoredEntity {
    /// A new entity without aliases, with a name of its own.
    pub fn named_by_itself() -> Self {
        let now = Timestamp::now();
        Self {
            id: random::uuid(),
            name: format!("entity_{:08x}", u32::from_be_bytes(random::bytes())),
            metadata: BTreeMap::new(),
            policies: Vec::new(),
            disabled: false,
            aliases: Vec::new(),
            membership: Membership::default(),
            created: now,
            updated: now,
        }
    }

    /// The form policy templates take.
    pub fn for_policies(&self) -> policy::Identity {
        let alias = |alias: &StoredAlias| policy::MountAlias {
            mount_accessor: alias.mount_accessor.clone(),
            id: alias.id.clone(),
            name: alias.name.clone(),
            metadata: alias.metadata.clone(),
            custom_metadata: alias.custom_metadata.clone().unwrap_or_default(),
        };
        policy::Identity {
            entity: Entity { id: self.id.clone(), name: self.name.clone(), metadata: self.metadata.clone() },
            aliases: self.aliases.iter().map(alias).collect(),
            groups: self.membership.for_policies(),
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
    /// All groups.
    groups: Option<Arc<Groups>>,
    /// Counts changes: what was read before one must not be kept after it.
    changes: u64,
}

/// The entities.
pub struct IdentityStore {
    view: View,
    cache: RwLock<Cache>,
    /// Held while entities are looked up and written, so that one name gets one entity.
    changing: Mutex<()>,
}

/// The right to change entities; whoever holds it is alone with them.
pub type Changing<'a> = MutexGuard<'a, ()>;

impl IdentityStore {
    /// The entities below `sys/identity/`.
    pub fn new(storage: &View) -> Self {
        Self { view: storage.sub("sys/identity/"), cache: RwLock::default(), changing: Mutex::new(()) }
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
        if id.is_empty() {
            return Ok(None);
        }
        let cache = self.cache();
        if let Some(entity) = cache.entities.get(id) {
            return Ok(Some(Arc::clone(entity)));
        }
        let changes = cache.changes;
        drop(cache);
        let Some(mut entity) = self.view.get_json::<StoredEntity>(&format!("entity/{id}"))? else {
            return Ok(None);
        };
        entity.membership = Membership::of(&*self.groups()?, &entity);
        let entity = Arc::new(entity);
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

    /// Writes what changes entities, and sees to it that nobody goes on with what they were.
    async fn write(&self, ids: Vec<String>, aliases: Vec<String>, writes: Vec<Write>) -> Result<(), Error> {
        // Also when this is given up on the way: it may have been written by then.
        let _forgotten = Forget { store: self, ids, aliases };
        Ok(self.view.batch(writes).await?)
    }

    /// All groups.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn groups(&self) -> Result<Arc<Groups>, Error> {
        let cache = self.cache();
        if let Some(groups) = &cache.groups {
            return Ok(Arc::clone(groups));
        }
        let changes = cache.changes;
        drop(cache);
        let mut groups = Groups::new();
        for id in self.view.list("group/")? {
            if let Some(group) = self.view.get_json(&format!("group/{id}"))? {
                groups.insert(id, group);
            }
        }
        let groups = Arc::new(groups);
        self.keep(changes, |cache| cache.groups = Some(Arc::clone(&groups)));
        Ok(groups)
    }

    /// Stores a group.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn put_group(&self, _changing: &Changing<'_>, group: &StoredGroup) -> Result<(), Error> {
        let _forgotten = ForgetGroups(self);
        Ok(self.view.put_json(&format!("group/{}", group.id), group).await?)
    }

    /// Removes a group.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn remove_group(&self, _changing: &Changing<'_>, group: &StoredGroup) -> Result<(), Error> {
        let _forgotten = ForgetGroups(self);
        Ok(self.view.delete(&format!("group/{}", group.id)).await?)
    }

    /// All entities.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn all(&self) -> Result<Vec<StoredEntity>, Error> {
        let mut entities = Vec::new();
        for id in self.view.list("entity/")? {
            entities.extend(self.get(&id)?);
        }
        Ok(entities)
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
        let is_current = |entity: &Arc<StoredEntity>| {
            let mut aliases = entity.aliases.iter();
            aliases.any(|a| a.mount_accessor == accessor && a.metadata == alias.metadata)
        };
        if let Some(found) = self.find_shared(accessor, &alias.name)?.filter(is_current) {
            return Ok(found);
        }
        let changing = self.change().await;
        let mut entity =
            self.find_stored(accessor, &alias.name)?.unwrap_or_else(StoredEntity::named_by_itself);
        match entity.aliases.iter_mut().find(|a| a.mount_accessor == accessor) {
            Some(known) => known.metadata.clone_from(&alias.metadata),
            None => entity.aliases.push(StoredAlias {
                metadata: alias.metadata.clone(),
                ..StoredAlias::new(&alias.name, accessor)
            }),
        }
        self.put(&changing, &[&entity], &[]).await?;
        // Read again, with what its groups give it.
        self.shared(&entity.id)?.ok_or_else(|| Error::internal("an entity that was just stored is gone"))
    }

    /// Waits for the right to change entities.
    pub async fn change(&self) -> Changing<'_> {
        self.changing.lock().await
    }

    /// Stores entities with their aliases, and forgets the aliases `gone`, all at once.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn put(
        &self,
        _changing: &Changing<'_>,
        entities: &[&StoredEntity],
        gone: &[&StoredAlias],
    ) -> Result<(), Error> {
        let (mut writes, mut aliases) = (Vec::new(), Vec::new());
        for alias in gone {
            aliases.push(alias_key(&alias.mount_accessor, &alias.name));
            writes.push(Write::delete(alias_key(&alias.mount_accessor, &alias.name)));
        }
        for entity in entities {
            writes.push(Write::put_json(format!("entity/{}", entity.id), entity)?);
            for alias in &entity.aliases {
                aliases.push(alias_key(&alias.mount_accessor, &alias.name));
                writes.push(Write::put_json(alias_key(&alias.mount_accessor, &alias.name), &entity.id)?);
            }
        }
        let ids = entities.iter().map(|entity| entity.id.clone()).collect();
        self.write(ids, aliases, writes).await
    }

    /// Removes an entity with its aliases and from its groups; the next login makes a new one.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn remove(&self, _changing: &Changing<'_>, entity: &StoredEntity) -> Result<(), Error> {
        let aliases = entity.aliases.iter().map(|alias| alias_key(&alias.mount_accessor, &alias.name));
        let aliases: Vec<String> = aliases.collect();
        let mut writes = vec![Write::delete(format!("entity/{}", entity.id))];
        writes.extend(aliases.iter().map(Write::delete));
        for group in &entity.membership.direct {
            let mut group = StoredGroup::clone(group);
            group.member_entity_ids.retain(|id| *id != entity.id);
            writes.push(Write::put_json(format!("group/{}", group.id), &group)?);
        }
        let _forgotten = ForgetGroups(self);
        self.write(vec![entity.id.clone()], aliases, writes).await
    }
}

/// Forgets what was kept of entities and aliases when dropped.
struct Forget<'a> {
    store: &'a IdentityStore,
    ids: Vec<String>,
    aliases: Vec<String>,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut cache = self.store.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.changes += 1;
        for id in &self.ids {
            cache.entities.remove(id);
        }
        for alias in &self.aliases {
            cache.aliases.remove(alias);
        }
    }
}

/// Forgets the groups, and with them what every entity got from them, when dropped.
struct ForgetGroups<'a>(&'a IdentityStore);

impl Drop for ForgetGroups<'_> {
    fn drop(&mut self) {
        let mut cache = self.0.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.changes += 1;
        cache.groups = None;
        cache.entities.clear();
    }
}

fn alias_key(accessor: &str, name: &str) -> String {
    format!("alias/{accessor}/{}", name.replace('%', "%25").replace('/', "%2f"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logical::testing::MemoryStorage;
    use serde_json::json;

    #[test]
    fn an_entity_of_the_first_version_is_read_with_its_alias() {
        let old = json!({
            "id": "e", "name": "entity_1", "policies": ["p"], "alias_id": "a", "alias_name": "bob",
            "mount_accessor": "auth_userpass_1", "alias_metadata": {"k": "v"},
        });
        let entity: StoredEntity = serde_json::from_value(old).unwrap();
        assert_eq!((entity.id.as_str(), entity.aliases.len()), ("e", 1));
        assert_eq!((entity.aliases[0].id.as_str(), entity.aliases[0].name.as_str()), ("a", "bob"));
        let again: StoredEntity = serde_json::from_value(json!(entity)).unwrap();
        assert_eq!(again, entity);
    }

    async fn add_policy(store: &IdentityStore, id: &str) {
        let changing = store.change().await;
        let mut entity = store.get(id).unwrap().unwrap();
        entity.policies.push("p".to_owned());
        store.put(&changing, &[&entity], &[]).await.unwrap();
    }

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
        assert_eq!(store.ensure("auth_approle_1", &other).await.unwrap().aliases[0].metadata, other.metadata);
        add_policy(&store, &made.id).await;
        let found = store.shared(&made.id).unwrap().unwrap();
        assert_eq!(found.policies, ["p"]);
        // Another store over the same storage has read nothing before.
        assert_eq!(IdentityStore::new(&storage).get(&made.id).unwrap().as_ref(), Some(&*found));
        let changing = store.change().await;
        store.remove(&changing, &found).await.unwrap();
        drop(changing);
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
        add_policy(&store, &old.id).await;
        store.keep(changes, |cache| {
            cache.entities.insert(old.id.clone(), Arc::clone(&old));
        });
        assert_eq!(store.get(&old.id).unwrap().unwrap().policies, ["p"]);
    }
}
