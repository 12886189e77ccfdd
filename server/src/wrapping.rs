//! Response wrapping: an answer waits under a token of one use.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::core::active::Active;
use crate::core::policies::RESPONSE_WRAPPING;
use crate::http::Reply;
use crate::logical::{Error, Operation, Request, Response, TokenEntry, View, WrapInfo};
use crate::token::{StoredToken, TokenKey, TokenLease};

/// Warning of the older way to unwrap.
const DEPRECATED_PATH: &str = "Reading from 'cubbyhole/response' is deprecated. Please use sys/wrapping/unwrap to unwrap responses, as it provides additional security checks and other benefits.";

const INVALID: &str = "wrapping token is not valid or does not exist";

impl Active {
    /// Where a response wrapped in this token waits.
    pub(crate) fn wrapped(&self, key: &TokenKey) -> View {
        self.storage.sub(&format!("sys/wrapping/{}/", key.hex()))
    }
}

/// Wraps a response: the answer then has only `wrap_info`.
///
/// # Errors
/// When it cannot be stored.
pub async fn wrap(
    active: &Active,
    request: &Request,
    mut response: Response,
    ttl: Duration,
) -> Result<Response, Error> {
    // Only an answer that is not wrapped repeats its data.
    response.inject = false;
    let reply = Reply::response(request.operation, &request.id, &request.mount_type, Some(&response));
    let body: Value = serde_json::from_slice(&reply.body)
        .map_err(|error| Error::internal(format!("failed to wrap the response: {error}")))?;
    let accessor = match (&response.auth, &response.data) {
        (Some(auth), _) => auth.accessor.clone(),
        // A secret_id has one, too.
        (None, Some(data)) => {
            data.get("secret_id_accessor").and_then(Value::as_str).unwrap_or_default().to_owned()
        }
        _ => String::new(),
    };
    let info = store(active, &request.full_path(), body, ttl, accessor).await?;
    Ok(Response { wrap_info: Some(info), ..Response::default() })
}

/// Stores a body under a new wrapping token.
async fn store(
    active: &Active,
    path: &str,
    body: Value,
    ttl: Duration,
    wrapped_accessor: String,
) -> Result<WrapInfo, Error> {
    let now = Timestamp::now();
    let entry = TokenEntry {
        policies: vec![RESPONSE_WRAPPING.to_owned()],
        path: path.to_owned(),
        creation_time: now.as_second(),
        ttl,
        explicit_max_ttl: ttl,
        num_uses: 1,
        ..TokenEntry::default()
    };
    let lease = TokenLease {
        mount: "auth/token/".to_owned(),
        issued: now,
        expires: Some(now + ttl),
        ..TokenLease::default()
    };
    let token = active.create_token(entry, lease).await?;
    let key = active.tokens.key(&token.entry.id);
    active.wrapped(&key).put_json("response", &body).await?;
    Ok(WrapInfo {
        token: token.entry.id.clone(),
        accessor: token.entry.accessor.clone(),
        ttl,
        creation_time: now,
        creation_path: path.to_owned(),
        wrapped_accessor,
    })
}

/// Whether this is one of the requests about wrapping tokens that have rules of their own: a
/// wrapping token is valid for them without any policy, and looking it up does not use it.
pub fn is_special(active: &Active, request: &Request) -> bool {
    let write = request.operation == Operation::Update;
    let read = request.operation == Operation::Read;
    match request.path.as_str() {
        "sys/wrapping/lookup" => write || read,
        "sys/wrapping/unwrap" => write,
        "cubbyhole/response" => read && find(active, &request.client_token).is_ok(),
        _ => false,
    }
}

/// Refuses a request about a wrapping token that is none, whoever asks and whatever for.
///
/// # Errors
/// 400 when it is not valid, 403 when none is named.
pub fn verify_named(active: &Active, request: &Request) -> Result<(), Error> {
    if !matches!(request.path.as_str(), "sys/wrapping/lookup" | "sys/wrapping/rewrap" | "sys/wrapping/unwrap")
    {
        return Ok(());
    }
    find(active, &target(request)?).map(drop)
}

/// The wrapping token a request names that comes with another token: whoever takes an answer for
/// somebody else needs to be allowed to.
///
/// # Errors
/// 400 when the wrapping token is not valid.
pub fn named_by_another(active: &Active, request: &Request) -> Result<bool, Error> {
    if request.path != "sys/wrapping/unwrap" {
        return Ok(false);
    }
    let named = target(request)?;
    if named.is_empty() || named == request.client_token {
        return Ok(false);
    }
    find(active, &named).map(|_| true)
}

/// The answer to a request that [`is_special`]; its path is relative to the mount by now.
///
/// # Errors
/// 400 when the wrapping token is not valid.
pub async fn answer(active: &Active, request: &Request) -> Result<Option<Response>, Error> {
    let (key, token) = find(active, &target(request)?)?;
    let response = match request.path.as_str() {
        "wrapping/lookup" => lookup(active, &key, &token)?,
        "wrapping/unwrap" => unwrap(active, &key).await?,
        _ => {
            let body = take(active, &key).await?;
            let mut response = Response::json(json!({ "response": body.to_string() }));
            response.warnings.push(DEPRECATED_PATH.to_owned());
            response
        }
    };
    Ok(Some(response))
}

/// The wrapping token a request means: the one in its body, else the one it comes with.
fn target(request: &Request) -> Result<String, Error> {
    let refused = |cause| Error::coded(403, format!("error validating wrapping token: {cause} request body"));
    match request.fields().value("token") {
        None => Ok(request.client_token.clone()),
        Some(Value::String(token)) if token.is_empty() => Err(refused("empty token in")),
        Some(Value::String(token)) => Ok(token.clone()),
        Some(_) => Err(refused("could not decode token in")),
    }
}

/// A live wrapping token.
fn find(active: &Active, token: &str) -> Result<(TokenKey, Arc<StoredToken>), Error> {
    if token.is_empty() {
        return Err(Error::coded(403, "error validating wrapping token: token is empty"));
    }
    let key = active.tokens.key(token);
    let invalid = || Error::bad_request(INVALID);
    let found = active.lookup_key(&key)?.ok_or_else(invalid)?;
    if found.entry.policies != [RESPONSE_WRAPPING] || found.entry.num_uses < 1 {
        return Err(invalid());
    }
    Ok((key, found))
}

fn lookup(active: &Active, key: &TokenKey, token: &StoredToken) -> Result<Response, Error> {
    if active.wrapped(key).get("response")?.is_none() {
        return Err(Error::bad_request(INVALID));
    }
    Ok(Response::json(json!({
        "creation_path": token.entry.path,
        "creation_time": token.lease.issued.to_string(),
        "creation_ttl": token.entry.ttl.as_secs(),
    })))
}

/// Takes what waits under a token; only one caller gets it.
async fn take(active: &Active, key: &TokenKey) -> Result<Value, Error> {
    let invalid = |_| Error::bad_request(INVALID);
    active.use_token(key).await.map_err(invalid)?;
    let wrapped = active.wrapped(key).get_json("response")?;
    active.revoke_token_tree(key).await?;
    wrapped.ok_or_else(|| Error::bad_request(INVALID))
}

/// The original body.
async fn unwrap(active: &Active, key: &TokenKey) -> Result<Response, Error> {
    let body = take(active, key).await?;
    Ok(Response::raw("application/json", format!("{body}\n")))
}

/// `sys/wrapping/wrap`: hands the data back to be wrapped.
///
/// # Errors
/// 400 without a wrap TTL.
pub fn wrap_data(request: &Request) -> Result<Response, Error> {
    if request.wrap_ttl.is_none() {
        return Err(Error::bad_request("endpoint requires response wrapping to be used"));
    }
    Ok(Response::data(request.data.clone()))
}

/// `sys/wrapping/rewrap`: moves what waits under a token to a new one.
///
/// # Errors
/// 400 when the token is not valid.
pub async fn rewrap(active: &Active, request: &Request) -> Result<Response, Error> {
    let (key, old) = find(active, &target(request)?)?;
    let body = take(active, &key).await?;
    let accessor = body["auth"]["accessor"].as_str().unwrap_or_default().to_owned();
    // The shorter one counts, as for whatever brings a TTL of its own.
    let asked = request.wrap_ttl.filter(|ttl| !ttl.is_zero()).unwrap_or(old.entry.ttl);
    let info = store(active, &old.entry.path, body, old.entry.ttl.min(asked), accessor).await?;
    Ok(Response { wrap_info: Some(info), ..Response::default() })
}
