//! The cubbyhole: private storage of each token, gone when the token ends.

use std::sync::Arc;

use async_trait::async_trait;

use crate::framework::Row;
use crate::logical::{Backend, BackendContext, Error, Object, Operation, Request, Response, View};

/// The cubbyhole mount. Values are stored under the token's accessor, which, unlike the token, is
/// no secret.
pub struct Cubbyhole {
    storage: View,
}

impl Cubbyhole {
    /// Makes the backend of the mount, for [`crate::logical::Factory`].
    ///
    /// # Errors
    /// None; the signature is the factory's.
    pub fn factory(context: BackendContext) -> Result<Arc<dyn Backend>, Error> {
        Ok(Arc::new(Self { storage: context.storage }))
    }

    fn values(&self, request: &Request) -> Result<View, Error> {
        let accessor = request.token.as_deref().map_or("", |token| &token.accessor);
        if accessor.is_empty() {
            return Err(Error::internal("client token empty"));
        }
        Ok(self.storage.sub(&format!("{accessor}/")))
    }
}

#[async_trait]
impl Backend for Cubbyhole {
    fn endpoints(&self) -> Vec<Row> {
        use Operation::{Delete, List, Read, Update};
        vec![Row::any_key(&[Read, List, Update, Delete])]
    }

    fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        Ok(Some(self.values(request)?.get(&request.path)?.is_some()))
    }

    async fn handle(&self, request: &Request) -> Result<Option<Response>, Error> {
        let (values, path) = (self.values(request)?, request.path.as_str());
        if path.is_empty() && request.operation != Operation::List {
            return Err(Error::internal("missing path"));
        }
        match request.operation {
            Operation::Read => Ok(values.get_json::<Object>(path)?.map(Response::data)),
            Operation::List => {
                let folder = match path.trim_end_matches('/') {
                    "" => String::new(),
                    path => format!("{path}/"),
                };
                Ok(Response::list(values.list(&folder)?))
            }
            Operation::Create | Operation::Update => {
                if request.data.is_empty() {
                    return Err(Error::internal("missing data fields"));
                }
                values.put_json(path, &request.data).await?;
                Ok(None)
            }
            Operation::Delete => {
                values.delete(path).await?;
                Ok(None)
            }
            Operation::Patch | Operation::Help => Err(Error::UnsupportedOperation),
        }
    }

    async fn token_revoked(&self, accessor: &str) -> Result<(), Error> {
        Ok(self.storage.sub(&format!("{accessor}/")).clear().await?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::logical::TokenEntry;
    use crate::logical::testing::{context, request};

    fn of(accessor: &str, operation: Operation, path: &str, data: serde_json::Value) -> Request {
        let token = TokenEntry { accessor: accessor.to_owned(), ..TokenEntry::default() };
        Request { token: Some(Arc::new(token)), ..request(operation, path, data) }
    }

    #[tokio::test]
    async fn every_token_has_its_own_values_until_it_ends() {
        let (context, _) = context("cubbyhole/", "cubbyhole");
        let cubbyhole = Cubbyhole::factory(context.clone()).unwrap();
        let call = async |accessor: &str, operation, path: &str, data| {
            cubbyhole.handle(&of(accessor, operation, path, data)).await.unwrap()
        };
        call("a1", Operation::Update, "app/x", json!({"k": "of a1"})).await;
        call("a2", Operation::Update, "app/x", json!({"k": "of a2"})).await;
        let read = call("a1", Operation::Read, "app/x", json!({})).await;
        assert_eq!(read.unwrap().data.unwrap()["k"], "of a1");
        let list = call("a1", Operation::List, "app/", json!({})).await;
        assert_eq!(list.unwrap().data.unwrap()["keys"], json!(["x"]));
        let exists = cubbyhole.exists(&of("a3", Operation::Update, "app/x", json!({})));
        assert_eq!(exists.unwrap(), Some(false));

        cubbyhole.token_revoked("a1").await.unwrap();
        assert!(call("a1", Operation::Read, "app/x", json!({})).await.is_none());
        assert_eq!(context.storage.keys("").unwrap(), ["a2/app/x"]);
        call("a2", Operation::Delete, "app/x", json!({})).await;
        assert!(context.storage.keys("").unwrap().is_empty());
    }

    #[tokio::test]
    async fn nothing_goes_without_a_token_a_path_or_data() {
        let (context, _) = context("cubbyhole/", "cubbyhole");
        let cubbyhole = Cubbyhole::factory(context).unwrap();
        for (request, text) in [
            (request(Operation::Read, "x", json!({})), "client token empty"),
            (of("a", Operation::Read, "", json!({})), "missing path"),
            (of("a", Operation::Update, "x", json!({})), "missing data fields"),
        ] {
            let error = cubbyhole.handle(&request).await.unwrap_err();
            assert_eq!((error.status(), error.to_string()), (500, text.to_owned()));
        }
    }
}
