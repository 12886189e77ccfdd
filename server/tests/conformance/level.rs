//! What real servers do otherwise in every answer of a kind, and is not worth a case each time. Vault has grown
//! fields since; OpenBao is a fork of Vault 1.14, lacks what belongs to the commercial edition, and has grown
//! fields of its own. Where they *behave* otherwise, a case has an answer for each and says why.

use serde_json::{Map, Value};

use super::script::Flavour;

/// Keys that OpenBao doesn't answer: of the commercial edition (`performance_*`, `enterprise`), or left out
/// where they are empty (what `sys/leader` has to say without high availability).
const OPENBAO_LACKS: [&str; 17] = [
    "active_time",
    "build_date",
    "clock_skew_ms",
    "cross_cluster_revocation",
    "deprecation_status",
    "disable_upgrade_migration",
    "echo_duration_ms",
    "enterprise",
    "is_self",
    "leader_address",
    "leader_cluster_address",
    "max_crl_entries",
    "mfa_requirement",
    "performance_standby",
    "performance_standby_last_remote_wal",
    "unified_crl",
    "unified_crl_on_existing_paths",
];

/// Keys that OpenBao alone answers.
const OPENBAO_HAS: [&str; 20] = [
    // AppRole, userpass, token roles
    "token_strictly_bind_ip",
    // sys/seal-status, in place of build_date
    "commit_date",
    // KV v2: check-and-set of metadata
    "current_metadata_version",
    "metadata_cas_required",
    // Policies: versions, check-and-set, what templates may hold
    "allow_slashes_in_identity_templates",
    "allow_wildcards_in_identity_templates",
    "cas_required",
    "expiration",
    "modified",
    "version",
    // PKI
    "allow_expired_cert_revocation",
    "allow_globs_in_identity_templates",
    "allowed_ip_sans_cidr",
    "delta_crl_distribution_points",
    "issuer_id",
    "not_after_bound",
    "not_before",
    "not_before_bound",
    // CORS
    "allow_credentials",
    // Lease lookup
    "path",
];

/// Keys that Vault answers today, and the embedded server doesn't.
const VAULT_HAS: [&str; 25] = [
    // sys/leader of one that is sealed, sys/health, sys/ha-status and seal-status of a cluster
    "active_time",
    "clock_skew_ms",
    "echo_duration_ms",
    "removed_from_cluster",
    "replication_primary_canary_age_ms",
    // The database engine: root rotation by a schedule, static roles that are not rotated when they are made
    "disable_automated_rotation",
    "rotation_period",
    "rotation_schedule",
    "rotation_window",
    "skip_import_rotation",
    "skip_static_role_import_rotation",
    "verify_connection",
    // PKI
    "issuer_id",
    "serial_number_source",
    // Namespaces
    "administrative_namespace_path",
    "chroot_namespace",
    // Settings of the server
    "detect_deadlocks",
    "enable_post_unseal_trace",
    "experiments",
    "imprecise_lease_role_tracking",
    "log_requests_level",
    "name",
    "plugin_tmpdir",
    "post_unseal_trace_directory",
    "priority",
];

/// Takes what is told above out of an expected answer and the one a real server gave.
pub fn level(flavour: Flavour, expected: &mut Value, actual: &mut Value) {
    let (lacks, has): (&[&str], &[&str]) = match flavour {
        Flavour::Bao => (&OPENBAO_LACKS, &OPENBAO_HAS),
        Flavour::Vault(minor) if minor >= 14 => (&[], &VAULT_HAS),
        _ => return,
    };
    walk(lacks, has, expected, actual);
}

fn walk(lacks: &[&str], has: &[&str], expected: &mut Value, actual: &mut Value) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => walk_object(lacks, has, expected, actual),
        (Value::Array(expected), Value::Array(actual)) => {
            // Vault has told the same thing twice.
            actual.dedup();
            for (expected, actual) in expected.iter_mut().zip(actual) {
                walk(lacks, has, expected, actual);
            }
        }
        (Value::String(expected), Value::String(actual)) => {
            if expected.ends_with("+builtin.vault") && actual.contains("+builtin") {
                actual.clone_from(expected);
            }
            *actual = actual.replace("OpenBao", "Vault").replace("'bao ", "'vault ");
            // Entities are named after their namespace too.
            if let Some(name) = actual.strip_suffix(".root").filter(|name| name.starts_with("entity_")) {
                *actual = name.to_owned();
            }
            // Deprecated parameters are fields.
            *actual = actual.replace("\" field is deprecated", "\" parameter is deprecated");
        }
        _ => {}
    }
}

fn walk_object(
    lacks: &[&str],
    has: &[&str],
    expected: &mut Map<String, Value>,
    actual: &mut Map<String, Value>,
) {
    expected.retain(|key, _| actual.contains_key(key) || !lacks.contains(&key.as_str()));
    actual.retain(|key, _| expected.contains_key(key) || !has.contains(&key.as_str()));
    for (key, actual) in actual {
        let expected = match expected.get_mut(key) {
            Some(expected) => Some(expected),
            // The key is a placeholder.
            None => expected.values_mut().find(|value| value.is_object()),
        };
        if let Some(expected) = expected {
            walk(lacks, has, expected, actual);
        }
    }
}
