//! Roles and secret_ids in storage, and the locks that keep them consistent.
//!
//! Roles are few and read by every login, so all of them are in memory; secret_ids are read from
//! storage. Keys: `role/<name>`, `secret_id/<role>/<hmac of the secret_id>`,
//! `accessor/<sha256 of the accessor>`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

use super::role::{Role, hex};
use super::secret_id::SecretId;
use crate::framework::KeyLocks;
use crate::logical::{Deferred, Error, StorageError, View, Write};

/// Entries a sweep looks at before it lets other tasks run.
const SWEEP_BATCH: usize = 256;

#[derive(Default)]
struct Roles {
    by_name: BTreeMap<String, Arc<Role>>,
    by_role_id: HashMap<String, Arc<Role>>,
}

/// Where an accessor leads.
#[derive(Serialize, Deserialize)]
struct Accessor {
    hmac: String,
}

/// Roles and secret_ids of one mount.
pub(super) struct Store {
    view: View,
    roles: RwLock<Roles>,
    /// Held for writing while a role changes, for reading while one of its secret_ids does: a
    /// secret_id can never be written for a role that is being deleted.
    gate: Arc<tokio::sync::RwLock<()>>,
    secret_ids: KeyLocks,
}

impl Store {
    pub fn new(view: View) -> Self {
        Self { view, roles: RwLock::default(), gate: Arc::default(), secret_ids: KeyLocks::default() }
    }

    /// Reads all roles into memory.
    pub fn load(&self) -> Result<(), StorageError> {
        let mut roles = Roles::default();
        for key in self.view.keys("role/")? {
            if let Some(role) = self.view.get_json::<Role>(&key)? {
                roles.insert(Arc::new(role));
            }
        }
        *self.roles.write().unwrap_or_else(PoisonError::into_inner) = roles;
        Ok(())
    }

    /// Forgets the roles in memory.
    pub fn unload(&self) {
        *self.roles.write().unwrap_or_else(PoisonError::into_inner) = Roles::default();
    }

    /// Keeps roles from changing while one is changed.
    pub async fn change_roles(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().await
    }

    /// Keeps roles from changing while secret_ids do.
    pub async fn hold_roles(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().await
    }

    /// Keeps roles from changing, and others from the secret_id with this HMAC, for longer than a call.
    pub async fn hold_secret_id(&self, hmac: &str) -> impl Send + Sync + 'static {
        let roles = Arc::clone(&self.gate).read_owned().await;
        (roles, self.secret_ids.lock_owned(hmac).await)
    }

    /// Keeps others from the secret_id with this HMAC.
    pub async fn lock_secret_id(&self, hmac: &str) -> MutexGuard<'_, ()> {
        self.secret_ids.lock(hmac).await
    }

    /// The role of that name; `name` in any case.
    pub fn role(&self, name: &str) -> Option<Arc<Role>> {
        self.roles().by_name.get(&name.to_lowercase()).cloned()
    }

    /// The role with that role_id.
    pub fn role_by_id(&self, role_id: &str) -> Option<Arc<Role>> {
        self.roles().by_role_id.get(role_id).cloned()
    }

    /// Names of all roles, sorted.
    pub fn role_names(&self) -> Vec<String> {
        self.roles().by_name.keys().cloned().collect()
    }

    /// Stores a role. The caller holds [`Store::change_roles`].
    ///
    /// # Errors
    /// Vault's raw errors for a role without any constraint and for a role_id of another role.
    pub async fn put_role(&self, role: Role) -> Result<(), Error> {
        if !role.is_constrained() {
            return Err(Error::internal("at least one constraint should be enabled on the role"));
        }
        if self.role_by_id(&role.role_id).is_some_and(|other| other.name != role.name) {
            return Err(Error::raw_bad_request("role_id already in use"));
        }
        self.view.put_json(&format!("role/{}", role.name), &role).await?;
        let mut roles = self.roles.write().unwrap_or_else(PoisonError::into_inner);
        roles.remove(&role.name);
        roles.insert(Arc::new(role));
        Ok(())
    }

    /// Removes a role with all its secret_ids. The caller holds [`Store::change_roles`].
    pub async fn remove_role(&self, role: &Role) -> Result<(), Error> {
        let mut writes = vec![Write::delete(format!("role/{}", role.name))];
        for key in self.view.keys(&secret_id_folder(role))? {
            if let Some(entry) = self.view.get_json::<SecretId>(&key)? {
                writes.push(Write::delete(accessor_key(&entry.accessor)));
            }
            writes.push(Write::delete(key));
        }
        self.view.batch(writes).await?;
        self.roles.write().unwrap_or_else(PoisonError::into_inner).remove(&role.name);
        Ok(())
    }

    /// The secret_id with this HMAC, expired or not.
    pub fn secret_id(&self, role: &Role, hmac: &str) -> Result<Option<SecretId>, Error> {
        Ok(self.view.get_json(&secret_id_key(role, hmac))?)
    }

    /// The HMAC an accessor leads to.
    pub fn hmac_of_accessor(&self, accessor: &str) -> Result<Option<String>, Error> {
        let found = self.view.get_json::<Accessor>(&accessor_key(accessor))?;
        Ok(found.map(|accessor| accessor.hmac))
    }

    /// Accessors of a role's secret_ids, expired ones included until they are tidied.
    pub fn accessors(&self, role: &Role) -> Result<Vec<String>, Error> {
        let mut accessors = Vec::new();
        for key in self.view.keys(&secret_id_folder(role))? {
            if let Some(entry) = self.view.get_json::<SecretId>(&key)? {
                accessors.push(entry.accessor);
            }
        }
        Ok(accessors)
    }

    /// Stores a new secret_id. The caller holds [`Store::hold_roles`] and its lock.
    pub async fn add_secret_id(&self, role: &Role, hmac: &str, entry: &SecretId) -> Result<(), Error> {
        let accessor = Accessor { hmac: hmac.to_owned() };
        let writes = vec![
            Write::put_json(accessor_key(&entry.accessor), &accessor)?,
            Write::put_json(secret_id_key(role, hmac), entry)?,
        ];
        Ok(self.view.batch(writes).await?)
    }

    /// Stores what is left of a secret_id after a use, or removes it after the last, together with the
    /// login. `held` is what [`Store::hold_secret_id`] gave.
    pub fn count_use(
        &self,
        role: &Role,
        hmac: &str,
        entry: &SecretId,
        held: impl Send + Sync + 'static,
    ) -> Result<Deferred, Error> {
        let key = secret_id_key(role, hmac);
        let writes = if entry.num_uses == 0 {
            vec![Write::delete(accessor_key(&entry.accessor)), Write::delete(key)]
        } else {
            vec![Write::put_json(key, entry)?]
        };
        Ok(Deferred::new(&self.view, writes, held))
    }

    /// Removes a secret_id. The caller holds [`Store::hold_roles`] and its lock.
    pub async fn remove_secret_id(&self, role: &Role, hmac: &str, entry: &SecretId) -> Result<(), Error> {
        self.remove_key(secret_id_key(role, hmac), entry).await
    }

    async fn remove_key(&self, key: String, entry: &SecretId) -> Result<(), Error> {
        let writes = vec![Write::delete(accessor_key(&entry.accessor)), Write::delete(key)];
        Ok(self.view.batch(writes).await?)
    }

    /// Removes all secret_ids that have expired; returns how many.
    pub async fn remove_expired(&self, now: Timestamp) -> Result<usize, Error> {
        let mut removed = 0;
        for (index, key) in self.view.keys("secret_id/")?.into_iter().enumerate() {
            if index % SWEEP_BATCH == SWEEP_BATCH - 1 {
                tokio::task::yield_now().await;
            }
            if !self.is_expired(&key, now)? {
                continue;
            }
            let _roles = self.hold_roles().await;
            let hmac = key.rsplit('/').next().unwrap_or_default();
            let _lock = self.lock_secret_id(hmac).await;
            if let Some(entry) = self.view.get_json::<SecretId>(&key)?
                && entry.is_expired(now)
            {
                self.remove_key(key, &entry).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn is_expired(&self, key: &str, now: Timestamp) -> Result<bool, Error> {
        let entry = self.view.get_json::<SecretId>(key)?;
        Ok(entry.is_some_and(|entry| entry.is_expired(now)))
    }

    fn roles(&self) -> std::sync::RwLockReadGuard<'_, Roles> {
        self.roles.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Roles {
    fn insert(&mut self, role: Arc<Role>) {
        self.by_role_id.insert(role.role_id.clone(), Arc::clone(&role));
        self.by_name.insert(role.name.clone(), role);
    }

    fn remove(&mut self, name: &str) {
        if let Some(role) = self.by_name.remove(name) {
            self.by_role_id.remove(&role.role_id);
        }
    }
}

fn secret_id_folder(role: &Role) -> String {
    format!("secret_id/{}/", role.name)
}

fn secret_id_key(role: &Role, hmac: &str) -> String {
    format!("secret_id/{}/{hmac}", role.name)
}

/// Hashed, because what a client sends as an accessor can be any text.
fn accessor_key(accessor: &str) -> String {
    format!("accessor/{}", hex(&Sha256::digest(accessor.as_bytes())))
}
