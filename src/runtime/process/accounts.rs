//! Passwords of a lab's own for the accounts that came with a template.

use super::ProcessRuntime;
use super::engine::superuser;
use super::template::{ORIGIN, Origin};
use crate::database::Database;
use crate::runtime::RuntimeError;
use crate::secret::Secret;
use crate::spec::model::{ADMIN_USER, DatabaseSpec};
use crate::state::{Accounts, Credentials, DatabaseAccounts};

/// Characters in a generated password: about 190 bits.
const PASSWORD_LENGTH: usize = 32;

/// A new random password for `user`.
pub(super) fn fresh(user: &str) -> Credentials {
    Credentials::new(user, Secret::random(PASSWORD_LENGTH))
}

impl ProcessRuntime {
    pub(super) fn accounts(&self, service: &str) -> Result<Option<DatabaseAccounts>, RuntimeError> {
        let _guard = self.files();
        Ok(Accounts::load(&self.lab)?.databases.remove(service))
    }

    /// Writes down new passwords, before the database gets them.
    pub(super) fn plan_accounts(&self, spec: &DatabaseSpec) -> Result<(), RuntimeError> {
        let accounts = DatabaseAccounts {
            superuser: fresh(superuser(spec.engine)),
            admin: fresh(ADMIN_USER),
            applied: false,
        };
        let _guard = self.files();
        let mut all = Accounts::load(&self.lab)?;
        all.databases.insert(spec.name.clone(), accounts);
        Ok(all.save(&self.lab)?)
    }

    /// Sets the planned passwords, unless they are set: Vault may have replaced its own since then.
    /// `connection` is the superuser's; `own` says that it logged in with the lab's own password.
    pub(super) async fn apply_accounts(
        &self,
        service: &str,
        accounts: &mut DatabaseAccounts,
        connection: &mut dyn Database,
        own: bool,
    ) -> Result<(), RuntimeError> {
        if accounts.applied {
            return Ok(());
        }
        // The superuser's last: once it is set, everything is.
        for account in [&accounts.admin, &accounts.superuser].into_iter().filter(|_| !own) {
            connection
                .set_password(&account.username, &account.password)
                .await
                .map_err(RuntimeError::database(service))?;
        }
        accounts.applied = true;
        {
            let _guard = self.files();
            let mut all = Accounts::load(&self.lab)?;
            all.databases.insert(service.to_owned(), accounts.clone());
            all.save_unsynced(&self.lab)?;
        }
        // The template's password opens nothing here any more.
        let origin = self.places(service).root.join(ORIGIN);
        match std::fs::remove_file(&origin) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(super::engine::folder(service, "remove", &origin)(e))
            }
            _ => Ok(()),
        }
    }

    /// The superuser as the template made it; `None` when the passwords are this lab's own.
    pub(super) fn template_superuser(&self, service: &str) -> Result<Option<Credentials>, RuntimeError> {
        Ok(Origin::load(&self.places(service).root)?.map(|origin| origin.superuser))
    }
}
