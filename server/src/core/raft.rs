//! Storage "raft": a cluster of this one node, which leads it and answers for itself.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Core;
use super::active::Active;
use super::settings::Settings;
use crate::config::{Config, StorageKind};
use crate::framework::Call;
use crate::logical::Operation::Read;
use crate::logical::{Error, Object, Response};
use crate::sys::{Endpoint, host};
use crate::{duration, random};

/// Where the autopilot's settings are stored.
const AUTOPILOT: &str = "raft/autopilot";

/// What the configuration says of the node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its name in the cluster.
    pub id: String,
    /// Where other nodes would reach it, as a URL; empty is the port after `api_addr`'s.
    pub cluster_addr: String,
}

impl Node {
    /// The node of a configuration; none with other storage.
    pub fn from_config(config: &Config) -> Option<Self> {
        let storage = config.storage.as_ref()?;
        matches!(storage.kind, StorageKind::Raft { .. }).then(|| Self {
            id: storage.options.get("node_id").cloned().unwrap_or_default(),
            cluster_addr: config.cluster_addr.clone().unwrap_or_default(),
        })
    }

    /// Gives a node without a configured name the one it has in its folder, or a new one.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn name(&mut self, folder: &Path) -> io::Result<()> {
        if !self.id.is_empty() {
            return Ok(());
        }
        let file = folder.join("node-id");
        self.id = match fs::read_to_string(&file) {
            Ok(id) => id,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        if self.id.is_empty() {
            self.id = random::uuid();
            fs::write(&file, &self.id)?;
        }
        Ok(())
    }
}

/// The autopilot's settings. It has nobody to look after; they are kept for those who set them.
#[derive(Serialize, Deserialize)]
struct Autopilot {
    cleanup_dead_servers: bool,
    dead_server_last_contact_threshold: Duration,
    disable_upgrade_migration: bool,
    last_contact_threshold: Duration,
    max_trailing_logs: u64,
    min_quorum: u64,
    server_stabilization_time: Duration,
}

impl Default for Autopilot {
    fn default() -> Self {
        Self {
            cleanup_dead_servers: false,
            dead_server_last_contact_threshold: Duration::from_hours(24),
            disable_upgrade_migration: false,
            last_contact_threshold: Duration::from_secs(10),
            max_trailing_logs: 1000,
            min_quorum: 0,
            server_stabilization_time: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// The URL clients reach the server at: what was configured, or the first listener's.
    pub fn api_address(&self) -> String {
        if !self.api_addr.is_empty() {
            return self.api_addr.clone();
        }
        let listening = *self.listening.read().unwrap_or_else(PoisonError::into_inner);
        listening.map(|address| format!("http://{address}")).unwrap_or_default()
    }

    /// Host and port of the node for other nodes: what was configured, or the port after the API's.
    fn cluster_address(&self, node: &Node) -> String {
        let host = |url: &str| {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            rest.trim_end_matches('/').to_owned()
        };
        if !node.cluster_addr.is_empty() {
            return host(&node.cluster_addr);
        }
        let api = host(&self.api_address());
        if let Ok(mut address) = api.parse::<SocketAddr>() {
            address.set_port(address.port().saturating_add(1));
            return address.to_string();
        }
        match api.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?))) {
            Some((host, port)) => format!("{host}:{}", port.saturating_add(1)),
            None => api,
        }
    }
}

impl Core {
    /// The body of `sys/leader` of a cluster of one.
    pub(super) fn raft_leader(&self, node: &Node, active: &Active) -> Value {
        let commits = self.barrier.store().commits();
        json!({
            "ha_enabled": true,
            "is_self": true,
            "active_time": active.since.to_string(),
            "leader_address": self.settings.api_address(),
            "leader_cluster_address": format!("https://{}", self.settings.cluster_address(node)),
            "performance_standby": false,
            "performance_standby_last_remote_wal": 0,
            "raft_committed_index": commits,
            "raft_applied_index": commits,
        })
    }

    /// What `sys/ha-status` lists: the node of a cluster of one, nobody where there is no cluster.
    pub fn ha_nodes(&self) -> Vec<Value> {
        let node = |node: &Node| {
            json!({
                "hostname": host::name(),
                "api_address": self.settings.api_address(),
                "cluster_address": format!("https://{}", self.settings.cluster_address(node)),
                "active_node": true,
                "last_echo": null,
                "version": crate::VERSION,
                "upgrade_version": crate::VERSION,
            })
        };
        self.settings.raft.iter().map(node).collect()
    }
}

/// Serves `sys/storage/raft/…`.
///
/// # Errors
/// As an unknown path where storage is not raft; 400 for what a single node kept in files cannot do.
pub async fn handle(
    core: &Core,
    active: &Arc<Active>,
    call: &Call<'_, Endpoint>,
) -> Result<Option<Response>, Error> {
    let node = core.settings.raft.as_ref().ok_or(Error::UnsupportedPath)?;
    let address = core.settings.cluster_address(node);
    match call.endpoint {
        Endpoint::RaftConfiguration => Ok(Some(Response::json(json!({
            "config": {
                "index": 0,
                "servers": [{
                    "address": address,
                    "leader": true,
                    "node_id": node.id,
                    "protocol_version": "3",
                    "voter": true,
                }],
            },
        })))),
        Endpoint::RaftAutopilotState => {
            let server = json!({
                "address": address,
                "healthy": true,
                "id": node.id,
                "last_contact": "0s",
                "last_index": core.barrier.store().commits(),
                "last_term": 1,
                "name": node.id,
                "node_status": "alive",
                "node_type": "voter",
                "stable_since": active.since.to_string(),
                "status": "leader",
                "version": crate::VERSION,
            });
            Ok(Some(Response::json(json!({
                "failure_tolerance": 0,
                "healthy": true,
                "leader": node.id,
                "servers": Object::from_iter([(node.id.clone(), server)]),
                "voters": [node.id],
            }))))
        }
        Endpoint::RaftAutopilot => autopilot(active, call).await,
        Endpoint::RaftSnapshot => Err(Error::bad_request(
            "raft snapshots are not supported by this server: its one node keeps its data in files; stop it and copy their folder",
        )),
        _ => Err(Error::bad_request(
            "raft is kept by this one node: this server has no peers to add, promote, demote or remove",
        )),
    }
}

async fn autopilot(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let mut settings: Autopilot = active.storage.get_json(AUTOPILOT)?.unwrap_or_default();
    if call.operation() == Read {
        let text = duration::format;
        return Ok(Some(Response::json(json!({
            "cleanup_dead_servers": settings.cleanup_dead_servers,
            "dead_server_last_contact_threshold": text(settings.dead_server_last_contact_threshold),
            "disable_upgrade_migration": settings.disable_upgrade_migration,
            "last_contact_threshold": text(settings.last_contact_threshold),
            "max_trailing_logs": settings.max_trailing_logs,
            "min_quorum": settings.min_quorum,
            "server_stabilization_time": text(settings.server_stabilization_time),
        }))));
    }
    let fields = call.fields();
    let count = |name: &str, kept: &mut u64| {
        if let Some(number) = fields.int(name)? {
            *kept = u64::try_from(number)
                .map_err(|_| Error::bad_request(format!("{name} must not be negative")))?;
        }
        Ok::<_, Error>(())
    };
    let time = |name: &str, kept: &mut Duration| {
        *kept = fields.duration(name)?.unwrap_or(*kept);
        Ok::<_, Error>(())
    };
    let flag = |name: &str, kept: &mut bool| {
        *kept = fields.bool(name)?.unwrap_or(*kept);
        Ok::<_, Error>(())
    };
    flag("cleanup_dead_servers", &mut settings.cleanup_dead_servers)?;
    flag("disable_upgrade_migration", &mut settings.disable_upgrade_migration)?;
    time("dead_server_last_contact_threshold", &mut settings.dead_server_last_contact_threshold)?;
    time("last_contact_threshold", &mut settings.last_contact_threshold)?;
    time("server_stabilization_time", &mut settings.server_stabilization_time)?;
    count("max_trailing_logs", &mut settings.max_trailing_logs)?;
    count("min_quorum", &mut settings.min_quorum)?;
    if settings.cleanup_dead_servers && settings.min_quorum < 3 {
        return Err(Error::bad_request(format!(
            "min_quorum must be set when cleanup_dead_servers is set and it should at least be 3; cleanup_dead_servers: true, min_quorum: {:#x}",
            settings.min_quorum
        )));
    }
    let threshold = settings.dead_server_last_contact_threshold.as_secs();
    if settings.cleanup_dead_servers && threshold < 60 {
        return Err(Error::bad_request(format!(
            "dead_server_last_contact_threshold should not be set to less than 1m; received: {threshold}"
        )));
    }
    active.storage.put_json(AUTOPILOT, &settings).await?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_name_keeps_the_one_it_got() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Node::default();
        first.name(dir.path()).unwrap();
        assert_eq!(first.id.len(), 36);
        let mut second = Node::default();
        second.name(dir.path()).unwrap();
        assert_eq!(first, second);
        let mut named = Node { id: "n1".to_owned(), ..Node::default() };
        named.name(dir.path()).unwrap();
        assert_eq!(named.id, "n1");
    }

    #[test]
    fn without_a_cluster_address_it_is_the_port_after_the_api() {
        for (cluster, api, wanted) in [
            ("https://node:9", "http://127.0.0.1:8200", "node:9"),
            ("", "http://127.0.0.1:8200", "127.0.0.1:8201"),
            ("", "https://[::1]:8200/", "[::1]:8201"),
            ("", "https://vault.lab:8200", "vault.lab:8201"),
        ] {
            let settings = Settings { api_addr: api.to_owned(), ..Settings::default() };
            let node = Node { cluster_addr: cluster.to_owned(), ..Node::default() };
            assert_eq!(settings.cluster_address(&node), wanted);
        }
    }
}
