//! What is known about keys: `metadata/<key>`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::version::KeyInfo;
use super::{Answer, Endpoint, KvV2, max_versions_field, metadata_key, version_key};
use crate::framework::Call;
use crate::logical::{Error, Fields, Object, Operation, Response, Write, go_type};

const MAX_CUSTOM_KEYS: usize = 64;
const MAX_CUSTOM_KEY_BYTES: usize = 128;
const MAX_CUSTOM_VALUE_BYTES: usize = 512;

/// What a request changes about a key.
struct Changes {
    max_versions: Option<u32>,
    cas_required: Option<bool>,
    delete_version_after: Option<Duration>,
}

impl KvV2 {
    /// `metadata/<key>`.
    pub(super) async fn metadata(&self, call: &Call<'_, Endpoint>) -> Answer {
        let key = call.path_field("path").trim_end_matches('/');
        match call.operation() {
            Operation::Read => Ok(self.key_info(key)?.map(|info| Response::json(info.describe()))),
            Operation::List => {
                let folder = if key.is_empty() { key.to_owned() } else { format!("{key}/") };
                let folder = format!("metadata/{folder}");
                Ok(Response::list(self.view.list(&folder)?))
            }
            Operation::Delete => self.delete_key(key).await,
            Operation::Patch => self.patch_metadata(call).await,
            _ => self.write_metadata(call).await,
        }
    }

    async fn delete_key(&self, key: &str) -> Answer {
        let _lock = self.locks.lock(key).await;
        let Some(info) = self.key_info(key)? else {
            return Ok(None);
        };
        let mut writes = vec![Write::delete(metadata_key(key))];
        writes.extend(info.versions.keys().map(|number| Write::delete(version_key(key, *number))));
        self.view.batch(writes).await?;
        Ok(None)
    }

    async fn write_metadata(&self, call: &Call<'_, Endpoint>) -> Answer {
        let key = call.path_field("path");
        if key.is_empty() {
            return Err(Error::bad_request("missing path"));
        }
        let changes = sent_changes(call.fields())?;
        let custom = match sent_custom(call.fields())? {
            Some(sent) => Some(custom_metadata(sent, false)?),
            None => None,
        };
        if changes.is_empty() && custom.is_none() {
            return Ok(None);
        }
        let warning = self.ignored_cas_warning(&changes)?;
        let _lock = self.locks.lock(key).await;
        let now = self.system.now();
        let mut info = self.key_info(key)?.unwrap_or_else(|| KeyInfo::new(now));
        info.updated = now;
        changes.apply(&mut info);
        if custom.is_some() {
            info.custom_metadata = custom;
        }
        self.view.put_json(&metadata_key(key), &info).await?;
        Ok(warning)
    }

    async fn patch_metadata(&self, call: &Call<'_, Endpoint>) -> Answer {
        let key = call.path_field("path");
        let sent = &call.request.data;
        let changes = sent_changes(call.fields())?;
        let custom = sent_custom(call.fields())?;
        if let Some(custom) = custom {
            custom_metadata(custom, true)?;
        }
        let known = ["cas_required", "custom_metadata", "delete_version_after", "max_versions"];
        if !known.iter().any(|name| sent.contains_key(*name)) {
            return Ok(None);
        }
        let warning = self.ignored_cas_warning(&changes)?;
        let _lock = self.locks.lock(key).await;
        let Some(mut info) = self.key_info(key)? else {
            return Err(Error::coded(404, ""));
        };
        info.updated = self.system.now();
        reset_nulls(&mut info, sent);
        changes.apply(&mut info);
        if let Some(custom) = custom {
            patch_custom(&mut info, custom)?;
        }
        self.view.put_json(&metadata_key(key), &info).await?;
        Ok(warning)
    }

    fn ignored_cas_warning(&self, changes: &Changes) -> Result<Option<Response>, Error> {
        let ignored = changes.cas_required == Some(false) && self.settings()?.cas_required;
        Ok(ignored.then(|| {
            Response::warning(
                "\"cas_required\" set to false, but is mandated by backend config. This value will be ignored.",
            )
        }))
    }
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.max_versions.is_none() && self.cas_required.is_none() && self.delete_version_after.is_none()
    }

    fn apply(&self, info: &mut KeyInfo) {
        if let Some(max) = self.max_versions {
            info.max_versions = max;
        }
        if let Some(cas) = self.cas_required {
            info.cas_required = cas;
        }
        if let Some(after) = self.delete_version_after {
            info.delete_version_after = after;
        }
    }
}

fn sent_changes(fields: Fields<'_>) -> Result<Changes, Error> {
    Ok(Changes {
        max_versions: max_versions_field(fields)?,
        cas_required: fields.bool("cas_required")?,
        delete_version_after: fields.duration("delete_version_after")?,
    })
}

/// The object in `custom_metadata`; null is an empty one.
fn sent_custom(fields: Fields<'_>) -> Result<Option<&Object>, Error> {
    fields.given("custom_metadata").map(|custom| fields.map("custom_metadata", custom)).transpose()
}

/// Sets back what a patch sends as null; a lifetime stays, as in Vault.
fn reset_nulls(info: &mut KeyInfo, sent: &Object) {
    let is_null = |name: &str| sent.get(name).is_some_and(Value::is_null);
    if is_null("max_versions") {
        info.max_versions = 0;
    }
    if is_null("cas_required") {
        info.cas_required = false;
    }
    if is_null("custom_metadata") {
        info.custom_metadata = None;
    }
}

/// Merges into the custom metadata; null removes a key.
fn patch_custom(info: &mut KeyInfo, custom: &Object) -> Result<(), Error> {
    let set = custom_metadata(custom, true)?;
    // What a patch merges is not converted, unlike what is written as a whole.
    let mut given: Vec<_> = custom.iter().collect();
    given.sort_by_key(|(key, _)| key.as_str());
    for (key, value) in given {
        let kind = match value {
            Value::Number(_) => "number",
            Value::Bool(_) => "bool",
            _ => continue,
        };
        return Err(Error::internal(format!(
            "json: cannot unmarshal {kind} into Go struct field .custom_metadata.{key} of type string"
        )));
    }
    let mut merged = info.custom_metadata.take().unwrap_or_default();
    merged.retain(|key, _| !custom.get(key).is_some_and(Value::is_null));
    merged.extend(set);
    info.custom_metadata = Some(merged);
    Ok(())
}

/// Checked custom metadata; nulls are left out where `skip_nulls`, else they are empty text.
fn custom_metadata(sent: &Object, skip_nulls: bool) -> Result<BTreeMap<String, String>, Error> {
    let refuse =
        |text: String| Err(Error::raw_bad_request(format!("custom_metadata validation failed: {text}")));
    let mut pairs = BTreeMap::new();
    for (key, value) in sent {
        if skip_nulls && value.is_null() {
            continue;
        }
        let Ok(text) = Fields::new(sent).string(key) else {
            let found = go_type(value);
            return Err(Error::bad_request(format!(
                "custom_metadata validation failed: '' expected type 'string', got unconvertible type '{found}'"
            )));
        };
        pairs.insert(key.clone(), text.unwrap_or_default());
    }
    if pairs.len() > MAX_CUSTOM_KEYS {
        return refuse(format!(
            "payload must contain at most {MAX_CUSTOM_KEYS} keys, provided {}",
            pairs.len()
        ));
    }
    for (key, value) in &pairs {
        if key.is_empty() || key.len() > MAX_CUSTOM_KEY_BYTES {
            return refuse(format!(
                "length of key {key:?} is {} but must be 0 < len(key) <= {MAX_CUSTOM_KEY_BYTES}",
                key.len()
            ));
        }
        if value.is_empty() || value.len() > MAX_CUSTOM_VALUE_BYTES {
            return refuse(format!(
                "length of value for key {key:?} is {} but must be 0 < len(value) <= {MAX_CUSTOM_VALUE_BYTES}",
                value.len()
            ));
        }
        if key.chars().chain(value.chars()).any(char::is_control) {
            return refuse(format!("key {} contains unprintable characters", json!(key)));
        }
    }
    Ok(pairs)
}
