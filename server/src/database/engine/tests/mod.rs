//! The engine on real databases.

mod bench;
mod configs;
mod faults;
mod leases;
mod roles;
mod root_rotation;
mod stalls;
mod static_roles;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::DatabaseEngine;
use crate::database::testdb::{ADMIN, ADMIN_PASSWORD, Target};
use crate::logical::testing::{MemoryStorage, TestSystem, context, request};
use crate::logical::{
    Backend as _, BackendContext, Error, LeaseOptions, Object, Operation, Response, SecretLease, Storage,
    StorageError, TokenEntry, View, Write,
};

/// A mount whose storage can be made to refuse writes.
struct Mount {
    engine: DatabaseEngine,
    context: BackendContext,
    system: Arc<TestSystem>,
    storage: Arc<FailingStorage>,
}

impl Mount {
    fn new() -> Self {
        let (mut context, system) = context("database/", "database");
        *system.now.lock().unwrap() = Timestamp::now();
        let storage = Arc::new(FailingStorage::default());
        context.storage = View::new(Arc::clone(&storage) as Arc<dyn Storage>, "logical/x/");
        Self { engine: DatabaseEngine::new(context.clone()), context, system, storage }
    }

    /// The same storage in a new process.
    async fn restarted(self) -> Self {
        self.storage.writes_left.store(usize::MAX, Ordering::SeqCst);
        let engine = DatabaseEngine::new(self.context.clone());
        engine.initialize().await.unwrap();
        Self { engine, ..self }
    }

    async fn call(&self, operation: Operation, path: &str, data: Value) -> Result<Option<Response>, Error> {
        let mut request = request(operation, path, data);
        if operation.is_write() {
            request.operation = match self.engine.exists(&request).unwrap() {
                Some(false) => Operation::Create,
                _ => Operation::Update,
            };
        }
        request.token =
            Some(Arc::new(TokenEntry { display_name: "approle".to_owned(), ..TokenEntry::default() }));
        self.engine.handle(&request).await
    }

    async fn write(&self, path: &str, data: Value) -> Result<Option<Response>, Error> {
        self.call(Operation::Update, path, data).await
    }

    async fn read(&self, path: &str) -> Result<Option<Response>, Error> {
        self.call(Operation::Read, path, json!({})).await
    }

    async fn data(&self, path: &str) -> Object {
        self.read(path).await.unwrap().unwrap().data.unwrap()
    }

    async fn fault(&self, path: &str, data: Value) -> (u16, String) {
        let error = self.write(path, data).await.unwrap_err();
        (error.status(), error.to_string())
    }

    /// Connects `db` to a target as administrator, for all roles.
    async fn connect(&self, target: &Target) {
        self.connect_as(target, ADMIN, ADMIN_PASSWORD).await;
    }

    async fn connect_as(&self, target: &Target, username: &str, password: &str) {
        let data = json!({
            "plugin_name": target.plugin,
            "connection_url": target.url(),
            "username": username,
            "password": password,
            "allowed_roles": "*",
        });
        assert!(self.write("config/db", data).await.unwrap().is_none());
    }

    async fn make_role(&self, target: &Target, name: &str) {
        let data = json!({"db_name": "db", "creation_statements": target.creation(), "default_ttl": "1h", "max_ttl": "2h"});
        assert!(self.write(&format!("roles/{name}"), data).await.unwrap().is_none());
    }

    /// A credential and its lease.
    async fn issue(&self, role: &str) -> Credentials {
        let response = self.read(&format!("creds/{role}")).await.unwrap().unwrap();
        Credentials::new(response)
    }

    /// Runs the periodic work to its end.
    async fn work(&self) {
        self.engine.engine.recover_connections().await;
        self.engine.engine.remove_leaked().await;
        self.engine.engine.rotate_due().await;
    }

    fn stored_password(&self) -> String {
        self.engine.engine.connection("db").unwrap().detail("password").to_owned()
    }
}

struct Credentials {
    username: String,
    password: String,
    lease: SecretLease,
}

impl Credentials {
    fn new(response: Response) -> Self {
        let data = response.data.unwrap();
        let secret = response.secret.unwrap();
        let text = |key: &str| data[key].as_str().unwrap().to_owned();
        Self {
            username: text("username"),
            password: text("password"),
            lease: SecretLease {
                lease_id: "database/creds/x/1".to_owned(),
                path: "creds/x".to_owned(),
                internal: secret.internal,
                data,
                lease: LeaseOptions { issue_time: Some(Timestamp::now()), ..secret.lease },
            },
        }
    }

    async fn work_on(&self, target: &Target) -> bool {
        target.can_login(&self.username, &self.password).await
    }
}

/// Memory that takes a number of writes and refuses all after them, as if the process had died.
struct FailingStorage {
    inner: MemoryStorage,
    writes_left: AtomicUsize,
}

impl Default for FailingStorage {
    fn default() -> Self {
        Self { inner: MemoryStorage::default(), writes_left: AtomicUsize::new(usize::MAX) }
    }
}

#[async_trait]
impl Storage for FailingStorage {
    fn get(&self, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StorageError> {
        self.inner.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.inner.list(prefix)
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.inner.keys(prefix)
    }

    async fn apply(&self, writes: Vec<Write>) -> Result<(), StorageError> {
        let left = self.writes_left.load(Ordering::SeqCst);
        if left == 0 {
            return Err(StorageError::Write("the process is dead".to_owned()));
        }
        self.writes_left.store(left - 1, Ordering::SeqCst);
        self.inner.apply(writes).await
    }
}
