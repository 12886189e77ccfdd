//! What the core offers to a backend.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Alias, Error};

/// An identity entity, as far as logins need it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entity {
    /// UUID.
    pub id: String,
    /// Name.
    pub name: String,
    /// Metadata.
    pub metadata: BTreeMap<String, String>,
}

/// When repeated bad logins lock a user out (`user_lockout_config` of the mount).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// Whether it is switched off.
    pub disabled: bool,
    /// Failures that lock; Vault's default is 5.
    pub threshold: u64,
    /// How long it stays locked; Vault's default is 15 minutes.
    pub duration: Duration,
    /// How long failures are remembered; Vault's default is 15 minutes.
    pub counter_reset: Duration,
}

impl Default for Lockout {
    fn default() -> Self {
        Self {
            disabled: false,
            threshold: 5,
            duration: Duration::from_mins(15),
            counter_reset: Duration::from_mins(15),
        }
    }
}

/// A mount's handle onto the core.
#[async_trait]
pub trait System: Send + Sync {
    /// The time. Backends take it from here, so that tests can set it.
    fn now(&self) -> Timestamp;

    /// Default TTL of the mount's leases: its tuning, else the server's.
    fn default_lease_ttl(&self) -> Duration;

    /// Longest TTL of the mount's leases: its tuning, else the server's.
    fn max_lease_ttl(&self) -> Duration;

    /// The mount's lockout rules.
    fn lockout(&self) -> Lockout;

    /// A password made by a password policy of `sys/policies/password`.
    ///
    /// # Errors
    /// When there is no such policy or it cannot be satisfied.
    async fn generate_password(&self, policy: &str) -> Result<String, Error>;

    /// The entity of a name at this mount, if one exists.
    fn entity(&self, alias: &Alias) -> Result<Option<Entity>, Error>;
}
