//! `sys/config/auditing/request-headers`: the headers of requests that audit devices record.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Endpoint;
use crate::core::active::Active;
use crate::framework::Call;
use crate::logical::Operation::{Delete, Read};
use crate::logical::{AuditedHeader, Error, Response, View};

const KEY: &str = "sys/audited-headers-config/audited-headers";

/// How a header is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Setting {
    /// Hashed.
    hmac: bool,
}

/// Recorded where nothing else is set, as they are; who takes them out has them back after the next unseal.
const DEFAULTS: [&str; 3] = ["correlation-id", "user-agent", "x-correlation-id"];

/// The headers, by name in lower case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AuditedHeaders(BTreeMap<String, Setting>);

impl AuditedHeaders {
    /// The stored ones, and those every server begins with.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn load(storage: &View) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(storage.get_json::<Self>(KEY)?.unwrap_or_default().with_defaults()))
    }

    fn with_defaults(mut self) -> Self {
        for name in DEFAULTS {
            self.0.entry(name.to_owned()).or_insert(Setting { hmac: false });
        }
        self
    }

    /// Those a request has, whose headers have these values.
    pub fn of(&self, values: impl Fn(&str) -> Vec<String>) -> Vec<AuditedHeader> {
        let found = self.0.iter().map(|(name, setting)| AuditedHeader {
            name: name.clone(),
            values: values(name),
            hmac: setting.hmac,
        });
        found.filter(|header| !header.values.is_empty()).collect()
    }
}

/// Serves the endpoints.
///
/// # Errors
/// 400 for a header that is not recorded; when storage fails.
pub async fn handle(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let given = call.path_field("header");
    let headers = active.audited_headers();
    if call.endpoint == Endpoint::AuditedHeaders {
        return Ok(Some(shown(json!({ "headers": headers.0 }))));
    }
    let name = given.to_lowercase();
    match call.operation() {
        Read => {
            let setting =
                headers.0.get(&name).ok_or_else(|| Error::bad_request("Could not find header in config"))?;
            // Under the name as it was asked for.
            Ok(Some(shown(json!({ given: setting }))))
        }
        operation => {
            let hmac = call.fields().bool("hmac")?.unwrap_or_default();
            // One change at a time, or one would be lost.
            let _changing = active.mounting.lock().await;
            let mut headers = AuditedHeaders::clone(&active.audited_headers());
            if operation == Delete {
                headers.0.remove(&name);
            } else {
                headers.0.insert(name, Setting { hmac });
            }
            active.storage.put_json(KEY, &headers).await?;
            *active.audited_headers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(headers);
            Ok(None)
        }
    }
}

fn shown(data: serde_json::Value) -> Response {
    let mut response = Response::json(data);
    response.inject = true;
    response
}

impl Active {
    /// The headers of requests that audit devices record.
    pub fn audited_headers(&self) -> Arc<AuditedHeaders> {
        Arc::clone(&self.audited_headers.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_goes_before_the_defaults() {
        let set: AuditedHeaders = serde_json::from_value(json!({"user-agent": {"hmac": true}})).unwrap();
        let headers = serde_json::to_value(set.with_defaults()).unwrap();
        let expected = json!({
            "correlation-id": {"hmac": false},
            "user-agent": {"hmac": true},
            "x-correlation-id": {"hmac": false},
        });
        assert_eq!(headers, expected);
    }

    #[test]
    fn only_what_a_request_has_is_recorded() {
        let headers: AuditedHeaders =
            serde_json::from_value(json!({"x-a": {"hmac": true}, "x-b": {"hmac": false}})).unwrap();
        let has = |name: &str| if name == "x-a" { vec!["1".to_owned(), "2".to_owned()] } else { Vec::new() };
        let expected = AuditedHeader {
            name: "x-a".to_owned(),
            values: vec!["1".to_owned(), "2".to_owned()],
            hmac: true,
        };
        assert_eq!(headers.of(has), [expected]);
    }
}
