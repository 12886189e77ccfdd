//! What an earlier lab file declared and this one doesn't.

use std::collections::BTreeSet;

use super::{Lab, LabError, owned};
use crate::provision::ProvisionError;
use crate::report::Outcome;
use crate::state::{DeliveredFiles, Manifest};
use crate::vault::{Client, VaultError};

impl Lab {
    /// What is no longer declared goes; a service that is left is told.
    pub(super) async fn remove_undeclared(
        &self,
        root: &Client,
        declared: &BTreeSet<String>,
    ) -> Result<(), LabError> {
        let stale = owned::stale(&self.dir, declared)?;
        if !stale.is_empty() {
            let work = async {
                let (mut removed, mut kept) = (Vec::new(), declared.clone());
                // Connections first: their roles tell which leases need them.
                let (connections, others): (Vec<&String>, Vec<&String>) =
                    stale.iter().partition(|path| path.contains("/config/"));
                for path in connections {
                    match remove_connection(root, path, &stale).await? {
                        Removal::Done => removed.push(path.clone()),
                        Removal::Impossible(why) => {
                            self.report.warn(format!("{path} stays in Vault: {why}"));
                            kept.insert(path.clone());
                        }
                    }
                }
                for path in others {
                    let account = self.account_of(root, path).await?;
                    root.delete(path).await?;
                    if let Some(account) = account {
                        self.report.warn(format!(
                            "the account {account} of the static role {path} stays, with its last password"
                        ));
                    }
                    removed.push(path.clone());
                }
                // While they are still known as the lab's.
                for approle in stale.iter().filter_map(|path| path.strip_prefix("auth/approle/role/")) {
                    owned::remove_folder(&self.dir.delivery(approle))?;
                    for error in DeliveredFiles::remove(&self.dir, approle) {
                        self.report.warn(format!(
                            "what was delivered for the AppRole {approle}, which is no longer declared, may stay: {error}"
                        ));
                    }
                }
                owned::keep_only(&self.dir, &kept)?;
                let outcome = if removed.is_empty() {
                    Outcome::Unchanged
                } else {
                    Outcome::changed(removed.join(", "))
                };
                Ok::<_, ProvisionError>((outcome, ()))
            };
            self.report.step("undeclared", "Remove what is no longer declared", &["approles"], work).await?;
        }
        let services = self.services();
        for (name, _) in Manifest::load(&self.dir)?.into_iter().flat_map(|manifest| manifest.services) {
            if !services.iter().any(|service| service.name() == name) {
                self.report.warn(format!(
                    "{name} is still there and no longer in the lab file; `vaultlab down` stops it, with --volumes its data goes"
                ));
            }
        }
        Ok(())
    }
}

impl Lab {
    /// The account that a static role at this path leaves behind, as `NAME in DATABASE`.
    async fn account_of(&self, root: &Client, path: &str) -> Result<Option<String>, VaultError> {
        let Some((mount, name)) = path.split_once("/static-roles/") else { return Ok(None) };
        let Some(settings) = root.static_role(mount, name).await? else { return Ok(None) };
        let text = |key: &str| settings.get(key).and_then(|value| value.as_str()).unwrap_or_default();
        let (username, database) = (text("username"), text("db_name"));
        let renamed = self.spec.static_roles().any(|(d, r)| d.name == database && r.username == username);
        Ok((!renamed).then(|| format!("{username} in {database}")))
    }
}

enum Removal {
    Done,
    /// Why it has to stay.
    Impossible(String),
}

/// Removes a connection after the leases that could not be revoked without it. `stale` are the paths
/// that go as well: a role of somebody else's keeps its connection.
async fn remove_connection(root: &Client, path: &str, stale: &[String]) -> Result<Removal, VaultError> {
    let Some((mount, name)) = path.split_once("/config/") else { return Ok(Removal::Done) };
    for role in root.database_roles(mount).await? {
        let settings = root.database_role(mount, &role).await?;
        if settings.is_none_or(|settings| settings.get("db_name").and_then(|v| v.as_str()) != Some(name)) {
            continue;
        }
        if !stale.contains(&format!("{mount}/roles/{role}")) {
            return Ok(Removal::Impossible(format!("the role {role}, which this lab did not make, uses it")));
        }
        match root.revoke_leases_below(&format!("{mount}/creds/{role}")).await {
            Ok(()) => {}
            Err(VaultError::Refused { errors, .. }) => {
                let cause = errors.join("; ");
                return Ok(Removal::Impossible(format!(
                    "the credentials of {role} cannot be revoked, and never could without it: {cause}"
                )));
            }
            Err(error) => return Err(error),
        }
    }
    for role in root.static_roles(mount).await? {
        let settings = root.static_role(mount, &role).await?;
        let uses =
            settings.is_some_and(|settings| settings.get("db_name").and_then(|v| v.as_str()) == Some(name));
        if uses && !stale.contains(&format!("{mount}/static-roles/{role}")) {
            let why = format!("the static role {role}, which this lab did not make, uses it");
            return Ok(Removal::Impossible(why));
        }
    }
    root.delete(path).await?;
    Ok(Removal::Done)
}
