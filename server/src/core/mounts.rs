//! Mount tables: which backend serves which path, as stored and as shown.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::logical::{Error, Lockout, Object, View};
use crate::random;

/// Which table a mount is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Secrets engines.
    Secret,
    /// Auth methods, whose full path starts with `auth/`.
    Auth,
}

impl Table {
    /// Where the table is stored.
    fn key(self) -> &'static str {
        match self {
            Self::Secret => "core/mounts",
            Self::Auth => "core/auth",
        }
    }

    /// The storage folder of the table's mounts.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Secret => "logical/",
            Self::Auth => "auth/",
        }
    }

    /// What stands before a mount's path in requests.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Secret => "",
            Self::Auth => "auth/",
        }
    }
}

/// `user_lockout_config` of an auth mount; what is not set takes Vault's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LockoutConfig {
    /// Failures that lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u64>,
    /// How long it stays locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// How long failures are remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter_reset: Option<Duration>,
    /// Switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

impl LockoutConfig {
    /// As Vault shows it: within `user_lockout_config` in a list of mounts, beside the other settings where
    /// a mount's tuning is read.
    pub fn shown(&self) -> Object {
        Object::from_iter([
            (
                "user_lockout_counter_reset_duration".into(),
                json!(self.counter_reset.unwrap_or_default().as_secs()),
            ),
            ("user_lockout_disable".into(), json!(self.disabled.unwrap_or_default())),
            ("user_lockout_duration".into(), json!(self.duration.unwrap_or_default().as_secs())),
            ("user_lockout_threshold".into(), json!(self.threshold.unwrap_or_default())),
        ])
    }

    /// The rules, with what is not set taken from `default`.
    pub fn resolve(&self, default: Lockout) -> Lockout {
        Lockout {
            disabled: self.disabled.unwrap_or(default.disabled),
            threshold: self.threshold.unwrap_or(default.threshold),
            duration: self.duration.unwrap_or(default.duration),
            counter_reset: self.counter_reset.unwrap_or(default.counter_reset),
        }
    }
}

/// What can be tuned about a mount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountConfig {
    /// Zero takes the server's.
    pub default_lease_ttl: Duration,
    /// Zero takes the server's.
    pub max_lease_ttl: Duration,
    /// `force_no_cache`.
    pub force_no_cache: bool,
    /// `listing_visibility`: empty, `unauth` or `hidden`.
    pub listing_visibility: String,
    /// The version that was tuned to; it is the one built in.
    pub plugin_version: String,
    /// `token_type` of auth mounts; empty is `default-service`.
    pub token_type: String,
    /// Request fields audit devices show in clear.
    pub audit_non_hmac_request_keys: Vec<String>,
    /// Response fields audit devices show in clear.
    pub audit_non_hmac_response_keys: Vec<String>,
    /// `passthrough_request_headers`.
    pub passthrough_request_headers: Vec<String>,
    /// `allowed_response_headers`.
    pub allowed_response_headers: Vec<String>,
    /// `user_lockout_config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockout: Option<LockoutConfig>,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MountEntry {
    /// Its table.
    pub table: Table,
    /// Path with a trailing slash, without `auth/`.
    pub path: String,
    /// Type, such as `database`.
    pub kind: String,
    /// Description.
    pub description: String,
    /// Accessor: the type and eight hex digits.
    pub accessor: String,
    /// UUID; names its storage.
    pub uuid: String,
    /// Tuning.
    #[serde(default)]
    pub config: MountConfig,
    /// Options, such as `version` of kv.
    #[serde(default)]
    pub options: Object,
    /// `local`.
    #[serde(default)]
    pub local: bool,
    /// `seal_wrap`.
    #[serde(default)]
    pub seal_wrap: bool,
    /// `external_entropy_access`.
    #[serde(default)]
    pub external_entropy_access: bool,
}

impl MountEntry {
    /// A mount with a new accessor and UUID.
    pub fn new(table: Table, path: &str, kind: &str, description: &str) -> Self {
        let digits = u32::from_be_bytes(random::bytes());
        let accessor = match table {
            Table::Secret => format!("{kind}_{digits:08x}"),
            Table::Auth => format!("auth_{kind}_{digits:08x}"),
        };
        Self {
            table,
            path: path.to_owned(),
            kind: kind.to_owned(),
            description: description.to_owned(),
            accessor,
            uuid: random::uuid(),
            config: MountConfig::default(),
            options: Object::new(),
            local: false,
            seal_wrap: false,
            external_entropy_access: false,
        }
    }

    /// Path as requests have it, with `auth/` for auth methods.
    pub fn full_path(&self) -> String {
        format!("{}{}", self.table.prefix(), self.path)
    }

    /// The storage folder of the mount.
    pub fn storage_prefix(&self) -> String {
        match self.kind.as_str() {
            "system" | "token" => "sys/".to_owned(),
            _ => format!("{}{}/", self.table.folder(), self.uuid),
        }
    }

    /// Whether every server has this mount.
    fn is_built_in(&self) -> bool {
        matches!(self.kind.as_str(), "system" | "cubbyhole" | "identity" | "token")
    }

    /// The entry as `sys/mounts` and `sys/auth` show it.
    pub fn shown(&self) -> Value {
        let mut config = json!({
            "default_lease_ttl": self.config.default_lease_ttl.as_secs(),
            "force_no_cache": self.config.force_no_cache,
            "max_lease_ttl": self.config.max_lease_ttl.as_secs(),
        });
        if let Value::Object(map) = &mut config {
            self.add_optional(map);
            if let Some(lockout) = &self.config.lockout {
                map.insert("user_lockout_config".into(), Value::Object(lockout.shown()));
            }
        }
        let mut shown = json!({
            "accessor": self.accessor,
            "config": config,
            "deprecation_status": "supported",
            "description": self.description,
            "external_entropy_access": self.external_entropy_access,
            "local": self.local,
            "options": if self.is_built_in() { Value::Null } else { Value::Object(self.options.clone()) },
            "plugin_version": self.config.plugin_version,
            "running_plugin_version": crate::plugin_version::builtin(),
            "running_sha256": "",
            "seal_wrap": self.seal_wrap || self.kind == "system",
            "type": self.kind,
            "uuid": self.uuid,
        });
        // Only what comes from the plugin catalog can be deprecated.
        if let (true, Value::Object(map)) = (self.is_built_in(), &mut shown) {
            map.shift_remove("deprecation_status");
        }
        shown
    }

    /// Adds the config fields that are shown only when set.
    pub fn add_optional(&self, map: &mut Object) {
        let config = &self.config;
        if !config.listing_visibility.is_empty() {
            map.insert("listing_visibility".into(), json!(config.listing_visibility));
        }
        for (key, values) in [
            ("audit_non_hmac_request_keys", &config.audit_non_hmac_request_keys),
            ("audit_non_hmac_response_keys", &config.audit_non_hmac_response_keys),
            ("passthrough_request_headers", &config.passthrough_request_headers),
            ("allowed_response_headers", &config.allowed_response_headers),
        ] {
            if !values.is_empty() {
                map.insert(key.into(), json!(values));
            }
        }
        if self.table == Table::Auth {
            let kind = Some(config.token_type.as_str()).filter(|kind| !kind.is_empty());
            map.insert("token_type".into(), json!(kind.unwrap_or("default-service")));
        }
    }
}

fn with_header(header: &str, mut entry: MountEntry) -> MountEntry {
    entry.config.passthrough_request_headers = vec![header.to_owned()];
    entry
}

/// The mounts of a new server.
pub fn initial() -> Vec<MountEntry> {
    vec![
        MountEntry {
            local: true,
            ..MountEntry::new(Table::Secret, "cubbyhole/", "cubbyhole", "per-token private secret storage")
        },
        with_header(
            "Authorization",
            MountEntry::new(Table::Secret, "identity/", "identity", "identity store"),
        ),
        with_header(
            "Accept",
            MountEntry::new(
                Table::Secret,
                "sys/",
                "system",
                "system endpoints used for control, policy and debugging",
            ),
        ),
        MountEntry::new(Table::Auth, "token/", "token", "token based credentials"),
    ]
}

/// Loads both tables.
///
/// # Errors
/// When they cannot be read.
pub fn load(storage: &View) -> Result<Vec<MountEntry>, Error> {
    let mut entries = Vec::new();
    for table in [Table::Secret, Table::Auth] {
        entries.extend(storage.get_json::<Vec<MountEntry>>(table.key())?.unwrap_or_default());
    }
    Ok(entries)
}

/// Stores the mounts of one table.
///
/// # Errors
/// When it cannot be written.
pub async fn store(storage: &View, table: Table, entries: &[MountEntry]) -> Result<(), Error> {
    let of_table: Vec<&MountEntry> = entries.iter().filter(|e| e.table == table).collect();
    storage.put_json(table.key(), &of_table).await?;
    Ok(())
}

/// A mount path in its one form: no leading slash, one trailing slash.
///
/// # Errors
/// When it is empty, or holds what cannot be in a path.
pub fn clean_path(path: &str) -> Result<String, Error> {
    let trimmed = path.trim_matches('/');
    if trimmed.is_empty() {
        return Err(Error::bad_request("path must be specified"));
    }
    let bad = |segment: &str| segment.is_empty() || segment == "." || segment == "..";
    if trimmed.split('/').any(bad) {
        return Err(Error::bad_request(format!("invalid mount path: {path:?}")));
    }
    Ok(format!("{trimmed}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_form() {
        for path in ["a/b", "/a/b", "a/b/", "/a/b//"] {
            assert_eq!(clean_path(path).unwrap(), "a/b/", "{path}");
        }
        for path in ["", "/", "a//b", "a/../b"] {
            assert!(clean_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn an_entry_survives_storage() {
        let mut entry = MountEntry::new(Table::Auth, "approle/", "approle", "");
        entry.config.lockout = Some(LockoutConfig { disabled: Some(true), ..LockoutConfig::default() });
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<MountEntry>(&text).unwrap(), entry);
        assert!(entry.accessor.starts_with("auth_approle_"));
        assert_eq!(entry.full_path(), "auth/approle/");
    }
}
