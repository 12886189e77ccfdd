//! What a server was started with.

use std::net::SocketAddr;
use std::sync::RwLock;
use std::time::Duration;

use serde_json::Value;

use super::raft::Node;
use crate::config::{AuditDevice, Config, UserLockouts};
use crate::logical::Object;

/// Vault's default and longest TTL: 768 hours.
pub const SYSTEM_TTL: Duration = Duration::from_hours(768);

/// Settings of one server.
pub struct Settings {
    /// TTL of leases whose mount and role say nothing.
    pub default_lease_ttl: Duration,
    /// Longest TTL unless a mount is tuned.
    pub max_lease_ttl: Duration,
    /// Address clients are told; empty is the first listener's.
    pub api_addr: String,
    /// Name of the cluster; empty makes one up at initialisation.
    pub cluster_name: String,
    /// What `sys/config/state/sanitized` shows.
    pub sanitized: Object,
    /// Longest a request may take, unless its listener says otherwise.
    pub max_request_duration: Duration,
    /// Lockout rules by auth method, unless a mount is tuned.
    pub lockouts: UserLockouts,
    /// Audit devices every unsealed server has.
    pub audit: Vec<AuditDevice>,
    /// The one node of storage "raft"; none with other storage.
    pub raft: Option<Node>,
    /// Address of the first listener, once it listens.
    pub listening: RwLock<Option<SocketAddr>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_lease_ttl: SYSTEM_TTL,
            max_lease_ttl: SYSTEM_TTL,
            api_addr: String::new(),
            cluster_name: String::new(),
            sanitized: Object::from_iter([("listeners".to_owned(), Value::Array(Vec::new()))]),
            max_request_duration: Duration::from_secs(90),
            lockouts: UserLockouts::default(),
            audit: Vec::new(),
            raft: None,
            listening: RwLock::new(None),
        }
    }
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        let default = Self::default();
        Self {
            default_lease_ttl: config.default_lease_ttl.unwrap_or(default.default_lease_ttl),
            max_lease_ttl: config.max_lease_ttl.unwrap_or(default.max_lease_ttl),
            api_addr: config.api_addr.clone().unwrap_or_default(),
            cluster_name: config.cluster_name.clone().unwrap_or_default(),
            sanitized: config.sanitized(),
            max_request_duration: config
                .default_max_request_duration
                .filter(|duration| !duration.is_zero())
                .unwrap_or(default.max_request_duration),
            lockouts: config.user_lockout.clone(),
            audit: config.audit.clone(),
            raft: Node::from_config(config),
            listening: RwLock::new(None),
        }
    }
}
