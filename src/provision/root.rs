//! The power of root: taken for the time it is needed, and given back.
//!
//! Vault makes a root token from its unseal keys at any time, so none has to lie about. One made that
//! way would live until it is revoked, also when this program is killed; so it is used for nothing
//! but to make one that ends by itself, and is revoked at once.

use std::path::Path;
use std::time::Duration;

use super::ProvisionError;
use crate::report::Outcome;
use crate::state::{KeyStore, VaultKeys};
use crate::vault::{Client, OrphanToken, RootGeneration, TokenLife, VaultError};

/// Makes a token with the policy `root` through the unseal keys. It ends after `ttl` at the latest
/// (revoke it before), or never when there is none.
///
/// Vault allows one attempt at a time: the caller holds the lab's lock, and an attempt that is under
/// way all the same was left by a program that died.
///
/// # Errors
/// [`ProvisionError::WrongKeys`] when the keys are not this Vault's.
pub async fn regain_root(
    vault: &Client,
    keys: &VaultKeys,
    store: &Path,
    ttl: Option<Duration>,
) -> Result<Client, ProvisionError> {
    let on = |source| ProvisionError::On { what: "a root token through the unseal keys".into(), source };
    let attempt = start(vault).await.map_err(on)?;
    let endless = match collect(vault, &attempt, keys).await {
        Ok(Some(token)) => vault.with_token(token),
        Ok(None) => {
            // The next one must not find it under way.
            let _ = vault.cancel_root_generation().await;
            let cause = "they are fewer than it wants".to_owned();
            return Err(ProvisionError::WrongKeys { store: store.into(), cause });
        }
        Err(VaultError::Refused { status: 400 | 500, errors, .. }) => {
            let _ = vault.cancel_root_generation().await;
            return Err(ProvisionError::WrongKeys { store: store.into(), cause: errors.join("; ") });
        }
        Err(error) => return Err(on(error)),
    };
    let Some(ttl) = ttl else { return Ok(endless) };
    let wanted =
        OrphanToken { display_name: "vaultlab-root", policies: &["root"], life: TokenLife::Ttl(ttl) };
    let token = endless.create_orphan_token(&wanted).await;
    endless.revoke_self().await.map_err(on)?;
    Ok(vault.with_token(token.map_err(on)?))
}

async fn start(vault: &Client) -> Result<RootGeneration, VaultError> {
    match vault.start_root_generation().await {
        Err(error) if error.is_status(400) => {
            vault.cancel_root_generation().await?;
            vault.start_root_generation().await
        }
        result => result,
    }
}

async fn collect(
    vault: &Client,
    attempt: &RootGeneration,
    keys: &VaultKeys,
) -> Result<Option<crate::secret::Secret>, VaultError> {
    for key in &keys.unseal_keys {
        if let Some(token) = vault.continue_root_generation(attempt, key).await? {
            return Ok(Some(token));
        }
    }
    Ok(None)
}

/// Revokes the token of `root`, sees Vault refuse it, and takes the one that was in the key store
/// (`keys` is what it holds) out of it.
pub async fn revoke_root(
    root: &Client,
    store: &KeyStore,
    keys: &VaultKeys,
) -> Result<Outcome, ProvisionError> {
    let on = |source| ProvisionError::On { what: "the root token".into(), source };
    root.revoke_self().await.map_err(on)?;
    if root.token_is_valid().await.map_err(on)? {
        return Err(ProvisionError::not_proven("revocation of the root token", "Vault still accepts it"));
    }
    if keys.root_token.is_none() {
        return Ok(Outcome::proven("Vault refuses it"));
    }
    store.save(&keys.clone().with_root_token(None))?;
    Ok(Outcome::changed("Vault refuses it"))
}
