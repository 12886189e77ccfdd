//! AppRole over HTTP: what clients see from role to token and back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use crate::support::{Answer, Client, Lab, anonymous, file_lab, lab, start_on};
use serde_json::{Value, json};

/// A lab with AppRole mounted and a role `web`.
async fn approle(role: Value) -> (Lab, String) {
    let lab = lab().await;
    let role_id = set_up(&lab.root, role).await;
    (lab, role_id)
}

async fn set_up(root: &Client, role: Value) -> String {
    root.post("sys/auth/approle", json!({"type": "approle"})).await.expect(204);
    root.post("auth/approle/role/web", role).await.expect(204);
    let answer = root.get("auth/approle/role/web/role-id").await.expect(200);
    answer.data()["role_id"].as_str().unwrap().to_owned()
}

async fn secret_id(root: &Client, body: Value) -> Value {
    let answer = root.post("auth/approle/role/web/secret-id", body).await.expect(200);
    answer.data().clone()
}

async fn login(client: &Client, role_id: &str, secret_id: &Value) -> Answer {
    let body = json!({"role_id": role_id, "secret_id": secret_id});
    client.post("auth/approle/login", body).await
}

#[tokio::test]
async fn a_login_gives_a_token_with_the_roles_rights() {
    let (lab, role_id) = approle(json!({
        "token_policies": "app", "token_ttl": "10m", "token_max_ttl": "20m", "token_num_uses": 0,
    }))
    .await;
    lab.root
        .post("sys/policies/acl/app", json!({"policy": "path \"sys/mounts\" { capabilities = [\"read\"] }"}))
        .await
        .expect(204);
    let made = secret_id(&lab.root, json!({"metadata": "{\"host\":\"h1\"}"})).await;
    let answer = login(&anonymous(&lab.server), &role_id, &made["secret_id"]).await.expect(200);
    let auth = &answer.body["auth"];
    assert_eq!(auth["policies"], json!(["app", "default"]));
    assert_eq!(auth["metadata"], json!({"host": "h1", "role_name": "web"}));
    assert_eq!((&auth["lease_duration"], &auth["renewable"]), (&json!(600), &json!(true)));
    assert_eq!((&auth["token_type"], &auth["orphan"]), (&json!("service"), &json!(true)));
    assert!(!auth["entity_id"].as_str().unwrap().is_empty());
    assert_eq!(answer.body["data"], Value::Null);

    let token = lab.root.with_token(auth["client_token"].as_str().unwrap());
    token.get("sys/mounts").await.expect(200);
    token.get("auth/approle/role/web").await.expect(403);
    let lookup = token.get("auth/token/lookup-self").await.expect(200);
    assert_eq!(
        (&lookup.data()["display_name"], &lookup.data()["path"]),
        (&json!("approle"), &json!("auth/approle/login"))
    );
    lab.root.post("auth/approle/role/web/token-ttl", json!({"token_ttl": "15m"})).await.expect(204);
    let renewed = token.post("auth/token/renew-self", json!({})).await.expect(200);
    assert_eq!(renewed.body["auth"]["lease_duration"], 900);
    lab.server.stop().await;
}

#[tokio::test]
async fn one_role_id_is_one_entity() {
    let (lab, role_id) = approle(json!({})).await;
    let made = secret_id(&lab.root, json!({})).await;
    let client = anonymous(&lab.server);
    let first = login(&client, &role_id, &made["secret_id"]).await.expect(200);
    let second = login(&client, &role_id, &made["secret_id"]).await.expect(200);
    assert_eq!(first.body["auth"]["entity_id"], second.body["auth"]["entity_id"]);
    assert_ne!(first.body["auth"]["client_token"], second.body["auth"]["client_token"]);
    lab.server.stop().await;
}

#[tokio::test]
async fn every_answer_has_vaults_status_and_text() {
    let (lab, role_id) = approle(json!({})).await;
    let root = &lab.root;
    let post = async |path: &str, body: Value| root.post(&format!("auth/approle/{path}"), body).await;
    assert_eq!(post("login", json!({})).await.expect(400).body, json!({"errors": ["missing role_id"]}));
    assert_eq!(post("login", json!({"role_id": role_id})).await.expect(400).error(), "missing secret_id");
    assert_eq!(login(root, &role_id, &json!("x")).await.expect(400).error(), "invalid role or secret ID");
    assert_eq!(login(root, "x", &json!("x")).await.expect(400).error(), "invalid role or secret ID");
    post("role/web/secret-id/lookup", json!({"secret_id": "x"})).await.expect(204);
    post("role/web/secret-id/destroy", json!({"secret_id": "x"})).await.expect(204);
    let lookup =
        post("role/web/secret-id-accessor/lookup", json!({"secret_id_accessor": "x"})).await.expect(404);
    assert!(lookup.data()["error"].as_str().unwrap().contains("failed to find accessor entry"));
    post("role/web/secret-id-accessor/destroy", json!({"secret_id_accessor": "x"})).await.expect(500);
    post("role/none/secret-id", json!({})).await.expect(404);
    post("tidy/secret-id", json!({})).await.expect(202);
    root.get("auth/approle/role/none").await.expect(404);
    assert_eq!(root.list("auth/approle/role/web/secret-id").await.expect(404).body, json!({"errors": []}));
    assert_eq!(root.list("auth/approle/role").await.expect(200).data()["keys"], json!(["web"]));
    root.get("auth/approle/login").await.expect(405);
    root.get("auth/approle/nothing").await.expect(404);
    let warned = root.send(root.request("GET", "auth/approle/role/web?odd=1")).await.expect(200);
    assert_eq!(warned.body["warnings"], json!(["Endpoint ignored these unrecognized parameters: [odd]"]));
    lab.server.stop().await;
}

#[tokio::test]
async fn writing_a_role_takes_create_or_update_by_its_existence() {
    let (lab, _) = approle(json!({})).await;
    let creator = lab.token_with("path \"auth/approle/role/*\" { capabilities = [\"create\"] }").await;
    creator.post("auth/approle/role/new", json!({})).await.expect(204);
    creator.post("auth/approle/role/new", json!({})).await.expect(403);
    lab.server.stop().await;
}

#[tokio::test]
async fn lockout_is_switched_off_by_tuning() {
    let (lab, role_id) = approle(json!({})).await;
    let made = secret_id(&lab.root, json!({})).await;
    for _ in 0..5 {
        login(&lab.root, &role_id, &json!("bad")).await.expect(400);
    }
    let locked = login(&lab.root, &role_id, &made["secret_id"]).await.expect(403);
    assert_eq!(locked.error(), "permission denied");
    let off = json!({"user_lockout_config": {"lockout_disable": true}});
    lab.root.post("sys/auth/approle/tune", off).await.expect(204);
    login(&lab.root, &role_id, &made["secret_id"]).await.expect(200);
    lab.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uses_are_counted_exactly_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let lab = file_lab(folder.path()).await;
    let role_id = set_up(&lab.root, json!({"secret_id_num_uses": 20})).await;
    let off = json!({"user_lockout_config": {"lockout_disable": true}});
    lab.root.post("sys/auth/approle/tune", off).await.expect(204);
    let made = secret_id(&lab.root, json!({})).await;
    let attempts = (0..15).map(|_| {
        let (client, role_id, secret_id) =
            (anonymous(&lab.server), role_id.clone(), made["secret_id"].clone());
        tokio::spawn(async move { login(&client, &role_id, &secret_id).await.status })
    });
    for attempt in attempts.collect::<Vec<_>>() {
        assert_eq!(attempt.await.unwrap(), 200);
    }
    lab.server.stop().await;

    let server = start_on(folder.path()).await;
    let client = anonymous(&server);
    client.post("sys/unseal", json!({"key": lab.keys[0]})).await.expect(200);
    let mut good = 0;
    while login(&client, &role_id, &made["secret_id"]).await.status == 200 {
        good += 1;
    }
    assert_eq!(good, 5);
    server.stop().await;
}

#[tokio::test]
async fn a_wrapped_secret_id_is_delivered_once() {
    let (lab, role_id) = approle(json!({})).await;
    let wrapped =
        lab.root.wrapped("POST", "auth/approle/role/web/secret-id", "60", json!({})).await.expect(200);
    assert_eq!(wrapped.body["data"], Value::Null);
    let token = wrapped.body["wrap_info"]["token"].as_str().unwrap().to_owned();
    let courier = anonymous(&lab.server).with_token(&token);
    let unwrapped = courier.post("sys/wrapping/unwrap", json!({})).await.expect(200);
    login(&courier.with_token(""), &role_id, &unwrapped.data()["secret_id"]).await.expect(200);
    courier.post("sys/wrapping/unwrap", json!({})).await.expect(400);
    lab.server.stop().await;
}

#[tokio::test]
async fn a_password_login_and_private_storage() {
    let lab = lab().await;
    lab.root.post("sys/auth/userpass", json!({"type": "userpass"})).await.expect(204);
    let user = json!({"password": "correct horse", "token_policies": "app"});
    lab.root.post("auth/userpass/users/bob", user).await.expect(204);
    let client = anonymous(&lab.server);
    let wrong = client.post("auth/userpass/login/bob", json!({"password": "x"})).await.expect(400);
    assert_eq!(wrong.error(), "invalid username or password");
    let answer =
        client.post("auth/userpass/login/bob", json!({"password": "correct horse"})).await.expect(200);
    assert_eq!(answer.body["auth"]["metadata"], json!({"username": "bob"}));
    let bob = client.with_token(answer.body["auth"]["client_token"].as_str().unwrap());
    let lookup = bob.get("auth/token/lookup-self").await.expect(200);
    assert_eq!(lookup.data()["display_name"], "userpass-bob");

    bob.post("cubbyhole/mine", json!({"k": "v"})).await.expect(204);
    assert_eq!(bob.get("cubbyhole/mine").await.expect(200).data(), &json!({"k": "v"}));
    lab.root.get("cubbyhole/mine").await.expect(404);
    bob.post("auth/token/revoke-self", json!({})).await.expect(204);
    bob.get("cubbyhole/mine").await.expect(403);
    lab.server.stop().await;
}
