//! Static roles: an account that stays, made by the lab, whose password only Vault knows and replaces.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::proof::use_it;
use super::role::for_vault;
use super::{DatabaseTarget, ProvisionError, Step, converge, differences};
use crate::database::{Login, try_login};
use crate::report::Outcome;
use crate::secret::Secret;
use crate::spec::model::{ADMIN_USER, DatabaseSpec, StaticRoleSpec};
use crate::state::{Credentials, LabDir, StaticAccount};
use crate::vault::{Client, StaticCredential, VaultError};

/// How often a password is asked for again because Vault replaced it while it was tried.
const ATTEMPTS: usize = 3;

/// Length of the password an account is made with; Vault replaces it at once.
const PASSWORD_LENGTH: usize = 24;

/// One static role. Writing a new one has Vault replace the account's password.
pub struct StaticRoleStep<'a> {
    /// The database it belongs to.
    pub database: &'a DatabaseSpec,
    /// The static role.
    pub role: &'a StaticRoleSpec,
}

impl Step for StaticRoleStep<'_> {
    type Actual = Option<Map<String, Value>>;

    fn what(&self) -> String {
        format!("static role {}", self.role.name)
    }

    async fn read(&self, vault: &Client) -> Result<Self::Actual, VaultError> {
        vault.static_role(&self.database.mount, &self.role.name).await
    }

    fn diff(&self, actual: &Self::Actual) -> Result<Option<Value>, ProvisionError> {
        let statements = self.role.rotation_statements.as_ref();
        let statements: Vec<String> =
            statements.map(|sql| for_vault(self.database.engine, &sql.text)).into_iter().collect();
        let wanted = json!({
            "db_name": self.database.name,
            "username": self.role.username,
            "rotation_period": self.role.rotation_period.as_secs(),
            "rotation_statements": statements,
        });
        let same = actual.as_ref().is_some_and(|actual| !differences(actual, &wanted));
        Ok((!same).then_some(wanted))
    }

    async fn apply(&self, vault: &Client, change: &Value) -> Result<(), VaultError> {
        vault.write_static_role(&self.database.mount, &self.role.name, change).await
    }
}

/// Makes the account of a static role, writes the static role, and proves it: the password that Vault
/// gives logs in and may do what it should; once, when Vault was told to replace it, the old one was
/// refused. A password that the database refuses is replaced.
pub async fn ensure_static_role(
    vault: &Client,
    target: &mut DatabaseTarget<'_>,
    role: &StaticRoleSpec,
    lab: &LabDir,
) -> Result<Outcome, ProvisionError> {
    let granted = ensure_account(target, role, lab).await?;
    forget_other_account(vault, target, role).await?;
    let step = StaticRoleStep { database: target.spec, role };
    let written = converge(vault, [step]).await? != Outcome::Unchanged;
    let repaired = repair_static_role(vault, target, role).await?;
    let (credential, account) = log_in(vault, target, role).await?.map_err(|refusal| {
        ProvisionError::not_proven(subject(role), format!("its password is refused: {refusal}"))
    })?;
    let (allowed, refused) = (role.proof.allows.len(), role.proof.refuses.len());
    // One without grants may not be let into the database at all.
    if (allowed, refused) != (0, 0) {
        let used = use_it(target, &subject(role), &role.proof, &account).await;
        used.map_err(|error| match &role.grants {
            Some(grants) => error.of_accounts_made_by(&grants.origin),
            None => error,
        })?;
    }
    let record = target.accounts.static_roles.get(&role.name);
    let proven = record.is_some_and(|record| record.rotation_proven) && !written;
    if !proven {
        prove_rotation(vault, target, role, &credential).await?;
        edit(target, role, lab, |record| record.rotation_proven = true)?;
    }
    let may = match (allowed, refused) {
        (0, 0) => String::new(),
        _ => format!(", {allowed} allowed, {refused} refused"),
    };
    Ok(match (proven, repaired || granted) {
        (false, _) => Outcome::changed(format!("logged in{may}, rotated, old password refused")),
        (true, true) if repaired => {
            Outcome::changed(format!("its password was refused: rotated, logged in{may}"))
        }
        (true, true) => Outcome::changed(format!("granted anew, logged in{may}")),
        (true, false) => Outcome::proven(format!("logged in{may}")),
    })
}

fn subject(role: &StaticRoleSpec) -> String {
    format!("static role {}", role.name)
}

/// Makes the account, lets Vault's replace its password, and runs the grants, unless that was done; gives
/// whether it was not.
async fn ensure_account(
    target: &mut DatabaseTarget<'_>,
    role: &StaticRoleSpec,
    lab: &LabDir,
) -> Result<bool, ProvisionError> {
    let name = target.spec.name.clone();
    let on = || ProvisionError::database(&name);
    let digest = role.grants.as_ref().map(|sql| digest(&sql.text));
    let mut database = target.superuser().await?;
    let exists = database.account_exists(&role.username).await.map_err(on())?;
    let known = target.accounts.static_roles.get(&role.name);
    let same = known.is_some_and(|known| known.username == role.username && known.grants == digest);
    if exists && same {
        database.close().await;
        return Ok(false);
    }
    if !exists {
        let first = Credentials::new(role.username.clone(), Secret::random(PASSWORD_LENGTH));
        database.ensure_account(&first).await.map_err(on())?;
    }
    database.let_manage(ADMIN_USER, &role.username).await.map_err(on())?;
    if let Some(grants) = &role.grants {
        let run = database.run_script(grants).await;
        run.map_err(|error| ProvisionError::not_proven(subject(role), error.to_string()))?;
    }
    database.close().await;
    edit(target, role, lab, |record| {
        *record = StaticAccount { username: role.username.clone(), grants: digest, rotation_proven: false };
    })?;
    Ok(true)
}

/// Vault never lets a static role have another account: one that has is written anew.
async fn forget_other_account(
    vault: &Client,
    target: &DatabaseTarget<'_>,
    role: &StaticRoleSpec,
) -> Result<(), ProvisionError> {
    let (mount, name) = (&target.spec.mount, &role.name);
    let on = |source| ProvisionError::On { what: subject(role), source };
    let Some(actual) = vault.static_role(mount, name).await.map_err(on)? else { return Ok(()) };
    let account = json!({ "db_name": target.spec.name, "username": role.username });
    if differences(&actual, &account) {
        vault.delete(&format!("{mount}/static-roles/{name}")).await.map_err(on)?;
    }
    Ok(())
}

/// Has Vault replace a password that the database refuses: somebody else set another one, or the account
/// was made anew. Gives whether that was needed.
pub async fn repair_static_role(
    vault: &Client,
    target: &DatabaseTarget<'_>,
    role: &StaticRoleSpec,
) -> Result<bool, ProvisionError> {
    if log_in(vault, target, role).await?.is_ok() {
        return Ok(false);
    }
    rotate(vault, target, role).await?;
    Ok(true)
}

async fn rotate(
    vault: &Client,
    target: &DatabaseTarget<'_>,
    role: &StaticRoleSpec,
) -> Result<(), ProvisionError> {
    let what = format!("rotation of static role {}", role.name);
    vault
        .rotate_static_role(&target.spec.mount, &role.name)
        .await
        .map_err(|source| ProvisionError::On { what, source })
}

async fn prove_rotation(
    vault: &Client,
    target: &DatabaseTarget<'_>,
    role: &StaticRoleSpec,
    old: &StaticCredential,
) -> Result<(), ProvisionError> {
    rotate(vault, target, role).await?;
    let not_proven =
        |cause: String| ProvisionError::not_proven(format!("rotation of {}", subject(role)), cause);
    log_in(vault, target, role)
        .await?
        .map_err(|refusal| not_proven(format!("the new password is refused: {refusal}")))?;
    if !is_refused(target, old).await? {
        return Err(not_proven(format!(
            "{} still accepts the old password of {}",
            target.from_host.endpoint, old.username
        )));
    }
    Ok(())
}

/// Whether the database no longer accepts a credential.
pub async fn is_refused(target: &DatabaseTarget<'_>, old: &StaticCredential) -> Result<bool, ProvisionError> {
    let account = Credentials::new(old.username.clone(), old.password.clone());
    let login = try_login(&target.from_host, &account).await;
    Ok(matches!(login.map_err(ProvisionError::database(&target.spec.name))?, Login::Refused(_)))
}

/// Logs in over TCP with what Vault gives; the inner error is what the database said when it refused. A
/// password that Vault replaced meanwhile is no refusal.
pub async fn log_in(
    vault: &Client,
    target: &DatabaseTarget<'_>,
    role: &StaticRoleSpec,
) -> Result<Result<(StaticCredential, Credentials), String>, ProvisionError> {
    let what = || format!("credential of static role {}", role.name);
    let mut said = String::new();
    let mut tried: Option<Secret> = None;
    for _ in 0..ATTEMPTS {
        let credential = vault
            .static_credential(&target.spec.mount, &role.name)
            .await
            .map_err(|source| ProvisionError::On { what: what(), source })?;
        if tried.as_ref() == Some(&credential.password) {
            break;
        }
        let account = Credentials::new(credential.username.clone(), credential.password.clone());
        let login = try_login(&target.from_host, &account).await;
        match login.map_err(|error| ProvisionError::login(&subject(role), &target.spec.name, error))? {
            Login::Accepted => return Ok(Ok((credential, account))),
            Login::Refused(refusal) => said = refusal.to_string(),
        }
        tried = Some(credential.password);
    }
    Ok(Err(said))
}

fn edit(
    target: &mut DatabaseTarget<'_>,
    role: &StaticRoleSpec,
    lab: &LabDir,
    change: impl FnOnce(&mut StaticAccount),
) -> Result<(), ProvisionError> {
    change(target.accounts.static_roles.entry(role.name.clone()).or_default());
    Ok(target.accounts.save_as(&target.spec.name, lab)?)
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
