//! What anyone may ask without a token: seal status, health, leader.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Core;
use super::lifecycle::barrier_error;
use crate::logical::{Error, Object};

/// When this version was built, as `build_date` shows it; a fixed date keeps builds the same.
pub const BUILD_DATE: &str = "2026-01-01T00:00:00Z";

impl Core {
    /// The body of `sys/seal-status`.
    ///
    /// # Errors
    /// When the stored seal configuration is damaged.
    pub fn seal_status(&self) -> Result<Value, Error> {
        let config = self.barrier.seal_config().map_err(barrier_error)?;
        let (shares, threshold) =
            config.as_ref().map_or((0, 0), |config| (config.secret_shares, config.secret_threshold));
        let (progress, nonce) = self.unseal_progress();
        let active = self.active();
        let mut status = Object::from_iter([
            ("type".to_owned(), json!("shamir")),
            ("initialized".to_owned(), json!(config.is_some())),
            ("sealed".to_owned(), json!(active.is_none())),
            ("t".to_owned(), json!(threshold)),
            ("n".to_owned(), json!(shares)),
            ("progress".to_owned(), json!(progress)),
            ("nonce".to_owned(), json!(nonce)),
            ("version".to_owned(), json!(crate::VERSION)),
            ("build_date".to_owned(), json!(BUILD_DATE)),
            ("migration".to_owned(), json!(false)),
        ]);
        if let Some(active) = active {
            status.insert("cluster_name".to_owned(), json!(active.cluster.name));
            status.insert("cluster_id".to_owned(), json!(active.cluster.id));
        }
        status.insert("recovery_seal".to_owned(), json!(false));
        status.insert("storage_type".to_owned(), json!(self.storage_type()));
        Ok(status.into())
    }

    fn storage_type(&self) -> &'static str {
        if self.settings.raft.is_some() { "raft" } else { self.barrier.store().kind() }
    }

    /// The body of `sys/health`.
    pub fn health(&self) -> Value {
        let active = self.active();
        let sealed = active.is_none();
        let replication = if sealed { "unknown" } else { "disabled" };
        let mut health = Object::from_iter([
            ("initialized".to_owned(), json!(self.barrier.is_initialised())),
            ("sealed".to_owned(), json!(sealed)),
            ("standby".to_owned(), json!(sealed)),
            ("performance_standby".to_owned(), json!(false)),
            ("replication_performance_mode".to_owned(), json!(replication)),
            ("replication_dr_mode".to_owned(), json!(replication)),
            ("server_time_utc".to_owned(), json!(Timestamp::now().as_second())),
            ("version".to_owned(), json!(crate::VERSION)),
            ("enterprise".to_owned(), json!(false)),
        ]);
        if let Some(active) = active {
            health.insert("cluster_name".to_owned(), json!(active.cluster.name));
            health.insert("cluster_id".to_owned(), json!(active.cluster.id));
        }
        health.insert("echo_duration_ms".to_owned(), json!(0));
        health.insert("clock_skew_ms".to_owned(), json!(0));
        health.into()
    }

    /// The body of `sys/leader`.
    ///
    /// # Errors
    /// When a cluster, that of storage "raft", is sealed: it has no leader.
    pub fn leader(&self) -> Result<Value, Error> {
        if let Some(node) = &self.settings.raft {
            let active = self.active().ok_or(Error::Sealed)?;
            return Ok(self.raft_leader(node, &active));
        }
        let mut leader = json!({
            "ha_enabled": false,
            "is_self": false,
            "active_time": "0001-01-01T00:00:00Z",
            "leader_address": "",
            "leader_cluster_address": "",
            "performance_standby": false,
            "performance_standby_last_remote_wal": 0,
        });
        if self.active().is_none()
            && let Some(map) = leader.as_object_mut()
        {
            map.shift_remove("active_time");
        }
        Ok(leader)
    }
}
