//! Values: `data/<key>` and `subkeys/<key>`.

use serde_json::{Value, json};

use super::merge::merge;
use super::settings::Settings;
use super::version::KeyInfo;
use super::{Answer, Endpoint, KvV2, metadata_key, version_key};
use crate::framework::Call;
use crate::logical::{Error, Fields, Object, Operation, Response, Write};

impl KvV2 {
    /// `data/<key>`.
    pub(super) async fn data(&self, call: &Call<'_, Endpoint>) -> Answer {
        match call.operation() {
            Operation::Read => self.read(call),
            Operation::Delete => self.delete_newest(call.path_field("path")).await,
            Operation::Patch => self.patch(call).await,
            _ => self.write(call).await,
        }
    }

    fn read(&self, call: &Call<'_, Endpoint>) -> Answer {
        self.read_version(call, "data", Ok)
    }

    /// `subkeys/<key>`: the shape of a value without what is in it.
    pub(super) fn subkeys(&self, call: &Call<'_, Endpoint>) -> Answer {
        let depth = call.fields().int("depth")?.unwrap_or(0);
        let depth = usize::try_from(depth).unwrap_or(0);
        self.read_version(call, "subkeys", |value| Ok(without_values(value, 1, depth)))
    }

    /// Answers with a version under `name`, passed through `shape`. A version that is deleted or
    /// destroyed answers with status 404 and everything but the value.
    fn read_version(
        &self,
        call: &Call<'_, Endpoint>,
        name: &str,
        shape: impl FnOnce(Object) -> Result<Object, Error>,
    ) -> Answer {
        let key = call.path_field("path");
        let wanted = call.fields().int("version")?.unwrap_or(0);
        let Some(info) = self.key_info(key)? else {
            return Ok(None);
        };
        let number = u64::try_from(wanted).ok().filter(|n| *n > 0).unwrap_or(info.current);
        let (Some(version), Some(metadata)) = (info.versions.get(&number), info.describe_version(number))
        else {
            return Ok(None);
        };
        let gone = version.is_gone(self.system.now());
        let value = if gone { Value::Null } else { Value::Object(shape(self.value(key, number)?)?) };
        let mut response = Response::json(json!({ "metadata": metadata }));
        if let Some(data) = &mut response.data {
            data.insert(name.to_owned(), value);
        }
        Ok(Some(if gone { response.with_status(404) } else { response }))
    }

    async fn write(&self, call: &Call<'_, Endpoint>) -> Answer {
        let key = call.path_field("path");
        if key.is_empty() {
            return Err(Error::bad_request("missing path"));
        }
        let (data, cas) = (sent_data(call.fields())?, sent_cas(call.fields())?);
        let settings = self.settings()?;
        let _lock = self.locks.lock(key).await;
        let info = self.key_info(key)?.unwrap_or_else(|| KeyInfo::new(self.system.now()));
        check_cas(cas, &settings, &info)?;
        self.store_version(key, info, &settings, data).await
    }

    async fn patch(&self, call: &Call<'_, Endpoint>) -> Answer {
        let key = call.path_field("path");
        let (patch, cas) = (sent_data(call.fields())?, sent_cas(call.fields())?);
        let settings = self.settings()?;
        let _lock = self.locks.lock(key).await;
        let Some(info) = self.key_info(key)? else {
            return Err(Error::coded(404, ""));
        };
        check_cas(cas, &settings, &info)?;
        let (Some(version), Some(metadata)) =
            (info.versions.get(&info.current), info.describe_version(info.current))
        else {
            return Err(Error::coded(404, ""));
        };
        if version.is_gone(self.system.now()) {
            return Ok(Some(Response::json(metadata).with_status(404)));
        }
        if call.request.data.get("data").is_some_and(Value::is_null) {
            return Err(Error::internal("Invalid JSON Patch"));
        }
        let mut data = self.value(key, info.current)?;
        merge(&mut data, patch);
        self.store_version(key, info, &settings, &data).await
    }

    /// Adds a version. The caller holds the key's lock.
    async fn store_version(
        &self,
        key: &str,
        mut info: KeyInfo,
        settings: &Settings,
        data: &Object,
    ) -> Answer {
        let dropped = info.add_version(self.system.now(), settings);
        let mut writes = vec![
            Write::put_json(version_key(key, info.current), data)?,
            Write::put_json(metadata_key(key), &info)?,
        ];
        writes.extend(dropped.into_iter().map(|number| Write::delete(version_key(key, number))));
        self.view.batch(writes).await?;
        Ok(info.describe_version(info.current).map(Response::json))
    }
}

/// The object in `data`.
fn sent_data(fields: Fields<'_>) -> Result<&Object, Error> {
    match fields.given("data") {
        Some(data) => fields.map("data", data),
        None => Err(Error::bad_request("no data provided")),
    }
}

/// The version number in `options.cas`.
fn sent_cas(fields: Fields<'_>) -> Result<Option<i64>, Error> {
    let Some(options) = fields.value("options") else {
        return Ok(None);
    };
    let options = fields.map("options", options)?;
    Fields::new(options).int("cas").map_err(|_| Error::bad_request("error parsing check-and-set parameter"))
}

fn check_cas(cas: Option<i64>, settings: &Settings, info: &KeyInfo) -> Result<(), Error> {
    match cas {
        Some(version) if u64::try_from(version) == Ok(info.current) => Ok(()),
        Some(_) => Err(Error::bad_request("check-and-set parameter did not match the current version")),
        None if settings.cas_required || info.cas_required => {
            Err(Error::bad_request("check-and-set parameter required for this call"))
        }
        None => Ok(()),
    }
}

/// The same keys with null for every value; objects below `max` levels (0 is unlimited) and empty
/// ones count as values.
fn without_values(value: Object, depth: usize, max: usize) -> Object {
    value
        .into_iter()
        .map(|(key, item)| match item {
            Value::Object(inner) if !inner.is_empty() && (max == 0 || depth < max) => {
                (key, Value::Object(without_values(inner, depth + 1, max)))
            }
            _ => (key, Value::Null),
        })
        .collect()
}
