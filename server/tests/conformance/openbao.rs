//! What OpenBao does otherwise in every answer of a kind, and is not worth a case each time. OpenBao is a fork
//! of Vault 1.14: it lacks what came to Vault later or belongs to its commercial edition, and has grown
//! fields of its own. Where it *behaves* otherwise, a case has an answer `<bao` and says why.

use serde_json::Value;

/// Keys that Vault answers and OpenBao doesn't: of the commercial edition (`performance_*`, `enterprise`),
/// or left out where they are empty (`identity_policies`, what `sys/leader` has to say without high
/// availability).
const LACKS: [&str; 15] = [
    "active_time",
    "build_date",
    "clock_skew_ms",
    "deprecation_status",
    "disable_upgrade_migration",
    "echo_duration_ms",
    "enterprise",
    "external_namespace_policies",
    "identity_policies",
    "is_self",
    "leader_address",
    "leader_cluster_address",
    "mfa_requirement",
    "performance_standby",
    "performance_standby_last_remote_wal",
];

/// Keys that OpenBao alone answers.
const HAS: [&str; 20] = [
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
    "issuer_id",
    "allow_globs_in_identity_templates",
    "allowed_ip_sans_cidr",
    "delta_crl_distribution_points",
    "not_after_bound",
    "not_before",
    "not_before_bound",
    // CORS
    "allow_credentials",
    // Lease lookup
    "path",
];

/// Takes what is told above out of an expected answer and the one OpenBao gave, and its own name.
pub fn level(expected: &mut Value, actual: &mut Value) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            expected.retain(|key, _| actual.contains_key(key) || !LACKS.contains(&key.as_str()));
            actual.retain(|key, _| expected.contains_key(key) || !HAS.contains(&key.as_str()));
            for (key, value) in actual {
                match expected.get_mut(key) {
                    Some(expected) => level(expected, value),
                    // The key is a placeholder.
                    None => {
                        if let Some(expected) = expected.values_mut().find(|value| value.is_object()) {
                            level(expected, value);
                        }
                    }
                }
            }
        }
        (Value::Array(expected), Value::Array(actual)) => {
            for (expected, actual) in expected.iter_mut().zip(actual) {
                level(expected, actual);
            }
        }
        (Value::String(expected), Value::String(actual)) => {
            if expected.ends_with("+builtin.vault") && actual.ends_with("+builtin.bao") {
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
