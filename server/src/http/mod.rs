//! The HTTP layer, on hyper itself: Vault routes everything by mount prefix, so that all a
//! framework could offer is one catch-all route.

mod bootstrap;
mod ceremony;
mod cors;
mod detach;
mod envelope;
mod listener;
pub mod parse;
mod patience;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper::header::{
    CACHE_CONTROL, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION,
    STRICT_TRANSPORT_SECURITY,
};
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

#[cfg(test)]
pub(crate) use bootstrap::ROUTES as BOOTSTRAP_ROUTES;
#[cfg(test)]
pub(crate) use ceremony::ROUTES as CEREMONY_ROUTES;
pub use envelope::Reply;
pub use listener::{Listener, Socket};

use crate::config;
use crate::core::{Core, flow};
use crate::logical::Error;

/// A client must have sent its body within this, unless the listener says otherwise.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers one HTTP request.
///
/// # Errors
/// None: every failure is an answer.
pub async fn serve<B>(
    core: Arc<Core>,
    options: Arc<config::Listener>,
    peer: Option<SocketAddr>,
    request: hyper::Request<B>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let head = request.method() == Method::HEAD;
    let limits = Arc::clone(&options);
    // Boxed before it is wrapped and pinned before it is timed: every move would copy all of it.
    let answer = Box::pin(async move {
        let added = match cors::check(&core, request.method(), request.headers()) {
            cors::Origin::Answered(reply) => return reply,
            cors::Origin::Allowed(headers) => headers,
            cors::Origin::Unchecked => Vec::new(),
        };
        let timeout = limits.max_request_duration.unwrap_or(core.settings.max_request_duration);
        let answer = pin!(answer(&core, &limits, peer, request));
        let mut reply = tokio::time::timeout(timeout, answer)
            .await
            .unwrap_or_else(|_| Reply::error(&Error::internal("context deadline exceeded")));
        reply.headers.extend(added);
        reply
    });
    let answer = detach::Finished::new(AssertUnwindSafe(answer).catch_unwind()).await;
    let mut reply = answer.unwrap_or_else(|_| {
        // The panic itself was reported where it happened.
        tracing::error!("a request handler failed");
        Reply::error(&Error::internal("internal error"))
    });
    if head {
        reply.body = Bytes::new();
    }
    Ok(respond(reply, &options))
}

async fn answer<B>(
    core: &Arc<Core>,
    options: &config::Listener,
    peer: Option<SocketAddr>,
    request: hyper::Request<B>,
) -> Reply
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let Some(raw_path) = parts.uri.path().strip_prefix("/v1/") else {
        return Reply::errors(404, &[]);
    };
    let path = match parse::decode_path(raw_path) {
        Ok(path) => path,
        Err(error) => return Reply::error(&error),
    };
    if let Some(clean) = parse::shortest(&path) {
        let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let location = format!("{}{query}", parse::encode_path(&clean));
        return Reply::moved(location, parts.method == Method::GET);
    }
    if options.require_request_header && !marked(&parts.headers) {
        return Reply::errors(412, &["missing required X-Vault-Request header".to_owned()]);
    }
    let body = match whole_body(body, options).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let parts = parse::Parts {
        method: &parts.method,
        path: &path,
        query: parts.uri.query(),
        headers: &parts.headers,
        peer: forwarded(&parts.headers, peer, options),
    };
    // Help is about the paths, those too that need no token.
    if !parse::asks_for_help(&parts) {
        if let Some(reply) = bootstrap::answer(core, &parts, &body).await {
            return reply;
        }
        if ceremony::is_one(&parts) {
            let result = Box::pin(ceremony::answer(core, &parts, &body)).await;
            return result.unwrap_or_else(|error| Reply::error(&error));
        }
    }
    let mut request = match parse::request(&parts, &body) {
        Ok(request) => request,
        Err(error) => return Reply::error(&error),
    };
    if let Some(active) = core.active() {
        request.audited_headers = active.audited_headers().of(|name| parse::values(parts.headers, name));
    }
    let (operation, id) = (request.operation, request.id.clone());
    let outcome = flow::handle(core, request).await;
    match outcome.result {
        Ok(response) => Reply::response(operation, &id, &outcome.mount_type, response.as_ref()),
        Err(error) => Reply::error(&error),
    }
}

/// Whether a request carries `X-Vault-Request: true`.
fn marked(headers: &HeaderMap) -> bool {
    headers.get(parse::X_VAULT_REQUEST).is_some_and(|value| value == "true")
}

/// The client's address: what a trusted proxy says, else the connection's.
fn forwarded(
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
    options: &config::Listener,
) -> Option<SocketAddr> {
    let direct = peer?;
    if !options.x_forwarded_for.iter().any(|net| net.contains(&direct.ip())) {
        return peer;
    }
    let last = headers.get_all("x-forwarded-for").iter().next_back();
    let address = last
        .and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse::<IpAddr>().ok())
        .unwrap_or(direct.ip());
    Some(SocketAddr::new(address, direct.port()))
}

/// Reads a body, for as long and as far as the listener takes one.
async fn whole_body<B>(body: B, options: &config::Listener) -> Result<Bytes, Reply>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let patience = options.http_read_timeout.unwrap_or(BODY_TIMEOUT);
    tokio::time::timeout(patience, read_body(body, options.max_request_size))
        .await
        .unwrap_or_else(|_| Err(Reply::errors(408, &["timed out reading the request body".to_owned()])))
}

/// Reads a body of at most `limit` bytes; zero is no limit.
async fn read_body<B>(body: B, limit: u64) -> Result<Bytes, Reply>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Reply::errors(413, &["http: request body too large".to_owned()]))
        }
        Err(_) => Err(Reply::errors(400, &["error reading the request body".to_owned()])),
    }
}

fn respond(reply: Reply, options: &config::Listener) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
        .insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000; includeSubDomains"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    // hyper's own stands still after the clock was set back.
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now());
    if let Some(date) = date.ok().and_then(|date| HeaderValue::try_from(date).ok()) {
        headers.insert(DATE, date);
    }
    if let Some(location) = reply.location.and_then(|location| HeaderValue::try_from(location).ok()) {
        headers.insert(LOCATION, location);
    }
    headers.extend(reply.headers);
    add_custom_headers(headers, reply.status, options);
    response
}

/// Adds the listener's own headers: `default`, then by class (`4xx`), then by status.
fn add_custom_headers(headers: &mut HeaderMap, status: u16, options: &config::Listener) {
    if options.custom_response_headers.is_empty() {
        return;
    }
    let keys = ["default".to_owned(), format!("{}xx", status / 100), status.to_string()];
    for (name, value) in keys.iter().filter_map(|key| options.custom_response_headers.get(key)).flatten() {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        } else {
            tracing::debug!(name, "custom response header cannot be sent");
        }
    }
}
