//! The account that a lab keeps outside Vault: a way into a database when Vault's own is lost.

use super::{DatabaseTarget, ProvisionError};
use crate::database::{Database, DatabaseError, Login, Target, connect, try_login};
use crate::report::Outcome;
use crate::secret::Secret;
use crate::spec::model::{ADMIN_USER, BREAK_GLASS_USER};
use crate::state::{Credentials, DatabaseAccounts, LabDir};

/// Length of its password, which lasts.
const PASSWORD_LENGTH: usize = 32;

/// Makes the account where the lab file asks for it and removes it where it no longer does, and proves
/// that it logs in over TCP and may do what a superuser may. `None` when there is nothing to see to.
pub async fn ensure_break_glass(
    target: &mut DatabaseTarget<'_>,
    lab: &LabDir,
) -> Result<Option<Outcome>, ProvisionError> {
    let name = target.spec.name.clone();
    let on = || ProvisionError::database(&name);
    match (target.spec.break_glass, target.accounts.break_glass.clone()) {
        (false, None) => Ok(None),
        (false, Some(account)) => {
            let mut database = target.superuser().await?;
            let dropped = database.drop_account(&account.username).await;
            database.close().await;
            dropped.map_err(on())?;
            target.accounts.break_glass = None;
            target.accounts.save_as(&name, lab)?;
            Ok(Some(Outcome::changed("removed")))
        }
        (true, Some(account)) => {
            let login = try_login(&target.from_host, &account).await.map_err(on())?;
            let made = login != Login::Accepted;
            if made {
                make(target, &account).await?;
            }
            // The superuser's own way in is looked at while there is another.
            target.superuser().await?.close().await;
            prove(target, &account).await?;
            let detail = "logged in as a superuser";
            Ok(Some(if made { Outcome::changed(detail) } else { Outcome::proven(detail) }))
        }
        (true, None) => {
            let account = Credentials::new(BREAK_GLASS_USER, Secret::random(PASSWORD_LENGTH));
            // On disk before it is in force: an account that nobody can use is no way in.
            target.accounts.break_glass = Some(account.clone());
            target.accounts.save_as(&name, lab)?;
            make(target, &account).await?;
            prove(target, &account).await?;
            Ok(Some(Outcome::changed("made, logged in as a superuser")))
        }
    }
}

async fn make(target: &DatabaseTarget<'_>, account: &Credentials) -> Result<(), ProvisionError> {
    let mut database = target.superuser().await?;
    let made = database.ensure_superuser(account).await;
    database.close().await;
    made.map_err(ProvisionError::database(&target.spec.name))
}

async fn prove(target: &DatabaseTarget<'_>, account: &Credentials) -> Result<(), ProvisionError> {
    let on = || ProvisionError::database(&target.spec.name);
    let mut database = connect(&target.from_host, account).await.map_err(on())?;
    // Only a superuser sees what is kept of another account's password.
    let seen = database.password_digest(ADMIN_USER).await;
    database.close().await;
    match seen.map_err(on())? {
        Some(_) => Ok(()),
        None => Err(ProvisionError::not_proven(
            format!("the account {} of {}", account.username, target.spec.name),
            format!("it does not see the account {ADMIN_USER}"),
        )),
    }
}

/// A connection as the server's superuser. One whose password somebody changed gets its own back through
/// the break-glass account, where the lab has one.
pub async fn as_superuser(
    target: &Target,
    accounts: &DatabaseAccounts,
) -> Result<Box<dyn Database>, DatabaseError> {
    let superuser = &accounts.superuser;
    let other = match (connect(target, superuser).await, &accounts.break_glass) {
        (Err(DatabaseError::Refused { .. }), Some(account)) => account,
        (connection, _) => return connection,
    };
    let mut database = connect(target, other).await?;
    let set = database.set_password(&superuser.username, &superuser.password).await;
    database.close().await;
    set?;
    connect(target, superuser).await
}

impl DatabaseTarget<'_> {
    /// The same for this database.
    pub async fn superuser(&self) -> Result<Box<dyn Database>, ProvisionError> {
        let connection = as_superuser(&self.from_host, &self.accounts).await;
        connection.map_err(ProvisionError::database(&self.spec.name))
    }
}
