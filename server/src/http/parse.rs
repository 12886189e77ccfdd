//! From an HTTP request to a logical request.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, USER_AGENT};
use serde::Deserialize;
use serde_json::Value;

use crate::duration;
use crate::logical::{Error, Headers, Object, Operation, Request};
use crate::random;

/// Header a listener may ask for.
pub const X_VAULT_REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

const X_VAULT_TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const X_VAULT_WRAP_TTL: HeaderName = HeaderName::from_static("x-vault-wrap-ttl");

/// Levels of objects and lists in a body. serde_json reads 127: what is kept of a body or wrapped lies a few deeper.
const MAX_DEPTH: usize = 100;

/// Headers that reach a backend.
static KEPT: [HeaderName; 4] = [
    USER_AGENT,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-correlation-id"),
    CONTENT_TYPE,
];

/// The parts of an HTTP request that parsing needs.
pub struct Parts<'a> {
    /// Method.
    pub method: &'a Method,
    /// Path after `/v1/`, percent-decoded.
    pub path: &'a str,
    /// Query string.
    pub query: Option<&'a str>,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Client.
    pub peer: Option<SocketAddr>,
}

/// Builds the logical request.
///
/// # Errors
/// 405 for a method Vault does not know, 400 for a path or body it refuses, 415 for a patch of
/// another type than a merge patch.
pub fn request(parts: &Parts<'_>, body: &Bytes) -> Result<Request, Error> {
    check_path(parts.path)?;
    let mut path = parts.path.to_owned();
    let mut query = query_object(parts.query);
    let (operation, data) = match parts.method.as_str() {
        _ if asks_for_help(parts) => (Operation::Help, Object::new()),
        "GET" => {
            let list = take_flag(&mut query, "list")?;
            (if list { Operation::List } else { Operation::Read }, query)
        }
        "LIST" => {
            query.shift_remove("list");
            (Operation::List, query)
        }
        "DELETE" => (Operation::Delete, query),
        "POST" | "PUT" => (Operation::Update, body_object(parts.headers, body)?),
        "PATCH" => {
            let kind = header(parts.headers, &CONTENT_TYPE).unwrap_or_default();
            if kind.is_empty() {
                return Err(Error::bad_request("mime: no media type"));
            }
            if media_type(kind) != "application/merge-patch+json" {
                return Err(Error::coded(
                    415,
                    format!("PATCH requires Content-Type of application/merge-patch+json, provided {kind}"),
                ));
            }
            (Operation::Patch, json_object(body)?)
        }
        _ => return Err(Error::coded(405, String::new())),
    };
    if operation == Operation::List && !path.ends_with('/') {
        path.push('/');
    }
    Ok(Request {
        id: random::uuid(),
        operation,
        path,
        data,
        client_token: token(parts.headers).to_owned(),
        remote_addr: parts.peer.map(|peer| peer.ip()),
        remote_port: parts.peer.map_or(0, |peer| peer.port()),
        wrap_ttl: wrap_ttl(parts.headers)?,
        headers: other_headers(parts.headers),
        ..Request::default()
    })
}

/// Whether somebody asks what there is at the path.
pub fn asks_for_help(parts: &Parts<'_>) -> bool {
    let value = |pair: &str| pair.strip_prefix("help=").is_some_and(|value| !value.is_empty());
    parts.method == "HELP" || parts.query.is_some_and(|query| query.split('&').any(value))
}

/// Percent-decodes a path as it stands in the request line.
pub fn decode_path(raw: &str) -> Result<String, Error> {
    percent_decode(raw, false).ok_or_else(|| Error::bad_request("invalid URL escape in path"))
}

/// The shortest form of a path below `/v1/`, where it is not in it: without empty segments, `.` and `..`.
pub fn shortest(path: &str) -> Option<String> {
    let odd = |segment: &str| segment.is_empty() || segment == "." || segment == "..";
    let body = path.strip_suffix('/').unwrap_or(path);
    if body.is_empty() || !body.split('/').any(odd) {
        return None;
    }
    let mut kept = vec!["v1"];
    for segment in body.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let slash = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{slash}", kept.join("/")))
}

/// A path as it may stand in a header.
pub fn encode_path(path: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/$&+:=@,;".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn check_path(path: &str) -> Result<(), Error> {
    if path.split('/').any(|segment| segment == "..") {
        return Err(Error::bad_request("path cannot contain parent references"));
    }
    if path.chars().any(char::is_control) {
        return Err(Error::bad_request("path cannot contain non-printable characters"));
    }
    Ok(())
}

/// The token: `X-Vault-Token`, else `Authorization: Bearer`; empty for none.
fn token(headers: &HeaderMap) -> &str {
    header(headers, &X_VAULT_TOKEN)
        .filter(|token| !token.is_empty())
        .or_else(|| header(headers, &AUTHORIZATION)?.strip_prefix("Bearer "))
        .map(str::trim)
        .unwrap_or_default()
}

fn wrap_ttl(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let Some(text) = header(headers, &X_VAULT_WRAP_TTL).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match duration::parse(text) {
        Ok(ttl) => Ok(Some(ttl).filter(|ttl| !ttl.is_zero())),
        Err(duration::DurationError::Negative(_)) => Err(Error::bad_request(
            "error parsing X-Vault-Wrap-TTL header: requested wrap ttl cannot be negative",
        )),
        Err(error) => Err(Error::bad_request(format!("error parsing X-Vault-Wrap-TTL header: {error}"))),
    }
}

fn other_headers(headers: &HeaderMap) -> Headers {
    let kept =
        KEPT.iter().filter_map(|name| Some((name.as_str().to_owned(), header(headers, name)?.to_owned())));
    Headers(kept.collect())
}

/// All values of a header.
pub fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// A body: JSON whatever its type says, unless it is a form and does not look like JSON
/// (curl sends JSON as a form by default).
fn body_object(headers: &HeaderMap, body: &Bytes) -> Result<Object, Error> {
    let kind = header(headers, &CONTENT_TYPE).unwrap_or_default();
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if media_type(kind) == "application/x-www-form-urlencoded" && !matches!(first, None | Some(b'{' | b'[')) {
        let text = std::str::from_utf8(body).map_err(|_| Error::bad_request("error parsing form data"))?;
        return Ok(query_object(Some(text)));
    }
    json_object(body)
}

/// Parses a JSON object; empty and `null` are an empty object.
pub fn json_object(body: &[u8]) -> Result<Object, Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Object::new());
    }
    // What follows the first value is ignored, as in Vault.
    let object = Option::<Object>::deserialize(&mut serde_json::Deserializer::from_slice(body))
        .map(Option::unwrap_or_default)
        .map_err(|_| Error::bad_request("error parsing JSON"))?;
    if body.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() > MAX_DEPTH
        && object.values().any(|value| is_deeper(value, MAX_DEPTH - 1))
    {
        return Err(Error::bad_request(format!("error parsing JSON: nested deeper than {MAX_DEPTH} levels")));
    }
    Ok(object)
}

/// Whether a value has more levels of objects and lists than this.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let deeper = |value| is_deeper(value, levels - 1);
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(deeper),
        Value::Object(map) => levels == 0 || map.values().any(deeper),
        _ => false,
    }
}

fn take_flag(query: &mut Object, name: &str) -> Result<bool, Error> {
    match query.shift_remove(name) {
        None => Ok(false),
        Some(Value::String(text)) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            // Vault says no more than the status.
            _ => Err(Error::coded(400, "")),
        },
        Some(_) => Err(Error::coded(400, "")),
    }
}

/// Query parameters as request data: a string each, a list where a name is repeated.
pub fn query_object(query: Option<&str>) -> Object {
    let mut object = Object::new();
    for pair in query.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (percent_decode(name, true), percent_decode(value, true)) else {
            continue;
        };
        match object.get_mut(&name) {
            None => {
                object.insert(name, Value::String(value));
            }
            Some(Value::Array(values)) => values.push(Value::String(value)),
            Some(first) => {
                let both = vec![first.take(), Value::String(value)];
                *first = Value::Array(both);
            }
        }
    }
    object
}

fn percent_decode(text: &str, plus_is_space: bool) -> Option<String> {
    if !text.contains(['%', '+']) {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' if plus_is_space => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn bodies_are_nested_so_deep_only() {
        let nested =
            |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(json_object(nested(MAX_DEPTH).as_bytes()).is_ok());
        for levels in [MAX_DEPTH + 1, 126, 127, 128, 1000] {
            let error = json_object(nested(levels).as_bytes()).unwrap_err();
            assert_eq!(error.status(), 400, "{levels}");
        }
        let flat = format!("{{\"a\":[{}1]}}", "[],{},".repeat(500));
        assert!(json_object(flat.as_bytes()).is_ok());
    }

    fn parse(
        method: &str,
        path: &str,
        query: Option<&str>,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Result<Request, Error> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let parts = Parts {
            method: &Method::from_bytes(method.as_bytes()).unwrap(),
            path,
            query,
            headers: &map,
            peer: None,
        };
        request(&parts, &Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn paths_have_a_shortest_form() {
        for (path, expected) in [
            ("sys/mounts", None),
            ("sys/mounts/", None),
            ("", None),
            ("kv/a//b", Some("/v1/kv/a/b")),
            ("kv/./a/", Some("/v1/kv/a/")),
            ("kv/x/../y", Some("/v1/kv/y")),
            ("../../etc", Some("/etc")),
            ("/kv", Some("/v1/kv")),
        ] {
            assert_eq!(shortest(path).as_deref(), expected, "{path}");
        }
        assert_eq!(encode_path("/v1/a b\r\n"), "/v1/a%20b%0D%0A");
    }

    #[test]
    fn list_has_two_spellings_and_gets_a_slash() {
        for (method, query) in [("LIST", None), ("GET", Some("list=true"))] {
            let request = parse(method, "secret/metadata", query, &[], "").unwrap();
            assert_eq!((request.operation, request.path.as_str()), (Operation::List, "secret/metadata/"));
            assert!(request.data.is_empty());
        }
    }

    #[test]
    fn post_and_put_are_the_same_and_curl_sends_json_as_a_form() {
        for method in ["POST", "PUT"] {
            let form = [("content-type", "application/x-www-form-urlencoded")];
            let request = parse(method, "a", None, &form, " {\"k\": 1}").unwrap();
            assert_eq!((request.operation, request.data["k"].clone()), (Operation::Update, json!(1)));
            let request = parse(method, "a", None, &form, "k=v%20w&k2=").unwrap();
            assert_eq!(Value::Object(request.data), json!({"k": "v w", "k2": ""}));
        }
    }

    #[test]
    fn the_vault_header_wins_over_bearer() {
        let both = [("x-vault-token", "a"), ("authorization", "Bearer b")];
        assert_eq!(parse("GET", "x", None, &both, "").unwrap().client_token, "a");
        assert_eq!(parse("GET", "x", None, &both[1..], "").unwrap().client_token, "b");
        assert_eq!(parse("GET", "x", None, &[], "").unwrap().client_token, "");
    }

    #[test]
    fn bad_input_is_a_400_and_says_why() {
        for (method, path, headers, body, text) in [
            ("POST", "a", None, "{", "error parsing JSON"),
            ("POST", "a", None, "[1]", "error parsing JSON"),
            ("GET", "a/../b", None, "", "path cannot contain parent references"),
            ("GET", "a\u{1}", None, "", "path cannot contain non-printable characters"),
            (
                "GET",
                "a",
                Some(("x-vault-wrap-ttl", "-1")),
                "",
                "error parsing X-Vault-Wrap-TTL header: requested wrap ttl cannot be negative",
            ),
        ] {
            let headers: Vec<_> = headers.into_iter().collect();
            let error = parse(method, path, None, &headers, body).unwrap_err();
            assert_eq!((error.status(), error.to_string().as_str()), (400, text));
        }
        assert_eq!(parse("BREW", "a", None, &[], "").unwrap_err().status(), 405);
        assert_eq!(parse("PATCH", "a", None, &[], "{}").unwrap_err().client_text(), "mime: no media type");
    }

    #[test]
    fn wrap_ttl_takes_seconds_and_durations() {
        for text in ["120", "2m"] {
            let request = parse("GET", "x", None, &[("x-vault-wrap-ttl", text)], "").unwrap();
            assert_eq!(request.wrap_ttl, Some(Duration::from_mins(2)));
        }
    }

    proptest! {
        #[test]
        fn any_query_and_body_is_answered(query in "\\PC{0,40}", body in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = query_object(Some(&query));
            let _ = json_object(&body);
            let _ = decode_path(&query);
        }
    }
}
