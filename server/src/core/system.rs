//! A mount's handle onto the core.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::identity::IdentityStore;
use super::router::EntryCell;
use super::settings::Settings;
use crate::logical::{Alias, Entity, Error, Lockout, System, View};

/// What a backend sees of the core.
pub struct MountSystem {
    /// The mount.
    pub cell: Arc<EntryCell>,
    /// The server's settings.
    pub settings: Arc<Settings>,
    /// Identities.
    pub identity: Arc<IdentityStore>,
    /// The whole storage, for what belongs to `sys/`.
    pub storage: View,
}

/// The TTLs of a mount: its tuning, else the server's.
pub fn mount_ttls(cell: &EntryCell, settings: &Settings) -> (Duration, Duration) {
    let entry = cell.get();
    let or = |tuned: Duration, server: Duration| if tuned.is_zero() { server } else { tuned };
    let max = or(entry.config.max_lease_ttl, settings.max_lease_ttl);
    let default = or(entry.config.default_lease_ttl, settings.default_lease_ttl);
    (default.min(max), max)
}

#[async_trait]
impl System for MountSystem {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn default_lease_ttl(&self) -> Duration {
        mount_ttls(&self.cell, &self.settings).0
    }

    fn max_lease_ttl(&self) -> Duration {
        mount_ttls(&self.cell, &self.settings).1
    }

    fn lockout(&self) -> Lockout {
        let entry = self.cell.get();
        let default = self.settings.lockouts.for_method(&entry.kind);
        entry.config.lockout.as_ref().map_or(default, |tuned| tuned.resolve(default))
    }

    async fn generate_password(&self, policy: &str) -> Result<String, Error> {
        crate::sys::passwords::generate(&self.storage, policy)
    }

    fn entity(&self, alias: &Alias) -> Result<Option<Entity>, Error> {
        self.identity.find(&self.cell.get().accessor, &alias.name)
    }
}
