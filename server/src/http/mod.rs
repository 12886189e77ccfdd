//! The HTTP layer, on hyper itself: Vault routes everything by mount prefix, so that all a
//! framework could offer is one catch-all route.

mod bootstrap;
mod envelope;
mod listener;
pub mod parse;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, STRICT_TRANSPORT_SECURITY};
use hyper::{Method, StatusCode};

pub use envelope::Reply;
pub use listener::Listener;

use crate::core::{Core, flow};
use crate::logical::Error;

/// Longest a request may take, as in Vault.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// Answers one HTTP request.
///
/// # Errors
/// None: every failure is an answer.
pub async fn serve(
    core: Arc<Core>,
    peer: SocketAddr,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let head = request.method() == Method::HEAD;
    // In a task of its own: a client that goes away must not stop a request half-way, with a user
    // made in a database and no lease for it.
    let answer = tokio::spawn(async move {
        tokio::time::timeout(REQUEST_TIMEOUT, answer(&core, peer, request))
            .await
            .unwrap_or_else(|_| Reply::error(&Error::internal("context deadline exceeded")))
    });
    let mut reply = answer.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request handler failed");
        Reply::error(&Error::internal("internal error"))
    });
    if head {
        reply.body = Bytes::new();
    }
    Ok(respond(reply))
}

async fn answer(core: &Arc<Core>, peer: SocketAddr, request: hyper::Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    let Some(raw_path) = parts.uri.path().strip_prefix("/v1/") else {
        return Reply::errors(404, &[]);
    };
    let path = match parse::decode_path(raw_path) {
        Ok(path) => path,
        Err(error) => return Reply::error(&error),
    };
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let parts = parse::Parts {
        method: &parts.method,
        path: &path,
        query: parts.uri.query(),
        headers: &parts.headers,
        peer: Some(peer),
    };
    if let Some(reply) = bootstrap::answer(core, &parts, &body).await {
        return reply;
    }
    let request = match parse::request(&parts, &body) {
        Ok(request) => request,
        Err(error) => return Reply::error(&error),
    };
    let (operation, id) = (request.operation, request.id.clone());
    let outcome = flow::handle(core, request).await;
    match outcome.result {
        Ok(response) => Reply::response(operation, &id, &outcome.mount_type, response.as_ref()),
        Err(error) => Reply::error(&error),
    }
}

async fn read_body(body: Incoming) -> Result<Bytes, Reply> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match Limited::new(body, parse::MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Reply::errors(413, &["http: request body too large".to_owned()]))
        }
        Err(_) => Err(Reply::errors(400, &["error reading the request body".to_owned()])),
    }
}

fn respond(reply: Reply) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
        .insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000; includeSubDomains"));
    if reply.status != 204 {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    }
    response
}
