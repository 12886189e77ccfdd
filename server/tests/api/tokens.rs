//! `auth/token/`: creation, lookup, renewal, revocation, roles.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, lab};

async fn create(client: &Client, body: Value) -> Value {
    client.post("auth/token/create", body).await.expect(200).body["auth"].clone()
}

fn token(auth: &Value) -> &str {
    auth["client_token"].as_str().unwrap()
}

#[tokio::test]
async fn the_root_token_looks_itself_up() {
    let lab = lab().await;
    let found = lab.root.get("auth/token/lookup-self").await.expect(200);
    let data = found.data();
    assert_eq!((&data["display_name"], &data["path"]), (&json!("root"), &json!("auth/token/root")));
    assert_eq!((&data["policies"], &data["ttl"]), (&json!(["root"]), &json!(0)));
    assert!(data["expire_time"].is_null() && data.get("issue_time").is_none());
    assert_eq!(
        lab.root.post("auth/token/renew-self", json!({})).await.expect(400).error(),
        "invalid lease ID"
    );
    lab.server.stop().await;
}

#[tokio::test]
async fn a_created_token_has_what_was_asked_for() {
    let lab = lab().await;
    let auth = create(
        &lab.root,
        json!({
            "policies": ["App", "app"], "ttl": "1h", "meta": {"k": "v"}, "display_name": "my name!",
            "entity_alias": "", "id": "", "type": "", "period": "", "num_uses": 0
        }),
    )
    .await;
    assert_eq!(auth["policies"], json!(["app", "default"]));
    assert_eq!((&auth["lease_duration"], &auth["renewable"]), (&json!(3600), &json!(true)));
    assert_eq!((&auth["token_type"], &auth["orphan"]), (&json!("service"), &json!(false)));
    let found = lab.root.with_token(token(&auth)).get("auth/token/lookup-self").await.expect(200);
    let data = found.data();
    assert_eq!(data["display_name"], "token-my-name");
    assert_eq!(data["meta"], json!({"k": "v"}));
    assert_eq!(data["creation_ttl"], 3600);
    assert!(data["issue_time"].is_string() && data["expire_time"].is_string());
    let accessor = json!({"accessor": auth["accessor"]});
    let by_accessor = lab.root.post("auth/token/lookup-accessor", accessor.clone()).await.expect(200);
    assert_eq!(by_accessor.data()["id"], "");
    let listed = lab.root.list("auth/token/accessors").await.expect(200);
    assert!(listed.data()["keys"].as_array().unwrap().contains(&auth["accessor"]));
    lab.root.post("auth/token/revoke-accessor", accessor).await.expect(204);
    assert_eq!(lab.root.with_token(token(&auth)).get("auth/token/lookup-self").await.status, 403);
    lab.server.stop().await;
}

#[tokio::test]
async fn what_is_refused_says_why() {
    let lab = lab().await;
    for (body, text) in [
        (json!({"num_uses": -1}), "number of uses cannot be negative"),
        (json!({"id": "s.mine"}), "custom token ID cannot have the 's.' prefix"),
        (json!({"id": "a.b"}), "custom token ID cannot have a '.' in the value"),
        (json!({"type": "weird"}), "invalid 'token_type' value"),
        (json!({"policies": ["response-wrapping"]}), "cannot assign policy \"response-wrapping\""),
    ] {
        assert_eq!(lab.root.post("auth/token/create", body).await.expect(400).error(), text);
    }
    let batch = lab.root.post("auth/token/create", json!({"type": "batch", "ttl": "1m"})).await.expect(400);
    assert!(batch.error().contains("batch tokens are not supported"), "{}", batch.error());
    let weak = lab.token_with("path \"auth/token/create\" { capabilities = [\"update\"] }").await;
    for (body, text) in [
        (json!({"policies": ["other"]}), "child policies must be subset of parent"),
        (json!({"policies": ["root"]}), "child policies must be subset of parent"),
        (json!({"id": "x"}), "root or sudo privileges required to specify token id"),
        (json!({"period": "1h"}), "root or sudo privileges required to create periodic token"),
        (json!({"no_parent": true}), "root or sudo privileges required to create orphan token"),
    ] {
        assert_eq!(weak.post("auth/token/create", body).await.expect(400).error(), text);
    }
    let missing = lab.root.with_token("").get("auth/token/lookup-self").await.expect(403);
    assert_eq!(missing.error(), "permission denied");
    let bad = lab.root.with_token("bad").get("auth/token/lookup-self").await.expect(403);
    assert_eq!(bad.error(), "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n");
    assert_eq!(
        lab.root.post("auth/token/lookup", json!({"token": "bad"})).await.expect(403).error(),
        "bad token"
    );
    assert_eq!(
        lab.root.post("auth/token/renew", json!({"token": "bad"})).await.expect(400).error(),
        "token not found"
    );
    lab.root.post("auth/token/revoke", json!({"token": "bad"})).await.expect(204);
    lab.server.stop().await;
}

#[tokio::test]
async fn ttls_are_capped_with_vaults_warning() {
    let lab = lab().await;
    let capped = lab.root.post("auth/token/create", json!({"ttl": "1000h"})).await.expect(200);
    assert_eq!(
        capped.body["warnings"],
        json!([
            "TTL of \"1000h\" exceeded the effective max_ttl of \"768h\"; TTL value is capped accordingly"
        ])
    );
    let auth = create(&lab.root, json!({"ttl": "5m", "explicit_max_ttl": "10m"})).await;
    let client = lab.root.with_token(token(&auth));
    let renewed = client.post("auth/token/renew-self", json!({"increment": "1h"})).await.expect(200);
    assert!(renewed.body["auth"]["lease_duration"].as_u64().unwrap() >= 599, "{}", renewed.body);
    let periodic = create(&lab.root, json!({"period": "5m"})).await;
    assert_eq!(periodic["lease_duration"], 300);
    let client = lab.root.with_token(token(&periodic));
    let renewed = client.post("auth/token/renew-self", json!({"increment": "1h"})).await.expect(200);
    assert_eq!(renewed.body["auth"]["lease_duration"], 300);
    assert_eq!(client.get("auth/token/lookup-self").await.data()["period"], 300);
    lab.server.stop().await;
}

#[tokio::test]
async fn uses_are_counted_on_failures_too() {
    let lab = lab().await;
    let auth = create(&lab.root, json!({"num_uses": 3})).await;
    let client = lab.root.with_token(token(&auth));
    assert_eq!(client.get("auth/token/lookup-self").await.expect(200).data()["num_uses"], 2);
    client.get("nothing/here").await.expect(404);
    assert_eq!(client.get("auth/token/lookup-self").await.expect(200).data()["num_uses"], -1);
    client.get("auth/token/lookup-self").await.expect(403);
    lab.server.stop().await;
}

#[tokio::test]
async fn limited_uses_are_exact_under_concurrency() {
    let lab = lab().await;
    let auth = create(&lab.root, json!({"num_uses": 5})).await;
    let client = lab.root.with_token(token(&auth));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        calls.spawn(async move { client.get("auth/token/lookup-self").await.status });
    }
    let statuses = calls.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5, "{statuses:?}");
    lab.server.stop().await;
}

#[tokio::test]
async fn a_token_expires_on_time_and_takes_its_children_along() {
    let lab = lab().await;
    let parent = create(&lab.root, json!({"policies": ["root"], "ttl": "1s"})).await;
    let client = lab.root.with_token(token(&parent));
    let child = create(&client, json!({"policies": ["default"], "ttl": "1h"})).await;
    let child = lab.root.with_token(token(&child));
    child.get("auth/token/lookup-self").await.expect(200);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(client.get("auth/token/lookup-self").await.status, 403);
    assert_eq!(child.get("auth/token/lookup-self").await.status, 403);
    lab.server.stop().await;
}

#[tokio::test]
async fn revoke_orphan_leaves_the_children() {
    let lab = lab().await;
    let parent = create(&lab.root, json!({"policies": ["root"]})).await;
    let child = create(&lab.root.with_token(token(&parent)), json!({"policies": ["default"]})).await;
    lab.root.post("auth/token/revoke-orphan", json!({"token": token(&parent)})).await.expect(204);
    let child = lab.root.with_token(token(&child));
    assert_eq!(child.get("auth/token/lookup-self").await.expect(200).data()["orphan"], true);
    let unknown = lab.root.post("auth/token/revoke-orphan", json!({"token": "bad"})).await.expect(400);
    assert_eq!(unknown.error(), "token to revoke not found");
    lab.server.stop().await;
}

#[tokio::test]
async fn roles_shape_the_tokens_made_through_them() {
    let lab = lab().await;
    let role = json!({
        "allowed_policies": "a,b", "orphan": true, "renewable": false,
        "token_period": "1h", "path_suffix": "suffix"
    });
    lab.root.post("auth/token/roles/web", role).await.expect(204);
    let read = lab.root.get("auth/token/roles/web").await.expect(200);
    assert_eq!(
        (&read.data()["allowed_policies"], &read.data()["token_period"]),
        (&json!(["a", "b"]), &json!(3600))
    );
    assert_eq!(lab.root.list("auth/token/roles").await.expect(200).data()["keys"], json!(["web"]));
    let made = lab.root.post("auth/token/create/web", json!({"policies": ["a"]})).await.expect(200);
    let auth = &made.body["auth"];
    assert_eq!(
        (&auth["policies"], &auth["orphan"], &auth["renewable"]),
        (&json!(["a", "default"]), &json!(true), &json!(false))
    );
    let found = lab.root.with_token(token(auth)).get("auth/token/lookup-self").await.expect(200);
    assert_eq!(
        (&found.data()["role"], &found.data()["path"]),
        (&json!("web"), &json!("auth/token/create/web/suffix"))
    );
    lab.root.post("auth/token/create/web", json!({"policies": ["c"]})).await.expect(400);
    assert_eq!(
        lab.root.post("auth/token/create/none", json!({})).await.expect(400).error(),
        "unknown role none"
    );
    lab.root.delete("auth/token/roles/web").await.expect(204);
    lab.root.get("auth/token/roles/web").await.expect(404);
    lab.server.stop().await;
}

#[tokio::test]
async fn token_leases_are_listed_looked_up_and_revoked_by_prefix() {
    let lab = lab().await;
    let auth = create(&lab.root, json!({"policies": ["default"], "ttl": "1h"})).await;
    let listed = lab.root.list("sys/leases/lookup/auth/token/create").await.expect(200);
    let name = listed.data()["keys"][0].as_str().unwrap().to_owned();
    assert!(name.starts_with('h'), "{name}");
    let id = format!("auth/token/create/{name}");
    let found = lab.root.post("sys/leases/lookup", json!({ "lease_id": id })).await.expect(200);
    assert_eq!((&found.data()["id"], &found.data()["renewable"]), (&json!(id), &json!(true)));
    lab.root.post("sys/leases/revoke-prefix/auth/token/create", json!({})).await.expect(204);
    assert_eq!(lab.root.with_token(token(&auth)).get("auth/token/lookup-self").await.status, 403);
    lab.root.get("auth/token/lookup-self").await.expect(200);
    lab.server.stop().await;
}
