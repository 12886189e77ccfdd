//! Tokens: made, looked up, extended, counted down, revoked with all that hangs on them.

use std::sync::Arc;

use jiff::Timestamp;

use crate::core::active::Active;
use crate::core::router::Engine;
use crate::logical::{Error, PartOfBatch, TokenEntry};
use crate::random;
use crate::token::{StoredToken, TokenKey, TokenLease};

/// `num_uses` of a token whose last use is running.
pub const LAST_USE: i64 = -1;

impl Active {
    /// Stores a new token; gives it an id and an accessor unless it has them.
    ///
    /// # Errors
    /// 400 when the id is taken or the parent is gone; when storage fails.
    pub async fn create_token(
        &self,
        entry: TokenEntry,
        lease: TokenLease,
    ) -> Result<Arc<StoredToken>, Error> {
        self.create_token_with(entry, lease, PartOfBatch::default()).await
    }

    /// The same, and stores something else in one go with it.
    ///
    /// # Errors
    /// As [`Active::create_token`].
    pub async fn create_token_with(
        &self,
        mut entry: TokenEntry,
        mut lease: TokenLease,
        others: PartOfBatch,
    ) -> Result<Arc<StoredToken>, Error> {
        if entry.id.is_empty() {
            entry.id = format!("hvs.{}", random::base62(24));
        }
        entry.accessor = random::base62(24);
        lease.num_uses = entry.num_uses;
        let key = self.tokens.key(&entry.id);
        if self.index().has_token(&key) {
            return Err(Error::bad_request("cannot create a token with a duplicate ID"));
        }
        let parent = (!entry.parent.is_empty()).then(|| self.tokens.key(&entry.parent));
        let token = Arc::new(StoredToken { entry: Arc::new(entry), lease });
        self.tokens.save_with(&key, &token, others).await?;
        let due = token.lease.expires;
        let added = {
            let mut index = self.index();
            let added = index.add_token(key, &token.entry.accessor, parent, due);
            if added {
                index.note_path(key, &token.entry.path);
                self.tokens.remember(key, Arc::clone(&token));
            }
            added
        };
        if !added {
            self.tokens.delete(&[key]).await?;
            return Err(Error::bad_request("parent token not found"));
        }
        self.reschedule();
        Ok(token)
    }

    /// A live token.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn lookup_token(&self, token: &str) -> Result<Option<Arc<StoredToken>>, Error> {
        self.lookup_key(&self.tokens.key(token))
    }

    /// A live token by its key.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn lookup_key(&self, key: &TokenKey) -> Result<Option<Arc<StoredToken>>, Error> {
        let found = match self.tokens.cached(key) {
            Some(found) => Some(found),
            None => self.load_live(key)?,
        };
        let now = Timestamp::now();
        Ok(found.filter(|token| !token.is_expired(now)))
    }

    fn load_live(&self, key: &TokenKey) -> Result<Option<Arc<StoredToken>>, Error> {
        if !self.index().has_token(key) {
            return Ok(None);
        }
        let Some(token) = self.tokens.load(key)?.map(Arc::new) else {
            return Ok(None);
        };
        // Kept ready only while it is known to be alive: revocation forgets it under this lock.
        let index = self.index();
        if !index.has_token(key) {
            return Ok(None);
        }
        self.tokens.remember(*key, Arc::clone(&token));
        Ok(Some(token))
    }

    /// A live token by its accessor.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn lookup_accessor(&self, accessor: &str) -> Result<Option<(TokenKey, Arc<StoredToken>)>, Error> {
        let key = self.index().by_accessor(accessor);
        match key {
            Some(key) => Ok(self.lookup_key(&key)?.map(|token| (key, token))),
            None => Ok(None),
        }
    }

    /// Replaces a token's record, and its end.
    ///
    /// # Errors
    /// When storage fails; 400 when it was revoked meanwhile.
    pub async fn update_token(&self, key: &TokenKey, token: StoredToken) -> Result<Arc<StoredToken>, Error> {
        let token = Arc::new(token);
        self.tokens.save(key, &token).await?;
        let alive = {
            let mut index = self.index();
            let alive = index.has_token(key);
            if alive {
                index.set_token_due(key, token.lease.expires);
                self.tokens.remember(*key, Arc::clone(&token));
            }
            alive
        };
        if !alive {
            self.tokens.delete(&[*key]).await?;
            return Err(Error::bad_request("token not found"));
        }
        self.reschedule();
        Ok(token)
    }

    /// Counts one use of a limited token; `num_uses` of the answer is [`LAST_USE`] on the last.
    ///
    /// # Errors
    /// 403 when no use is left; when storage fails.
    pub async fn use_token(&self, key: &TokenKey) -> Result<Arc<StoredToken>, Error> {
        let _counting = self.counting.lock(&key.hex()).await;
        let token = self.lookup_key(key)?.ok_or(Error::PermissionDenied)?;
        let left = match token.entry.num_uses {
            0 => return Ok(token),
            1 => LAST_USE,
            uses if uses > 1 => uses - 1,
            _ => return Err(Error::PermissionDenied),
        };
        let mut entry = TokenEntry::clone(&token.entry);
        entry.num_uses = left;
        self.update_token(key, StoredToken { entry: Arc::new(entry), lease: token.lease.clone() }).await
    }

    /// Revokes a token, all that descend from it, and all their leases. Unknown is fine.
    ///
    /// # Errors
    /// When storage fails; nothing is revoked then.
    pub async fn revoke_token_tree(&self, root: &TokenKey) -> Result<(), Error> {
        loop {
            let tree = self.index().tree(root);
            if tree.is_empty() {
                return Ok(());
            }
            self.tokens.delete(&tree).await?;
            self.forget_tokens(&tree).await;
        }
    }

    /// Revokes a token alone: its children become orphans.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn revoke_orphan(&self, key: &TokenKey) -> Result<(), Error> {
        let children = self.index().orphan_children(key);
        for child in children {
            let Some(token) = self.lookup_key(&child)? else {
                continue;
            };
            let mut entry = TokenEntry::clone(&token.entry);
            entry.parent.clear();
            let token = StoredToken { entry: Arc::new(entry), lease: token.lease.clone() };
            self.update_token(&child, token).await?;
        }
        self.tokens.delete(&[*key]).await?;
        self.forget_tokens(&[*key]).await;
        Ok(())
    }

    async fn forget_tokens(&self, keys: &[TokenKey]) {
        let now = Timestamp::now();
        let mut gone = Vec::with_capacity(keys.len());
        {
            let mut index = self.index();
            for key in keys {
                gone.extend(index.remove_token(key, now).map(|accessor| (*key, accessor)));
                self.tokens.forget(key);
            }
        }
        self.reschedule();
        for (key, accessor) in gone {
            if let Err(error) = self.clear_private(&key, &accessor).await {
                tracing::warn!(%error, "private storage of a revoked token could not be cleared");
            }
        }
    }

    /// Removes what only this token could read: its cubbyhole and a response wrapped in it.
    async fn clear_private(&self, key: &TokenKey, accessor: &str) -> Result<(), Error> {
        self.wrapped(key).clear().await?;
        if let Some((mounted, _)) = self.router.find("cubbyhole/")
            && let Engine::Backend(backend) = &mounted.engine
        {
            backend.token_revoked(accessor).await?;
        }
        Ok(())
    }

    /// Tokens whose lease id (`<path>/h<key>`) starts with a prefix.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn tokens_below(&self, prefix: &str) -> Result<Vec<TokenKey>, Error> {
        // Nearly all leases of tokens are below `auth/`; elsewhere there is no need to read them all.
        let keys = if prefix.starts_with("auth/") || "auth/".starts_with(prefix) {
            self.tokens.all()?
        } else {
            self.index().tokens_elsewhere()
        };
        let mut found = Vec::new();
        for key in keys {
            if let Some(token) = self.lookup_key(&key)?
                && token_lease_id(&token, &key).starts_with(prefix)
                && token.lease.expires.is_some()
            {
                found.push(key);
            }
        }
        Ok(found)
    }
}

/// The id under which `sys/leases` knows a token.
pub fn token_lease_id(token: &StoredToken, key: &TokenKey) -> String {
    format!("{}/h{}", token.entry.path, key.hex())
}
