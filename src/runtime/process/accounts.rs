//! The lab's own passwords, in place of those that came with a template.

use super::ProcessRuntime;
use crate::database::Database;
use crate::runtime::origin::{ORIGIN, Origin};
use crate::runtime::{RuntimeError, folder};
use crate::state::{Credentials, DatabaseAccounts};

impl ProcessRuntime {
    /// [`Ledger::apply_accounts`](crate::runtime::ledger::Ledger::apply_accounts); the template's
    /// password is forgotten then.
    pub(super) async fn apply_accounts(
        &self,
        service: &str,
        accounts: &mut DatabaseAccounts,
        connection: &mut dyn Database,
        own: bool,
    ) -> Result<(), RuntimeError> {
        if !self.ledger.apply_accounts(service, accounts, connection, own).await? {
            return Ok(());
        }
        let origin = self.places(service).root.join(ORIGIN);
        match std::fs::remove_file(&origin) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(folder(service, "remove", &origin)(e)),
            _ => Ok(()),
        }
    }

    /// The superuser as the template made it; `None` when the passwords are this lab's own.
    pub(super) fn template_superuser(&self, service: &str) -> Result<Option<Credentials>, RuntimeError> {
        Ok(Origin::load(&self.places(service).root)?.map(|origin| origin.superuser))
    }
}
