//! A lab that is up: where things are, and credentials for them.

use std::path::PathBuf;

use serde::Serialize;

use super::{Data, Down, Lab, LabError, RoleCredential};
use crate::database::Target;
use crate::report::{Outcome, StepTiming, critical_path};
use crate::runtime::{Running, RuntimeKind, ServiceState};
use crate::service::{Endpoint, VAULT};
use crate::spec::model::{DatabaseSpec, Flavour, RoleSpec};
use crate::state::{Accounts, CommandToken, Credentials};
use crate::vault::Client;

/// A lab that is up. It stays up when this value is dropped: labs outlive programs.
#[derive(Clone)]
pub struct RunningLab {
    lab: Lab,
    client: Client,
    runtime: RuntimeKind,
    vault: VaultInfo,
    databases: Vec<DatabaseInfo>,
}

/// The Vault of a lab.
#[derive(Debug, Clone, Serialize)]
pub struct VaultInfo {
    /// Its address, as in `http://127.0.0.1:8200`.
    pub address: String,
    /// `vault`, `openbao` or `embedded`; unknown when the lab was not brought up by this call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flavour: Option<&'static str>,
    /// What it says of its version.
    pub version: String,
}

/// One database of a running lab.
#[derive(Debug, Clone, Serialize)]
pub struct DatabaseInfo {
    /// Name of the service and of Vault's connection.
    pub name: String,
    /// `postgres` or `mysql`.
    pub engine: &'static str,
    /// Where this host reaches it.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The database inside the server.
    pub database: String,
    /// The roles Vault issues credentials for.
    pub roles: Vec<String>,
    /// The static roles, whose passwords Vault replaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub static_roles: Vec<String>,
}

impl DatabaseInfo {
    pub(super) fn new(spec: &DatabaseSpec, endpoint: &Endpoint) -> Self {
        Self {
            name: spec.name.clone(),
            engine: spec.engine.as_str(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            database: spec.database.clone(),
            roles: spec.roles.iter().map(|role| role.name.clone()).collect(),
            static_roles: spec.static_roles.iter().map(|role| role.name.clone()).collect(),
        }
    }

    /// Where it is, as this host reaches it.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new(&self.host, self.port)
    }
}

/// What `up` did and where things are; holds no secret.
#[derive(Debug, Clone, Serialize)]
pub struct UpSummary {
    /// The lab.
    pub lab: String,
    /// Where its services run: `process` or `docker`.
    pub runtime: &'static str,
    /// Whether anything had to be changed.
    pub changed: bool,
    /// Vault.
    pub vault: VaultInfo,
    /// The databases.
    pub databases: Vec<DatabaseInfo>,
    /// The AppRoles and where they find their pair.
    pub approles: Vec<AppRoleInfo>,
    /// Milliseconds from the start to the last proof.
    pub took_ms: f64,
    /// Every step with its time.
    pub steps: Vec<StepTiming>,
    /// The chain of steps that decided how long it took.
    pub critical_path: Vec<String>,
}

/// An AppRole of a lab.
#[derive(Debug, Clone, Serialize)]
pub struct AppRoleInfo {
    /// Its name.
    pub name: String,
    /// The file with its role_id.
    pub role_id_file: PathBuf,
    /// The file with its secret_id.
    pub secret_id_file: PathBuf,
}

impl RunningLab {
    pub(super) fn new(
        lab: Lab,
        client: Client,
        runtime: RuntimeKind,
        vault: &Running,
        databases: Vec<DatabaseInfo>,
    ) -> Self {
        let vault = VaultInfo {
            address: client.address().into(),
            flavour: vault.flavour.map(flavour_name),
            version: vault.version.clone(),
        };
        Self { lab, client, runtime, vault, databases }
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A client of the lab's Vault with the token for commands: it gets credentials of every role and
    /// looks after their leases. [`RunningLab::root`] may do more.
    pub fn vault(&self) -> &Client {
        &self.client
    }

    /// The databases.
    pub fn databases(&self) -> &[DatabaseInfo] {
        &self.databases
    }

    /// A role of the lab with its database.
    pub(super) fn role(&self, name: &str) -> Result<(&DatabaseSpec, &RoleSpec, &DatabaseInfo), LabError> {
        let found = self.lab.spec.role(name).and_then(|(database, role)| {
            let info = self.databases.iter().find(|info| info.name == database.name)?;
            Some((database, role, info))
        });
        found.ok_or_else(|| LabError::UnknownRole {
            lab: self.lab.name().into(),
            role: name.into(),
            known: self.lab.spec.credential_paths().map(|(_, role)| role.to_owned()).collect(),
        })
    }

    /// How this program itself reaches a role's database: the mount of its secrets engine, where the
    /// database is, and its superuser.
    ///
    /// # Errors
    /// When the lab has no such role, or its accounts cannot be read.
    pub fn direct(&self, role: &str) -> Result<(String, Target, Credentials), LabError> {
        let (spec, _, info) = self.role(role)?;
        let accounts = Accounts::load(&self.lab.dir)?.databases.remove(&spec.name).ok_or_else(|| {
            LabError::NotRunning {
                lab: self.lab.name().into(),
                detail: format!(": the accounts of {} are not known", spec.name),
            }
        })?;
        let target =
            Target { engine: spec.engine, endpoint: info.endpoint(), database: info.database.clone() };
        Ok((spec.mount.clone(), target, accounts.superuser))
    }

    /// A fresh credential of a role. Revoke its lease when it is no longer needed; otherwise it ends
    /// with its TTL. Of a static role, the password as it is now.
    pub async fn credential(&self, role: &str) -> Result<RoleCredential, LabError> {
        self.credential_with(&self.client, role).await
    }

    /// [`RunningLab::credential`], asked for with another token: the lease belongs to it and dies
    /// with it.
    pub async fn credential_with(&self, vault: &Client, role: &str) -> Result<RoleCredential, LabError> {
        if let Some((database, fixed)) = self.lab.spec.static_role(role)
            && let Some(info) = self.databases.iter().find(|info| info.name == database.name)
        {
            let credential = vault.static_credential(&database.mount, &fixed.name).await?;
            return Ok(RoleCredential::of_static(info, database.engine, &fixed.name, credential));
        }
        let (database, role, info) = self.role(role)?;
        let credential = vault.credential(&database.mount, &role.name).await?;
        Ok(RoleCredential::new(info, database.engine, &role.name, credential))
    }

    /// Revokes a credential and waits until its account is gone. That of a static role has no lease and
    /// stays.
    pub async fn revoke(&self, credential: &RoleCredential) -> Result<(), LabError> {
        match credential.lease_id() {
            Some(lease) => Ok(self.client.revoke_lease(lease).await?),
            None => Ok(()),
        }
    }

    /// Stops the lab; its data stays.
    pub async fn down(&self) -> Result<Down, LabError> {
        self.lab.down(Data::Keep).await
    }

    /// Stops the lab and removes everything it keeps on disk.
    pub async fn remove(&self) -> Result<Down, LabError> {
        self.lab.down(Data::Remove).await
    }

    /// Where things are and, after an `up`, what was done.
    pub fn summary(&self) -> UpSummary {
        let report = self.lab.report();
        let steps = report.steps();
        let approles = self.lab.spec.approles.iter().map(|approle| {
            let (role_id_file, secret_id_file) = approle.deliver.paths(&approle.name, self.lab.dir.path());
            AppRoleInfo { name: approle.name.clone(), role_id_file, secret_id_file }
        });
        UpSummary {
            lab: self.lab.name().into(),
            runtime: self.runtime.as_str(),
            changed: steps.iter().any(|step| matches!(step.outcome, Outcome::Changed { .. })),
            vault: self.vault.clone(),
            databases: self.databases.clone(),
            approles: approles.collect(),
            took_ms: (report.elapsed().as_secs_f64() * 1e6).round() / 1e3,
            critical_path: critical_path(&steps).into_iter().map(|step| step.step.clone()).collect(),
            steps,
        }
    }
}

fn flavour_name(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Auto => "auto",
        Flavour::Vault => "vault",
        Flavour::OpenBao => "openbao",
        Flavour::Embedded => "embedded",
    }
}

impl Lab {
    /// The lab as it runs now.
    ///
    /// # Errors
    /// [`LabError::NotRunning`] when a service does not run or Vault is sealed.
    pub async fn running(&self) -> Result<RunningLab, LabError> {
        let not_running = |detail: String| LabError::NotRunning { lab: self.name().into(), detail };
        if !self.dir.manifest().exists() {
            return Err(not_running(String::new()));
        }
        let runtime = self.runtime().await?;
        let endpoint = async |service: &str| match runtime.state(service).await? {
            ServiceState::Running { endpoint, .. } => Ok(endpoint),
            ServiceState::Absent | ServiceState::Stopped => Err(not_running(format!(": {service} is down"))),
        };
        let client = Client::new(&format!("http://{}", endpoint(VAULT).await?))?;
        let health = client.health().await?;
        if health.sealed {
            return Err(not_running(": Vault is sealed".into()));
        }
        let Some(token) = CommandToken::load(&self.dir)? else {
            return Err(not_running(": it was not brought up to its end".into()));
        };
        let mut databases = Vec::new();
        for spec in &self.spec.databases {
            databases.push(DatabaseInfo::new(spec, &endpoint(&spec.name).await?));
        }
        let vault = VaultInfo { address: client.address().into(), flavour: None, version: health.version };
        Ok(RunningLab {
            lab: self.clone(),
            client: client.with_token(token.token),
            runtime: runtime.kind(),
            vault,
            databases,
        })
    }
}
