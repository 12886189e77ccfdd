//! Requests of web pages from other origins, as far as `sys/config/cors` allows them.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};

use super::Reply;
use crate::core::Core;
use crate::sys::cors::{Cors, METHODS};

/// What comes of a request's origin.
pub enum Origin {
    /// Nothing: it names none, or nobody asked for a check.
    Unchecked,
    /// The answer gets these headers.
    Allowed(Vec<(HeaderName, HeaderValue)>),
    /// It is answered with this.
    Answered(Reply),
}

/// Checks the origin of a request.
pub fn check(core: &Core, method: &Method, headers: &HeaderMap) -> Origin {
    let Some(origin) = headers.get(ORIGIN).filter(|origin| !origin.is_empty()) else {
        return Origin::Unchecked;
    };
    let Some(allowed) = core.active().and_then(|active| active.cors()) else {
        return Origin::Unchecked;
    };
    if !origin.to_str().is_ok_and(|origin| allowed.allows(origin)) {
        return Origin::Answered(Reply::errors(403, &["origin not allowed".to_owned()]));
    }
    let mut added =
        vec![(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()), (VARY, HeaderValue::from_static("Origin"))];
    if method != Method::OPTIONS {
        return Origin::Allowed(added);
    }
    let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).and_then(|method| method.to_str().ok());
    let known = asked.is_some_and(|asked| METHODS.contains(&asked));
    let mut reply = Reply::no_content();
    reply.status = if known { 200 } else { 405 };
    reply.body = Bytes::new();
    if known {
        added.extend(preflight(&allowed));
        reply.headers = added;
    }
    Origin::Answered(reply)
}

/// What a browser wants to know before it asks.
fn preflight(cors: &Arc<Cors>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = vec![
        (ACCESS_CONTROL_ALLOW_METHODS, METHODS.join(",")),
        (ACCESS_CONTROL_ALLOW_HEADERS, cors.allowed_headers.join(",")),
        (ACCESS_CONTROL_MAX_AGE, "300".to_owned()),
    ];
    headers.drain(..).filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))).collect()
}
