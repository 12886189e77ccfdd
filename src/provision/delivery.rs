//! role_id and secret_id for an application, in files.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::ProvisionError;
use crate::report::Outcome;
use crate::secret::Secret;
use crate::spec::model::AppRoleSpec;
use crate::state::{LabDir, StateError, Visibility, write_atomic};
use crate::vault::{AppRoleLogin, AppRolePair, Client, VaultError};

/// What an application finds in its delivery folder, and the proof that it works.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// The pair as it is in the files.
    pub pair: AppRolePair,
    /// A token got by logging in as the application would.
    pub login: AppRoleLogin,
}

/// A delivered secret_id is replaced when less than this part of its life is left, so that a lab
/// that was down for a while starts with one that lasts.
const RENEW_BELOW: f64 = 2.0 / 3.0;

/// Writes role_id and secret_id (0600, each replaced as a whole) unless the files hold a pair that
/// is good for a while, and logs in with it.
pub async fn deliver(
    root: &Client,
    spec: &AppRoleSpec,
    lab: &LabDir,
) -> Result<(Outcome, Delivered), ProvisionError> {
    let (role_id_file, secret_id_file) = spec.deliver.paths(&spec.name, lab.path());
    let what = format!("AppRole {}", spec.name);
    let on = |source| ProvisionError::On { what: what.clone(), source };

    let role_id = root.role_id(&spec.name).await.map_err(on)?;
    let mut changed = false;
    if read_secret(&role_id_file)?.as_ref() != Some(&role_id) {
        write_atomic(&role_id_file, role_id.expose().as_bytes(), Visibility::Private)?;
        changed = true;
    }

    let kept = match read_secret(&secret_id_file)? {
        Some(secret_id) => still_good(root, spec, secret_id).await.map_err(on)?,
        None => None,
    };
    let delivered =
        |secret_id, login| Delivered { pair: AppRolePair { role_id: role_id.clone(), secret_id }, login };
    let (accessor, delivered) = if let Some((secret_id, accessor)) = kept {
        let login = prove_login(root, spec, &role_id, &secret_id, lab).await?;
        (accessor, delivered(secret_id, login))
    } else {
        let fresh = root.generate_secret_id(&spec.name, &marker(lab)).await.map_err(on)?;
        // Logged in with before anybody can read it: what is delivered is known to work.
        let login = prove_login(root, spec, &role_id, &fresh.secret_id, lab).await?;
        write_atomic(&secret_id_file, fresh.secret_id.expose().as_bytes(), Visibility::Private)?;
        changed = true;
        (fresh.secret_id_accessor, delivered(fresh.secret_id, login))
    };
    destroy_predecessors(root, spec, lab, &accessor).await.map_err(on)?;
    let outcome = if changed {
        Outcome::changed("delivered, logged in")
    } else {
        Outcome::proven("logged in with what is delivered")
    };
    Ok((outcome, delivered))
}

/// Marks the secret_ids that this lab delivers: only those are ever destroyed by it.
fn marker(lab: &LabDir) -> Map<String, Value> {
    let Value::Object(marker) = json!({ "delivered_by": "vaultlab", "lab": lab.name() }) else {
        return Map::new();
    };
    marker
}

/// The secret_id with its accessor, if Vault knows it and enough of its life is left.
async fn still_good(
    root: &Client,
    spec: &AppRoleSpec,
    secret_id: Secret,
) -> Result<Option<(Secret, String)>, VaultError> {
    let Some(info) = root.lookup_secret_id(&spec.name, &secret_id).await? else { return Ok(None) };
    let enough =
        info.remaining().is_none_or(|left| left as f64 > spec.secret_id_ttl.as_secs_f64() * RENEW_BELOW);
    let as_declared = info.secret_id_num_uses <= u64::from(spec.secret_id_num_uses);
    Ok((enough && as_declared).then_some((secret_id, info.secret_id_accessor)))
}

/// Logs in as the application would. Where logins per secret_id are limited, a sibling made for
/// the proof is used up instead of the delivered one.
async fn prove_login(
    root: &Client,
    spec: &AppRoleSpec,
    role_id: &Secret,
    secret_id: &Secret,
    lab: &LabDir,
) -> Result<AppRoleLogin, ProvisionError> {
    let refused = |source| ProvisionError::On { what: format!("login of AppRole {}", spec.name), source };
    let pair = |secret_id: &Secret| AppRolePair { role_id: role_id.clone(), secret_id: secret_id.clone() };
    if spec.secret_id_num_uses == 0 {
        return root.login_approle(&pair(secret_id)).await.map_err(refused);
    }
    if root.lookup_secret_id(&spec.name, secret_id).await?.is_none() {
        return Err(ProvisionError::not_proven(
            format!("AppRole {}", spec.name),
            "Vault does not know the secret_id it has just made",
        ));
    }
    let sibling = root.generate_secret_id(&spec.name, &marker(lab)).await?;
    let login = root.login_approle(&pair(&sibling.secret_id)).await.map_err(refused);
    if spec.secret_id_num_uses > 1 {
        root.destroy_secret_id_accessor(&spec.name, &sibling.secret_id_accessor).await?;
    }
    login
}

/// Destroys what this lab delivered earlier, and what a crash left behind.
async fn destroy_predecessors(
    root: &Client,
    spec: &AppRoleSpec,
    lab: &LabDir,
    current: &str,
) -> Result<(), VaultError> {
    let ours = marker(lab);
    for accessor in root.secret_id_accessors(&spec.name).await? {
        if accessor == current {
            continue;
        }
        let info = root.lookup_secret_id_accessor(&spec.name, &accessor).await?;
        if info.is_some_and(|info| info.metadata.as_ref() == Some(&ours)) {
            root.destroy_secret_id_accessor(&spec.name, &accessor).await?;
        }
    }
    Ok(())
}

fn read_secret(file: &PathBuf) -> Result<Option<Secret>, StateError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Io { operation: "read", path: file.clone(), source }),
    }
}
