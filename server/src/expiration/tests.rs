//! Leases of a backend that keeps its secrets in its own storage, and fails when told to.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::revoke::MAX_ATTEMPTS;
use crate::barrier::Barrier;
use crate::core::lifecycle::InitRequest;
use crate::core::mounts::Table;
use crate::core::registry::Registry;
use crate::core::settings::Settings;
use crate::core::unseal::parse_share;
use crate::core::{Core, flow};
use crate::logical::{
    Backend, BackendContext, Error, LeaseOptions, Object, Operation, Renewal, Request, Response, Secret,
    SecretLease, View,
};
use crate::random;
use crate::storage::Store;

/// `creds/<ttl>` issues a secret (`creds/2h` slowly), `live` lists those not taken back, `broken` makes revocation fail.
struct Leaky(View);

#[expect(clippy::unnecessary_wraps, reason = "the signature is the factory's")]
fn leaky(context: BackendContext) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(Leaky(context.storage)))
}

#[async_trait]
impl Backend for Leaky {
    async fn handle(&self, request: &Request) -> Result<Option<Response>, Error> {
        match (request.path.as_str(), request.operation) {
            ("live/", Operation::List) => Ok(Response::list(self.0.list("live/")?)),
            ("broken", Operation::Update) => {
                self.0.put("broken", vec![1]).await?;
                Ok(None)
            }
            ("broken", Operation::Delete) => {
                self.0.delete("broken").await?;
                Ok(None)
            }
            (path, Operation::Read) => {
                if path == "creds/2h" {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                let ttl = path.strip_prefix("creds/").ok_or(Error::UnsupportedPath)?;
                let name = random::base62(8);
                self.0.put(&format!("live/{name}"), vec![1]).await?;
                let mut response = Response::json(json!({ "name": name }));
                response.secret = Some(Box::new(Secret {
                    lease: LeaseOptions {
                        ttl: crate::duration::parse(ttl).map_err(|e| Error::bad_request(e.to_string()))?,
                        max_ttl: Duration::from_hours(2),
                        renewable: true,
                        ..LeaseOptions::default()
                    },
                    internal: Object::from_iter([("name".to_owned(), json!(name))]),
                    ..Secret::default()
                }));
                Ok(Some(response))
            }
            _ => Err(Error::UnsupportedOperation),
        }
    }

    async fn renew(&self, lease: &SecretLease) -> Result<Renewal, Error> {
        Ok(Renewal { ttl: lease.lease.increment, max_ttl: lease.lease.max_ttl, ..Renewal::default() })
    }

    async fn revoke(&self, lease: &SecretLease) -> Result<(), Error> {
        if self.0.get("broken")?.is_some() {
            return Err(Error::internal("database is down"));
        }
        let name = lease.internal.get("name").and_then(Value::as_str).unwrap_or_default();
        Ok(self.0.delete(&format!("live/{name}")).await?)
    }
}

struct Lab {
    core: Arc<Core>,
    key: String,
    root: String,
}

impl Lab {
    async fn new() -> Self {
        let registry = Registry::default().with(Table::Secret, "leaky", leaky);
        let core = Core::new(Settings::default(), Barrier::new(Store::memory()), registry);
        let init = core.initialise(&InitRequest { shares: 1, threshold: 1 }).await.unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let lab = Self { core, key: text(&init["keys"][0]), root: text(&init["root_token"]) };
        lab.unseal().await;
        lab.write("sys/mounts/leaky", json!({"type": "leaky"})).await;
        lab
    }

    async fn unseal(&self) {
        self.core.unseal(parse_share(&self.key).unwrap()).await.unwrap();
    }

    async fn call(
        &self,
        token: &str,
        operation: Operation,
        path: &str,
        data: Value,
    ) -> Result<Option<Response>, Error> {
        let request = Request {
            client_token: token.to_owned(),
            ..crate::logical::testing::request(operation, path, data)
        };
        flow::handle(&self.core, request).await.result
    }

    async fn write(&self, path: &str, data: Value) -> Option<Response> {
        self.call(&self.root, Operation::Update, path, data).await.unwrap()
    }

    async fn creds(&self, token: &str, ttl: &str) -> String {
        let response = self.call(token, Operation::Read, &format!("leaky/creds/{ttl}"), Value::Null).await;
        response.unwrap().unwrap().secret.unwrap().lease_id
    }

    /// Secrets that were not taken back.
    async fn live(&self) -> usize {
        let listed = self.call(&self.root, Operation::List, "leaky/live/", Value::Null).await.unwrap();
        listed.map_or(0, |response| response.data.unwrap()["keys"].as_array().unwrap().len())
    }

    /// Waits until there are so many.
    async fn settle(&self, count: usize) {
        for _ in 0..300 {
            if self.live().await == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.live().await, count);
    }

    async fn child(&self, ttl: &str) -> String {
        let made = self.write("auth/token/create", json!({"policies": ["root"], "ttl": ttl})).await;
        made.unwrap().auth.unwrap().client_token
    }
}

#[tokio::test]
async fn a_lease_ends_on_time() {
    let lab = Lab::new().await;
    let short = lab.creds(&lab.root, "1s").await;
    let long = lab.creds(&lab.root, "1h").await;
    assert!(short.starts_with("leaky/creds/1s/") && short.len() == "leaky/creds/1s/".len() + 24);
    assert_eq!(lab.live().await, 2);
    lab.settle(1).await;
    let active = lab.core.active().unwrap();
    assert!(active.load_lease(&short).unwrap().is_none());
    assert!(active.load_lease(&long).unwrap().is_some());
}

#[tokio::test]
async fn secrets_die_with_the_token_that_asked_for_them() {
    let lab = Lab::new().await;
    let parent = lab.child("1h").await;
    let made = lab.call(&parent, Operation::Update, "auth/token/create", json!({"ttl": "1h"})).await;
    let child = made.unwrap().unwrap().auth.unwrap().client_token;
    lab.creds(&child, "1h").await;
    lab.creds(&lab.root, "1h").await;
    lab.write("auth/token/revoke", json!({ "token": parent })).await;
    lab.settle(1).await;
    let expiring = lab.child("1s").await;
    lab.creds(&expiring, "1h").await;
    assert_eq!(lab.live().await, 2);
    lab.settle(1).await;
}

#[tokio::test]
async fn renewal_extends_up_to_the_limit() {
    let lab = Lab::new().await;
    let id = lab.creds(&lab.root, "1m").await;
    let renewed = lab.write("sys/leases/renew", json!({"lease_id": id, "increment": "1h"})).await.unwrap();
    assert_eq!(renewed.secret.unwrap().lease.ttl, Duration::from_hours(1));
    let capped = lab.write("sys/leases/renew", json!({"lease_id": id, "increment": "9h"})).await.unwrap();
    assert!(capped.warnings[0].starts_with("TTL of \"9h\" exceeded"), "{:?}", capped.warnings);
    let unknown = lab.call(&lab.root, Operation::Update, "sys/leases/renew", json!({"lease_id": "x"})).await;
    assert_eq!(unknown.unwrap_err(), Error::bad_request("lease not found"));
}

#[tokio::test]
async fn a_failed_revocation_by_request_leaves_the_lease() {
    let lab = Lab::new().await;
    let id = lab.creds(&lab.root, "1h").await;
    lab.write("leaky/broken", json!({})).await;
    let revoke = lab.call(&lab.root, Operation::Update, "sys/leases/revoke", json!({ "lease_id": id })).await;
    let error = revoke.unwrap_err();
    assert_eq!(error.status(), 400);
    assert!(error.to_string().ends_with("err: database is down"), "{error}");
    lab.write("sys/leases/renew", json!({ "lease_id": id, "increment": "1m" })).await;
    lab.call(&lab.root, Operation::Delete, "leaky/broken", Value::Null).await.unwrap();
    lab.write("sys/leases/revoke", json!({ "lease_id": id })).await;
    assert_eq!(lab.live().await, 0);
    lab.write("sys/leases/revoke", json!({ "lease_id": id })).await;
}

#[tokio::test]
async fn the_sixth_failure_makes_a_lease_irrevocable_until_it_is_forced() {
    let lab = Lab::new().await;
    let id = lab.creds(&lab.root, "1h").await;
    lab.write("leaky/broken", json!({})).await;
    let active = lab.core.active().unwrap();
    for attempt in 1..=MAX_ATTEMPTS {
        assert!(!active.index().lease(&id).unwrap().irrevocable, "attempt {attempt}");
        active.expire_lease(&id).await;
    }
    let list = || lab.call(&lab.root, Operation::Read, "sys/leases", json!({"type": "irrevocable"}));
    let shown = list().await.unwrap().unwrap().data.unwrap();
    assert_eq!(shown["leases"][0]["lease_id"], json!(id));
    assert_eq!(shown["leases"][0]["error"], "database is down");
    // It stays so over a restart.
    lab.core.seal().await;
    lab.unseal().await;
    assert_eq!(list().await.unwrap().unwrap().data.unwrap()["lease_count"], 1);
    lab.write("sys/leases/revoke-force/leaky", json!({})).await;
    assert_eq!(list().await.unwrap().unwrap().data.unwrap()["lease_count"], 0);
}

#[tokio::test]
async fn leases_end_over_a_restart_too() {
    let lab = Lab::new().await;
    lab.creds(&lab.root, "1s").await;
    lab.creds(&lab.root, "1h").await;
    lab.core.seal().await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    lab.unseal().await;
    lab.settle(1).await;
}

#[tokio::test]
async fn unmounting_takes_the_secrets_back_first() {
    let lab = Lab::new().await;
    lab.creds(&lab.root, "1h").await;
    lab.write("leaky/broken", json!({})).await;
    let unmount = || lab.call(&lab.root, Operation::Delete, "sys/mounts/leaky", Value::Null);
    assert!(unmount().await.is_err());
    let refused = lab.call(&lab.root, Operation::Read, "leaky/creds/1h", Value::Null).await;
    assert!(matches!(refused, Err(Error::NoRoute(_))), "{refused:?}");
    lab.write("sys/leases/revoke-force/leaky", json!({})).await;
    unmount().await.unwrap();
    assert_eq!(lab.core.active().unwrap().index().lease_count(), 0);
}

#[tokio::test]
async fn a_mount_of_an_unknown_type_keeps_its_place_and_data() {
    let lab = Lab::new().await;
    lab.creds(&lab.root, "1h").await;
    lab.core.seal().await;
    let without = Core::new(Settings::default(), lab.core.barrier.clone(), Registry::default());
    let without = Lab { core: without, key: lab.key.clone(), root: lab.root.clone() };
    without.unseal().await;
    let refused = without.call(&lab.root, Operation::Read, "leaky/creds/1h", Value::Null).await.unwrap_err();
    assert_eq!(refused.status(), 500);
    without.write("sys/mounts/leaky/tune", json!({"description": "kept"})).await;
    without.core.seal().await;
    lab.unseal().await;
    assert_eq!(lab.live().await, 1);
    let mounts = lab.call(&lab.root, Operation::Read, "sys/mounts", Value::Null).await.unwrap().unwrap();
    assert_eq!(mounts.data.unwrap()["leaky/"]["description"], "kept");
}

#[tokio::test]
async fn a_last_use_gets_no_secret() {
    let lab = Lab::new().await;
    let made = lab.write("auth/token/create", json!({"num_uses": 1})).await;
    let token = made.unwrap().auth.unwrap().client_token;
    let error = lab.call(&token, Operation::Read, "leaky/creds/1h", Value::Null).await.unwrap_err();
    assert!(error.to_string().contains("one use left"), "{error}");
    lab.settle(0).await;
}

#[tokio::test]
async fn a_secret_for_a_token_revoked_meanwhile_is_taken_back() {
    let lab = Lab::new().await;
    let token = lab.child("1h").await;
    let active = lab.core.active().unwrap();
    let request = Request {
        client_token: token.clone(),
        mount_point: "leaky/".to_owned(),
        path: "creds/1h".to_owned(),
        ..Request::default()
    };
    let mut response = Response {
        secret: Some(Box::new(Secret::default())),
        ..lab.call(&token, Operation::Read, "leaky/creds/1h", Value::Null).await.unwrap().unwrap()
    };
    lab.write("auth/token/revoke", json!({ "token": token })).await;
    let late = active.register_lease(&request, &mut response).await;
    assert_eq!(late, Err(Error::PermissionDenied));
    lab.settle(0).await;
    assert_eq!(active.index().lease_count(), 0);
}

#[tokio::test]
async fn sealing_lets_a_slow_request_register_its_secret() {
    let lab = Lab::new().await;
    let (id, ()) = tokio::join!(lab.creds(&lab.root, "2h"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        lab.core.seal().await;
    });
    assert!(lab.core.active().is_none());
    lab.unseal().await;
    lab.write("sys/leases/revoke", json!({ "lease_id": id })).await;
    assert_eq!(lab.live().await, 0);
}

#[tokio::test]
async fn many_leases_end_together_and_none_is_lost() {
    let lab = Lab::new().await;
    let token = lab.child("1h").await;
    for _ in 0..500 {
        lab.creds(&token, "1h").await;
    }
    assert_eq!(lab.live().await, 500);
    lab.write("auth/token/revoke", json!({ "token": token })).await;
    lab.settle(0).await;
}
