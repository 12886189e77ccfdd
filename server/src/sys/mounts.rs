//! `sys/mounts`, `sys/auth`, `sys/remount`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Endpoint;
use crate::core::active::Active;
use crate::core::mounts::{LockoutConfig, MountConfig, MountEntry, Table, clean_path};
use crate::core::registry::Registry;
use crate::core::router::Mounted;
use crate::core::system::mount_ttls;
use crate::framework::Call;
use crate::logical::Operation::{Delete, Read};
use crate::logical::{Error, Fields, Object, Response};
use crate::plugin_version;
use crate::random;

/// All mounts of a table.
pub fn list(active: &Active, table: Table) -> Response {
    let mut entries: Vec<MountEntry> =
        active.entries().into_iter().filter(|entry| entry.table == table).collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let data = entries.iter().map(|entry| (entry.path.clone(), entry.shown())).collect();
    Response { data: Some(data), inject: true, ..Response::default() }
}

/// `sys/mounts/<path>` and `sys/mounts/<path>/tune`, and the same below `sys/auth`.
///
/// # Errors
/// 400 with Vault's texts; when the backend or storage fails.
pub async fn mount(
    active: &Arc<Active>,
    registry: &Registry,
    call: &Call<'_, Endpoint>,
    table: Table,
) -> Result<Option<Response>, Error> {
    let given = call.path_field("path");
    if let Some(path) = given.strip_suffix("/tune") {
        return tune(active, registry, call, &format!("{}{}", table.prefix(), clean_path(path)?)).await;
    }
    let path = clean_path(given)?;
    let full_path = format!("{}{path}", table.prefix());
    match call.operation() {
        Read => read(active, &full_path, table).map(Some),
        Delete => {
            active.unmount(&full_path).await?;
            Ok(None)
        }
        _ => {
            let entry = new_entry(table, &path, call.fields(), active.settings.max_lease_ttl)?;
            active.mount(entry, registry).await?;
            Ok(None)
        }
    }
}

fn find(active: &Active, full_path: &str) -> Option<Arc<Mounted>> {
    active.router.snapshot().get(full_path).cloned()
}

fn read(active: &Active, full_path: &str, table: Table) -> Result<Response, Error> {
    let mounted = find(active, full_path).filter(|mounted| mounted.entry().table == table);
    let Some(mounted) = mounted else {
        let path = full_path.strip_prefix(table.prefix()).unwrap_or(full_path);
        return Err(Error::bad_request(match table {
            Table::Secret => format!("No secret engine mount at {path}"),
            Table::Auth => format!("No auth engine at {path}"),
        }));
    };
    let mut response = Response::json(mounted.entry().shown());
    response.inject = true;
    Ok(response)
}

fn new_entry(
    table: Table,
    path: &str,
    fields: Fields<'_>,
    longest: std::time::Duration,
) -> Result<MountEntry, Error> {
    let given = fields.object("config")?.unwrap_or_default();
    let config = new_config(table, &given, longest)?;
    let mut kind = fields.string("type")?.unwrap_or_default().to_lowercase();
    if kind.is_empty() || kind == "plugin" {
        kind = fields.string("plugin_name")?.unwrap_or_default();
    }
    if kind.is_empty() {
        return Err(Error::bad_request("backend type must be specified as a string"));
    }
    table.check_kind(&kind)?;
    let mut options = options_of(fields)?.unwrap_or_default();
    match kind.as_str() {
        "kv-v2" => {
            "kv".clone_into(&mut kind);
            options.insert("version".to_owned(), json!("2"));
        }
        "kv-v1" | "generic" => {
            "kv".clone_into(&mut kind);
            options.insert("version".to_owned(), json!("1"));
        }
        _ => {}
    }
    check_version(table, &kind, Fields::new(&given))?;
    let description = fields.string("description")?.unwrap_or_default();
    let mut entry = MountEntry::new(table, path, &kind, &description);
    entry.options = options;
    entry.local = fields.bool("local")?.unwrap_or_default();
    entry.seal_wrap = fields.bool("seal_wrap")?.unwrap_or_default();
    entry.external_entropy_access = fields.bool("external_entropy_access")?.unwrap_or_default();
    entry.config = config;
    if table == Table::Secret && path.starts_with("auth/") {
        return Err(Error::bad_request(format!("cannot mount {path:?}")));
    }
    Ok(entry)
}

/// Options are strings, whatever they were sent as.
fn options_of(fields: Fields<'_>) -> Result<Option<Object>, Error> {
    let options = fields.string_map("options")?;
    Ok(options.map(|options| options.into_iter().map(|(name, value)| (name, Value::String(value))).collect()))
}

/// The settings a mount begins with. Its lockout is a matter of tuning, as in Vault.
fn new_config(table: Table, given: &Object, longest: std::time::Duration) -> Result<MountConfig, Error> {
    check_types(table, given)?;
    let fields = named_ttls(Fields::new(given))?;
    let mut config = MountConfig {
        force_no_cache: fields.bool("force_no_cache")?.unwrap_or_default(),
        ..MountConfig::default()
    };
    update_config(&mut config, table, fields)?;
    check_ttls(&config, longest)?;
    Ok(config)
}

/// In the settings of a new mount Vault converts nothing, and does not say what it refuses.
fn check_types(table: Table, config: &Object) -> Result<(), Error> {
    let fits = |(name, value): (&String, &Value)| match name.as_str() {
        "default_lease_ttl" | "max_lease_ttl" | "listing_visibility" | "plugin_version" | "token_type" => {
            is_text(value)
        }
        "force_no_cache" => value.is_boolean(),
        "audit_non_hmac_request_keys"
        | "audit_non_hmac_response_keys"
        | "passthrough_request_headers"
        | "allowed_response_headers" => {
            value.is_string() || value.as_array().is_some_and(|items| items.iter().all(is_text))
        }
        _ => true,
    };
    if config.iter().filter(|(_, value)| !value.is_null()).all(fits) {
        return Ok(());
    }
    Err(Error::bad_request(match table {
        Table::Secret => "unable to convert given mount config information",
        Table::Auth => "unable to convert given auth config information",
    }))
}

/// What Go's decoder puts into a string.
fn is_text(value: &Value) -> bool {
    value.is_string() || value.is_number()
}

/// A new mount's TTLs are told by name, unlike those of tuning.
fn named_ttls(config: Fields<'_>) -> Result<Fields<'_>, Error> {
    for (name, called) in [("default_lease_ttl", "default"), ("max_lease_ttl", "max")] {
        let text = config.string(name)?.filter(|text| text != "system");
        if let (Some(text), Err(error)) = (text, config.text_duration(name)) {
            return Err(Error::bad_request(format!("unable to parse {called} TTL of {text}: {error}")));
        }
    }
    Ok(config)
}

fn update_config(config: &mut MountConfig, table: Table, fields: Fields<'_>) -> Result<(), Error> {
    for (name, target) in
        [("default_lease_ttl", &mut config.default_lease_ttl), ("max_lease_ttl", &mut config.max_lease_ttl)]
    {
        if let Some(text) = fields.string(name)? {
            // "system" goes back to the server's.
            *target = match text.as_str() {
                "system" => std::time::Duration::ZERO,
                _ => fields.text_duration(name)?.unwrap_or_default(),
            };
        }
    }
    for (name, target) in [
        ("audit_non_hmac_request_keys", &mut config.audit_non_hmac_request_keys),
        ("audit_non_hmac_response_keys", &mut config.audit_non_hmac_response_keys),
        ("passthrough_request_headers", &mut config.passthrough_request_headers),
        ("allowed_response_headers", &mut config.allowed_response_headers),
    ] {
        if let Some(list) = fields.comma_strings(name)? {
            *target = list;
        }
    }
    if let Some(visibility) = fields.string("listing_visibility")? {
        if !["", "unauth", "hidden"].contains(&visibility.as_str()) {
            return Err(Error::bad_request(format!("invalid listing_visibility {visibility}")));
        }
        config.listing_visibility = visibility;
    }
    if let Some(kind) = fields.string("token_type")?.filter(|_| table == Table::Auth) {
        match kind.as_str() {
            "" | "default-service" | "service" => config.token_type = kind,
            "batch" | "default-batch" => {
                return Err(Error::bad_request("batch tokens are not supported by this server"));
            }
            _ => return Err(Error::bad_request("invalid value for 'token_type'")),
        }
    }
    Ok(())
}

/// Checks the version a new mount asks for: what is built in has but one, which is not kept.
fn check_version(table: Table, kind: &str, config: Fields<'_>) -> Result<(), Error> {
    let Some(version) = config.string("plugin_version")?.filter(|version| !version.is_empty()) else {
        return Ok(());
    };
    let version = plugin_version::parse(&version)?;
    match (version.is_builtin, table, kind) {
        (true, ..) => Ok(()),
        // In Vault this one cannot be replaced by a plugin.
        (false, Table::Secret, "kv") => {
            Err(Error::bad_request("cannot select non-builtin version of secrets plugin kv"))
        }
        _ => Err(no_version(kind, &version.text)),
    }
}

/// Tells that there is no such version.
fn no_version(kind: &str, version: &str) -> Error {
    Error::bad_request(format!("plugin not found in the catalog: {kind}, version={version}"))
}

fn tune_lockout(entry: &mut MountEntry, given: &Object) -> Result<(), Error> {
    let fits = |(name, value): (&String, &Value)| match name.as_str() {
        "lockout_disable" => value.is_boolean(),
        "lockout_threshold" | "lockout_duration" | "lockout_counter_reset_duration" => is_text(value),
        _ => true,
    };
    if !given.iter().filter(|(_, value)| !value.is_null()).all(fits) {
        return Err(Error::bad_request("unable to convert given user lockout config information"));
    }
    if !["approle", "ldap", "userpass"].contains(&entry.kind.as_str()) {
        return Err(Error::bad_request(format!(
            "tuning of user lockout configuration for auth type {:?} not allowed",
            entry.kind
        )));
    }
    update_lockout(entry.config.lockout.get_or_insert_default(), Fields::new(given))
}

fn update_lockout(lockout: &mut LockoutConfig, fields: Fields<'_>) -> Result<(), Error> {
    if let Some(text) = fields.string("lockout_threshold")?.filter(|text| !text.is_empty()) {
        let threshold: u64 = text.parse().map_err(|_| {
            Error::internal(format!(
                "unable to parse user lockout threshold: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        })?;
        lockout.threshold = Some(threshold).filter(|n| *n > 0);
    }
    for (name, target) in [
        ("lockout_duration", &mut lockout.duration),
        ("lockout_counter_reset_duration", &mut lockout.counter_reset),
    ] {
        match fields.string(name)?.unwrap_or_default().as_str() {
            "" => {}
            "system" => *target = None,
            _ => *target = fields.text_duration(name)?.filter(|duration| !duration.is_zero()),
        }
    }
    if let Some(disabled) = fields.bool("lockout_disable")? {
        lockout.disabled = Some(disabled);
    }
    Ok(())
}

/// `longest` is the server's own limit, which a mount's limit may go beyond.
fn check_ttls(config: &MountConfig, longest: std::time::Duration) -> Result<(), Error> {
    if config.max_lease_ttl.is_zero() && config.default_lease_ttl > longest {
        return Err(Error::bad_request(format!(
            "given default lease TTL greater than system max lease TTL of {}",
            longest.as_secs()
        )));
    }
    if !config.max_lease_ttl.is_zero() && config.default_lease_ttl > config.max_lease_ttl {
        return Err(Error::bad_request("given default lease TTL greater than given max lease TTL"));
    }
    Ok(())
}

async fn tune(
    active: &Arc<Active>,
    registry: &Registry,
    call: &Call<'_, Endpoint>,
    full_path: &str,
) -> Result<Option<Response>, Error> {
    match call.operation() {
        Read => {
            let mounted = find(active, full_path)
                .ok_or_else(|| Error::bad_request(format!("cannot fetch sysview for path {full_path:?}")))?;
            Ok(Some(tuning(active, &mounted)))
        }
        Delete => Err(Error::UnsupportedOperation),
        _ => {
            let fields = call.fields();
            if NOT_TUNABLE.iter().any(|path| full_path.starts_with(path)) {
                return Err(Error::bad_request(format!("cannot tune {full_path:?}")));
            }
            let version = |path: &str| find(active, path).and_then(|mounted| kv_version(&mounted.entry()));
            let before = version(full_path);
            active.tune(full_path, registry, |entry| apply_tuning(entry, fields)).await?;
            let after = version(full_path);
            let upgraded = after.as_deref() == Some("2") && before != after;
            Ok(upgraded.then(|| {
                Response::warning(format!(
                    "Upgrading mount from version {} to version 2. This mount will be unavailable for a brief period and will resume service shortly.",
                    before.unwrap_or_else(|| "0".to_owned())
                ))
            }))
        }
    }
}

/// Mounts of the server itself.
const NOT_TUNABLE: [&str; 4] = ["cubbyhole/", "sys/", "audit/", "identity/"];

/// The version a kv mount was given; none for a mount of another type and where none was given.
fn kv_version(entry: &MountEntry) -> Option<String> {
    let version = entry.options.get("version")?.as_str()?;
    (entry.kind == "kv").then(|| version.to_owned())
}

fn apply_tuning(entry: &mut MountEntry, fields: Fields<'_>) -> Result<(), Error> {
    let table = entry.table;
    if table == Table::Secret && fields.has("token_type") {
        return Err(Error::bad_request("'token_type' can only be modified on auth mounts"));
    }
    if table != Table::Secret && entry.kind == "token" && fields.has("token_type") {
        return Err(Error::bad_request("'token_type' cannot be set for 'token' or 'ns_token' auth mounts"));
    }
    update_config(&mut entry.config, table, fields)?;
    let (default, max) = (entry.config.default_lease_ttl, entry.config.max_lease_ttl);
    if !max.is_zero() && default > max {
        return Err(Error::bad_request(format!(
            "backend max lease TTL of {} would be less than backend default lease TTL of {}",
            max.as_secs(),
            default.as_secs()
        )));
    }
    if let Some(lockout) = fields.object("user_lockout_config")?.filter(|given| !given.is_empty()) {
        tune_lockout(entry, &lockout)?;
    }
    if let Some(description) = fields.string("description")? {
        entry.description = description;
    }
    // Kept here, though not where a mount is made, as in Vault.
    if let Some(version) = fields.string("plugin_version")? {
        let version = plugin_version::parse(&version)?;
        if !version.is_builtin {
            return Err(no_version(&entry.kind, &version.text));
        }
        entry.config.plugin_version = version.text;
    }
    if let Some(options) = options_of(fields)? {
        tune_options(&mut entry.options, options)?;
    }
    Ok(())
}

/// Sets options of any name; an empty one is taken away.
fn tune_options(kept: &mut Object, options: Object) -> Result<(), Error> {
    if let Some(wanted) = options.get("version").and_then(Value::as_str) {
        let was = kept.get("version").and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or(0);
        let wanted: i64 = if wanted.is_empty() { Ok(0) } else { wanted.parse() }.map_err(|_| {
            Error::bad_request(format!(
                "unable to parse options: strconv.ParseInt: parsing {wanted:?}: invalid syntax"
            ))
        })?;
        if !(1..=2).contains(&wanted) {
            return Err(Error::bad_request(format!("invalid version provided: {wanted}")));
        }
        if was > wanted {
            return Err(Error::bad_request(format!("cannot downgrade mount from version {was}")));
        }
    }
    for (name, value) in options {
        if name != "version" && value == "" {
            kept.shift_remove(&name);
        } else {
            kept.insert(name, value);
        }
    }
    Ok(())
}

/// The body of a tuning read.
fn tuning(active: &Active, mounted: &Mounted) -> Response {
    let entry = mounted.entry();
    let (default, max) = mount_ttls(mounted.cell(), &active.settings);
    // What was tuned is shown as it was, held against a limit of the mount's own alone.
    let tuned = entry.config.default_lease_ttl;
    let default = if entry.config.max_lease_ttl.is_zero() { default.max(tuned) } else { default };
    let mut data = Object::from_iter([
        ("default_lease_ttl".to_owned(), json!(default.as_secs())),
        ("description".to_owned(), json!(entry.description)),
        ("force_no_cache".to_owned(), json!(entry.config.force_no_cache)),
        ("max_lease_ttl".to_owned(), json!(max.as_secs())),
    ]);
    entry.add_optional(&mut data);
    if !entry.config.plugin_version.is_empty() {
        data.insert("plugin_version".to_owned(), json!(entry.config.plugin_version));
    }
    data.extend(entry.config.lockout.iter().flat_map(LockoutConfig::shown));
    if !entry.options.is_empty() {
        data.insert("options".to_owned(), Value::Object(entry.options.clone()));
    }
    Response { data: Some(data), inject: true, ..Response::default() }
}

/// `sys/remount`: done at once here, so that the migration it names has already succeeded.
///
/// # Errors
/// 400 as the move says.
pub async fn remount(
    active: &Arc<Active>,
    registry: &Registry,
    call: &Call<'_, Endpoint>,
) -> Result<Option<Response>, Error> {
    let fields = call.fields();
    let from = fields.string("from")?.unwrap_or_default();
    let to = fields.string("to")?.unwrap_or_default();
    if from.is_empty() || to.is_empty() {
        return Err(Error::bad_request("both 'from' and 'to' path must be specified as a string"));
    }
    for (name, path) in [("from", &from), ("to", &to)] {
        if path.starts_with(' ') || path.ends_with(' ') {
            return Err(Error::bad_request(format!("'{name}' path cannot contain trailing whitespace")));
        }
    }
    if !to.chars().all(is_printable) {
        return Err(Error::bad_request(
            "invalid destination mount: path cannot contain non-printable characters",
        ));
    }
    let (from, to) = (clean_path(&from)?, clean_path(&to)?);
    active.remount(&from, &to, registry).await?;
    let id = random::uuid();
    let status = json!({"source_mount": from, "target_mount": to, "status": "success"});
    active.storage.put_json(&migration_key(&id), &status).await?;
    let mut response = Response::json(json!({ "migration_id": id }));
    response.inject = true;
    response.warnings.push(
        "Mount move has been queued. Progress will be reported in Vault's server log, tagged with the returned migration_id"
            .to_owned(),
    );
    Ok(Some(response))
}

/// Whether Go prints it as it is: of blanks, the ordinary one alone.
fn is_printable(character: char) -> bool {
    character == ' ' || !(character.is_control() || character.is_whitespace())
}

/// `sys/remount/status/<id>`.
///
/// # Errors
/// 404 for an unknown migration.
pub fn remount_status(active: &Active, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let id = call.path_field("id");
    let info: Option<Value> = active.storage.get_json(&migration_key(id))?;
    Ok(info.map(|info| Response::json(json!({ "migration_id": id, "migration_info": info }))))
}

fn migration_key(id: &str) -> String {
    format!("core/migrations/{}", id.replace('/', "%2f"))
}
