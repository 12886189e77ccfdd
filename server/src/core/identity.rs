//! Identity entities, as far as logins need them: one entity per name at an auth mount.

use std::collections::BTreeMap;

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

/// The entities.
pub struct IdentityStore {
    view: View,
    /// Held while an entity is looked up and made, so that one name gets one entity.
    creating: tokio::sync::Mutex<()>,
}

impl IdentityStore {
    /// The entities below `sys/identity/`.
    pub fn new(storage: &View) -> Self {
        Self { view: storage.sub("sys/identity/"), creating: tokio::sync::Mutex::new(()) }
    }

    /// The entity with this id.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<StoredEntity>, Error> {
        Ok(self.view.get_json(&format!("entity/{id}"))?)
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
        match self.view.get_json::<String>(&alias_key(accessor, name))? {
            Some(id) => self.get(&id),
            None => Ok(None),
        }
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
    pub async fn ensure(&self, accessor: &str, alias: &Alias) -> Result<StoredEntity, Error> {
        if let Some(found) = self.find_stored(accessor, &alias.name)?
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
        self.view
            .batch(vec![
                Write::put_json(format!("entity/{}", entity.id), &entity)?,
                Write::put_json(alias_key(accessor, &alias.name), &entity.id)?,
            ])
            .await?;
        Ok(entity)
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
        self.view.put_json(&format!("entity/{id}"), &entity).await?;
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
        Ok(self.view.batch(writes).await?)
    }
}

fn alias_key(accessor: &str, name: &str) -> String {
    format!("alias/{accessor}/{}", name.replace('%', "%25").replace('/', "%2f"))
}
