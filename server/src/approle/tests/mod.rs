//! AppRole as a client of its paths sees it, on storage in memory.

mod login;
mod roles;
mod secret_ids;

use std::sync::Arc;

use serde_json::{Value, json};

use super::AppRole;
use crate::logical::testing::{TestSystem, context, request};
use crate::logical::{Auth, Backend, BackendContext, Error, Object, Operation, Response};

pub(super) struct Bench {
    pub backend: AppRole,
    pub context: BackendContext,
    pub system: Arc<TestSystem>,
}

impl Bench {
    pub fn new() -> Self {
        let (context, system) = context("auth/approle/", "approle");
        Self { backend: AppRole::new(context.clone()), context, system }
    }

    /// The same storage opened again, as after a restart.
    pub async fn restarted(&self) -> AppRole {
        let backend = AppRole::new(self.context.clone());
        backend.initialize().await.unwrap();
        backend
    }

    pub async fn call(
        &self,
        operation: Operation,
        path: &str,
        data: Value,
    ) -> Result<Option<Response>, Error> {
        self.backend.handle(&request(operation, path, data)).await
    }

    pub async fn write(&self, path: &str, data: Value) -> Result<Option<Response>, Error> {
        self.call(Operation::Update, path, data).await
    }

    /// A write that must succeed.
    pub async fn set(&self, path: &str, data: Value) -> Option<Response> {
        self.write(path, data).await.unwrap()
    }

    /// The data of a read that must find something.
    pub async fn read(&self, path: &str) -> Object {
        let answer = self.call(Operation::Read, path, json!({})).await.unwrap();
        answer.unwrap().data.unwrap()
    }

    pub async fn delete(&self, path: &str) {
        let answer = self.call(Operation::Delete, path, json!({})).await.unwrap();
        assert!(answer.is_none());
    }

    /// Keys of a list; empty where it answers 404.
    pub async fn list(&self, path: &str) -> Vec<String> {
        let answer = self.call(Operation::List, path, json!({})).await.unwrap();
        let data = answer.and_then(|response| response.data).unwrap_or_default();
        serde_json::from_value(data.get("keys").cloned().unwrap_or(json!([]))).unwrap()
    }

    /// A role of that name and its role_id.
    pub async fn role(&self, name: &str, data: Value) -> String {
        self.set(&format!("role/{name}"), data).await;
        let data = self.read(&format!("role/{name}/role-id")).await;
        data["role_id"].as_str().unwrap().to_owned()
    }

    /// A new secret_id of a role and its accessor.
    pub async fn secret_id(&self, role: &str, data: Value) -> (String, String) {
        let answer = self.set(&format!("role/{role}/secret-id"), data).await;
        let data = answer.unwrap().data.unwrap();
        let text = |name: &str| data[name].as_str().unwrap().to_owned();
        (text("secret_id"), text("secret_id_accessor"))
    }

    pub async fn login(&self, role_id: &str, secret_id: &str) -> Result<Auth, Error> {
        let data = json!({"role_id": role_id, "secret_id": secret_id});
        let mut answer = self.write("login", data).await?.unwrap();
        // As the core does, together with the token.
        answer.deferred.store().await?;
        Ok(*answer.auth.unwrap())
    }
}

/// Status and text of an error as the client sees them.
pub(super) fn seen<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String) {
    let error = result.unwrap_err();
    (error.status(), error.client_text())
}
