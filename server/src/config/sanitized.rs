//! The configuration as `sys/config/state/sanitized` shows it.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::{Config, StorageKind};

impl Config {
    /// The data of `sys/config/state/sanitized`: no storage options and no secrets.
    pub fn sanitized(&self) -> Map<String, Json> {
        let mut shown = Map::new();
        let mut show = |name: &str, value: Json| {
            shown.insert(name.to_owned(), value);
        };
        let text = |value: &Option<String>| json!(value.as_deref().unwrap_or_default());
        let path = |value: Option<&Path>| json!(value.unwrap_or(Path::new("")));
        show("api_addr", text(&self.api_addr));
        show("cache_size", json!(0));
        show("cluster_addr", text(&self.cluster_addr));
        show("cluster_cipher_suites", json!(""));
        show("cluster_name", text(&self.cluster_name));
        let seconds = |ttl: Option<std::time::Duration>| json!(ttl.unwrap_or_default().as_secs());
        show("default_lease_ttl", seconds(self.default_lease_ttl));
        show("default_max_request_duration", seconds(self.default_max_request_duration));
        show("disable_cache", json!(self.disable_cache));
        show("disable_clustering", json!(self.disable_clustering));
        show("disable_indexing", json!(false));
        show("disable_mlock", json!(self.disable_mlock));
        show("disable_performance_standby", json!(false));
        show("disable_printable_check", json!(false));
        show("disable_sealwrap", json!(false));
        show("disable_sentinel_trace", json!(false));
        show("enable_response_header_hostname", json!(self.enable_response_header_hostname));
        show("enable_response_header_raft_node_id", json!(false));
        show("enable_ui", json!(self.ui));
        show("introspection_endpoint", json!(self.introspection_endpoint));
        let listeners: Json = self
            .listeners
            .iter()
            .map(|listener| json!({"config": listener.raw, "type": listener.kind()}))
            .collect();
        show("listeners", listeners);
        show("log_format", json!(self.log_format.as_deref().unwrap_or("unspecified")));
        show("log_level", text(&self.log_level));
        show("max_lease_ttl", seconds(self.max_lease_ttl));
        show("pid_file", path(self.pid_file.as_deref()));
        show("plugin_directory", path(self.plugin_directory.as_deref()));
        show("plugin_file_permissions", json!(0));
        show("plugin_file_uid", json!(0));
        show("raw_storage_endpoint", json!(self.raw_storage_endpoint));
        show("seals", json!([{"disabled": false, "type": "shamir"}]));
        if let Some(storage) = &self.storage {
            let mut stanza = json!({
                "cluster_addr": text(&self.cluster_addr),
                "disable_clustering": self.disable_clustering,
                "redirect_addr": text(&self.api_addr),
                "type": storage.kind.name(),
            });
            if matches!(storage.kind, StorageKind::Raft { .. }) {
                let size = storage.options.get("max_entry_size").map_or("", String::as_str);
                stanza["raft"] = json!({"max_entry_size": size});
            }
            show("storage", stanza);
        }
        if let Some(telemetry) = &self.telemetry {
            show(
                "telemetry",
                json!({
                    "disable_hostname": telemetry.disable_hostname,
                    "metrics_prefix": telemetry.metrics_prefix,
                    "prometheus_retention_time": telemetry.prometheus_retention_time.as_nanos() as u64,
                }),
            );
        }
        shown
    }
}
