//! `status` and `ls`: how labs are, without changing anything.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{Lab, LabError};
use crate::runtime::docker::DockerError;
use crate::runtime::{RuntimeKind, ServiceState};
use crate::service::VAULT;
use crate::state::{Home, KeeperRecord, KeyStore, Manifest};
use crate::vault::Client;

/// How a lab is.
#[derive(Debug, Clone, Serialize)]
pub struct LabStatus {
    /// The lab.
    pub lab: String,
    /// The lab file; `None` for the lab inside the program.
    pub file: Option<std::path::PathBuf>,
    /// What is wrong with that file; what it declares is not known then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_problem: Option<String>,
    /// Where the lab's manifest, keys and passwords are.
    pub folder: std::path::PathBuf,
    /// Where its data is: a folder, or volumes of the container engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Whether there is anything of it.
    pub exists: bool,
    /// Whether its folder is lost: what is known of it is what the container engine tells.
    pub lost: bool,
    /// Where its services run.
    pub runtime: Option<&'static str>,
    /// Every service.
    pub services: Vec<ServiceStatus>,
    /// What Vault says; `None` when it does not run.
    pub vault: Option<VaultStatus>,
    /// Roles that credentials can be had for.
    pub roles: Vec<String>,
    /// Static roles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub static_roles: Vec<String>,
    /// AppRoles.
    pub approles: Vec<String>,
    /// What the keeper says; `None` when there never was one.
    pub keeper: Option<KeeperRecord>,
    /// Why the container engine was not asked what it has of a lab without a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_skipped: Option<String>,
}

impl LabStatus {
    /// Whether every service runs and Vault is unsealed.
    pub fn is_up(&self) -> bool {
        self.services.iter().all(|s| s.state == "running") && self.vault.as_ref().is_some_and(|v| !v.sealed)
    }
}

/// How a service is.
#[derive(Debug, Clone, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// `vault`, `postgres` or `mysql`.
    pub kind: String,
    /// `docker` or `process`: where it is, or would be.
    pub runtime: &'static str,
    /// `running`, `stopped` or `absent`.
    pub state: &'static str,
    /// `host:port`, when it runs.
    pub address: Option<String>,
    /// Its process, where the runtime has one to tell.
    pub pid: Option<u32>,
    /// Since when it runs.
    pub since: Option<Timestamp>,
}

/// What Vault says of itself.
#[derive(Debug, Clone, Serialize)]
pub struct VaultStatus {
    /// Its address.
    pub address: String,
    /// Its version.
    pub version: String,
    /// Whether `sys/init` was done.
    pub initialized: bool,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Whether the lab's key store has keys for it.
    pub keys: bool,
}

impl Lab {
    /// How the lab is.
    pub async fn status(&self) -> Result<LabStatus, LabError> {
        let lost = !self.dir.manifest().exists();
        let asked =
            if lost { super::runtimes::labs_of_engine(&self.home).await } else { Ok(BTreeMap::new()) };
        let engine_skipped = asked.as_ref().err().map(DockerError::unasked);
        let found = asked.unwrap_or_default();
        let exists = !lost || found.contains_key(self.name());
        let mut status = LabStatus {
            lab: self.name().into(),
            file: self.file().map(Into::into),
            file_problem: self.problem.clone(),
            folder: self.dir.path().into(),
            data: None,
            exists,
            lost: lost && exists,
            runtime: None,
            services: Vec::new(),
            vault: None,
            roles: self.spec.roles().map(|(_, role)| role.name.clone()).collect(),
            static_roles: self.spec.static_roles().map(|(_, role)| role.name.clone()).collect(),
            approles: self.spec.approles.iter().map(|approle| approle.name.clone()).collect(),
            keeper: KeeperRecord::load(&self.dir)?,
            engine_skipped,
        };
        if !exists {
            return Ok(status);
        }
        let runtime = self.runtime().await?;
        status.runtime = Some(runtime.kind().as_str());
        status.data = Some(self.data_place(runtime.kind()));
        let mut services: Vec<(String, String)> =
            self.services().iter().map(|s| (s.name().to_owned(), s.kind().to_string())).collect();
        // One that the lab file no longer names still runs.
        for (name, record) in Manifest::load(&self.dir)?.into_iter().flat_map(|manifest| manifest.services) {
            if !services.iter().any(|(known, _)| *known == name) {
                services.push((name, record.kind));
            }
        }
        for (name, kind) in runtime.found().await? {
            if !services.iter().any(|(known, _)| *known == name) {
                services.push((name, kind));
            }
        }
        let places = runtime.places();
        for (name, kind) in services {
            // In a mixed lab, one that no manifest and no lab file names is one the engine told of.
            let place = places.get(&name).copied().unwrap_or(match runtime.kind() {
                RuntimeKind::Mixed => RuntimeKind::Docker,
                kind => kind,
            });
            let (state, address, pid, since) = match runtime.state(&name).await? {
                ServiceState::Absent => ("absent", None, None, None),
                ServiceState::Stopped => ("stopped", None, None, None),
                ServiceState::Running { pid, since, endpoint } => {
                    ("running", Some(endpoint.to_string()), pid, since)
                }
            };
            status.services.push(ServiceStatus {
                name,
                kind,
                runtime: place.as_str(),
                state,
                address,
                pid,
                since,
            });
        }
        let vault = status.services.iter().find(|s| s.name == VAULT).and_then(|s| s.address.clone());
        if let Some(address) = vault {
            let client = Client::new(&format!("http://{address}"))?;
            // A Vault that runs but does not answer is told as not there, not as a failure to look.
            status.vault = client.health().await.ok().map(|health| VaultStatus {
                address: client.address().into(),
                version: health.version,
                initialized: health.initialized,
                sealed: health.sealed,
                keys: KeyStore::of(&self.dir).exists(),
            });
        }
        Ok(status)
    }
}

/// One line of `ls`.
#[derive(Debug, Clone, Serialize)]
pub struct LabSummary {
    /// The lab.
    pub lab: String,
    /// `up`, `partly up`, `down`, or why it cannot be told.
    pub state: String,
    /// Where its services run.
    pub runtime: String,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// The lab file; `None` for the lab inside the program.
    pub file: Option<std::path::PathBuf>,
}

/// Every lab of this home. One that cannot be read is listed with the reason, and one whose folder is
/// lost by what the container engine has of it.
pub async fn list(home: &Home) -> Result<Vec<LabSummary>, LabError> {
    let mut labs = Vec::new();
    let mut found = super::runtimes::labs_of_engine(home).await.unwrap_or_default();
    for dir in home.labs()? {
        let lost = !dir.manifest().exists();
        if found.contains_key(dir.name()) {
            if lost {
                continue;
            }
            found.remove(dir.name());
        }
        let mut summary = LabSummary {
            lab: dir.name().into(),
            state: String::new(),
            runtime: String::new(),
            created_at: None,
            file: None,
        };
        match Manifest::load(&dir) {
            Ok(Some(manifest)) => {
                summary.state = super::runtimes::state_of(home, &dir, &manifest).await;
                summary.runtime = manifest.runtime;
                summary.created_at = Some(manifest.created_at);
                summary.file = manifest.lab_file;
            }
            Ok(None) => summary.state = "never up".into(),
            Err(error) => summary.state = error.to_string(),
        }
        labs.push(summary);
    }
    labs.extend(found.into_iter().map(|(lab, found)| LabSummary {
        lab,
        state: format!("{}, its folder is lost", found.state()),
        runtime: RuntimeKind::Docker.as_str().into(),
        created_at: None,
        file: None,
    }));
    labs.sort_by(|a, b| a.lab.cmp(&b.lab));
    Ok(labs)
}
