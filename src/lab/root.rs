//! The power of root over a running lab's Vault, for the time it is needed.

use std::time::Duration;

use super::{LabError, RunningLab};
use crate::provision::{ProvisionError, regain_root};
use crate::vault::Client;

/// A root token of a running lab: the one the lab file keeps, or one made through the unseal keys. Such
/// a one ends by itself after a while; [`end`](Self::end) it before.
#[derive(Debug)]
pub struct RootAccess {
    client: Client,
    kept: bool,
}

impl RootAccess {
    /// A client with the token.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether it is the lab's own, which others use too and which does not end.
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    /// Revokes the token, and with it every token and lease made with it. A kept one stays.
    pub async fn end(self) -> Result<(), LabError> {
        if self.kept { Ok(()) } else { Ok(self.client.revoke_self().await?) }
    }
}

impl RunningLab {
    /// Takes the power of root for `ttl` at most. A lab works without it once it is up: this is for
    /// what the lab file does not say.
    ///
    /// # Errors
    /// When another vaultlab works on the lab for too long, and when the unseal keys are not there or
    /// not this Vault's.
    pub async fn root(&self, ttl: Duration) -> Result<RootAccess, LabError> {
        let lab = self.lab();
        // Vault makes one root token at a time.
        let _lock = lab.lock("root").await?;
        let store = lab.key_store();
        let keys = store.load()?.ok_or_else(|| ProvisionError::KeysMissing { store: store.path().into() })?;
        if let Some(token) = &keys.root_token {
            let client = self.vault().with_token(token.clone());
            if client.token_is_valid().await? {
                return Ok(RootAccess { client, kept: true });
            }
        }
        let client = regain_root(self.vault(), &keys, store.path(), Some(ttl)).await?;
        Ok(RootAccess { client, kept: false })
    }
}
