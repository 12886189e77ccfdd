//! `sys/init` and `sys/unseal`.

use std::path::PathBuf;
use std::time::Duration;

use super::{ProvisionError, regain_root};
use crate::report::{Outcome, Report};
use crate::spec::model::VaultSpec;
use crate::state::{KeyStore, StateError, VaultKeys, Visibility, write_atomic};
use crate::vault::{Client, VaultError};

/// An unsealed Vault.
#[derive(Debug, Clone)]
pub struct Opened {
    /// A client with a root token.
    pub root: Client,
    /// What the key store holds.
    pub keys: VaultKeys,
    /// Whether it was initialised just now.
    pub fresh: bool,
}

/// Initialises Vault if it is new, unseals it if it is sealed, and gets a root token: the one in the
/// key store or, when there is none that Vault accepts, one through the unseal keys. That one ends
/// after `root_ttl` unless it is revoked before.
///
/// # Errors
/// [`ProvisionError::KeysLost`] asks the caller to wipe this Vault's storage and start again: it was
/// initialised by a vaultlab that died before the keys were saved, so nothing is in it.
pub async fn open_vault(
    vault: &Client,
    spec: &VaultSpec,
    store: &KeyStore,
    report: &Report,
    root_ttl: Duration,
) -> Result<Opened, ProvisionError> {
    let (status, fresh) = report
        .step("init vault", "Initialise Vault", &["start vault"], async {
            let status = vault.seal_status().await?;
            if status.initialized {
                return Ok::<_, ProvisionError>((Outcome::Unchanged, (status, false)));
            }
            initialise(vault, spec, store, report).await?;
            let detail = format!("{} key shares, threshold {}", spec.key_shares, spec.key_threshold);
            Ok((Outcome::changed(detail), (vault.seal_status().await?, true)))
        })
        .await?;
    let keys = match store.load()? {
        Some(keys) => keys,
        None if pending_marker(store).exists() => return Err(ProvisionError::KeysLost),
        None => return Err(ProvisionError::KeysMissing { store: store.path().into() }),
    };
    report
        .step("unseal vault", "Unseal Vault", &["init vault"], async {
            if status.sealed {
                unseal(vault, &keys, store).await?;
            }
            until_active(vault).await?;
            let outcome = if status.sealed { Outcome::changed("") } else { Outcome::Unchanged };
            Ok::<_, ProvisionError>((outcome, ()))
        })
        .await?;
    warn_of_other_shares(spec, &keys, report);
    if let Some(token) = &keys.root_token {
        let root = vault.with_token(token.clone());
        if root.token_is_valid().await? {
            return Ok(Opened { root, keys, fresh });
        }
    }
    let work = async {
        let ttl = (!spec.keep_root_token).then_some(root_ttl);
        let root = regain_root(vault, &keys, store.path(), ttl).await?;
        let detail = format!("through {} unseal keys", keys.threshold);
        if !spec.keep_root_token {
            return Ok::<_, ProvisionError>((Outcome::proven(detail), (root, keys)));
        }
        let keys = keys.with_root_token(root.token().cloned());
        store.save(&keys)?;
        Ok((Outcome::changed(detail), (root, keys)))
    };
    let (root, keys) = report.step("regain root", "Make a root token", &["unseal vault"], work).await?;
    Ok(Opened { root, keys, fresh })
}

/// The shares are what they were made as; another number in the lab file changes nothing.
fn warn_of_other_shares(spec: &VaultSpec, keys: &VaultKeys, report: &Report) {
    let (shares, threshold) = (keys.unseal_keys.len(), keys.threshold);
    if (shares, threshold) != (usize::from(spec.key_shares), spec.key_threshold) {
        report.warn(format!(
            "Vault was initialised with {shares} key shares, threshold {threshold}, and keeps them: the lab \
             file's {} and {} hold for a new Vault (`vaultlab down --volumes`, then `vaultlab up`)",
            spec.key_shares, spec.key_threshold
        ));
    }
}

async fn initialise(
    vault: &Client,
    spec: &VaultSpec,
    store: &KeyStore,
    report: &Report,
) -> Result<(), ProvisionError> {
    if store.exists() {
        // Storage in memory after a restart, or a data folder removed by hand.
        report.warn(format!(
            "Vault came back empty: it is initialised anew; its former keys are kept in {}.old",
            store.path().display()
        ));
        store.set_aside()?;
    }
    store.prove_writable()?;
    let marker = pending_marker(store);
    write_atomic(&marker, b"sys/init was about to be called\n", Visibility::Private)?;
    let keys = vault.init(spec.key_shares, spec.key_threshold).await?;
    store.save(&VaultKeys::new(keys.keys, spec.key_threshold, keys.root_token))?;
    std::fs::remove_file(&marker).map_err(|source| StateError::Io {
        operation: "remove",
        path: marker,
        source,
    })?;
    Ok(())
}

/// A node of integrated storage is elected some time after it is unsealed, and answers nothing else
/// before. The caller's deadline ends the wait.
pub async fn until_active(vault: &Client) -> Result<(), ProvisionError> {
    while vault.health().await?.standby {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Stands from before `sys/init` until its keys are saved.
fn pending_marker(store: &KeyStore) -> PathBuf {
    store.path().with_file_name("keys.pending")
}

/// How often unsealing is tried: somebody else may be giving key shares at the same time, and a share
/// of his that is wrong is noticed only when the threshold is reached.
const UNSEAL_ATTEMPTS: u64 = 4;

/// Unseals a Vault that is sealed. `up` and the keeper may do so at the same time.
///
/// # Errors
/// [`ProvisionError::WrongKeys`] when it is sealed all the same.
pub async fn unseal(vault: &Client, keys: &VaultKeys, store: &KeyStore) -> Result<(), ProvisionError> {
    let mut cause = String::new();
    for attempt in 0..UNSEAL_ATTEMPTS {
        tokio::time::sleep(Duration::from_millis(10 * attempt)).await;
        let status = vault.seal_status().await?;
        if !status.sealed {
            return Ok(());
        }
        if attempt > 0 && status.progress > 0 {
            vault.reset_unseal().await?;
        }
        match give_keys(vault, keys).await {
            Ok(true) => return Ok(()),
            Ok(false) => cause = format!("it wants {} different key shares", status.t),
            Err(VaultError::Refused { status: 400 | 500, errors, .. }) => cause = errors.join("; "),
            Err(error) => return Err(error.into()),
        }
    }
    Err(ProvisionError::WrongKeys { store: store.path().into(), cause })
}

async fn give_keys(vault: &Client, keys: &VaultKeys) -> Result<bool, VaultError> {
    for key in &keys.unseal_keys {
        if !vault.unseal(key).await?.sealed {
            return Ok(true);
        }
    }
    Ok(false)
}
