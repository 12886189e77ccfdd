//! Version 2: every write makes a version; versions are deleted, undeleted and destroyed.
//!
//! Storage: `config`, `metadata/<key>`, and `version/<sha256 of the key>/<number>` for the values,
//! so that keys can be listed without them.

mod data;
mod merge;
mod metadata;
mod settings;
#[cfg(test)]
mod tests;
mod version;
mod versions;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

use self::settings::Settings;
use self::version::KeyInfo;
use super::{check_path, plain_values};
use crate::framework::{Call, KeyLocks, Route, Router, Row, route};
use crate::logical::{
    Backend, BackendContext, Error, Fields, Object, Operation, Request, Response, System, View, Write,
};

/// What requests answer.
type Answer = Result<Option<Response>, Error>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Config,
    Data,
    Delete,
    Destroy,
    Metadata,
    Subkeys,
    Undelete,
}

/// A kv mount of version 2.
pub struct KvV2 {
    view: View,
    system: Arc<dyn System>,
    router: Router<Endpoint>,
    locks: KeyLocks,
}

impl KvV2 {
    /// The backend of a mount.
    pub fn new(context: BackendContext) -> Self {
        Self {
            view: context.storage,
            system: context.system,
            router: Router::new(routes()),
            locks: KeyLocks::default(),
        }
    }

    fn settings(&self) -> Result<Settings, Error> {
        Ok(self.view.get_json("config")?.unwrap_or_default())
    }

    async fn config(&self, call: &Call<'_, Endpoint>) -> Answer {
        if call.operation() == Operation::Read {
            return Ok(Some(Response::json(self.settings()?.describe())));
        }
        let _lock = self.locks.lock("config").await;
        let mut settings = self.settings()?;
        if settings.update(call.fields())? {
            self.view.put_json("config", &settings).await?;
        }
        Ok(None)
    }

    fn key_info(&self, key: &str) -> Result<Option<KeyInfo>, Error> {
        Ok(self.view.get_json(&metadata_key(key))?)
    }

    fn value(&self, key: &str, version: u64) -> Result<Object, Error> {
        let mut value: Object = self
            .view
            .get_json(&version_key(key, version))?
            .ok_or_else(|| Error::internal("could not find version data"))?;
        value.values_mut().for_each(round_numbers);
        Ok(value)
    }

    /// Turns the values of a mount that was version 1 into first versions.
    async fn upgrade(&self) -> Result<(), Error> {
        let (now, settings) = (self.system.now(), self.settings()?);
        let plain = plain_values(&self.view);
        for key in plain.keys("")? {
            let Some(value) = plain.get_json::<Object>(&key)? else {
                continue;
            };
            let mut info = KeyInfo::new(now);
            info.add_version(now, &settings);
            info.oldest = info.current;
            let writes = vec![
                Write::put_json(version_key(&key, info.current), &value)?,
                Write::put_json(metadata_key(&key), &info)?,
                Write::delete(format!("plain/{key}")),
            ];
            self.view.batch(writes).await?;
        }
        Ok(())
    }
}

/// As in Vault a slash at the end of a key changes nothing here, while a value is not found with it.
fn metadata_key(key: &str) -> String {
    format!("metadata/{}", key.trim_end_matches('/'))
}

/// Makes numbers what Vault reads back: it decodes them as Go's `float64`, which holds whole numbers
/// exactly up to 2^53 only, and writes whole ones without a fraction.
fn round_numbers(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(round_numbers),
        Value::Object(fields) => fields.values_mut().for_each(round_numbers),
        Value::Number(number) => {
            if let Some(rounded) = number.as_f64().and_then(as_go_writes_it) {
                *number = rounded;
            }
        }
        _ => {}
    }
}

/// A whole number has the digits of the shortest text that reads as the same `float64`, then zeros.
fn as_go_writes_it(number: f64) -> Option<Number> {
    if number.fract() != 0.0 {
        return None;
    }
    let text = number.to_string();
    let signed = text.parse::<i64>().ok().map(Number::from);
    signed.or_else(|| text.parse::<u64>().ok().map(Number::from)).or_else(|| Number::from_f64(number))
}

fn version_key(key: &str, version: u64) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(96);
    text.push_str("version/");
    for byte in Sha256::digest(key.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    let _ = write!(text, "/{version}");
    text
}

/// `max_versions`, which must fit Vault's unsigned 32 bits.
fn max_versions_field(fields: Fields<'_>) -> Result<Option<u32>, Error> {
    fields
        .int("max_versions")?
        .map(|number| {
            u32::try_from(number)
                .map_err(|_| Error::bad_request(format!("max_versions must be between 0 and {}", u32::MAX)))
        })
        .transpose()
}

/// Paths below which keys are.
const ROOTS: [&str; 5] = ["metadata", "data", "delete", "undelete", "destroy"];

/// What a path gets that is none of version 2: most often a client took the mount for version 1.
fn invalid_path(request: &Request) -> Response {
    let command = match request.operation {
        Operation::Read => "get",
        Operation::List => "list",
        Operation::Delete => "delete",
        Operation::Patch => "patch",
        _ => "put",
    };
    let text = match request.path.as_str() {
        path if ROOTS.contains(&path) => {
            "Non-listing operations on the root of a K/V v2 mount are not supported.".to_owned()
        }
        _ => format!(
            "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If using the Vault CLI, use 'vault kv {command}' for this operation."
        ),
    };
    Response::warning(text).with_status(404)
}

/// The table of endpoints, for help and documentation.
pub(crate) fn reference() -> Vec<Row> {
    routes().iter().map(Route::row).collect()
}

fn routes() -> Vec<Route<Endpoint>> {
    // Nothing is looked for before these are written.
    const WRITE: &[Operation] = &[Operation::Update];
    vec![
        route(
            "data/{path*}",
            &[Operation::Create, Operation::Update, Operation::Read, Operation::Patch, Operation::Delete],
            &[&["data", "options", "version"]],
            Endpoint::Data,
        ),
        route(
            "metadata/{path*}",
            &[
                Operation::Create,
                Operation::Update,
                Operation::Read,
                Operation::Patch,
                Operation::Delete,
                Operation::List,
            ],
            &[&["cas_required", "custom_metadata", "delete_version_after", "max_versions"]],
            Endpoint::Metadata,
        ),
        route("subkeys/{path*}", &[Operation::Read], &[&["depth", "version"]], Endpoint::Subkeys),
        route("delete/{path*}", WRITE, &[&["versions"]], Endpoint::Delete),
        route("undelete/{path*}", WRITE, &[&["versions"]], Endpoint::Undelete),
        route("destroy/{path*}", WRITE, &[&["versions"]], Endpoint::Destroy),
        route(
            "config",
            &[Operation::Update, Operation::Read],
            &[&["cas_required", "delete_version_after", "max_versions"]],
            Endpoint::Config,
        ),
    ]
}

#[async_trait]
impl Backend for KvV2 {
    fn endpoints(&self) -> Vec<Row> {
        reference()
    }

    fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        let Some((route, captures)) = self.router.find(&request.path) else {
            return Ok(None);
        };
        match (route.endpoint, captures.first()) {
            (Endpoint::Data | Endpoint::Metadata, Some((_, key))) => {
                Ok(Some(self.view.get(&metadata_key(key))?.is_some()))
            }
            _ => Ok(None),
        }
    }

    async fn handle(&self, request: &Request) -> Answer {
        check_path(&request.path)?;
        if request.operation == Operation::Read && ROOTS.contains(&request.path.as_str()) {
            return Ok(Some(invalid_path(request)));
        }
        let call = match self.router.resolve(request) {
            Ok(call) => call,
            Err(Error::UnsupportedPath) => return Ok(Some(invalid_path(request))),
            Err(error) => return Err(error),
        };
        let response = match call.endpoint {
            Endpoint::Config => self.config(&call).await?,
            Endpoint::Data => self.data(&call).await?,
            Endpoint::Delete => self.delete_versions(&call).await?,
            Endpoint::Destroy => self.destroy_versions(&call).await?,
            Endpoint::Metadata => self.metadata(&call).await?,
            Endpoint::Subkeys => self.subkeys(&call)?,
            Endpoint::Undelete => self.undelete_versions(&call).await?,
        };
        Ok(call.finish(response))
    }

    async fn initialize(&self) -> Result<(), Error> {
        self.upgrade().await
    }
}
