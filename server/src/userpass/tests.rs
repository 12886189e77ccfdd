//! Userpass as a client of its paths sees it, on storage in memory.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::logical::testing::{TestSystem, context, request};

/// A hash of `correct` at the lowest cost, so that tests are quick.
fn quick_hash() -> String {
    bcrypt::hash("correct", 5).unwrap()
}

struct Bench {
    backend: Userpass,
    system: Arc<TestSystem>,
}

impl Bench {
    fn new() -> Self {
        let (context, system) = context("auth/userpass/", "userpass");
        Self { backend: Userpass::new(context), system }
    }

    async fn call(&self, operation: Operation, path: &str, data: Value) -> Answer {
        self.backend.handle(&request(operation, path, data)).await
    }

    async fn set(&self, path: &str, data: Value) {
        assert!(self.call(Operation::Update, path, data).await.unwrap().is_none());
    }

    async fn read(&self, path: &str) -> Object {
        let answer = self.call(Operation::Read, path, json!({})).await.unwrap();
        answer.unwrap().data.unwrap()
    }

    async fn login(&self, name: &str, password: &str) -> Result<Auth, Error> {
        let body = json!({"password": password});
        let answer = self.call(Operation::Update, &format!("login/{name}"), body).await?;
        Ok(*answer.unwrap().auth.unwrap())
    }
}

fn seen<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String) {
    let error = result.unwrap_err();
    (error.status(), error.client_text())
}

#[tokio::test]
async fn a_user_is_made_changed_listed_and_removed() {
    let bench = Bench::new();
    bench.set("users/Bob", json!({"password": "correct", "token_policies": "a", "token_ttl": 60})).await;
    let data = bench.read("users/bob").await;
    assert_eq!((&data["token_policies"], &data["token_ttl"]), (&json!(["a"]), &json!(60)));
    assert!(!data.keys().any(|key| key.contains("password")));
    bench.set("users/bob", json!({"token_ttl": 90})).await;
    let auth = bench.login("BOB", "correct").await.unwrap();
    assert_eq!((auth.display_name.as_str(), auth.metadata["username"].as_str()), ("bob", "bob"));
    assert_eq!((auth.policies, auth.lease.ttl), (vec!["a".to_owned()], Duration::from_secs(90)));
    assert_eq!(auth.alias.unwrap().name, "bob");
    let list = bench.call(Operation::List, "users/", json!({})).await.unwrap();
    assert_eq!(list.unwrap().data.unwrap()["keys"], json!(["bob"]));
    bench.call(Operation::Delete, "users/bob", json!({})).await.unwrap();
    assert_eq!(seen(bench.login("bob", "correct").await), (400, "invalid username or password".into()));
    assert!(bench.call(Operation::List, "users", json!({})).await.unwrap().is_none());
}

#[tokio::test]
async fn a_new_user_needs_a_usable_password() {
    let bench = Bench::new();
    for (body, text) in [
        (json!({}), "must be supplied"),
        (json!({"password": "x".repeat(73)}), "exceeds 72 bytes"),
        (json!({"password": "x", "password_hash": quick_hash()}), "only one of"),
        (json!({"password_hash": "x"}), "not a valid bcrypt hash"),
        (json!({"password_hash": bcrypt::hash("x", 4).unwrap()}), "cost of 4 is too low"),
    ] {
        let (status, message) = seen(bench.call(Operation::Update, "users/bob", body).await);
        assert_eq!(status, 400);
        assert!(message.contains(text), "{message}");
    }
    let (status, _) = seen(
        bench.call(Operation::Update, "users/bob/password", json!({"password_hash": quick_hash()})).await,
    );
    assert_eq!(status, 500, "no such user");
}

#[tokio::test]
async fn password_and_policies_have_their_own_paths() {
    let bench = Bench::new();
    let other = bcrypt::hash("other", 5).unwrap();
    bench.set("users/bob", json!({"password_hash": quick_hash(), "policies": "old"})).await;
    let data = bench.read("users/bob").await;
    assert_eq!((&data["policies"], &data["token_policies"]), (&json!(["old"]), &json!(["old"])));
    bench.set("users/bob/policies", json!({"token_policies": "new", "token_ttl": 5})).await;
    let data = bench.read("users/bob").await;
    assert_eq!((data.get("policies"), &data["token_policies"]), (None, &json!(["new"])));
    assert_eq!(data["token_ttl"], 0, "only policies are taken there");
    bench.set("users/bob/password", json!({"password_hash": other})).await;
    assert!(bench.login("bob", "correct").await.is_err());
    bench.login("bob", "other").await.unwrap();
}

#[tokio::test]
async fn bad_logins_are_refused_and_lock_the_user_out() {
    let bench = Bench::new();
    bench.set("users/bob", json!({"password_hash": quick_hash()})).await;
    assert_eq!(seen(bench.login("bob", "").await), (400, "invalid credentials".into()));
    for _ in 0..5 {
        assert_eq!(seen(bench.login("bob", "wrong").await), (400, "invalid username or password".into()));
    }
    assert_eq!(seen(bench.login("bob", "correct").await), (403, "permission denied".into()));
    bench.system.advance(Duration::from_mins(15));
    bench.login("bob", "correct").await.unwrap();
}

#[tokio::test]
async fn an_unknown_user_is_refused_like_a_wrong_password() {
    let bench = Bench::new();
    assert_eq!(seen(bench.login("nobody", "x").await), (400, "invalid username or password".into()));
    assert!(DUMMY_HASH.parse::<bcrypt::HashParts>().is_ok_and(|parts| parts.get_cost() == 10));
}

#[tokio::test]
async fn logins_are_bound_to_networks() {
    let bench = Bench::new();
    bench.set("users/bob", json!({"password_hash": quick_hash(), "token_bound_cidrs": "10.0.0.0/8"})).await;
    let mut login = request(Operation::Update, "login/bob", json!({"password": "correct"}));
    login.remote_addr = Some("10.1.1.1".parse().unwrap());
    bench.backend.handle(&login).await.unwrap();
    login.remote_addr = Some("127.0.0.1".parse().unwrap());
    assert_eq!(bench.backend.handle(&login).await.unwrap_err(), Error::PermissionDenied);
}

#[tokio::test]
async fn a_renewal_wants_the_same_policies() {
    let bench = Bench::new();
    bench
        .set("users/bob", json!({"password_hash": quick_hash(), "token_policies": "a", "token_ttl": 60}))
        .await;
    let auth = bench.login("bob", "correct").await.unwrap();
    bench.set("users/bob", json!({"token_ttl": 120})).await;
    assert_eq!(bench.backend.renew_auth(&auth).await.unwrap().lease.ttl, Duration::from_mins(2));
    bench.set("users/bob/policies", json!({"token_policies": "a,b"})).await;
    let error = bench.backend.renew_auth(&auth).await.unwrap_err();
    assert_eq!(error.to_string(), "policies have changed, not renewing");
}
