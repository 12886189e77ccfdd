//! Response wrapping.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, lab};

const INVALID: &str = "wrapping token is not valid or does not exist";

fn wrapping_token(answer: &Answer) -> String {
    answer.body["wrap_info"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_wrapped_answer_is_read_once() {
    let lab = lab().await;
    let wrapped = lab.root.wrapped("POST", "sys/wrapping/wrap", "60", json!({"a": "b"})).await.expect(200);
    assert_eq!((&wrapped.body["request_id"], &wrapped.body["data"]), (&json!(""), &Value::Null));
    let info = &wrapped.body["wrap_info"];
    assert_eq!((&info["ttl"], &info["creation_path"]), (&json!(60), &json!("sys/wrapping/wrap")));
    let token = wrapping_token(&wrapped);
    let anyone = lab.root.with_token("");
    for _ in 0..2 {
        let found = anyone.post("sys/wrapping/lookup", json!({ "token": token })).await.expect(200);
        assert_eq!(found.data()["creation_ttl"], 60);
    }
    let opened = lab.root.with_token(&token).post("sys/wrapping/unwrap", json!({})).await.expect(200);
    assert_eq!(*opened.data(), json!({"a": "b"}));
    for path in ["sys/wrapping/unwrap", "sys/wrapping/lookup", "sys/wrapping/rewrap"] {
        let again = lab.root.post(path, json!({ "token": token })).await.expect(400);
        assert_eq!(again.error(), INVALID, "{path}");
    }
    lab.server.stop().await;
}

#[tokio::test]
async fn a_wrapped_answer_does_not_repeat_its_data() {
    let lab = lab().await;
    let body = json!({"path": "x"});
    let wrapped = lab.root.wrapped("POST", "sys/capabilities-self", "60", body).await.expect(200);
    let token = wrapping_token(&wrapped);
    let opened = lab.root.post("sys/wrapping/unwrap", json!({ "token": token })).await.expect(200);
    assert_eq!(opened.data()["x"], json!(["root"]));
    assert!(opened.body.get("x").is_none(), "{}", opened.body);
    lab.server.stop().await;
}

#[tokio::test]
async fn only_one_of_many_unwraps_succeeds() {
    let lab = lab().await;
    let wrapped = lab.root.wrapped("POST", "sys/wrapping/wrap", "60", json!({"a": 1})).await;
    let token = wrapping_token(&wrapped);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let client = lab.root.with_token(&token);
        calls.spawn(async move { client.post("sys/wrapping/unwrap", json!({})).await.status });
    }
    let statuses = calls.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    lab.server.stop().await;
}

#[tokio::test]
async fn a_wrapped_login_names_its_accessor() {
    let lab = lab().await;
    let wrapped = lab.root.wrapped("POST", "auth/token/create", "2m", json!({"ttl": "5m"})).await.expect(200);
    let token = wrapping_token(&wrapped);
    let opened = lab.root.post("sys/wrapping/unwrap", json!({ "token": token })).await.expect(200);
    assert_eq!(opened.body["auth"]["accessor"], wrapped.body["wrap_info"]["wrapped_accessor"]);
    let inside = opened.body["auth"]["client_token"].as_str().unwrap();
    lab.root.with_token(inside).get("auth/token/lookup-self").await.expect(200);
    lab.server.stop().await;
}

#[tokio::test]
async fn rewrapping_moves_the_answer() {
    let lab = lab().await;
    let wrapped = lab.root.wrapped("GET", "sys/policies/acl/default", "60", json!(null)).await.expect(200);
    let old = wrapping_token(&wrapped);
    let moved = lab.root.post("sys/wrapping/rewrap", json!({ "token": old })).await.expect(200);
    assert_eq!(moved.body["wrap_info"]["creation_path"], "sys/policies/acl/default");
    lab.root.post("sys/wrapping/unwrap", json!({ "token": old })).await.expect(400);
    let new = lab.root.with_token(&wrapping_token(&moved));
    assert_eq!(new.post("sys/wrapping/unwrap", json!({})).await.expect(200).data()["name"], "default");
    lab.server.stop().await;
}

#[tokio::test]
async fn a_wrapping_token_does_nothing_else_and_expires() {
    let lab = lab().await;
    let wrapped = lab.root.wrapped("POST", "sys/wrapping/wrap", "60", json!({"a": 1})).await;
    let token = lab.root.with_token(&wrapping_token(&wrapped));
    token.get("auth/token/lookup-self").await.expect(403);
    token.post("sys/wrapping/unwrap", json!({})).await.expect(400);
    let wrapped = lab.root.wrapped("POST", "sys/wrapping/wrap", "1s", json!({"a": 1})).await;
    tokio::time::sleep(Duration::from_millis(1300)).await;
    let late = lab.root.with_token(&wrapping_token(&wrapped)).post("sys/wrapping/unwrap", json!({})).await;
    assert_eq!(late.expect(400).error(), INVALID);
    let without = lab.root.post("sys/wrapping/wrap", json!({"a": 1})).await.expect(400);
    assert_eq!(without.error(), "endpoint requires response wrapping to be used");
    lab.root.wrapped("GET", "sys/policies/acl/none", "60", json!(null)).await.expect(404);
    lab.server.stop().await;
}
