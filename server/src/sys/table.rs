//! The table of endpoints below `sys/`.

use std::sync::LazyLock;

use crate::framework::{Route, Router, open_route, route};
use crate::logical::Operation::{Delete, List, Read, Update};
use crate::logical::{Operation, SpecialPaths};

/// Endpoints that need the server unsealed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Endpoint {
    Mounts,
    Mount,
    Remount,
    RemountStatus,
    AuthMounts,
    AuthMount,
    AclPolicies,
    AclPolicy,
    LegacyPolicies,
    LegacyPolicy,
    Capabilities,
    CapabilitiesSelf,
    CapabilitiesAccessor,
    Leases,
    LeaseCount,
    LeaseTidy,
    LeaseLookup,
    LeaseList,
    LeaseRenew,
    LeaseRevoke,
    RevokePrefix,
    RevokeForce,
    AuditDevices,
    AuditDevice,
    AuditHash,
    AuditedHeaders,
    AuditedHeader,
    WrapData,
    Rewrap,
    Seal,
    StepDown,
    KeyBackup,
    KeyStatus,
    Rotate,
    UiMounts,
    UiMount,
    ResultantAcl,
    OpenApi,
    Random,
    Hash,
    Cors,
    HostInfo,
    ConfigState,
    HaStatus,
    Version,
    PluginCatalog,
    PluginCatalogType,
    Plugin,
    InFlight,
    Metrics,
    PasswordPolicies,
    PasswordPolicy,
    GeneratePassword,
    RaftConfiguration,
    RaftAutopilotState,
    RaftAutopilot,
    RaftSnapshot,
    RaftPeers,
}

const READ: &[Operation] = &[Read];
const LIST: &[Operation] = &[List];
const READ_LIST: &[Operation] = &[Read, List];
const WRITE: &[Operation] = &[Update];
const CRUD: &[Operation] = &[Read, Update, Delete];

const MOUNT: &[&str] = &[
    "type",
    "description",
    "config",
    "options",
    "local",
    "seal_wrap",
    "external_entropy_access",
    "plugin_name",
    "plugin_version",
];
const TUNE: &[&str] = &[
    "default_lease_ttl",
    "max_lease_ttl",
    "description",
    "audit_non_hmac_request_keys",
    "audit_non_hmac_response_keys",
    "options",
    "listing_visibility",
    "passthrough_request_headers",
    "allowed_response_headers",
    "token_type",
    "user_lockout_config",
    "plugin_version",
];

pub(super) static ROUTER: LazyLock<Router<Endpoint>> = LazyLock::new(|| {
    let mut rows = mount_rows();
    rows.extend(access_rows());
    rows.extend(lease_rows());
    rows.extend(server_rows());
    rows.extend(raft_rows());
    Router::new(rows)
});

fn mount_rows() -> Vec<Route<Endpoint>> {
    vec![
        route("mounts", READ, &[&[]], Endpoint::Mounts),
        route("auth", READ, &[&[]], Endpoint::AuthMounts),
        route("remount", WRITE, &[&["from", "to"]], Endpoint::Remount),
        route("remount/status/{id+}", READ, &[&[]], Endpoint::RemountStatus),
        route("mounts/{path*}", CRUD, &[MOUNT, TUNE], Endpoint::Mount),
        route("auth/{path*}", CRUD, &[MOUNT, TUNE], Endpoint::AuthMount),
    ]
}

fn access_rows() -> Vec<Route<Endpoint>> {
    vec![
        route("policies/acl/?", LIST, &[&[]], Endpoint::AclPolicies),
        route("policies/acl/{name*}", CRUD, &[&["policy"]], Endpoint::AclPolicy),
        route("policy/?", READ_LIST, &[&[]], Endpoint::LegacyPolicies),
        route("policy/{name*}", CRUD, &[&["policy", "rules"]], Endpoint::LegacyPolicy),
        route("policies/password/?", LIST, &[&[]], Endpoint::PasswordPolicies),
        route("policies/password/{name}/?", CRUD, &[&["policy"]], Endpoint::PasswordPolicy),
        route("policies/password/{name}/generate", READ, &[&[]], Endpoint::GeneratePassword),
        route("capabilities", WRITE, &[&["token", "path", "paths"]], Endpoint::Capabilities),
        route("capabilities-self", WRITE, &[&["token", "path", "paths"]], Endpoint::CapabilitiesSelf),
        route(
            "capabilities-accessor",
            WRITE,
            &[&["accessor", "path", "paths"]],
            Endpoint::CapabilitiesAccessor,
        ),
        route("audit", READ, &[&[]], Endpoint::AuditDevices),
        route(
            "audit/{path*}",
            &[Update, Delete],
            &[&["type", "description", "options", "local"]],
            Endpoint::AuditDevice,
        ),
        route("audit-hash/{path*}", WRITE, &[&["input"]], Endpoint::AuditHash),
        route("config/auditing/request-headers", READ, &[&[]], Endpoint::AuditedHeaders),
        route("config/auditing/request-headers/{header+}", CRUD, &[&["hmac"]], Endpoint::AuditedHeader),
        open_route("wrapping/wrap", WRITE, Endpoint::WrapData),
        route("wrapping/rewrap", WRITE, &[&["token"]], Endpoint::Rewrap),
    ]
}

fn lease_rows() -> Vec<Route<Endpoint>> {
    const RENEW: &[&str] = &["lease_id", "increment", "url_lease_id"];
    const REVOKE: &[&str] = &["lease_id", "sync", "url_lease_id"];
    vec![
        route("leases", READ, &[&["type", "limit", "include_child_namespaces"]], Endpoint::Leases),
        route("leases/count", READ, &[&["type", "include_child_namespaces"]], Endpoint::LeaseCount),
        route("leases/tidy", WRITE, &[&[]], Endpoint::LeaseTidy),
        route("leases/lookup", WRITE, &[&["lease_id"]], Endpoint::LeaseLookup),
        route("leases/lookup/{prefix*}", LIST, &[&[]], Endpoint::LeaseList),
        route("leases/renew", WRITE, &[RENEW], Endpoint::LeaseRenew),
        route("leases/renew/{url_lease_id*}", WRITE, &[RENEW], Endpoint::LeaseRenew),
        route("leases/revoke", WRITE, &[REVOKE], Endpoint::LeaseRevoke),
        route("leases/revoke/{url_lease_id*}", WRITE, &[REVOKE], Endpoint::LeaseRevoke),
        route("leases/revoke-prefix/{prefix*}", WRITE, &[&["sync"]], Endpoint::RevokePrefix),
        route("leases/revoke-force/{prefix*}", WRITE, &[&[]], Endpoint::RevokeForce),
        route("renew", WRITE, &[RENEW], Endpoint::LeaseRenew),
        route("renew/{url_lease_id*}", WRITE, &[RENEW], Endpoint::LeaseRenew),
        route("revoke", WRITE, &[REVOKE], Endpoint::LeaseRevoke),
        route("revoke/{url_lease_id*}", WRITE, &[REVOKE], Endpoint::LeaseRevoke),
        route("revoke-prefix/{prefix*}", WRITE, &[&["sync"]], Endpoint::RevokePrefix),
        route("revoke-force/{prefix*}", WRITE, &[&[]], Endpoint::RevokeForce),
    ]
}

fn server_rows() -> Vec<Route<Endpoint>> {
    const RANDOM: &[&str] = &["bytes", "format", "source"];
    const HASH: &[&str] = &["algorithm", "format", "input"];
    vec![
        route("seal", WRITE, &[&[]], Endpoint::Seal),
        route("step-down", WRITE, &[&[]], Endpoint::StepDown),
        route("key-status", READ, &[&[]], Endpoint::KeyStatus),
        route("rotate", WRITE, &[&[]], Endpoint::Rotate),
        route("rekey/backup", &[Read, Delete], &[&[]], Endpoint::KeyBackup),
        route("rekey/recovery-key-backup", &[Read, Delete], &[&[]], Endpoint::KeyBackup),
        route("internal/ui/mounts", READ, &[&[]], Endpoint::UiMounts),
        route("internal/ui/mounts/{path*}", READ, &[&[]], Endpoint::UiMount),
        route("internal/specs/openapi", READ, &[&["context", "generic_mount_paths"]], Endpoint::OpenApi),
        route("internal/ui/resultant-acl", READ, &[&[]], Endpoint::ResultantAcl),
        route("tools/random", WRITE, &[RANDOM], Endpoint::Random),
        route("tools/random/{source}", WRITE, &[RANDOM], Endpoint::Random),
        route("tools/random/{source}/{urlbytes*}", WRITE, &[RANDOM], Endpoint::Random),
        route("tools/random/{urlbytes*}", WRITE, &[RANDOM], Endpoint::Random),
        route("tools/hash", WRITE, &[HASH], Endpoint::Hash),
        route("tools/hash/{urlalgorithm}", WRITE, &[HASH], Endpoint::Hash),
        route("config/cors", CRUD, &[&["allowed_origins", "allowed_headers"]], Endpoint::Cors),
        route("host-info/?", READ, &[&[]], Endpoint::HostInfo),
        route("config/state/sanitized", READ, &[&[]], Endpoint::ConfigState),
        route("ha-status", READ, &[&[]], Endpoint::HaStatus),
        route("version-history/?", LIST, &[&[]], Endpoint::Version),
        route("plugins/catalog/?", READ_LIST, &[&[]], Endpoint::PluginCatalog),
        route("plugins/catalog/{type}/?", LIST, &[&[]], Endpoint::PluginCatalogType),
        route("plugins/catalog/{type}/{name+}", READ, &[&["version"]], Endpoint::Plugin),
        route("metrics", READ, &[&["format"]], Endpoint::Metrics),
        route("in-flight-req", READ, &[&[]], Endpoint::InFlight),
    ]
}

/// Only with storage "raft"; without it they are not there.
fn raft_rows() -> Vec<Route<Endpoint>> {
    const AUTOPILOT: &[&str] = &[
        "cleanup_dead_servers",
        "dead_server_last_contact_threshold",
        "disable_upgrade_migration",
        "last_contact_threshold",
        "max_trailing_logs",
        "min_quorum",
        "server_stabilization_time",
    ];
    const READ_WRITE: &[Operation] = &[Read, Update];
    let peers = |pattern| open_route(pattern, WRITE, Endpoint::RaftPeers);
    vec![
        route("storage/raft/configuration", READ, &[&[]], Endpoint::RaftConfiguration),
        route("storage/raft/autopilot/state", READ, &[&[]], Endpoint::RaftAutopilotState),
        route("storage/raft/autopilot/configuration", READ_WRITE, &[AUTOPILOT], Endpoint::RaftAutopilot),
        open_route("storage/raft/snapshot", READ_WRITE, Endpoint::RaftSnapshot),
        open_route("storage/raft/snapshot-force", WRITE, Endpoint::RaftSnapshot),
        peers("storage/raft/bootstrap/answer"),
        peers("storage/raft/bootstrap/challenge"),
        peers("storage/raft/demote"),
        peers("storage/raft/promote"),
        peers("storage/raft/remove-peer"),
    ]
}

/// The table of endpoints, for help and documentation.
pub(crate) fn reference() -> Vec<crate::framework::Row> {
    ROUTER.routes().iter().map(crate::framework::Route::row).collect()
}

/// Paths that need sudo.
pub fn special_paths() -> SpecialPaths {
    SpecialPaths {
        root: &[
            "auth/*",
            "remount",
            "audit",
            "audit/*",
            "raw",
            "raw/*",
            "replication/reindex",
            "rotate",
            "config/cors",
            "config/auditing/*",
            "config/ui/headers/*",
            "plugins/catalog/*",
            "revoke-prefix/*",
            "revoke-force/*",
            "leases/revoke-prefix/*",
            "leases/revoke-force/*",
            "leases/lookup/*",
            "leases",
            "seal",
            "step-down",
            "in-flight-req",
        ],
        unauthenticated: &["internal/specs/openapi", "internal/ui/mounts", "internal/ui/mounts/*"],
    }
}
