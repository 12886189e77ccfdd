//! Leases: how long a secret or a login lives.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Object;

/// How long a secret or a login lives, as a backend asks for it and as the core granted it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeaseOptions {
    /// Time to live; zero takes the mount's default.
    pub ttl: Duration,
    /// Longest life the backend allows; zero leaves it to the mount.
    pub max_ttl: Duration,
    /// Whether it may be renewed.
    pub renewable: bool,
    /// Extension a renewal asks for; zero for the default.
    pub increment: Duration,
    /// When it was issued; set by the core.
    pub issue_time: Option<Timestamp>,
}

/// A leased secret in a response.
#[derive(Clone, Default, PartialEq)]
pub struct Secret {
    /// Life asked for.
    pub lease: LeaseOptions,
    /// What the backend needs to renew and revoke it later; stored with the lease, never shown.
    pub internal: Object,
    /// Set by the core when the lease is registered.
    pub lease_id: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("lease", &self.lease)
            .field("lease_id", &self.lease_id)
            .finish_non_exhaustive()
    }
}

/// A stored lease, as a backend sees it when it renews or revokes it.
#[derive(Clone)]
pub struct SecretLease {
    /// Lease id.
    pub lease_id: String,
    /// Path that issued it, relative to the mount.
    pub path: String,
    /// What the backend stored in [`Secret::internal`].
    pub internal: Object,
    /// The response data the secret was issued with.
    pub data: Object,
    /// Granted life; on a renewal `increment` is what the client asked for.
    pub lease: LeaseOptions,
}

impl fmt::Debug for SecretLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretLease")
            .field("lease_id", &self.lease_id)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// What a backend grants on a renewal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Renewal {
    /// Time to live from now; the core caps it.
    pub ttl: Duration,
    /// Longest life since issue; zero leaves it to the mount.
    pub max_ttl: Duration,
    /// New internal data, when it changes.
    pub internal: Option<Object>,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}
