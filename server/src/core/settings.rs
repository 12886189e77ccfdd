//! What a server was started with.

use std::net::SocketAddr;
use std::sync::RwLock;
use std::time::Duration;

use serde_json::Value;

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
            listening: RwLock::new(None),
        }
    }
}
