//! What in Vault belongs to the lab: kept in the manifest, so that what a lab file no longer declares
//! can be told from what somebody else wrote.

use std::collections::BTreeSet;
use std::path::Path;

use crate::provision::KEEPER_POLICY;
use crate::spec::LabSpec;
use crate::state::{LabDir, Manifest, StateError, editing};

/// The paths of everything declared. A connection cannot be deleted just so: without it, Vault could
/// no longer revoke the credentials it issued.
pub(super) fn declared(spec: &LabSpec) -> BTreeSet<String> {
    let audit = spec.vault.audit.iter().map(|audit| format!("sys/audit/{}", audit.path));
    let connections =
        spec.databases.iter().map(|database| format!("{}/config/{}", database.mount, database.name));
    let roles = spec.roles().map(|(database, role)| format!("{}/roles/{}", database.mount, role.name));
    let fixed =
        spec.static_roles().map(|(database, role)| format!("{}/static-roles/{}", database.mount, role.name));
    let policies = spec.policies.iter().map(|policy| format!("sys/policies/acl/{}", policy.name));
    let approles = spec.approles.iter().map(|approle| format!("auth/approle/role/{}", approle.name));
    let keeper = spec.keeper.then(|| format!("sys/policies/acl/{KEEPER_POLICY}"));
    audit.chain(connections).chain(roles).chain(fixed).chain(policies).chain(approles).chain(keeper).collect()
}

/// Adds to what the lab owns, before any of it is written.
pub(super) fn remember(dir: &LabDir, declared: &BTreeSet<String>) -> Result<(), StateError> {
    let _guard = editing();
    let Some(mut manifest) = Manifest::load(dir)? else { return Ok(()) };
    if declared.is_subset(&manifest.provisioned) {
        return Ok(());
    }
    manifest.provisioned.extend(declared.iter().cloned());
    manifest.save(dir)
}

/// What the lab owns and does not declare.
pub(super) fn stale(dir: &LabDir, declared: &BTreeSet<String>) -> Result<Vec<String>, StateError> {
    let owned = Manifest::load(dir)?.map(|manifest| manifest.provisioned).unwrap_or_default();
    Ok(owned.difference(declared).cloned().collect())
}

/// What the lab owns once the rest is removed.
pub(super) fn keep_only(dir: &LabDir, declared: &BTreeSet<String>) -> Result<(), StateError> {
    let _guard = editing();
    let Some(mut manifest) = Manifest::load(dir)? else { return Ok(()) };
    manifest.provisioned.clone_from(declared);
    manifest.save(dir)
}

/// Removes the folder with the files of an AppRole that is no more.
pub(super) fn remove_folder(folder: &Path) -> Result<(), StateError> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StateError::io("remove", folder)(e)),
        _ => Ok(()),
    }
}
