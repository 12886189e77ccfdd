//! Stored policies, and what tokens may do by them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::identity::StoredEntity;
use crate::logical::{Error, View};
use crate::policy::{
    Acl, CONTROL_GROUP_POLICY, DEFAULT_POLICY, Policy, RESPONSE_WRAPPING_POLICY, ROOT_POLICY_NAME,
};

/// Compiled access lists kept ready.
const CACHE_LIMIT: usize = 1024;

/// Name of the policy wrapping tokens have.
pub const RESPONSE_WRAPPING: &str = "response-wrapping";

/// Name of the policy Vault Enterprise gives to tokens of control groups; every Vault has it.
const CONTROL_GROUP: &str = "control-group";

/// Policies no token can be given, nor changed or listed.
pub const NOT_ASSIGNABLE: [&str; 2] = [RESPONSE_WRAPPING, CONTROL_GROUP];

/// By the entity's id (empty without one), then by the policies' names: two steps, so that a look-up
/// copies neither.
type Acls = HashMap<String, HashMap<Vec<String>, Arc<Acl>>>;

/// The policies: texts in storage, parsed in memory.
pub struct PolicyStore {
    view: View,
    parsed: RwLock<HashMap<String, Arc<Stored>>>,
    acls: RwLock<Acls>,
}

/// A policy with its text.
pub struct Stored {
    /// As it was written.
    pub text: String,
    policy: Policy,
}

impl PolicyStore {
    /// Loads the policies below `sys/policy/`; makes the built-in ones on first use.
    ///
    /// # Errors
    /// When storage fails. A stored policy that cannot be parsed (of another version) allows nothing.
    pub async fn open(storage: &View) -> Result<Self, Error> {
        let store =
            Self { view: storage.sub("sys/policy/"), parsed: RwLock::default(), acls: RwLock::default() };
        for name in store.view.keys("")? {
            let Some(text) = store.view.get_json::<String>(&name)? else {
                continue;
            };
            if let Err(error) = store.keep(&name, text.clone()) {
                tracing::error!(name, %error, "a stored policy cannot be parsed; it allows nothing");
                let nothing = Policy { name: name.clone(), rules: Vec::new(), templated: false };
                store.insert(&name, text, nothing);
            }
        }
        for (name, text) in [
            ("default", DEFAULT_POLICY),
            (RESPONSE_WRAPPING, RESPONSE_WRAPPING_POLICY),
            (CONTROL_GROUP, CONTROL_GROUP_POLICY),
        ] {
            if store.get(name).is_none() {
                store.set(name, text.to_owned()).await?;
            }
        }
        Ok(store)
    }

    /// Names of all policies, `root` too, sorted.
    pub fn names(&self) -> Vec<String> {
        let parsed = self.parsed.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> =
            parsed.keys().filter(|name| !NOT_ASSIGNABLE.contains(&name.as_str())).cloned().collect();
        names.push("root".to_owned());
        names.sort_unstable();
        names
    }

    /// A policy by its lower-case name.
    pub fn get(&self, name: &str) -> Option<Arc<Stored>> {
        let parsed = self.parsed.read().unwrap_or_else(PoisonError::into_inner);
        parsed.get(name).cloned()
    }

    /// Stores a policy.
    ///
    /// # Errors
    /// 400 when it cannot be parsed; when storage fails.
    pub async fn set(&self, name: &str, text: String) -> Result<(), Error> {
        Policy::parse(name, &text).map_err(|error| Error::bad_request(error.to_string()))?;
        self.view.put_json(name, &text).await?;
        self.keep(name, text)
    }

    /// Removes a policy; absent is fine.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        self.view.delete(name).await?;
        self.parsed.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.forget_acls();
        Ok(())
    }

    /// What these policies allow together, to this entity.
    pub fn acl(&self, names: &[String], entity: Option<&StoredEntity>) -> Arc<Acl> {
        let id = entity.map_or("", |entity| &entity.id);
        let kept = self.acls.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(acl) = kept.get(id).and_then(|of_entity| of_entity.get(names)) {
            return Arc::clone(acl);
        }
        drop(kept);
        // The lock on the policies is held until the list is kept: a change in between would
        // otherwise leave a stale one.
        let parsed = self.parsed.read().unwrap_or_else(PoisonError::into_inner);
        let root = Policy { name: ROOT_POLICY_NAME.to_owned(), rules: Vec::new(), templated: false };
        let root = names.iter().any(|name| name == ROOT_POLICY_NAME).then_some(&root);
        let policies: Vec<Arc<Stored>> = names.iter().filter_map(|name| parsed.get(name).cloned()).collect();
        let identity = entity.map(StoredEntity::for_policies);
        let policies = policies.iter().map(|stored| &stored.policy).chain(root);
        let acl = Arc::new(Acl::compile(policies, identity.as_ref()));
        let mut acls = self.acls.write().unwrap_or_else(PoisonError::into_inner);
        if acls.values().map(HashMap::len).sum::<usize>() >= CACHE_LIMIT {
            acls.clear();
        }
        acls.entry(id.to_owned()).or_default().insert(names.to_vec(), Arc::clone(&acl));
        acl
    }

    /// Forgets the compiled lists, after a policy or an entity changed.
    pub fn forget_acls(&self) {
        self.acls.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn keep(&self, name: &str, text: String) -> Result<(), Error> {
        let policy = Policy::parse(name, &text).map_err(|error| Error::bad_request(error.to_string()))?;
        self.insert(name, text, policy);
        Ok(())
    }

    fn insert(&self, name: &str, text: String, policy: Policy) {
        let stored = Arc::new(Stored { text, policy });
        self.parsed.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), stored);
        self.forget_acls();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logical::Operation;
    use crate::logical::testing::MemoryStorage;
    use crate::policy::Request;

    #[tokio::test]
    async fn a_stored_policy_that_cannot_be_parsed_allows_nothing_and_can_be_mended() {
        let storage = View::new(Arc::new(MemoryStorage::default()), "");
        storage.put_json("sys/policy/odd", "path {").await.unwrap();
        let store = PolicyStore::open(&storage).await.unwrap();
        assert_eq!(store.get("odd").unwrap().text, "path {");
        let names = ["odd".to_owned()];
        let request = Request::new(Operation::Read, "a");
        assert!(!store.acl(&names, None).check(&request).allowed);
        store.set("odd", "path \"a\" { capabilities = [\"read\"] }".to_owned()).await.unwrap();
        assert!(store.acl(&names, None).check(&request).allowed);
    }
}
