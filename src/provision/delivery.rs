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
use crate::spec::model::{AppRoleSpec, Place};
use crate::state::{DeliveredFiles, FileLock, LabDir, Staged, StateError, give, unless_full};
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
    lab: LabDir,
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
        let path = lab.delivery_lock(&spec.name);
        lab.make_inside(path.parent().unwrap_or(lab.path()))?;
        let locked = FileLock::lock(&path, PATIENCE).await?;
        let mut lock = locked.map_err(|holder| StateError::Locked { lab: lab.name().into(), holder })?;
        lock.sign("vaultlab delivering", std::process::id())?;
        let (role_id_file, secret_id_file) = spec.deliver.paths(&spec.name, lab.path());
        let marker = marker(lab);
        let owner = spec.deliver.owner.map(|owner| (owner.uid, owner.gid));
        let lab = lab.clone();
        let courier = Self { vault, spec, marker, role_id_file, secret_id_file, owner, lab, _lock: lock };
        courier.refuse_strangers()?;
        Ok(courier)
    }

    /// Whether the files are where the lab file says, and not in the lab's own folder.
    fn is_elsewhere(&self) -> bool {
        self.spec.deliver.place != Place::LabState
    }

    /// Nothing of the user's own is written over. What is in a file that was delivered to before is the
    /// lab's to replace, whatever it is; where that is not known any more, its form tells.
    fn refuse_strangers(&self) -> Result<(), ProvisionError> {
        if !self.is_elsewhere() {
            return Ok(());
        }
        let known = DeliveredFiles::load(&self.lab, &self.spec.name).unwrap_or_default();
        for (path, form) in
            [(&self.role_id_file, is_id as fn(&str) -> bool), (&self.secret_id_file, is_id_or_token)]
        {
            if !known.knows(path) && !holds(path, form)? {
                return Err(ProvisionError::NotOurs { approle: self.spec.name.clone(), path: path.clone() });
            }
        }
        Ok(())
    }

    /// Notes what is about to be put into a file, so that it can be removed with the lab. Without room
    /// for that it is delivered all the same.
    fn note(&self, path: &Path, content: &Secret) -> Result<(), StateError> {
        if !self.is_elsewhere() {
            return Ok(());
        }
        let mut known = DeliveredFiles::load(&self.lab, &self.spec.name).unwrap_or_default();
        unless_full(known.note(&self.lab, &self.spec.name, path, content.expose().as_bytes()))
    }

    /// The same of the secret_id, or of the token that it is wrapped in.
    pub(super) fn note_secret_id(&self, content: &Secret) -> Result<(), StateError> {
        self.note(&self.secret_id_file, content)
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
            self.note(&self.role_id_file, &role_id)?;
            changed |= give(&self.role_id_file, self.owner)?;
            return Ok((role_id, changed));
        }
        let staged = self.stage_for(&self.role_id_file)?;
        self.note(&self.role_id_file, &role_id)?;
        staged.publish(role_id.expose().as_bytes())?;
        Ok((role_id, true))
    }

    /// Takes room for a secret_id before there is one.
    pub(super) fn stage(&self) -> Result<Staged, StateError> {
        self.stage_for(&self.secret_id_file)
    }

    fn stage_for(&self, file: &Path) -> Result<Staged, StateError> {
        self.lab.make_inside(file.parent().unwrap_or(self.lab.path()))?;
        Staged::prepare(file, ROOM, self.owner)
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
            self.note_secret_id(&secret_id)?;
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

/// Longest file that is looked at for its form.
const LONGEST: u64 = 1024;

/// Whether the file at `path` could be replaced without a loss: it is missing or empty, or what it holds
/// has this form.
fn holds(path: &Path, form: fn(&str) -> bool) -> Result<bool, StateError> {
    use std::io::Read as _;
    let failed = |source| StateError::Io { operation: "read", path: path.into(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(failed(e)),
    };
    let mut content = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut content).map_err(failed)?;
    let text = std::str::from_utf8(&content).unwrap_or("not text");
    Ok(text.is_empty() || (text.len() as u64 <= LONGEST && form(text.trim())))
}

/// Vault's role_ids and secret_ids, as in `8f2a6b1c-0d3e-4f5a-9b7c-1e2d3f4a5b6c`.
fn is_id(text: &str) -> bool {
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// The same, or a wrapping token, as in `hvs.CAESI…`.
fn is_id_or_token(text: &str) -> bool {
    let token = |text: &str| {
        let (kind, rest) = text.split_once('.')?;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        Some(matches!(kind, "hvs" | "hvb" | "s" | "b") && rest.len() >= 20 && rest.chars().all(legal))
    };
    is_id(text) || token(text) == Some(true)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_could_have_been_delivered_may_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(holds(&path, is_id).unwrap(), "there is none");
        let id = "8f2a6b1c-0d3e-4f5a-9b7c-1e2d3f4a5b6c";
        let token = format!("hvs.{}", "CAESIJ_x-1".repeat(9));
        let long = format!("hvs.{}", "x".repeat(2000));
        for (content, role_id, secret_id) in [
            ("", true, true),
            (id, true, true),
            (&format!("{id}\n"), true, true),
            (&token, false, true),
            ("path \"database/creds/x\" { capabilities = [\"read\"] }", false, false),
            ("apiVersion: vaultlab/v1\n", false, false),
            ("s3cr3t", false, false),
            ("\n", false, false),
            (&format!("{id}\n{id}"), false, false),
            (&long, false, false),
        ] {
            std::fs::write(&path, content).unwrap();
            let found = (holds(&path, is_id).unwrap(), holds(&path, is_id_or_token).unwrap());
            assert_eq!(found, (role_id, secret_id), "{content:?}");
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(!holds(&path, is_id_or_token).unwrap());
    }
}
