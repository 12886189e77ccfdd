//! What a runtime writes down about a lab's services: records in the manifest, and accounts.

use std::collections::BTreeMap;

use super::{RuntimeError, RuntimeKind};
use crate::database::{self, Database, Target};
use crate::secret::Secret;
use crate::service::{mysql, postgres};
use crate::spec::model::{ADMIN_USER, DatabaseSpec, Engine};
use crate::state::{
    Accounts, Credentials, DatabaseAccounts, LabDir, Manifest, ServiceRecord, StateError, editing,
    unless_full,
};

/// Characters in a generated password: about 190 bits.
const PASSWORD_LENGTH: usize = 32;

/// A new random password for `user`.
pub(super) fn fresh(user: &str) -> Credentials {
    Credentials::new(user, Secret::random(PASSWORD_LENGTH))
}

/// The name of a database's superuser.
pub(super) fn superuser(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => postgres::SUPERUSER,
        Engine::Mysql(_) => mysql::SUPERUSER,
    }
}

/// Manifest and accounts of a lab, for services that start at the same time.
#[derive(Debug)]
pub(super) struct Ledger {
    lab: LabDir,
    runtime: RuntimeKind,
}

impl Ledger {
    pub fn new(lab: &LabDir, runtime: RuntimeKind) -> Self {
        Self { lab: lab.clone(), runtime }
    }

    pub fn record(&self, service: &str) -> Result<Option<ServiceRecord>, StateError> {
        let _guard = editing();
        Ok(Manifest::load(&self.lab)?.and_then(|mut manifest| manifest.services.remove(service)))
    }

    pub fn save_record(&self, service: &str, record: &ServiceRecord) -> Result<(), StateError> {
        let _guard = editing();
        let mut manifest =
            Manifest::load(&self.lab)?.unwrap_or_else(|| Manifest::new(self.runtime.as_str(), None));
        if manifest.services.get(service) == Some(record) {
            return Ok(());
        }
        manifest.services.insert(service.to_owned(), record.clone());
        manifest.save(&self.lab)
    }

    /// Forgets the service and its accounts. Where there is no room for that, whoever comes next sees
    /// that it has no data.
    pub fn forget(&self, service: &str) -> Result<(), StateError> {
        let _guard = editing();
        if let Some(mut manifest) = Manifest::load(&self.lab)?
            && manifest.services.remove(service).is_some()
        {
            unless_full(manifest.save(&self.lab))?;
        }
        let mut accounts = Accounts::load(&self.lab)?;
        match accounts.databases.remove(service) {
            Some(_) => unless_full(accounts.save(&self.lab)),
            None => Ok(()),
        }
    }

    pub fn accounts(&self, service: &str) -> Result<Option<DatabaseAccounts>, StateError> {
        let _guard = editing();
        Ok(Accounts::load(&self.lab)?.databases.remove(service))
    }

    /// Writes down new passwords, before the database gets them.
    pub fn plan_accounts(&self, spec: &DatabaseSpec) -> Result<(), StateError> {
        let accounts = DatabaseAccounts {
            superuser: fresh(superuser(spec.engine)),
            admin: fresh(ADMIN_USER),
            applied: false,
            break_glass: None,
            static_roles: BTreeMap::new(),
        };
        let _guard = editing();
        let mut all = Accounts::load(&self.lab)?;
        all.databases.insert(spec.name.clone(), accounts);
        all.save(&self.lab)
    }

    /// Sets the planned passwords, unless they are set: Vault may have replaced its own since then.
    /// `connection` is the superuser's; `own` says that it logged in with the lab's own password.
    /// Gives whether this was still to be done.
    pub async fn apply_accounts(
        &self,
        service: &str,
        accounts: &mut DatabaseAccounts,
        connection: &mut dyn Database,
        own: bool,
    ) -> Result<bool, RuntimeError> {
        if accounts.applied {
            return Ok(false);
        }
        // The superuser's last: once it is set, everything is.
        for account in [&accounts.admin, &accounts.superuser].into_iter().filter(|_| !own) {
            connection
                .set_password(&account.username, &account.password)
                .await
                .map_err(RuntimeError::database(service))?;
        }
        accounts.applied = true;
        let _guard = editing();
        let mut all = Accounts::load(&self.lab)?;
        all.databases.insert(service.to_owned(), accounts.clone());
        all.save_unsynced(&self.lab)?;
        Ok(true)
    }
}

/// Makes Vault's account, the database, schema and seed, in this order: the schema may grant to
/// the account. `server` is the superuser's connection to any database of the server at `target`.
pub(super) async fn fill(
    spec: &DatabaseSpec,
    server: &mut dyn Database,
    target: &Target,
    superuser: &Credentials,
) -> Result<(), RuntimeError> {
    let name = spec.name.as_str();
    let failed = || RuntimeError::database(name);
    server.ensure_account(&fresh(ADMIN_USER)).await.map_err(failed())?;
    server.ensure_database(&spec.database).await.map_err(failed())?;
    let mut inside = database::connect(target, superuser).await.map_err(failed())?;
    for script in [&spec.admin].into_iter().chain(&spec.schema).chain(&spec.seed) {
        inside.run_script(script).await.map_err(RuntimeError::script(name))?;
    }
    inside.close().await;
    Ok(())
}
