//! Init, unseal, seal, status, health: what works without a token.

use crate::support::{anonymous, file_lab, lab, start_on};
use serde_json::json;
use vaultlab_server::Server;

#[tokio::test]
async fn a_new_server_says_so_and_refuses_everything_else() {
    let server = Server::builder().start().await.unwrap();
    let client = anonymous(&server);
    let health = client.get("sys/health").await.expect(501);
    assert_eq!(health.body["initialized"], false);
    assert_eq!(health.headers["cache-control"], "no-store");
    client.get("sys/health?uninitcode=200").await.expect(200);
    assert_eq!(client.get("sys/init").await.expect(200).body, json!({"initialized": false}));
    let status = client.get("sys/seal-status").await.expect(200);
    assert_eq!((&status.body["t"], &status.body["sealed"]), (&json!(0), &json!(true)));
    assert_eq!(status.body["storage_type"], "inmem");
    let refused = client.get("sys/mounts").await.expect(503);
    assert_eq!(refused.body, json!({"errors": ["Vault is sealed"]}));
    client.post("sys/unseal", json!({"key": "00".repeat(32)})).await.expect(400);
    server.stop().await;
}

#[tokio::test]
async fn three_of_five_keys_unseal() {
    let server = Server::builder().start().await.unwrap();
    let client = anonymous(&server);
    for (shares, threshold) in [(0, 0), (2, 1), (3, 4), (256, 3)] {
        let body = json!({"secret_shares": shares, "secret_threshold": threshold});
        client.post("sys/init", body).await.expect(400);
    }
    let pgp = json!({"secret_shares": 1, "secret_threshold": 1, "pgp_keys": ["a"]});
    client.post("sys/init", pgp).await.expect(400);
    // Vault's own command sends what it does not use as empty.
    let body = json!({
        "secret_shares": 5, "secret_threshold": 3, "pgp_keys": null, "root_token_pgp_key": "",
        "stored_shares": 0, "recovery_shares": 0, "recovery_threshold": 0, "recovery_pgp_keys": []
    });
    let init = client.post("sys/init", body.clone()).await.expect(200);
    assert_eq!(init.body["keys"].as_array().unwrap().len(), 5);
    assert_eq!(client.post("sys/init", body).await.expect(400).error(), "Vault is already initialized");
    client.get("sys/health").await.expect(503);
    client.get("sys/health?sealedcode=299").await.expect(299);

    let key = |i: usize| init.body["keys"][i].clone();
    let progress = |answer: &crate::support::Answer| answer.body["progress"].as_u64().unwrap();
    let first = client.post("sys/unseal", json!({"key": key(0)})).await.expect(200);
    assert_eq!(progress(&first), 1);
    assert_ne!(first.body["nonce"], "");
    let again = client.post("sys/unseal", json!({"key": key(0)})).await.expect(200);
    assert_eq!(progress(&again), 1, "the same key counts once");
    let reset = client.post("sys/unseal", json!({"reset": true})).await.expect(200);
    assert_eq!(progress(&reset), 0);

    // A wrong key is noticed at the threshold only, and progress starts again.
    client.post("sys/unseal", json!({"key": key(0)})).await.expect(200);
    client.post("sys/unseal", json!({"key": key(1)})).await.expect(200);
    let wrong = client.post("sys/unseal", json!({"key": "ab".repeat(33)})).await.expect(400);
    assert!(wrong.error().starts_with("invalid key"), "{}", wrong.error());
    assert_eq!(progress(&client.get("sys/seal-status").await), 0);

    for i in [4, 1] {
        client.post("sys/unseal", json!({"key": key(i)})).await.expect(200);
    }
    let base64 = init.body["keys_base64"][2].clone();
    let open = client.post("sys/unseal", json!({ "key": base64 })).await.expect(200);
    assert_eq!(open.body["sealed"], false);
    assert!(open.body["cluster_id"].is_string());
    client.get("sys/health").await.expect(200);
    client.post("sys/unseal", json!({"key": key(0)})).await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn sealing_needs_sudo_and_closes_the_server() {
    let lab = lab().await;
    let weak = lab.token_with("path \"sys/seal\" { capabilities = [\"update\"] }").await;
    weak.post("sys/seal", json!({})).await.expect(403);
    lab.root.post("sys/seal", json!({})).await.expect(204);
    let refused = lab.root.get("auth/token/lookup-self").await.expect(503);
    assert_eq!(refused.error(), "Vault is sealed");
    lab.root.post("sys/unseal", json!({"key": lab.keys[0]})).await.expect(200);
    lab.root.get("auth/token/lookup-self").await.expect(200);
    lab.server.stop().await;
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let lab = file_lab(folder.path()).await;
    let child = lab.root.post("auth/token/create", json!({"policies": ["p"], "ttl": "1h"})).await.expect(200);
    lab.root
        .post("sys/policies/acl/p", json!({"policy": "path \"a/*\" { capabilities = [\"read\"] }"}))
        .await
        .expect(204);
    lab.root.post("sys/auth/approle", json!({"type": "approle"})).await.expect(204);
    let accessor = lab.root.get("sys/auth").await.body["approle/"]["accessor"].clone();
    lab.server.stop().await;

    let server = start_on(folder.path()).await;
    let client = anonymous(&server);
    client.post("sys/unseal", json!({"key": lab.keys[0]})).await.expect(200);
    let root = client.with_token(&lab.root.token);
    assert_eq!(root.get("sys/auth").await.body["approle/"]["accessor"], accessor);
    let token = root.with_token(child.body["auth"]["client_token"].as_str().unwrap());
    let found = token.get("auth/token/lookup-self").await.expect(200);
    assert_eq!(found.data()["policies"], json!(["default", "p"]));
    root.post("auth/token/revoke-self", json!({})).await.expect(204);
    assert_eq!(token.get("auth/token/lookup-self").await.status, 403, "it went with its parent");
    server.stop().await;
}

#[tokio::test]
async fn a_folder_serves_one_server_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_on(folder.path()).await;
    let second = Server::builder()
        .file_storage(folder.path(), vaultlab_server::storage::FileOptions::default())
        .start()
        .await;
    assert!(second.is_err());
    server.stop().await;
    start_on(folder.path()).await.stop().await;
}
