//! `sys/audit` and `sys/audit-hash`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Endpoint;
use crate::audit::{AuditError, Broker, LogInput, check_options};
use crate::core::active::Active;
use crate::core::mounts::clean_path;
use crate::framework::Call;
use crate::logical::Operation::{Delete, Update};
use crate::logical::{Error, Request, Response, View};
use crate::random;

const TABLE: &str = "core/audit";

/// An audit device as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Device {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    description: String,
    options: BTreeMap<String, String>,
    local: bool,
    /// Names the device's storage.
    uuid: String,
}

fn table(active: &Active) -> Result<Vec<Device>, Error> {
    Ok(active.storage.get_json(TABLE)?.unwrap_or_default())
}

fn view(active: &Active, device: &Device) -> View {
    active.storage.sub(&format!("audit/{}/", device.uuid))
}

/// Opens the devices after an unseal, and those the configuration adds.
///
/// # Errors
/// When one cannot be opened: the server must not serve unrecorded.
pub async fn restore(active: &Active) -> Result<(), Error> {
    let mut devices = table(active)?;
    let before = devices.len();
    for configured in &active.settings.audit {
        let path = clean_path(&configured.path)?;
        if !devices.iter().any(|device| device.path == path) {
            devices.push(Device {
                path,
                kind: configured.kind.clone(),
                description: configured.description.clone(),
                options: configured.options.clone(),
                local: configured.local,
                uuid: random::uuid(),
            });
        }
    }
    if devices.len() > before {
        active.storage.put_json(TABLE, &devices).await?;
    }
    let mut failed = None;
    let mut opened = 0;
    for device in &devices {
        match active.audit.enable(&device.path, &device.options, &view(active, device)).await {
            Ok(()) => opened += 1,
            Err(error) => {
                tracing::error!(path = device.path, %error, "audit device could not be opened");
                failed = Some(error);
            }
        }
    }
    match failed {
        Some(error) if opened == 0 => {
            Err(Error::internal(format!("failed to setup audit backends: {error}")))
        }
        _ => Ok(()),
    }
}

/// All devices.
///
/// # Errors
/// When storage cannot be read.
pub fn list(active: &Active) -> Result<Response, Error> {
    let data = table(active)?
        .into_iter()
        .map(|device| {
            let shown = json!({
                "description": device.description,
                "local": device.local,
                "options": device.options,
                "path": device.path,
                "type": device.kind,
            });
            (device.path, shown)
        })
        .collect();
    Ok(Response { data: Some(data), inject: true, ..Response::default() })
}

/// Enables or disables a device.
///
/// # Errors
/// 400 for wrong options and a path in use.
pub async fn device(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let path = clean_path(call.path_field("path"))?;
    let _mounting = active.mounting.lock().await;
    let mut devices = table(active)?;
    if call.operation() == Delete {
        let removed: Vec<Device> = devices.extract_if(.., |device| device.path == path).collect();
        if removed.is_empty() {
            return Ok(None);
        }
        active.storage.put_json(TABLE, &devices).await?;
        active.audit.disable(&path);
        for device in &removed {
            view(active, device).clear().await?;
        }
        return Ok(None);
    }
    if devices.iter().any(|device| device.path == path) {
        return Err(audit_error(&AuditError::PathInUse));
    }
    let fields = call.fields();
    let kind = fields.string("type")?.unwrap_or_default();
    if kind.is_empty() {
        return Err(Error::bad_request("backend type must be specified as a string"));
    }
    if kind != "file" {
        return Err(Error::bad_request(format!("unknown backend type: {kind:?}")));
    }
    let device = Device {
        path: path.clone(),
        kind,
        description: fields.string("description")?.unwrap_or_default(),
        options: fields.string_map("options")?.unwrap_or_default(),
        local: fields.bool("local")?.unwrap_or_default(),
        uuid: random::uuid(),
    };
    check_options(&device.options).map_err(|error| audit_error(&error))?;
    test(&device, &view(active, &device)).await?;
    active
        .audit
        .enable(&path, &device.options, &view(active, &device))
        .await
        .map_err(|error| audit_error(&error))?;
    devices.push(device);
    if let Err(error) = active.storage.put_json(TABLE, &devices).await {
        active.audit.disable(&path);
        return Err(error.into());
    }
    Ok(None)
}

/// Writes a test line with the device alone: one that cannot write would block the server.
async fn test(device: &Device, view: &View) -> Result<(), Error> {
    let failed = |error: AuditError| Error::bad_request(format!("new audit backend failed test: {error}"));
    let alone = Broker::new();
    alone.enable(&device.path, &device.options, view).await.map_err(|error| audit_error(&error))?;
    let request = Request {
        id: random::uuid(),
        operation: Update,
        path: "sys/audit/test".to_owned(),
        ..Request::default()
    };
    alone.log_request(&LogInput::new(&request)).await.map_err(failed)
}

fn audit_error(error: &AuditError) -> Error {
    Error::bad_request(error.to_string())
}

/// What a text looks like in a device's log.
///
/// # Errors
/// 400 without input or for an unknown device.
pub fn hash(active: &Active, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let path = clean_path(call.path_field("path"))?;
    let input = call.fields().string("input")?.unwrap_or_default();
    if input.is_empty() {
        return Err(Error::bad_request("the \"input\" parameter is empty"));
    }
    let hash = active.audit.hash(&path, &input).map_err(|error| audit_error(&error))?;
    let mut response = Response::json(json!({ "hash": hash }));
    response.inject = true;
    Ok(Some(response))
}
