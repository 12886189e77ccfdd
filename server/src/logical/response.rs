//! What a backend answers.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Error, LeaseOptions, Object, PartOfBatch, Secret, StorageError, TokenType, View, Write};

/// A successful answer. `None` in its place means 204 on a write and 404 on a read.
///
/// What few answers have is boxed: all of them are handed on many times.
#[derive(Clone, Default)]
pub struct Response {
    /// The envelope's `data`.
    pub data: Option<Object>,
    /// The same as JSON text, of an answer that is asked for so often that a map of it would cost
    /// too much; there is no `data` then.
    pub text: Option<JsonText>,
    /// A lease for the data: the core registers it and fills `lease_id`.
    pub secret: Option<Box<Secret>>,
    /// `lease_duration` of an answer without a lease, as kv version 1 gives it to say when to read
    /// again; zero is none.
    pub lease_hint: Duration,
    /// A login: the core creates the token.
    pub auth: Option<Box<Auth>>,
    /// Stored with that token.
    pub deferred: Deferred,
    /// Warnings for the client.
    pub warnings: Vec<String>,
    /// Set by the core when the response was wrapped.
    pub wrap_info: Option<WrapInfo>,
    /// A body that is not an envelope (certificates, metrics).
    pub raw: Option<RawBody>,
    /// Status other than 200, with the same envelope (KV v2 answers a deleted version 404).
    pub status: Option<u16>,
    /// Repeat the data's keys at top level, as `sys/mounts` and others do.
    pub inject: bool,
}

impl Response {
    /// A response with data.
    pub fn data(data: Object) -> Self {
        Self { data: Some(data), ..Self::default() }
    }

    /// A response whose data is this, which has to be an object in JSON.
    ///
    /// # Errors
    /// When it cannot be JSON.
    pub fn text(data: &impl Serialize) -> Result<Self, Error> {
        let mut bytes = Vec::with_capacity(1024);
        serde_json::to_writer(&mut bytes, data).map_err(|error| Error::internal(error.to_string()))?;
        Ok(Self { text: Some(JsonText(bytes)), ..Self::default() })
    }

    /// Turns the text, if there is one, into `data`.
    ///
    /// # Errors
    /// When it is no object.
    pub fn unfold(&mut self) -> Result<(), Error> {
        if let Some(JsonText(bytes)) = self.text.take() {
            let data = serde_json::from_slice(&bytes).map_err(|error| Error::internal(error.to_string()))?;
            self.data = Some(data);
        }
        Ok(())
    }

    /// A response whose data is a JSON object; other values become no data.
    pub fn json(value: Value) -> Self {
        match value {
            Value::Object(map) => Self::data(map),
            _ => Self::default(),
        }
    }

    /// The answer to a list: `{"keys": […]}`; no keys means 404, as in Vault.
    pub fn list(keys: Vec<String>) -> Option<Self> {
        if keys.is_empty() {
            return None;
        }
        let keys = keys.into_iter().map(Value::String).collect();
        Some(Self::data(Object::from_iter([("keys".to_owned(), Value::Array(keys))])))
    }

    /// The answer to a list that also describes each key: `{"keys": […], "key_info": {…}}`.
    pub fn list_with_info(entries: Vec<(String, Value)>) -> Option<Self> {
        let keys = entries.iter().map(|(key, _)| key.clone()).collect();
        let mut response = Self::list(keys)?;
        if let Some(data) = &mut response.data {
            data.insert("key_info".to_owned(), entries.into_iter().collect::<Object>().into());
        }
        Some(response)
    }

    /// A response with one warning.
    pub fn warning(text: impl Into<String>) -> Self {
        Self { warnings: vec![text.into()], ..Self::default() }
    }

    /// A body of its own, with a content type.
    pub fn raw(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { raw: Some(RawBody { status: 200, content_type, body: body.into() }), ..Self::default() }
    }

    /// 202 without a body: it will be done soon.
    pub fn accepted() -> Self {
        let mut response = Self::raw("application/json", Bytes::new());
        if let Some(raw) = &mut response.raw {
            raw.status = 202;
        }
        response
    }

    /// The same with a status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("secret", &self.secret)
            .field("warnings", &self.warnings)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// An object as JSON text, made by [`Response::text`].
#[derive(Clone)]
pub struct JsonText(Vec<u8>);

impl JsonText {
    /// The text.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A body that is not an envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct RawBody {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The bytes; empty with status 200 is sent as 204 by nobody: it is sent as it is.
    pub body: Bytes,
}

/// A name of an identity at one mount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// Name at the mount: the role_id for AppRole, the user name for userpass.
    pub name: String,
    /// Metadata for the alias.
    pub metadata: BTreeMap<String, String>,
}

/// What a backend stores with a login: written in one go with the token, so that the one is never there
/// without the other. A login that is refused after all stores it by itself: [`Deferred::store`].
///
/// A clone of it is empty, as it can be stored only once.
#[derive(Default)]
pub struct Deferred(Option<Box<DeferredWrites>>);

struct DeferredWrites {
    view: View,
    writes: Vec<Write>,
    /// What keeps others away until it is stored.
    held: Box<dyn Any + Send + Sync>,
}

impl Deferred {
    /// Writes of a view. `held` is dropped once they are stored.
    pub fn new(view: &View, writes: Vec<Write>, held: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(DeferredWrites { view: view.clone(), writes, held: Box::new(held) })))
    }

    /// Stores it now, by itself.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn store(&mut self) -> Result<(), StorageError> {
        match self.0.take() {
            Some(deferred) => deferred.view.batch(deferred.writes).await,
            None => Ok(()),
        }
    }

    /// The writes, and what has to be dropped once they are stored.
    pub fn take(&mut self) -> (PartOfBatch, Option<Box<dyn Any + Send + Sync>>) {
        match self.0.take() {
            Some(deferred) => (deferred.view.part_of_batch(deferred.writes), Some(deferred.held)),
            None => (PartOfBatch::default(), None),
        }
    }
}

impl Clone for Deferred {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// A login as a backend asks for it; the core turns it into a token and fills the token fields.
#[derive(Clone, Default, PartialEq)]
pub struct Auth {
    /// Life asked for.
    pub lease: LeaseOptions,
    /// What the backend needs to renew it later; never shown.
    pub internal: Object,
    /// Display name; the core prefixes the mount's name (`approle`, `userpass-bob`).
    pub display_name: String,
    /// Policies of the token (without `default`, which the core adds).
    pub policies: Vec<String>,
    /// Metadata shown to the client and kept in the token.
    pub metadata: BTreeMap<String, String>,
    /// Identity; none creates no entity.
    pub alias: Option<Alias>,
    /// Period of a periodic token; zero for none.
    pub period: Duration,
    /// Hard limit; zero for none.
    pub explicit_max_ttl: Duration,
    /// Uses; 0 is unlimited.
    pub num_uses: i64,
    /// Networks the token may be used from.
    pub bound_cidrs: Vec<IpNet>,
    /// Do not add the policy `default`.
    pub no_default_policy: bool,
    /// Kind of token asked for.
    pub token_type: TokenType,
    /// The token; set by the core.
    pub client_token: String,
    /// Its accessor; set by the core.
    pub accessor: String,
    /// Policies of the token itself, set by the core (`policies` then holds all of them).
    pub token_policies: Vec<String>,
    /// Policies that come from the identity; set by the core.
    pub identity_policies: Vec<String>,
    /// Identity entity; set by the core.
    pub entity_id: String,
    /// Whether the token has no parent; set by the core.
    pub orphan: bool,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("display_name", &self.display_name)
            .field("policies", &self.policies)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// Where a wrapped response waits.
#[derive(Clone, PartialEq)]
pub struct WrapInfo {
    /// The wrapping token.
    pub token: String,
    /// Its accessor.
    pub accessor: String,
    /// Its life.
    pub ttl: Duration,
    /// When it was made.
    pub creation_time: Timestamp,
    /// Path whose response it holds.
    pub creation_path: String,
    /// Accessor of the token inside, if the response was a login; else empty.
    pub wrapped_accessor: String,
}

impl fmt::Debug for WrapInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapInfo")
            .field("ttl", &self.ttl)
            .field("creation_path", &self.creation_path)
            .finish_non_exhaustive()
    }
}
