//! `config/NAME`: connections.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Endpoint, Engine, statements};
use crate::database::cron::Cron;
use crate::database::plugin::{self, Plugin};
use crate::database::{PluginError, glob};
use crate::framework::Call;
use crate::logical::{Error, Fields, Object, Operation, Response};
use crate::plugin_version;

/// Parameters that are the engine's; the others are handed to the plugin.
const PARAMETERS: [&str; 12] = [
    "name",
    "plugin_name",
    "plugin_version",
    "verify_connection",
    "allowed_roles",
    "root_rotation_statements",
    "password_policy",
    "rotation_period",
    "rotation_schedule",
    "rotation_window",
    "disable_automated_rotation",
    "skip_static_role_import_rotation",
];
const LITERAL_PASSWORD: &str = "Password found in connection_url, use a templated url to enable root rotation \
                                and prevent read access to password information.";

/// Storage key of a connection.
pub fn key(name: &str) -> String {
    format!("config/{name}")
}

/// Vault looks for its version first, twice.
fn no_plugin(name: &str) -> String {
    let cause = format!("\t* plugin not found in the catalog: {name}\n");
    format!("invalid database version: 2 errors occurred:\n{cause}{cause}\n")
}

/// A stored connection, in the form Vault stores and shows it.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct ConnectionConfig {
    /// Plugin.
    pub plugin_name: String,
    /// Version asked for; empty for the built-in one.
    pub plugin_version: String,
    /// Settings of the plugin, with the password.
    pub connection_details: Object,
    /// Names and globs of roles that may use it.
    pub allowed_roles: Vec<String>,
    /// Statements that change the account's own password; empty for the plugin's default.
    pub root_credentials_rotate_statements: Vec<String>,
    /// Password policy; empty for Vault's default form.
    pub password_policy: String,
}

impl ConnectionConfig {
    /// Whether a role may use this connection.
    pub fn allows(&self, role: &str) -> bool {
        self.allowed_roles.iter().any(|pattern| glob::matches(pattern, role))
    }

    /// A text among the plugin's settings; empty when absent.
    pub fn detail(&self, key: &str) -> &str {
        self.connection_details.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The same connection with another password.
    #[must_use]
    pub fn with_password(&self, password: &str) -> Self {
        let mut changed = self.clone();
        changed.connection_details.insert("password".to_owned(), password.into());
        changed
    }

    /// The plugin with these settings; it does not connect yet.
    pub fn open(&self) -> Result<Arc<dyn Plugin>, PluginError> {
        plugin::open(&self.plugin_name, &self.connection_details)
    }
}

impl Engine {
    /// The stored connection.
    pub fn find_connection(&self, name: &str) -> Result<Option<ConnectionConfig>, Error> {
        Ok(self.storage.get_json(&key(name))?)
    }

    /// The stored connection, or Vault's error where there is none.
    pub fn connection(&self, name: &str) -> Result<ConnectionConfig, Error> {
        self.find_connection(name)?.ok_or_else(|| {
            Error::internal(format!("failed to find entry for connection with name: {name:?}"))
        })
    }

    pub(super) fn read_connection(&self, name: &str) -> Result<Option<Response>, Error> {
        let Some(mut config) = self.find_connection(name)? else {
            return Ok(None);
        };
        let details = &mut config.connection_details;
        details.shift_remove("password");
        details.shift_remove("private_key");
        details.shift_remove("tls_certificate_key");
        if let Some(Value::String(url)) = details.get_mut("connection_url") {
            *url = redacted_url(url);
        }
        let data = serde_json::to_value(&config).map_err(|e| Error::internal(e.to_string()))?;
        Ok(Some(Response::json(data)))
    }

    pub(super) async fn delete_connection(&self, name: &str) -> Result<Option<Response>, Error> {
        let _lock = self.connection_locks.lock(name).await;
        self.storage.delete(&key(name)).await?;
        self.instances.remove(name);
        Ok(None)
    }

    pub(super) async fn reset_connection(&self, name: &str) -> Result<Option<Response>, Error> {
        let _lock = self.connection_locks.lock(name).await;
        self.instances.remove(name);
        let config = self.connection(name)?;
        let opened = config.open()?;
        opened.verify().await?;
        self.instances.put(name, opened);
        Ok(None)
    }

    /// Creates a connection, or merges what is given into the stored one: a password that is not given again
    /// stays, also one that was rotated.
    pub(super) async fn write_connection(
        &self,
        name: &str,
        call: &Call<'_, Endpoint>,
    ) -> Result<Option<Response>, Error> {
        let (fields, request) = (call.fields(), call.request);
        let _lock = self.connection_locks.lock(name).await;
        let stored = self.find_connection(name)?;
        let is_new = stored.is_none() || request.operation == Operation::Create;
        let mut config = stored.unwrap_or_default();
        if let Some(plugin_name) = fields.string("plugin_name")? {
            config.plugin_name = plugin_name;
        }
        if config.plugin_name.is_empty() {
            return Err(Error::bad_request("empty plugin name"));
        }
        if let Some(version) = fields.string("plugin_version")? {
            config.plugin_version = builtin_version(&config.plugin_name, &version)?;
        }
        if let Some(allowed) = fields.comma_strings("allowed_roles")? {
            config.allowed_roles = allowed;
        }
        if let Some(rotation) = statements(fields, "root_rotation_statements")? {
            config.root_credentials_rotate_statements = rotation;
        }
        if let Some(policy) = fields.string("password_policy")? {
            config.password_policy = policy;
        }
        let rotates = wants_rotation(fields)?;
        if is_new {
            config.connection_details = Object::new();
        }
        let details = request.data.iter().filter(|(key, _)| !PARAMETERS.contains(&key.as_str()));
        config.connection_details.extend(details.map(|(key, value)| (key.clone(), value.clone())));

        let creating = |e: PluginError| Error::bad_request(format!("error creating database object: {e}"));
        if !plugin::is_known(&config.plugin_name) {
            let text = no_plugin(&config.plugin_name);
            return Err(creating(PluginError::Config(text)));
        }
        let opened = config.open().map_err(creating)?;
        if fields.bool("verify_connection")?.unwrap_or(true) {
            opened.verify().await.map_err(creating)?;
        }
        if rotates {
            return Err(Error::bad_request(
                "error registering rotation job: error registering rotation job: rotation manager capabilities \
                 not supported in Vault community edition",
            ));
        }
        self.storage.put_json(&key(name), &config).await?;
        self.instances.put(name, opened);
        let has_password = literal_password(config.detail("connection_url")).is_some();
        Ok(has_password.then(|| Response::warning(LITERAL_PASSWORD)))
    }
}

/// Whether a request asks for rotations of the connection's own password. Vault's community edition does none.
fn wants_rotation(fields: Fields<'_>) -> Result<bool, Error> {
    let schedule = fields.string("rotation_schedule")?;
    let window = fields.duration("rotation_window")?.is_some_and(|window| window.as_secs() > 0);
    let period = fields.duration("rotation_period")?.is_some_and(|period| period.as_secs() > 0);
    let disabled = fields.bool("disable_automated_rotation")?.unwrap_or_default();
    let text = schedule.as_deref().unwrap_or_default();
    if !text.is_empty() && period {
        return Err(Error::bad_request(
            "mutually exclusive fields rotation_schedule and rotation_period were both specified; only one of \
             them can be provided",
        ));
    }
    if !text.is_empty() {
        Cron::parse(text)
            .map_err(|e| Error::bad_request(format!("failed to parse provided rotation_schedule: {e}")))?;
    }
    if window && period {
        return Err(Error::bad_request("rotation_window does not apply to period"));
    }
    if window && schedule.is_none() {
        return Err(Error::bad_request("cannot use rotation_window without rotation_schedule"));
    }
    Ok(!disabled && (period || !text.is_empty()))
}

/// Versions other than the one built in are not there. Naming that one is the same as naming none.
fn builtin_version(plugin: &str, version: &str) -> Result<String, Error> {
    if version.is_empty() {
        return Ok(String::new());
    }
    let version = plugin_version::parse(version)?;
    if version.is_builtin {
        return Ok(String::new());
    }
    Err(Error::bad_request(format!(
        "error creating database object: plugin {plugin:?} version {:?} not found in the catalog",
        version.text
    )))
}

/// The password written into a URL (not a placeholder), with what stands before and after it.
fn literal_password(url: &str) -> Option<(&str, &str, &str)> {
    let start = url.find("://")? + 3;
    let end = start + url[start..].find(['/', '?', '#']).unwrap_or(url.len() - start);
    let at = start + url[start..end].rfind('@')?;
    let colon = start + url[start..at].find(':')? + 1;
    let password = &url[colon..at];
    (!password.contains("{{")).then_some((&url[..colon], password, &url[at..]))
}

/// The URL with a literal password hidden.
fn redacted_url(url: &str) -> String {
    match literal_password(url) {
        Some((before, _, after)) => format!("{before}xxxxx{after}"),
        None => redacted_dsn(url),
    }
}

/// Hides a literal password in Go's MySQL form and in `key=value` lists; Vault shows those.
fn redacted_dsn(dsn: &str) -> String {
    if dsn.contains("://") {
        return dsn.to_owned();
    }
    if let Some((head, tail)) = dsn.rsplit_once('@')
        && let Some((user, password)) = head.split_once(':')
        && !password.contains("{{")
    {
        return format!("{user}:xxxxx@{tail}");
    }
    let Some(at) = dsn.find("password=").map(|at| at + "password=".len()) else {
        return dsn.to_owned();
    };
    let (before, rest) = dsn.split_at(at);
    if rest.contains("{{password}}") {
        return dsn.to_owned();
    }
    // A quoted value may hold spaces: better to hide too much.
    let end = if rest.starts_with('\'') { rest.len() } else { rest.find(' ').unwrap_or(rest.len()) };
    format!("{before}xxxxx{}", &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_passwords_are_hidden() {
        for (url, shown) in [
            ("postgresql://{{username}}:{{password}}@h/x", "postgresql://{{username}}:{{password}}@h/x"),
            ("postgresql://u:p@ss@h:1/x?a=b", "postgresql://u:xxxxx@h:1/x?a=b"),
            ("postgresql://u@h/x", "postgresql://u@h/x"),
            ("u:p@tcp(h:1)/", "u:xxxxx@tcp(h:1)/"),
            ("{{username}}:{{password}}@tcp(h:1)/", "{{username}}:{{password}}@tcp(h:1)/"),
            ("host=h password=p user=u", "host=h password=xxxxx user=u"),
            ("host=h password='p q' user=u", "host=h password=xxxxx"),
            ("host=h password={{password}}", "host=h password={{password}}"),
            ("u@tcp(h)/", "u@tcp(h)/"),
        ] {
            assert_eq!(redacted_url(url), shown);
        }
    }

    #[test]
    fn versions() {
        assert_eq!(builtin_version("p", "").unwrap(), "");
        assert_eq!(builtin_version("p", "v1.14.9+builtin.vault").unwrap(), "");
        let fault = |version| builtin_version("p", version).unwrap_err().to_string();
        assert_eq!(fault("abc"), "version \"abc\" is not a valid semantic version: Malformed version: abc");
        assert!(fault("1.2.3").contains("\"v1.2.3\" not found in the catalog"));
    }
}
