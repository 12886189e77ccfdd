//! Keys, UI support, configuration, plugins: the small endpoints.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Endpoint;
use crate::core::Core;
use crate::core::active::Active;
use crate::core::lifecycle::barrier_error;
use crate::core::mounts::{MountEntry, Table};
use crate::framework::Call;
use crate::help;
use crate::logical::Operation::{List, Read};
use crate::logical::{Error, Object, Response};

/// Database plugins that are built in.
pub const DATABASE_PLUGINS: [&str; 5] = [
    "mysql-aurora-database-plugin",
    "mysql-database-plugin",
    "mysql-legacy-database-plugin",
    "mysql-rds-database-plugin",
    "postgresql-database-plugin",
];

/// Serves them.
///
/// # Errors
/// As each endpoint says.
pub async fn handle(
    core: &Arc<Core>,
    active: &Arc<Active>,
    call: &Call<'_, Endpoint>,
) -> Result<Option<Response>, Error> {
    match call.endpoint {
        // Keys are backed up where they are encrypted to somebody, which they never are here.
        Endpoint::KeyBackup if call.operation() == Read => Err(Error::bad_request("no backed-up keys found")),
        Endpoint::KeyStatus => key_status(core).map(Some),
        Endpoint::Rotate => {
            core.barrier.rotate().await.map_err(barrier_error)?;
            Ok(None)
        }
        Endpoint::UiMounts => ui_mounts(active, call).map(Some),
        Endpoint::UiMount => ui_mount(active, call).map(Some),
        Endpoint::OpenApi => openapi(active, call).map(Some),
        Endpoint::ResultantAcl => resultant_acl(active, call).map(Some),
        Endpoint::ConfigState => Ok(Some(Response::data(core.settings.sanitized.clone()))),
        Endpoint::HaStatus => {
            let mut response = Response::json(json!({ "nodes": core.ha_nodes() }));
            response.inject = true;
            Ok(Some(response))
        }
        Endpoint::Version => {
            let info = json!({
                "build_date": crate::core::status::BUILD_DATE,
                "previous_version": null,
                "timestamp_installed": active.since.to_string(),
            });
            Ok(Response::list_with_info(vec![(crate::VERSION.to_owned(), info)]))
        }
        Endpoint::PluginCatalog | Endpoint::PluginCatalogType | Endpoint::Plugin => plugins(core, call),
        Endpoint::InFlight => Ok(Some(Response::json(json!({})))),
        // There is no backup to remove, and without high availability nobody to hand over to.
        _ => Ok(None),
    }
}

fn key_status(core: &Core) -> Result<Response, Error> {
    let info = core.barrier.key_info().map_err(barrier_error)?;
    let mut response = Response::json(json!({
        "encryptions": info.encryptions,
        "install_time": info.install_time.to_string(),
        "term": info.term,
    }));
    response.inject = true;
    Ok(response)
}

/// Who asks, for paths that also answer without a token, but not with a wrong one.
fn acl_of_caller(
    active: &Active,
    call: &Call<'_, Endpoint>,
) -> Result<Option<Arc<crate::policy::Acl>>, Error> {
    let token = call.request.client_token.as_str();
    if token.is_empty() {
        return Ok(None);
    }
    let token = active.lookup_token(token)?.ok_or(Error::InvalidToken)?;
    let entity = match token.entry.entity_id.as_str() {
        "" => None,
        id => active.identity.get(id)?,
    };
    Ok(Some(active.acl_of(&token.entry, entity.as_ref())))
}

/// The mounts a caller can see.
fn ui_mounts(active: &Active, call: &Call<'_, Endpoint>) -> Result<Response, Error> {
    let acl = acl_of_caller(active, call)?;
    let visible = |entry: &MountEntry| {
        entry.config.listing_visibility == "unauth"
            || acl.as_ref().is_some_and(|acl| acl.reaches(&entry.full_path()))
    };
    let mut entries: Vec<MountEntry> = active.entries().into_iter().filter(|entry| visible(entry)).collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let of_table = |table: Table| -> Value {
        let entries = entries.iter().filter(|entry| entry.table == table);
        entries.map(|entry| (entry.path.clone(), ui_entry(entry, acl.is_some()))).collect::<Object>().into()
    };
    Ok(Response::json(json!({ "auth": of_table(Table::Auth), "secret": of_table(Table::Secret) })))
}

fn ui_entry(entry: &MountEntry, whole: bool) -> Value {
    if whole {
        return entry.shown();
    }
    json!({
        "description": entry.description,
        "options": if entry.options.is_empty() { Value::Null } else { json!(entry.options) },
        "type": entry.kind,
    })
}

/// The mount of a path, for callers who may do something below it.
fn ui_mount(active: &Active, call: &Call<'_, Endpoint>) -> Result<Response, Error> {
    let path = call.path_field("path");
    let shown = format!("{}/", path.trim_end_matches('/'));
    let denied = || {
        Error::coded(
            403,
            format!(
                "preflight capability check returned 403, please ensure client's policies grant access to path {shown:?}"
            ),
        )
    };
    if path.is_empty() {
        return Err(Error::bad_request("path not set"));
    }
    let acl = acl_of_caller(active, call)?.ok_or_else(|| Error::coded(403, "permission denied"))?;
    let (mounted, _) = active.router.find(path).ok_or_else(denied)?;
    let entry = mounted.entry();
    if !acl.reaches(&entry.full_path()) {
        return Err(denied());
    }
    let mut data = entry.shown();
    if let Value::Object(map) = &mut data {
        map.insert("path".to_owned(), json!(entry.path));
    }
    Ok(Response::json(data))
}

/// The mounts a caller can see, as one document; with `generic_mount_paths` a mount's path is a parameter.
fn openapi(active: &Active, call: &Call<'_, Endpoint>) -> Result<Response, Error> {
    let acl = acl_of_caller(active, call)?;
    let generic = call.fields().bool("generic_mount_paths")?.unwrap_or_default();
    let mut paths = Object::new();
    for (path, mounted) in active.router.snapshot().iter() {
        let entry = mounted.entry();
        if entry.config.listing_visibility != "unauth" && !acl.as_ref().is_some_and(|acl| acl.reaches(path)) {
            continue;
        }
        // These are mounted nowhere else.
        let fixed = matches!(entry.kind.as_str(), "system" | "token" | "identity" | "cubbyhole");
        let prefix = match (generic && !fixed, entry.table) {
            (true, Table::Auth) => format!("/auth/{{{}_mount_path}}/", entry.kind),
            (true, Table::Secret) => format!("/{{{}_mount_path}}/", entry.kind),
            (false, _) => format!("/{path}"),
        };
        let rows = mounted.endpoints();
        let mount = help::Mount { kind: &entry.kind, rows: &rows, special: &mounted.special };
        paths.extend(rows.iter().map(|row| mount.described(row, &prefix)));
    }
    Ok(Response::raw("application/json", help::document(&paths).to_string()))
}

fn resultant_acl(active: &Active, call: &Call<'_, Endpoint>) -> Result<Response, Error> {
    let acl = acl_of_caller(active, call)?.ok_or(Error::PermissionDenied)?;
    Ok(Response::data(acl.resultant()))
}

fn plugins(core: &Core, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let auth: Vec<&str> = core.registry.kinds(Table::Auth).collect();
    let secret: Vec<&str> = core.registry.kinds(Table::Secret).collect();
    let names = |kind: &str| match kind {
        "auth" => Some(auth.clone()),
        "secret" => Some(secret.clone()),
        "database" => Some(DATABASE_PLUGINS.to_vec()),
        _ => None,
    };
    let detail = |kind: &str, name: &str| {
        json!({
            "builtin": true,
            "deprecation_status": "supported",
            "name": name,
            "type": kind,
            "version": format!("v{}+builtin.vault", crate::VERSION),
        })
    };
    let unknown = |kind: &str| Error::bad_request(format!("{kind:?} is not a supported plugin type"));
    match call.endpoint {
        Endpoint::PluginCatalog if call.operation() == List => Err(Error::UnsupportedOperation),
        Endpoint::PluginCatalog => {
            let mut detailed = Vec::new();
            for kind in ["auth", "database", "secret"] {
                detailed.extend(names(kind).unwrap_or_default().iter().map(|name| detail(kind, name)));
            }
            Ok(Some(Response::json(json!({
                "auth": auth,
                "database": DATABASE_PLUGINS,
                "detailed": detailed,
                "secret": secret,
            }))))
        }
        Endpoint::PluginCatalogType => {
            let kind = call.path_field("type");
            let names = names(kind).ok_or_else(|| unknown(kind))?;
            Ok(Response::list(names.into_iter().map(str::to_owned).collect()))
        }
        _ => {
            let (kind, name) = (call.path_field("type"), call.path_field("name"));
            let names = names(kind).ok_or_else(|| unknown(kind))?;
            if !names.contains(&name) {
                return Ok(None);
            }
            let mut shown = detail(kind, name);
            if let Value::Object(map) = &mut shown {
                map.shift_remove("type");
                map.extend([
                    ("args".to_owned(), json!([])),
                    ("command".to_owned(), json!("")),
                    ("sha256".to_owned(), json!("")),
                ]);
            }
            Ok(Some(Response::json(shown)))
        }
    }
}
