//! The token of `creds`, `exec`, `env`, `connect` and `leases`: it may do what these need, no more.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::{PolicyStep, ProvisionError, converge};
use crate::report::Outcome;
use crate::secret::Secret;
use crate::spec::LabSpec;
use crate::spec::model::PolicySpec;
use crate::state::{CommandToken, LabDir};
use crate::vault::{Client, OrphanToken, TokenLife};

/// Name of its policy.
const POLICY: &str = "vaultlab-operator";

/// It lives so long after every `up`, which renews it.
const PERIOD: Duration = Duration::from_hours(32 * 24);

/// Writes the operator's policy, and sees to it that the token in the lab's folder has it and lives.
/// Gives a client with that token.
pub async fn ensure_operator(
    root: &Client,
    spec: &LabSpec,
    lab: &LabDir,
) -> Result<(Outcome, Client), ProvisionError> {
    let policy = PolicySpec { name: POLICY.into(), text: policy(spec), origin: "of this program".into() };
    let written = converge(root, [PolicyStep(&policy)]).await?;
    let on = |source| ProvisionError::On { what: "the token for commands".into(), source };
    if let Some(saved) = CommandToken::load(lab)? {
        let token = root.with_token(saved.token);
        let info = token.token_info().await.map_err(on)?;
        if let Some(info) = info.filter(|info| info.policies == ["default", POLICY] && info.period.is_some())
        {
            if info.ttl < PERIOD.as_secs() / 2 {
                token.renew_self().await.map_err(on)?;
            }
            return Ok((written, token));
        }
    }
    let wanted =
        OrphanToken { display_name: "vaultlab", policies: &[POLICY], life: TokenLife::Periodic(PERIOD) };
    let token = root.create_orphan_token(&wanted).await.map_err(on)?;
    CommandToken::new(token.clone()).save(lab)?;
    Ok((Outcome::changed("made"), root.with_token(token)))
}

/// Has commands use the root token, as the lab file says.
pub async fn keep_root(root: &Client, lab: &LabDir) -> Result<Outcome, ProvisionError> {
    let token = root.token().cloned().unwrap_or_else(|| Secret::new(""));
    let saved = CommandToken::load(lab)?;
    if saved.as_ref().is_some_and(|saved| saved.token == token) {
        return Ok(Outcome::Unchanged);
    }
    CommandToken::new(token).save(lab)?;
    if let Some(former) = saved {
        let former = root.with_token(former.token);
        if former.token_is_valid().await? {
            former.revoke_self().await?;
        }
    }
    Ok(Outcome::changed("root, as the lab file says"))
}

/// What the token may do: get a credential of each role, look after the leases of those, and make
/// children for the programs that `exec` runs.
fn policy(spec: &LabSpec) -> String {
    let mut text = String::new();
    let mut rule = |path: &str, capabilities: &str| {
        let _ = writeln!(text, "path \"{path}\" {{\n  capabilities = [{capabilities}]\n}}");
    };
    for (path, _) in spec.credential_paths() {
        rule(&path, "\"read\"");
    }
    let mounts: BTreeSet<&str> = spec.databases.iter().map(|database| database.mount.as_str()).collect();
    for mount in mounts {
        rule(&format!("sys/leases/lookup/{mount}/creds/*"), "\"list\", \"sudo\"");
    }
    for path in ["lookup", "renew", "revoke"] {
        rule(&format!("sys/leases/{path}"), "\"update\"");
    }
    if let Some(audit) = &spec.vault.audit {
        // Which account of a database belongs to which entry of the audit log.
        rule(&format!("sys/audit-hash/{}", audit.path), "\"update\"");
    }
    rule("auth/token/create", "\"update\"");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_may_neither_write_policies_nor_read_secret_ids() {
        let spec = LabSpec::builtin().unwrap();
        let text = policy(&spec);
        vaultlab_server::policy::Policy::parse(POLICY, &text).unwrap();
        for path in ["database/creds/pg-read", "sys/leases/lookup/database/creds/*", "sys/audit-hash/file"] {
            assert!(text.contains(&format!("path \"{path}\"")), "{path}");
        }
        for path in ["policies", "approle", "config", "rotate-root", "mounts"] {
            assert!(!text.contains(path), "{path}");
        }
    }
}
