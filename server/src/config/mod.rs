//! The server's configuration, in the syntax of Vault's `-config` files.
//!
//! What Vault knows and this server has no use for (`cluster_cipher_suites`,
//! `disable_sealwrap`, Enterprise keys …) is read without a word; what would change
//! what a client sees but does nothing here gives a [`Warning`], as does a key that
//! nobody knows. A value of the wrong type is an error with its place.
//!
//! `storage "raft"` is kept by one node in the file store of its `path`: a lab that
//! declares it starts, but there is no cluster.

mod audit;
mod document;
mod error;
mod listener;
mod load;
mod lockout;
mod sanitized;
mod storage;
mod telemetry;
mod values;

use std::path::PathBuf;
use std::time::Duration;

pub use audit::AuditDevice;
pub use error::{ConfigError, Warning};
pub use listener::{Address, Listener, Tls, TlsVersion};
pub use lockout::{UserLockout, UserLockouts};
pub use storage::{Storage, StorageKind};
pub use telemetry::Telemetry;

/// A server's configuration, put together from all its files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Where it keeps its data.
    pub storage: Option<Storage>,
    /// The address clients are told, as a URL.
    pub api_addr: Option<String>,
    /// The address other nodes would use; only shown.
    pub cluster_addr: Option<String>,
    /// The cluster's name, shown by `sys/seal-status`.
    pub cluster_name: Option<String>,
    /// TTL of leases that ask for none; Vault's default is 768 h.
    pub default_lease_ttl: Option<Duration>,
    /// Longest TTL of leases; Vault's default is 768 h.
    pub max_lease_ttl: Option<Duration>,
    /// How long a request may take; Vault's default is 90 s.
    pub default_max_request_duration: Option<Duration>,
    /// `trace`, `debug`, `info`, `warn` or `error`, in lower case.
    pub log_level: Option<String>,
    /// `standard` or `json`.
    pub log_format: Option<String>,
    /// File the log goes to.
    pub log_file: Option<PathBuf>,
    /// File the process id is written to.
    pub pid_file: Option<PathBuf>,
    /// Folder of external plugins; only shown.
    pub plugin_directory: Option<PathBuf>,
    /// Whether the web interface was asked for.
    pub ui: bool,
    /// Whether locking memory was switched off. This server never locks it.
    pub disable_mlock: bool,
    /// Whether caching was switched off; only shown.
    pub disable_cache: bool,
    /// Whether clustering was switched off; only shown.
    pub disable_clustering: bool,
    /// Whether `sys/raw` was asked for.
    pub raw_storage_endpoint: bool,
    /// Whether `sys/internal/inspect` was asked for.
    pub introspection_endpoint: bool,
    /// Whether responses carry the host's name.
    pub enable_response_header_hostname: bool,
    /// Metrics; `None` without a stanza, which is as [`Telemetry::default`].
    pub telemetry: Option<Telemetry>,
    /// Audit devices declared in the configuration, as OpenBao has it.
    pub audit: Vec<AuditDevice>,
    /// When repeated bad logins lock users out.
    pub user_lockout: UserLockouts,
}

#[cfg(test)]
mod tests;
