//! Proof that credentials are worth what the lab says, by using them.

use super::{DatabaseTarget, ProvisionError};
use crate::database::{Check, Login, connect, try_login};
use crate::spec::model::{Proof, RoleSpec, SqlText};
use crate::state::Credentials;
use crate::vault::{Client, Credential, VaultError};

/// Gets a credential of a role, logs in with it, runs what it must be able to run, sees the
/// database refuse what it must not, revokes it, and sees the login refused. Nothing is left.
///
/// # Errors
/// [`ProvisionError::NotProven`] when anything differs; the lease is revoked all the same.
pub async fn prove_role(
    vault: &Client,
    target: &DatabaseTarget<'_>,
    role: &RoleSpec,
) -> Result<String, ProvisionError> {
    let credential = issue(vault, target, role).await?;
    let account = Credentials::new(credential.username.clone(), credential.password.clone());
    let used = use_it(target, &format!("role {}", role.name), &role.proof, &account)
        .await
        .map_err(|error| error.of_accounts_made_by(&role.creation_statements.origin));
    let revoked = vault.revoke_lease(&credential.lease_id).await.map_err(|source| ProvisionError::On {
        what: format!("revoking a credential of role {} ({})", role.name, revocation_origin(role)),
        source,
    });
    used?;
    revoked?;
    let gone = try_login(&target.from_host, &account).await;
    match gone.map_err(ProvisionError::database(&target.spec.name))? {
        Login::Refused(_) => {}
        Login::Accepted => {
            return Err(ProvisionError::not_proven(
                format!("role {}", role.name),
                format!("{} can still log in after its lease was revoked", account.username),
            ));
        }
    }
    let (allowed, refused) = (role.proof.allows.len(), role.proof.refuses.len());
    Ok(format!("logged in, {allowed} allowed, {refused} refused, revoked"))
}

fn revocation_origin(role: &RoleSpec) -> &str {
    role.revocation_statements.as_ref().map_or("Vault's default statements", |text| &text.origin)
}

/// A credential; a failure names the role, its statements and what the database said.
async fn issue(
    vault: &Client,
    target: &DatabaseTarget<'_>,
    role: &RoleSpec,
) -> Result<Credential, ProvisionError> {
    vault.credential(&target.spec.mount, &role.name).await.map_err(|source| {
        if !matches!(source, VaultError::Refused { .. }) {
            return ProvisionError::On { what: format!("a credential of role {}", role.name), source };
        }
        let SqlText { origin, text } = &role.creation_statements;
        ProvisionError::Credential {
            what: format!("role {} ({origin})", role.name),
            source,
            // As written: `{{password}}` stands in them, never a password.
            statements: text.lines().map(|line| format!("\n    {line}")).collect(),
        }
    })
}

/// Logs in and runs what must be allowed and what must be refused.
pub(super) async fn use_it(
    target: &DatabaseTarget<'_>,
    subject: &str,
    proof: &Proof,
    account: &Credentials,
) -> Result<(), ProvisionError> {
    let failed = |cause: String| Err(ProvisionError::not_proven(subject, cause));
    let mut database = connect(&target.from_host, account)
        .await
        .map_err(|error| ProvisionError::login(subject, &target.spec.name, error))?;
    for sql in &proof.allows {
        match database.check(sql).await {
            Check::Allowed => {}
            Check::Refused(refusal) => return failed(format!("it may not run `{sql}`: {refusal}")),
            Check::Failed(error) => return failed(format!("`{sql}` failed: {error}")),
        }
    }
    for sql in &proof.refuses {
        match database.check(sql).await {
            Check::Refused(_) => {}
            Check::Allowed => return failed(format!("it may run `{sql}`, which it must not")),
            Check::Failed(error) => {
                return failed(format!(
                    "`{sql}` failed for another reason than a missing privilege: {error}"
                ));
            }
        }
    }
    database.ping().await.map_err(ProvisionError::database(&target.spec.name))?;
    database.close().await;
    Ok(())
}

/// Which roles an AppRole can get credentials of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessProof {
    /// Roles its policies allow.
    pub allowed: Vec<String>,
    /// Roles Vault refuses it.
    pub refused: Vec<String>,
}

/// Asks Vault, with a token of the AppRole itself, for the capabilities on every role's
/// credentials, and asks for one credential it must be refused. `roles` are paths and names, as
/// [`LabSpec::credential_paths`](crate::spec::LabSpec::credential_paths) gives them.
pub async fn prove_approle<'a>(
    approle: &Client,
    roles: impl IntoIterator<Item = (String, &'a str)>,
) -> Result<AccessProof, ProvisionError> {
    let mut proof = AccessProof { allowed: Vec::new(), refused: Vec::new() };
    for (path, role) in roles {
        let capabilities = approle.capabilities(&path).await?;
        if capabilities.iter().any(|c| c == "read" || c == "root") {
            proof.allowed.push(role.into());
            continue;
        }
        match approle.read_credential(&path).await {
            Err(error) if error.is_status(403) => proof.refused.push(role.into()),
            Err(error) => return Err(error.into()),
            Ok(lease) => {
                if let Some(lease) = lease {
                    approle.revoke_lease(&lease).await?;
                }
                return Err(ProvisionError::not_proven(
                    "AppRole policies",
                    format!("Vault reports no read capability on {path}, yet issues a credential"),
                ));
            }
        }
    }
    Ok(proof)
}
