//! Version 1: what is written is read back, with nothing around it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{check_path, plain_values};
use crate::duration;
use crate::framework::Row;
use crate::logical::{Backend, BackendContext, Error, Object, Operation, Request, Response, System, View};

/// A kv mount of version 1.
pub struct KvV1 {
    values: View,
    system: Arc<dyn System>,
}

impl KvV1 {
    /// The backend of a mount.
    pub fn new(context: BackendContext) -> Self {
        Self { values: plain_values(&context.storage), system: context.system }
    }

    fn read(&self, path: &str) -> Result<Option<Response>, Error> {
        let Some(data) = self.values.get_json::<Object>(path)? else {
            return Ok(None);
        };
        let hint = lifetime(&data).unwrap_or_else(|| self.system.default_lease_ttl());
        Ok(Some(Response { lease_hint: hint, ..Response::data(data) }))
    }
}

/// What the writer said in `ttl` (or its old name `lease`) about when to read the value again.
fn lifetime(data: &Object) -> Option<Duration> {
    let value = data.get("ttl").or_else(|| data.get("lease"))?;
    duration::parse_value(value).ok()
}

#[async_trait]
impl Backend for KvV1 {
    fn endpoints(&self) -> Vec<Row> {
        use Operation::{Delete, List, Read, Update};
        vec![Row::any_key(&[Read, List, Update, Delete])]
    }

    fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        Ok(Some(self.values.get(&request.path)?.is_some()))
    }

    async fn handle(&self, request: &Request) -> Result<Option<Response>, Error> {
        let path = request.path.as_str();
        check_path(path)?;
        match request.operation {
            Operation::Read => self.read(path),
            Operation::List => {
                let folder = match path {
                    "" => String::new(),
                    path => format!("{}/", path.trim_end_matches('/')),
                };
                Ok(Response::list(self.values.list(&folder)?))
            }
            Operation::Delete => {
                self.values.delete(path).await?;
                Ok(None)
            }
            Operation::Create | Operation::Update => {
                if path.is_empty() {
                    return Err(Error::bad_request("missing path"));
                }
                if request.data.is_empty() {
                    return Err(Error::bad_request("missing data fields"));
                }
                self.values.put_json(path, &request.data).await?;
                Ok(None)
            }
            Operation::Patch | Operation::Help => Err(Error::UnsupportedOperation),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::logical::testing::{context, request};

    fn kv() -> KvV1 {
        KvV1::new(context("kv/", "kv").0)
    }

    async fn ok(kv: &KvV1, operation: Operation, path: &str, data: serde_json::Value) -> Option<Response> {
        kv.handle(&request(operation, path, data)).await.unwrap()
    }

    #[tokio::test]
    async fn values_are_written_read_listed_and_deleted() {
        let kv = kv();
        let data = json!({"user": "u", "n": 1, "deep": {"x": [true]}});
        let write = request(Operation::Create, "app/db", data.clone());
        assert_eq!(kv.exists(&write).unwrap(), Some(false));
        assert!(kv.handle(&write).await.unwrap().is_none());
        assert_eq!(kv.exists(&write).unwrap(), Some(true));
        ok(&kv, Operation::Update, "app", json!({"a": "b"})).await;
        let read = ok(&kv, Operation::Read, "app/db", json!({})).await.unwrap();
        assert_eq!(serde_json::Value::Object(read.data.unwrap()), data);
        assert_eq!(read.lease_hint, Duration::from_hours(768));
        let keys = |response: Option<Response>| response.unwrap().data.unwrap()["keys"].clone();
        assert_eq!(keys(ok(&kv, Operation::List, "", json!({})).await), json!(["app", "app/"]));
        assert_eq!(keys(ok(&kv, Operation::List, "app/", json!({})).await), json!(["db"]));
        assert_eq!(keys(ok(&kv, Operation::List, "app", json!({})).await), json!(["db"]));
        ok(&kv, Operation::Delete, "app/db", json!({})).await;
        ok(&kv, Operation::Delete, "app/db", json!({})).await;
        assert!(ok(&kv, Operation::Read, "app/db", json!({})).await.is_none());
        assert!(ok(&kv, Operation::List, "app/", json!({})).await.is_none());
    }

    #[tokio::test]
    async fn the_writer_sets_the_lifetime_shown() {
        let kv = kv();
        for (data, seconds) in
            [(json!({"ttl": "1h"}), 3600), (json!({"lease": 60}), 60), (json!({"ttl": "odd"}), 2_764_800)]
        {
            ok(&kv, Operation::Update, "x", data).await;
            let read = ok(&kv, Operation::Read, "x", json!({})).await.unwrap();
            assert_eq!(read.lease_hint.as_secs(), seconds);
            assert!(read.secret.is_none(), "no lease is made");
        }
    }

    #[tokio::test]
    async fn wrong_writes_are_refused() {
        let kv = kv();
        for (operation, path, data, status) in [
            (Operation::Update, "x", json!({}), 400),
            (Operation::Update, "", json!({"a": 1}), 400),
            (Operation::Update, "a/../b", json!({"a": 1}), 400),
            (Operation::Patch, "x", json!({"a": 1}), 405),
        ] {
            let error = kv.handle(&request(operation, path, data)).await.unwrap_err();
            assert_eq!(error.status(), status, "{operation} {path}");
        }
    }
}
