//! One file's document to a [`Config`].

use super::error::{Fault, Warnings};
use super::{Config, audit, listener, storage, telemetry, values};
use crate::hcl::{Body, Item};

/// Keys of Vault and OpenBao that make no difference to a client of this server.
const SILENT: &[&str] = &[
    "administrative_namespace_path",
    "allow_audit_log_prefixing",
    "cache_size",
    "cluster_cipher_suites",
    "detect_deadlocks",
    "disable_indexing",
    "disable_performance_standby",
    "disable_printable_check",
    "disable_sealwrap",
    "disable_sentinel_trace",
    "disable_standby_reads",
    "enable_post_unseal_trace",
    "enable_response_header_raft_node_id",
    "entropy",
    "experiments",
    "imprecise_lease_role_tracking",
    "license_path",
    "log_requests_level",
    "log_rotate_bytes",
    "log_rotate_duration",
    "log_rotate_max_files",
    "plugin_auto_download",
    "plugin_auto_register",
    "plugin_download_behavior",
    "plugin_file_permissions",
    "plugin_file_uid",
    "plugin_tmpdir",
    "post_unseal_trace_directory",
    "remove_irrevocable_lease_after",
    "replication",
    "reporting",
    "sentinel",
    "unsafe_allow_api_audit_creation",
    "unsafe_cross_namespace_identity",
];

/// Stanzas of Vault and OpenBao that would do something and don't here.
const NO_EFFECT: &[&str] = &["ha_storage", "ha_backend", "plugin", "service_registration", "kms_library"];

/// Reads a document.
pub(super) fn read(body: &Body, warnings: &mut Warnings) -> Result<Config, Fault> {
    let mut config = Config::default();
    for item in &body.items {
        let name = item.name().to_ascii_lowercase();
        if config.read_field(&name, item, warnings)? {
            continue;
        }
        match name.as_str() {
            "seal" | "kms" | "hsm" => only_shamir(item)?,
            "initialize" => {
                return Err(Fault::new(
                    item.key_span(),
                    "self-initialisation is not supported: use sys/init",
                ));
            }
            name if SILENT.contains(&name) => {}
            name if NO_EFFECT.contains(&name) => warnings.no_effect(item),
            _ => warnings.unknown(item),
        }
    }
    Ok(config)
}

impl Config {
    /// Takes a key this server uses; `false` if it is none.
    fn read_field(&mut self, name: &str, item: &Item, warnings: &mut Warnings) -> Result<bool, Fault> {
        match name {
            "listener" => self.listeners.push(listener::read(item, warnings)?),
            "storage" | "backend" => {
                if self.storage.is_some() {
                    return Err(Fault::new(item.key_span(), "only one \"storage\" block is permitted"));
                }
                self.storage = Some(storage::read(item, warnings)?);
            }
            "telemetry" => self.telemetry = Some(telemetry::read(item, warnings)?),
            "audit" => self.audit.push(audit::read(item, warnings)?),
            "user_lockout" => self.user_lockout.read(item, warnings)?,
            "api_addr" => self.api_addr = values::optional_string(item)?,
            "cluster_addr" => self.cluster_addr = values::optional_string(item)?,
            "cluster_name" => self.cluster_name = values::optional_string(item)?,
            "default_lease_ttl" => self.default_lease_ttl = Some(values::duration(item)?),
            "max_lease_ttl" => self.max_lease_ttl = Some(values::duration(item)?),
            "default_max_request_duration" => {
                self.default_max_request_duration = Some(values::duration(item)?);
            }
            "log_level" => self.log_level = log_level(item)?,
            "log_format" => self.log_format = log_format(item)?,
            "log_file" => self.log_file = values::optional_path(item)?,
            "pid_file" => self.pid_file = values::optional_path(item)?,
            "plugin_directory" => self.plugin_directory = values::optional_path(item)?,
            "ui" => self.ui = values::boolean(item)?,
            "disable_mlock" => self.disable_mlock = values::boolean(item)?,
            "disable_cache" => self.disable_cache = values::boolean(item)?,
            "disable_clustering" => self.disable_clustering = values::boolean(item)?,
            "raw_storage_endpoint" => self.raw_storage_endpoint = values::boolean(item)?,
            "introspection_endpoint" => self.introspection_endpoint = values::boolean(item)?,
            "enable_response_header_hostname" => {
                self.enable_response_header_hostname = values::boolean(item)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A seal other than Shamir's changes how the server is unsealed: it can't be ignored.
fn only_shamir(item: &Item) -> Result<(), Fault> {
    let body = values::block(item)?;
    let kind = values::stanza_type(item, body)?;
    let disabled = body.named("disabled").last().map(values::boolean).transpose()?;
    if kind == "shamir" || disabled == Some(true) {
        return Ok(());
    }
    let span = item.labels().first().map_or(item.key_span(), |label| label.span);
    Err(Fault::new(span, format!("unsupported seal type {kind:?}: this server has shamir")))
}

fn log_level(item: &Item) -> Result<Option<String>, Fault> {
    let level = values::string(item)?.trim().to_lowercase();
    match level.as_str() {
        "" => Ok(None),
        "trace" | "debug" | "info" | "error" => Ok(Some(level)),
        "notice" => Ok(Some("info".to_owned())),
        "warn" | "warning" => Ok(Some("warn".to_owned())),
        "err" => Ok(Some("error".to_owned())),
        _ => Err(Fault::new(item.value.span, format!("unknown log level: {level}"))),
    }
}

fn log_format(item: &Item) -> Result<Option<String>, Fault> {
    let format = values::string(item)?.trim().to_lowercase();
    match format.as_str() {
        "" => Ok(None),
        "standard" | "json" => Ok(Some(format)),
        _ => Err(Fault::new(item.value.span, format!("unknown log format: {format}"))),
    }
}
