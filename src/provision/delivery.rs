//! role_id and secret_id for an application, in files.
//!
//! Whoever delivers for an AppRole, `up` or the keeper, is its [`Courier`], one at a time. At no
//! moment are there more than two live secret_ids that this lab made: what is delivered, and its
//! predecessor or successor. (Of one that is delivered wrapped, `up` makes a third for the moment of its
//! proof: what is in the file cannot be tried, and what was taken from it is not the lab's.)

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::ProvisionError;
use crate::report::Outcome;
use crate::secret::Secret;
use crate::spec::model::AppRoleSpec;
use crate::state::{FileLock, LabDir, Staged, StateError, give};
use crate::vault::{AppRoleLogin, AppRolePair, Client, SecretIdInfo, VaultError};

/// What an application finds in its delivery folder, and the proof that it works.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// Names the secret_id.
    pub accessor: String,
    /// Seconds the secret_id lives; 0 is for ever. Of one that was there already, as it was made.
    pub ttl: u64,
    /// A token got by logging in as the application would.
    pub login: AppRoleLogin,
}

/// What becomes of the secret_id that was delivered before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predecessor {
    /// It is destroyed at once: nobody is using the lab yet.
    Destroy,
    /// The keeper destroys it a moment later: somebody may have read it just before.
    LeaveToKeeper,
}

/// A delivered secret_id is replaced when less than this part of its life is left, so that a lab
/// that was down for a while starts with one that lasts.
const RENEW_BELOW: f64 = 2.0 / 3.0;

/// Bytes kept free for a secret_id before one is made; Vault's are 36 long.
const ROOM: usize = 512;

/// How long another program may take to deliver for the same AppRole.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes role_id and secret_id (0600, each replaced as a whole) unless the files hold a pair that
/// is good for a while, and logs in with it.
pub async fn deliver(
    root: &Client,
    spec: &AppRoleSpec,
    lab: &LabDir,
    predecessor: Predecessor,
) -> Result<(Outcome, AppRoleLogin), ProvisionError> {
    let on = |source| ProvisionError::On { what: format!("AppRole {}", spec.name), source };
    let courier = Courier::begin(root, spec, lab).await?;
    let (role_id, role_id_changed) = courier.ensure_role_id().await?;
    if let Some(ttl) = spec.deliver.wrap_ttl {
        return courier.deliver_wrapped(&role_id, ttl, predecessor).await;
    }
    let found = courier.delivered().await?.filter(|(_, info)| is_good_for_a_while(spec, info));
    let destroys = predecessor == Predecessor::Destroy;
    if destroys || (found.is_some() && spec.secret_id_num_uses > 0) {
        // The proof below makes a second one for a moment.
        let current = found.as_ref().map(|(_, info)| info.secret_id_accessor.as_str());
        courier.destroy_others(current).await.map_err(on)?;
    }
    let (changed, delivered) = if let Some((secret_id, info)) = found {
        let login = courier.prove(&role_id, &secret_id).await?;
        (role_id_changed, Delivered { accessor: info.secret_id_accessor, ttl: info.secret_id_ttl, login })
    } else {
        let current = courier.delivered().await?.map(|(_, info)| info.secret_id_accessor);
        courier.destroy_others(current.as_deref()).await.map_err(on)?;
        (true, courier.turn_over(&role_id).await?)
    };
    if destroys {
        courier.destroy_others(Some(&delivered.accessor)).await.map_err(on)?;
    }
    let outcome = if changed {
        Outcome::changed("delivered, logged in")
    } else {
        Outcome::proven("logged in with what is delivered")
    };
    Ok((outcome, delivered.login))
}

fn is_good_for_a_while(spec: &AppRoleSpec, info: &SecretIdInfo) -> bool {
    let enough = info.left().is_none_or(|left| left > spec.secret_id_ttl.as_secs_f64() * RENEW_BELOW);
    enough && info.secret_id_num_uses <= u64::from(spec.secret_id_num_uses)
}

/// Delivers for one AppRole, as nobody else does meanwhile.
pub struct Courier<'a> {
    pub(crate) vault: &'a Client,
    pub(super) spec: &'a AppRoleSpec,
    pub(super) marker: Map<String, Value>,
    role_id_file: PathBuf,
    secret_id_file: PathBuf,
    owner: Option<(u32, u32)>,
    _lock: FileLock,
}

impl<'a> Courier<'a> {
    /// Waits for others that deliver for the AppRole.
    ///
    /// # Errors
    /// [`StateError::Locked`] when one of them takes too long.
    pub async fn begin(
        vault: &'a Client,
        spec: &'a AppRoleSpec,
        lab: &LabDir,
    ) -> Result<Self, ProvisionError> {
        let locked = FileLock::lock(&lab.delivery_lock(&spec.name), PATIENCE).await?;
        let mut lock = locked.map_err(|holder| StateError::Locked { lab: lab.name().into(), holder })?;
        lock.sign("vaultlab delivering", std::process::id())?;
        let (role_id_file, secret_id_file) = spec.deliver.paths(&spec.name, lab.path());
        let marker = marker(lab);
        let owner = spec.deliver.owner.map(|owner| (owner.uid, owner.gid));
        Ok(Self { vault, spec, marker, role_id_file, secret_id_file, owner, _lock: lock })
    }

    pub(super) fn on(&self) -> impl FnOnce(VaultError) -> ProvisionError {
        let what = format!("AppRole {}", self.spec.name);
        move |source| ProvisionError::On { what, source }
    }

    /// Sees to it that the file has the role's role_id; gives it, and whether the file was written.
    pub async fn ensure_role_id(&self) -> Result<(Secret, bool), ProvisionError> {
        let role_id = self.vault.role_id(&self.spec.name).await.map_err(self.on())?;
        // One that was delivered before its owner was changed in the lab file.
        let mut changed = self.secret_id_file.exists() && give(&self.secret_id_file, self.owner)?;
        if read_secret(&self.role_id_file)?.as_ref() == Some(&role_id) {
            changed |= give(&self.role_id_file, self.owner)?;
            return Ok((role_id, changed));
        }
        Staged::prepare(&self.role_id_file, ROOM, self.owner)?.publish(role_id.expose().as_bytes())?;
        Ok((role_id, true))
    }

    /// Takes room for a secret_id before there is one.
    pub(super) fn stage(&self) -> Result<Staged, StateError> {
        Staged::prepare(&self.secret_id_file, ROOM, self.owner)
    }

    /// The secret_id in the file with what Vault says of it; `None` when there is no file, or Vault
    /// does not know what is in it.
    pub async fn delivered(&self) -> Result<Option<(Secret, SecretIdInfo)>, ProvisionError> {
        let Some(secret_id) = read_secret(&self.secret_id_file)? else { return Ok(None) };
        let info = self.vault.lookup_secret_id(&self.spec.name, &secret_id).await.map_err(self.on())?;
        Ok(info.map(|info| (secret_id, info)))
    }

    /// Makes a secret_id, proves that it works, and puts it into its file. The one that was there
    /// lives on; destroy all others before, so that there are never more than two.
    ///
    /// On failure the file is as it was, and what was made is destroyed if Vault can be reached.
    pub async fn turn_over(&self, role_id: &Secret) -> Result<Delivered, ProvisionError> {
        let staged = self.stage()?;
        // Where logins are counted, a sibling is used up for the proof, before there is a successor.
        let counted = match self.spec.secret_id_num_uses {
            0 => None,
            _ => Some(self.log_in_with_sibling(role_id).await?),
        };
        let fresh = self.vault.generate_secret_id(&self.spec.name, &self.marker).await.map_err(self.on())?;
        let publish = async {
            let login = match counted {
                Some(login) => {
                    self.known(&fresh.secret_id).await?;
                    login
                }
                None => self.log_in(role_id, &fresh.secret_id).await?,
            };
            let secret_id = fresh.secret_id.clone();
            tokio::task::spawn_blocking(move || staged.publish(secret_id.expose().as_bytes()))
                .await
                .map_err(|e| ProvisionError::not_proven("the delivery", e.to_string()))??;
            Ok(login)
        };
        match publish.await {
            Ok(login) => {
                Ok(Delivered { accessor: fresh.secret_id_accessor, ttl: fresh.secret_id_ttl, login })
            }
            Err(error) => {
                // Where this fails too it is found by its metadata later.
                let _ = self.destroy(&fresh.secret_id_accessor).await;
                Err(error)
            }
        }
    }

    /// Logs in as the application would. Where logins per secret_id are limited, a sibling made for
    /// the proof is used up instead of the delivered one.
    pub async fn prove(&self, role_id: &Secret, secret_id: &Secret) -> Result<AppRoleLogin, ProvisionError> {
        if self.spec.secret_id_num_uses == 0 {
            return self.log_in(role_id, secret_id).await;
        }
        self.known(secret_id).await?;
        self.log_in_with_sibling(role_id).await
    }

    async fn known(&self, secret_id: &Secret) -> Result<(), ProvisionError> {
        match self.vault.lookup_secret_id(&self.spec.name, secret_id).await.map_err(self.on())? {
            Some(_) => Ok(()),
            None => Err(ProvisionError::not_proven(
                format!("AppRole {}", self.spec.name),
                "Vault does not know the secret_id it has just made",
            )),
        }
    }

    async fn log_in(&self, role_id: &Secret, secret_id: &Secret) -> Result<AppRoleLogin, ProvisionError> {
        let pair = AppRolePair { role_id: role_id.clone(), secret_id: secret_id.clone() };
        let what = format!("login of AppRole {}", self.spec.name);
        self.vault.login_approle(&pair).await.map_err(|source| ProvisionError::On { what, source })
    }

    pub(super) async fn log_in_with_sibling(&self, role_id: &Secret) -> Result<AppRoleLogin, ProvisionError> {
        let sibling =
            self.vault.generate_secret_id(&self.spec.name, &self.marker).await.map_err(self.on())?;
        let login = self.log_in(role_id, &sibling.secret_id).await;
        if self.spec.secret_id_num_uses != 1 || login.is_err() {
            let destroyed = self.destroy(&sibling.secret_id_accessor).await;
            // An only use is up by now; that there is nothing to destroy is then no error.
            if login.is_ok() {
                destroyed.map_err(self.on())?;
            }
        }
        login
    }

    /// The live secret_ids of the role that this lab made, by their metadata.
    pub async fn ours(&self) -> Result<Vec<SecretIdInfo>, VaultError> {
        let mut ours = Vec::new();
        for accessor in self.vault.secret_id_accessors(&self.spec.name).await? {
            let info = self.vault.lookup_secret_id_accessor(&self.spec.name, &accessor).await?;
            ours.extend(info.filter(|info| info.metadata.as_ref().is_some_and(|of| self.marks(of))));
        }
        Ok(ours)
    }

    fn marks(&self, metadata: &Map<String, Value>) -> bool {
        self.marker.iter().all(|(key, value)| metadata.get(key) == Some(value))
    }

    /// What is in the file of the secret_id.
    pub(super) fn in_file(&self) -> Result<Option<Secret>, StateError> {
        read_secret(&self.secret_id_file)
    }

    /// Destroys one by its accessor.
    pub async fn destroy(&self, accessor: &str) -> Result<(), VaultError> {
        self.vault.destroy_secret_id_accessor(&self.spec.name, accessor).await
    }

    /// Destroys what this lab delivered earlier, and what a crash left behind.
    pub async fn destroy_others(&self, current: Option<&str>) -> Result<(), VaultError> {
        for info in self.ours().await? {
            if Some(info.secret_id_accessor.as_str()) != current {
                self.destroy(&info.secret_id_accessor).await?;
            }
        }
        Ok(())
    }
}

/// Marks the secret_ids that this lab delivers: only those are ever destroyed by it.
fn marker(lab: &LabDir) -> Map<String, Value> {
    let Value::Object(marker) = json!({ "delivered_by": "vaultlab", "lab": lab.name() }) else {
        return Map::new();
    };
    marker
}

fn read_secret(file: &Path) -> Result<Option<Secret>, StateError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(Secret::new(text.trim())).filter(|secret| !secret.expose().is_empty())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Io { operation: "read", path: file.into(), source }),
    }
}
