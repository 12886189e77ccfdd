//! What the keeper may do in Vault: deliver secret_ids and rotate, nothing else.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::{PolicyStep, ProvisionError, converge};
use crate::report::Outcome;
use crate::spec::LabSpec;
use crate::spec::model::{PolicySpec, RootRotation};
use crate::state::{KeeperToken, LabDir};
use crate::vault::{Client, OrphanToken, TokenLife};

/// Name of the keeper's policy in Vault.
pub const KEEPER_POLICY: &str = "vaultlab-keeper";

/// How long the keeper's token lives after every renewal: a lab may be down for so long before the
/// keeper needs a new one.
const PERIOD: Duration = Duration::from_hours(72);

/// Writes the keeper's policy, and sees to it that the token in the lab's folder has it and lives.
pub async fn ensure_keeper(root: &Client, spec: &LabSpec, lab: &LabDir) -> Result<Outcome, ProvisionError> {
    let policy = PolicySpec { name: KEEPER_POLICY.into(), text: policy(spec), origin: "the keeper's".into() };
    let written = converge(root, [PolicyStep(&policy)]).await?;
    let on = |source| ProvisionError::On { what: "the keeper's token".into(), source };
    if let Some(saved) = KeeperToken::load(lab)? {
        let info = root.with_token(saved.token).token_info().await.map_err(on)?;
        if info.is_some_and(|info| info.policies.iter().any(|policy| policy == KEEPER_POLICY)) {
            return Ok(written);
        }
    }
    let wanted = OrphanToken {
        display_name: "vaultlab-keeper",
        policies: &[KEEPER_POLICY],
        life: TokenLife::Periodic(PERIOD),
    };
    let token = root.create_orphan_token(&wanted).await.map_err(on)?;
    KeeperToken::new(token).save(lab)?;
    Ok(Outcome::changed("made"))
}

/// The policy: exactly the paths that the lab's AppRoles and rotations need. Unsealing needs none.
fn policy(spec: &LabSpec) -> String {
    let mut text = String::new();
    let mut allow = |path: &str, capabilities: &str, more: &str| {
        let _ = writeln!(text, "path \"{path}\" {{\n  capabilities = [{capabilities}]\n{more}}}");
    };
    // In Vault's policy `default`, too; but that one may be changed, and no policy may be empty.
    allow("auth/token/lookup-self", "\"read\"", "");
    allow("auth/token/renew-self", "\"update\"", "");
    for approle in &spec.approles {
        let role = format!("auth/approle/role/{}", approle.name);
        allow(&format!("{role}/role-id"), "\"read\"", "");
        allow(&format!("{role}/secret-id"), "\"update\", \"list\"", "");
        for path in ["secret-id/lookup", "secret-id-accessor/lookup", "secret-id-accessor/destroy"] {
            allow(&format!("{role}/{path}"), "\"update\"", "");
        }
    }
    for (database, role) in spec.static_roles() {
        // That what Vault rotated logs in, and to have it rotated where it does not.
        allow(&role.credential_path(database), "\"read\"", "");
        allow(&format!("{}/rotate-role/{}", database.mount, role.name), "\"update\"", "");
    }
    let mut proven_by = BTreeSet::new();
    for database in &spec.databases {
        // That Vault gets in is seen when it logs in anew.
        allow(&format!("{}/reset/{}", database.mount, database.name), "\"update\"", "");
        if !matches!(database.root_rotation, RootRotation::Every(_)) {
            continue;
        }
        let (mount, name) = (&database.mount, &database.name);
        allow(&format!("{mount}/rotate-root/{name}"), "\"update\"", "");
        // Only to repair: a new password after one got lost, and nothing else of the connection.
        let repair = "  allowed_parameters = {\n    \"username\" = []\n    \"password\" = []\n  }\n";
        allow(&format!("{mount}/config/{name}"), "\"update\"", repair);
        if let Some(role) = database.roles.first() {
            // That Vault can log in with its new password is proven by one credential of this role.
            allow(&format!("{mount}/creds/{}", role.name), "\"read\"", "");
            proven_by.insert(format!("\"{mount}/creds/{}/*\"", role.name));
        }
    }
    if !proven_by.is_empty() {
        let ids = proven_by.into_iter().collect::<Vec<_>>().join(", ");
        let limits =
            format!("  allowed_parameters = {{\n    \"lease_id\" = [{ids}]\n    \"sync\" = []\n  }}\n");
        allow("sys/leases/revoke", "\"update\"", &limits);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_what_is_needed_and_no_more() {
        let mut spec = LabSpec::builtin().unwrap();
        let text = policy(&spec);
        vaultlab_server::policy::Policy::parse(KEEPER_POLICY, &text).unwrap();
        for approle in &spec.approles {
            assert!(text.contains(&format!("\"auth/approle/role/{}/secret-id\"", approle.name)));
        }
        for word in ["rotate-root", "creds", "config", "leases", "sudo", "create", "delete"] {
            assert!(!text.contains(word), "{word}");
        }
        spec.databases[0].root_rotation = RootRotation::Every(Duration::from_hours(1));
        let text = policy(&spec);
        vaultlab_server::policy::Policy::parse(KEEPER_POLICY, &text).unwrap();
        assert!(text.contains("\"database/rotate-root/notes-postgres\""), "{text}");
        assert!(!text.contains("rotate-root/notes-mysql"), "{text}");
    }
}
