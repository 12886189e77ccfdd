//! From a response or an error to a body in Vault's shape.

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Value, json};

use crate::logical::{Auth, Error, JsonText, Object, Operation, Response, WrapInfo};

/// A body with its status.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Bytes; empty for 204.
    pub body: Bytes,
    /// Where else to ask, for a redirection.
    pub location: Option<String>,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

const JSON: &str = "application/json";

/// A success, in Vault's order of keys.
struct Envelope<'a> {
    request_id: &'a str,
    lease_id: &'a str,
    renewable: bool,
    lease_duration: u64,
    data: Data<'a>,
    wrap_info: Option<Value>,
    warnings: Option<&'a [String]>,
    auth: Option<Value>,
    mount_type: &'a str,
}

/// `data`, as it is there.
enum Data<'a> {
    Object(Option<&'a Object>),
    Text(&'a JsonText),
}

impl Envelope<'_> {
    fn write(&self, bytes: &mut Vec<u8>) -> serde_json::Result<()> {
        field(bytes, "{\"request_id\":", &self.request_id)?;
        field(bytes, ",\"lease_id\":", &self.lease_id)?;
        field(bytes, ",\"renewable\":", &self.renewable)?;
        field(bytes, ",\"lease_duration\":", &self.lease_duration)?;
        match self.data {
            Data::Object(object) => field(bytes, ",\"data\":", &object)?,
            Data::Text(text) => {
                bytes.extend_from_slice(b",\"data\":");
                bytes.extend_from_slice(text.bytes());
            }
        }
        field(bytes, ",\"wrap_info\":", &self.wrap_info)?;
        field(bytes, ",\"warnings\":", &self.warnings)?;
        field(bytes, ",\"auth\":", &self.auth)?;
        field(bytes, ",\"mount_type\":", &self.mount_type)?;
        bytes.push(b'}');
        Ok(())
    }
}

fn field(bytes: &mut Vec<u8>, name: &str, value: &impl Serialize) -> serde_json::Result<()> {
    bytes.extend_from_slice(name.as_bytes());
    serde_json::to_writer(bytes, value)
}

impl Reply {
    /// A JSON body.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        Self::written(status, |bytes| serde_json::to_writer(bytes, body))
    }

    fn written(status: u16, write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) -> Self {
        // Room for most answers, so that they are not moved while they grow.
        let mut bytes = Vec::with_capacity(1024);
        match write(&mut bytes) {
            Ok(()) => {
                bytes.push(b'\n');
                Self { status, content_type: JSON, body: bytes.into(), location: None, headers: Vec::new() }
            }
            Err(error) => Self::errors(500, &[error.to_string()]),
        }
    }

    /// 204.
    pub fn no_content() -> Self {
        Self { status: 204, content_type: JSON, body: Bytes::new(), location: None, headers: Vec::new() }
    }

    /// 301, as Go's router answers a path that is not in its shortest form; browsers get a body.
    pub fn moved(location: String, with_body: bool) -> Self {
        let body = if with_body {
            format!("<a href=\"{location}\">Moved Permanently</a>.\n\n")
        } else {
            String::new()
        };
        Self {
            status: 301,
            content_type: "text/html; charset=utf-8",
            body: body.into(),
            location: Some(location),
            headers: Vec::new(),
        }
    }

    /// `{"errors": […]}`.
    pub fn errors(status: u16, errors: &[String]) -> Self {
        let mut body = json!({ "errors": errors }).to_string();
        body.push('\n');
        Self { status, content_type: JSON, body: body.into(), location: None, headers: Vec::new() }
    }

    /// The answer to a request that failed.
    pub fn error(error: &Error) -> Self {
        if let Error::WithData { status, data } = error {
            return Self::json(*status, &json!({ "data": data }));
        }
        let text = error.client_text();
        let errors: Vec<String> = Some(text).filter(|t| !t.is_empty()).into_iter().collect();
        Self::errors(error.status(), &errors)
    }

    /// The answer to a request that succeeded.
    pub fn response(
        operation: Operation,
        request_id: &str,
        mount_type: &str,
        response: Option<&Response>,
    ) -> Self {
        let Some(response) = response else {
            return match operation {
                Operation::Read | Operation::List => Self::errors(404, &[]),
                _ => Self::no_content(),
            };
        };
        if let Some(raw) = &response.raw {
            return Self {
                status: raw.status,
                content_type: raw.content_type,
                body: raw.body.clone(),
                location: None,
                headers: Vec::new(),
            };
        }
        let bare_list = operation == Operation::List && response.status.is_none();
        if bare_list && response.wrap_info.is_none() && !has_keys(response) {
            return Self::errors(404, &[]);
        }
        Self::envelope(request_id, mount_type, response)
    }

    fn envelope(request_id: &str, mount_type: &str, response: &Response) -> Self {
        let warnings = Some(response.warnings.as_slice()).filter(|w| !w.is_empty());
        let status = response.status.unwrap_or(200);
        if let Some(info) = &response.wrap_info {
            let wrapped = Envelope {
                request_id: "",
                lease_id: "",
                renewable: false,
                lease_duration: 0,
                data: Data::Object(None),
                wrap_info: Some(wrap_json(info)),
                warnings,
                auth: None,
                mount_type: "",
            };
            return Self::written(status, |bytes| wrapped.write(bytes));
        }
        let (lease_id, renewable, ttl) =
            response.secret.as_ref().map_or(("", false, response.lease_hint), |secret| {
                (secret.lease_id.as_str(), secret.lease.renewable, secret.lease.ttl)
            });
        let envelope = Envelope {
            request_id,
            lease_id,
            renewable,
            lease_duration: ttl.as_secs(),
            data: match &response.text {
                Some(text) => Data::Text(text),
                None => Data::Object(response.data.as_ref()),
            },
            wrap_info: None,
            warnings,
            auth: response.auth.as_deref().map(auth_json),
            mount_type,
        };
        if response.inject {
            return Self::injected(status, response, &envelope);
        }
        Self::written(status, |bytes| envelope.write(bytes))
    }

    /// An envelope whose data keys stand at top level too.
    fn injected(status: u16, response: &Response, envelope: &Envelope<'_>) -> Self {
        let mut body = response.data.clone().unwrap_or_default();
        let mut bytes = Vec::new();
        let rest = envelope.write(&mut bytes).and_then(|()| serde_json::from_slice::<Object>(&bytes));
        match rest {
            Ok(rest) => {
                for (key, value) in rest {
                    body.entry(key).or_insert(value);
                }
                Self::json(status, &body)
            }
            Err(error) => Self::errors(500, &[error.to_string()]),
        }
    }
}

fn has_keys(response: &Response) -> bool {
    let keys = response.data.as_ref().and_then(|data| data.get("keys"));
    matches!(keys, Some(Value::Array(keys)) if !keys.is_empty())
}

/// The envelope's `auth`.
fn auth_json(auth: &Auth) -> Value {
    let mut object = json!({
        "client_token": auth.client_token,
        "accessor": auth.accessor,
        "policies": auth.policies,
        "metadata": if auth.metadata.is_empty() { Value::Null } else { json!(auth.metadata) },
        "lease_duration": auth.lease.ttl.as_secs(),
        "renewable": auth.lease.renewable,
        "entity_id": auth.entity_id,
        "token_type": auth.token_type,
        "orphan": auth.orphan,
        "mfa_requirement": null,
        "num_uses": auth.num_uses,
    });
    for (name, policies) in
        [("token_policies", &auth.token_policies), ("identity_policies", &auth.identity_policies)]
    {
        if let (Value::Object(map), false) = (&mut object, policies.is_empty()) {
            map.insert(name.to_owned(), json!(policies));
        }
    }
    object
}

fn wrap_json(info: &WrapInfo) -> Value {
    let mut object = json!({
        "token": info.token,
        "accessor": info.accessor,
        "ttl": info.ttl.as_secs(),
        "creation_time": info.creation_time.to_string(),
        "creation_path": info.creation_path,
    });
    if let (Value::Object(map), false) = (&mut object, info.wrapped_accessor.is_empty()) {
        map.insert("wrapped_accessor".to_owned(), json!(info.wrapped_accessor));
    }
    object
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::logical::{LeaseOptions, Secret};

    fn body(reply: &Reply) -> Value {
        serde_json::from_slice(&reply.body).unwrap()
    }

    #[test]
    fn nil_responses() {
        for (operation, status) in [
            (Operation::Read, 404),
            (Operation::List, 404),
            (Operation::Update, 204),
            (Operation::Delete, 204),
        ] {
            assert_eq!(Reply::response(operation, "id", "kv", None).status, status);
        }
        let none = Reply::response(Operation::Read, "id", "kv", None);
        assert_eq!(body(&none), json!({"errors": []}));
    }

    #[test]
    fn the_envelope_has_vaults_keys_in_vaults_order() {
        let response = Response {
            data: Some(Object::from_iter([("password".to_owned(), json!("p"))])),
            secret: Some(Box::new(Secret {
                lease: LeaseOptions {
                    ttl: Duration::from_mins(1),
                    renewable: true,
                    ..LeaseOptions::default()
                },
                lease_id: "database/creds/x/abc".to_owned(),
                ..Secret::default()
            })),
            ..Response::default()
        };
        let reply = Reply::response(Operation::Read, "id", "database", Some(&response));
        assert_eq!(
            String::from_utf8(reply.body.to_vec()).unwrap(),
            "{\"request_id\":\"id\",\"lease_id\":\"database/creds/x/abc\",\"renewable\":true,\
             \"lease_duration\":60,\"data\":{\"password\":\"p\"},\"wrap_info\":null,\
             \"warnings\":null,\"auth\":null,\"mount_type\":\"database\"}\n"
        );
    }

    #[test]
    fn data_as_text_is_sent_as_a_map_of_it_would_be() {
        let value = json!({"b": "\"\u{1}ä", "a": {"n": null}});
        let as_text = Response::text(&value).unwrap();
        let mut unfolded = as_text.clone();
        unfolded.unfold().unwrap();
        assert_eq!(unfolded.data, Response::json(value.clone()).data);
        let sent = |response: &Response| Reply::response(Operation::Read, "id", "token", Some(response)).body;
        assert_eq!(sent(&as_text), sent(&Response::json(value)));
        assert_eq!(sent(&as_text), sent(&unfolded));
    }

    #[test]
    fn injected_routes_repeat_their_data() {
        let mut response = Response::json(json!({"sys/": {"type": "system"}}));
        response.inject = true;
        let value = body(&Reply::response(Operation::Read, "id", "system", Some(&response)));
        assert_eq!(value["sys/"], value["data"]["sys/"]);
        assert_eq!(value["request_id"], "id");
    }

    #[test]
    fn errors_and_error_data() {
        let reply = Reply::error(&Error::bad_request("no"));
        assert_eq!((reply.status, body(&reply)), (400, json!({"errors": ["no"]})));
        let reply = Reply::error(&Error::coded(405, ""));
        assert_eq!((reply.status, body(&reply)), (405, json!({"errors": []})));
        let data = Object::from_iter([("error".to_owned(), json!("gone"))]);
        let reply = Reply::error(&Error::WithData { status: 404, data });
        assert_eq!((reply.status, body(&reply)), (404, json!({"data": {"error": "gone"}})));
    }
}
