//! The power of root: taken for the time it is needed, and given back.
//!
//! Vault makes a root token from its unseal keys at any time, so none has to lie about. One made that
//! way would live until it is revoked, also when this program is killed; so it is used for nothing
//! but to make one that ends by itself, and is revoked at once.

use std::path::Path;
use std::time::Duration;

use super::ProvisionError;
use crate::report::Outcome;
use crate::secret::Secret;
use crate::state::{KeyStore, VaultKeys};
use crate::vault::{Client, OrphanToken, RootGeneration, TokenLife, VaultError};

/// How often root is tried for while others end the attempts: what a program asked Vault for that was
/// killed may be done after ours began.
const ATTEMPTS: usize = 5;

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
    let mut result = attempt_root(vault, keys).await;
    for _ in 1..ATTEMPTS {
        if !matches!(&result, Err(error) if was_ended(error)) {
            break;
        }
        result = attempt_root(vault, keys).await;
    }
    let endless = match result {
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

/// One attempt from its beginning; `None` when there are not keys enough.
async fn attempt_root(vault: &Client, keys: &VaultKeys) -> Result<Option<Secret>, VaultError> {
    let attempt = start(vault).await?;
    collect(vault, &attempt, keys).await
}

/// Whether somebody else gave the attempt up meanwhile, or began another
/// (`vault/generate_root.go`): nothing is known of the keys then.
fn was_ended(error: &VaultError) -> bool {
    let VaultError::Refused { status: 400 | 500, errors, .. } = error else { return false };
    errors.iter().any(|text| {
        text.contains("no root generation in progress") || text.contains("incorrect nonce supplied")
    })
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
) -> Result<Option<Secret>, VaultError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_attempt_that_somebody_else_ends_is_made_again() {
        let server = vaultlab_server::Server::builder().start().await.unwrap();
        let vault = Client::new(&format!("http://{}", server.addresses()[0])).unwrap();
        let made = vault.init(20, 20).await.unwrap();
        for key in &made.keys {
            vault.unseal(key).await.unwrap();
        }
        let keys = VaultKeys::new(made.keys, 20, made.root_token);

        // What Vault is asked for only now by a program that is dead: the attempt is not its own.
        let attempt = start(&vault).await.unwrap();
        vault.cancel_root_generation().await.unwrap();
        assert!(was_ended(&collect(&vault, &attempt, &keys).await.unwrap_err()));
        start(&vault).await.unwrap();
        assert!(was_ended(&collect(&vault, &attempt, &keys).await.unwrap_err()));
        let late = async {
            for _ in 1..ATTEMPTS {
                tokio::task::yield_now().await;
                vault.cancel_root_generation().await.unwrap();
            }
        };
        let (root, ()) = tokio::join!(regain_root(&vault, &keys, Path::new("keys.json"), None), late);
        assert!(root.unwrap().token_is_valid().await.unwrap());

        let foreign = VaultKeys::new(vec!["00".repeat(32).as_str().into(); 20], 20, "".into());
        let error = regain_root(&vault, &foreign, Path::new("keys.json"), None).await.unwrap_err();
        assert!(matches!(error, ProvisionError::WrongKeys { .. }), "{error}");
        server.stop().await;
    }
}
