//! Root rotation: Vault replaces the password of its own account, and the lab proves it.

use serde_json::json;

use super::{DatabaseTarget, ProvisionError};
use crate::database::{Login, try_login};
use crate::report::Outcome;
use crate::secret::Secret;
use crate::state::LabDir;
use crate::vault::{Client, VaultError};

/// Length of a password this program makes.
const PASSWORD_LENGTH: usize = 24;

/// The password a *new* connection is written with. Normally the one the account was made with;
/// when the database refuses that (Vault lost its storage after a rotation), the superuser gives
/// the account a new one.
pub async fn ensure_first_password(
    target: &mut DatabaseTarget<'_>,
    lab: &LabDir,
) -> Result<Secret, ProvisionError> {
    let name = &target.spec.name;
    let login = try_login(&target.from_host, &target.accounts.admin).await;
    match login.map_err(ProvisionError::database(name))? {
        Login::Accepted => Ok(target.accounts.admin.password.clone()),
        Login::Refused(_) => give_new_password(target, lab).await,
    }
}

/// Gives Vault's account a new password as the superuser, saved before it is in force.
async fn give_new_password(target: &mut DatabaseTarget<'_>, lab: &LabDir) -> Result<Secret, ProvisionError> {
    let name = target.spec.name.clone();
    let password = Secret::random(PASSWORD_LENGTH);
    target.accounts.admin.password = password.clone();
    target.accounts.save_as(&name, lab)?;
    let on = || ProvisionError::database(&name);
    let mut database = target.superuser().await?;
    let user = &target.accounts.admin.username;
    database.set_password(user, &password).await.map_err(on())?;
    database.close().await;
    Ok(password)
}

/// Has Vault replace the password of its account unless that was done before, and proves that the
/// database refuses the old one over TCP. That Vault can log in with the new one is proven too: by
/// the credentials asked for next or, when there was nothing to rotate, by one asked for here.
///
/// A Vault that was killed in the middle of a rotation can be left with a password the database
/// does not take; it is given a new one, which is rotated at once.
pub async fn rotate_root(
    vault: &Client,
    target: &mut DatabaseTarget<'_>,
    lab: &LabDir,
) -> Result<Outcome, ProvisionError> {
    // The database itself says whether root was rotated; nothing that could be forgotten does.
    let locked_out = if old_password_refused(target).await? {
        if !locked_out(vault, target).await? {
            return Ok(Outcome::proven("rotated before; the first password is refused"));
        }
        true
    } else {
        match vault.rotate_root(&target.spec.mount, &target.spec.name).await {
            Ok(()) => false,
            Err(error) if is_login_failure(&error) => true,
            Err(source) => {
                return Err(ProvisionError::On {
                    what: format!("root rotation of {}", target.spec.name),
                    source,
                });
            }
        }
    };
    if locked_out {
        repair(vault, target, lab).await?;
    }
    if !old_password_refused(target).await? {
        return Err(ProvisionError::not_proven(
            format!("root rotation of {}", target.spec.name),
            format!(
                "{} still accepts the old password of {}",
                target.from_host.endpoint, target.accounts.admin.username
            ),
        ));
    }
    let detail = if locked_out { "Vault was locked out: repaired, rotated" } else { "old password refused" };
    Ok(Outcome::changed(detail))
}

/// Rotates root of a connection that is in use, so that nobody notices: at no moment does Vault lack
/// the password that is in force. Nobody knows the one that is replaced, so that it is refused is seen
/// by the superuser: the database keeps one password of an account, and keeps another one now. That
/// Vault knows the new one is proven by a credential, which it needs a new login for.
pub async fn rotate_root_in_use(
    vault: &Client,
    target: &mut DatabaseTarget<'_>,
    lab: &LabDir,
) -> Result<&'static str, ProvisionError> {
    let subject = || format!("root rotation of {}", target.spec.name);
    let before = password_digest(target).await?;
    match vault.rotate_root(&target.spec.mount, &target.spec.name).await {
        Ok(()) => {}
        Err(error) if is_login_failure(&error) => {
            repair(vault, target, lab).await?;
            return Ok("Vault was locked out: repaired, rotated");
        }
        Err(source) => return Err(ProvisionError::On { what: subject(), source }),
    }
    if password_digest(target).await? == before {
        return Err(ProvisionError::not_proven(subject(), "the password is the same as before"));
    }
    if !old_password_refused(target).await? {
        return Err(ProvisionError::not_proven(subject(), "the account's first password works again"));
    }
    if recover_rotation(vault, target, lab).await? {
        return Ok("Vault was locked out afterwards: repaired, rotated");
    }
    Ok("another password is in force, and Vault logs in with it")
}

/// After a rotation that may have been cut off anywhere: sees whether Vault can log in, and repairs it
/// where it can't. Gives whether it had to.
pub async fn recover_rotation(
    vault: &Client,
    target: &mut DatabaseTarget<'_>,
    lab: &LabDir,
) -> Result<bool, ProvisionError> {
    let locked_out = locked_out(vault, target).await?;
    if locked_out {
        repair(vault, target, lab).await?;
    }
    Ok(locked_out)
}

/// What the database keeps of the password of Vault's account.
pub async fn password_digest(target: &DatabaseTarget<'_>) -> Result<Option<String>, ProvisionError> {
    let on = || ProvisionError::database(&target.spec.name);
    let mut database = target.superuser().await?;
    let digest = database.password_digest(&target.accounts.admin.username).await.map_err(on());
    database.close().await;
    digest
}

async fn old_password_refused(target: &DatabaseTarget<'_>) -> Result<bool, ProvisionError> {
    let login = try_login(&target.from_host, &target.accounts.admin).await;
    let login = login.map_err(ProvisionError::database(&target.spec.name))?;
    Ok(matches!(login, Login::Refused(_)))
}

/// Has Vault log in to the database anew; the inner error is what the database said when it refused.
pub async fn login_of_vault(
    vault: &Client,
    target: &DatabaseTarget<'_>,
) -> Result<Result<(), String>, ProvisionError> {
    match vault.reset_connection(&target.spec.mount, &target.spec.name).await {
        Err(VaultError::Refused { errors, .. }) if is_refusal(&errors) => Ok(Err(errors.join("; "))),
        Err(source) => Err(ProvisionError::On { what: format!("connection {}", target.spec.name), source }),
        Ok(()) => Ok(Ok(())),
    }
}

/// Whether the database refuses Vault's own password, seen by a new login: connections that Vault
/// has open would hide it. Errors of other kinds are left to the proofs of the roles, which name
/// what is wrong.
async fn locked_out(vault: &Client, target: &DatabaseTarget<'_>) -> Result<bool, ProvisionError> {
    if matches!(login_of_vault(vault, target).await, Ok(Err(_))) {
        return Ok(true);
    }
    // Some versions close the connections only, and log in when a credential is asked for.
    let Some(role) = target.spec.roles.first() else { return Ok(false) };
    match vault.credential(&target.spec.mount, &role.name).await {
        Ok(credential) => {
            vault.revoke_lease(&credential.lease_id).await?;
            Ok(false)
        }
        Err(error) => Ok(is_login_failure(&error)),
    }
}

/// The superuser gives Vault's account a new password, Vault is told it, and replaces it.
async fn repair(vault: &Client, target: &mut DatabaseTarget<'_>, lab: &LabDir) -> Result<(), ProvisionError> {
    hand_over(vault, target, lab).await?;
    let (mount, name) = (&target.spec.mount, &target.spec.name);
    let on = |source| ProvisionError::On { what: format!("root rotation of {name}"), source };
    vault.rotate_root(mount, name).await.map_err(on)
}

/// Gives Vault's account a new password and tells it to Vault.
async fn hand_over(
    vault: &Client,
    target: &mut DatabaseTarget<'_>,
    lab: &LabDir,
) -> Result<(), ProvisionError> {
    let password = give_new_password(target, lab).await?;
    let (mount, name) = (&target.spec.mount, &target.spec.name);
    let settings = json!({ "username": target.accounts.admin.username, "password": password.expose() });
    let on = |source| ProvisionError::On { what: format!("connection {name}"), source };
    vault.write_database_config(mount, name, &settings).await.map_err(on)
}

/// Rotates root of a connection that is in use, with an old password that is known: the superuser
/// gives Vault's account one, Vault is told it, it works, Vault replaces it, and it no longer works.
pub async fn rotate_root_again(
    vault: &Client,
    target: &mut DatabaseTarget<'_>,
    lab: &LabDir,
) -> Result<(), ProvisionError> {
    let subject = format!("root rotation of {}", target.spec.name);
    hand_over(vault, target, lab).await?;
    if old_password_refused(target).await? {
        return Err(ProvisionError::not_proven(subject, "the password is refused before it is rotated"));
    }
    let (mount, name) = (&target.spec.mount, &target.spec.name);
    let on = |source| ProvisionError::On { what: subject.clone(), source };
    vault.rotate_root(mount, name).await.map_err(on)?;
    if !old_password_refused(target).await? {
        return Err(ProvisionError::not_proven(subject, "the old password still works"));
    }
    Ok(())
}

/// Whether a database refused the login of Vault itself: SQLSTATE 28P01 or 28000, MySQL's 1045, as
/// Vault's plugins pass them on.
fn is_login_failure(error: &VaultError) -> bool {
    matches!(error, VaultError::Refused { errors, .. } if is_refusal(errors))
}

fn is_refusal(errors: &[String]) -> bool {
    let signs = ["28P01", "28000", "password authentication failed", "Error 1045", "Access denied for user"];
    errors.iter().any(|error| signs.iter().any(|sign| error.contains(sign)))
}
