//! Entities and aliases over HTTP.

use crate::support::{Client, Lab, anonymous, lab};
use serde_json::{Value, json};

async fn with_user() -> (Lab, Client) {
    let lab = lab().await;
    lab.root.post("sys/auth/userpass", json!({"type": "userpass"})).await.expect(204);
    lab.root.post("auth/userpass/users/bob", json!({"password": "correct"})).await.expect(204);
    let client = anonymous(&lab.server);
    (lab, client)
}

async fn login(client: &Client) -> Value {
    let answer = client.post("auth/userpass/login/bob", json!({"password": "correct"})).await.expect(200);
    answer.body["auth"].clone()
}

#[tokio::test]
async fn an_entity_is_found_by_everything_that_names_it() {
    let (lab, client) = with_user().await;
    let id = login(&client).await["entity_id"].clone();
    let root = &lab.root;
    let entity = root.get(&format!("identity/entity/id/{}", id.as_str().unwrap())).await.expect(200);
    let (name, alias) = (entity.data()["name"].clone(), entity.data()["aliases"][0].clone());
    assert_eq!((&alias["name"], &alias["mount_type"]), (&json!("bob"), &json!("userpass")));
    for body in [
        json!({ "id": id }),
        json!({ "name": name }),
        json!({ "alias_id": alias["id"] }),
        json!({ "alias_name": "bob", "alias_mount_accessor": alias["mount_accessor"] }),
    ] {
        let found = root.post("identity/lookup/entity", body).await.expect(200);
        assert_eq!(found.data()["id"], id);
    }
    root.post("identity/lookup/entity", json!({"id": "none"})).await.expect(204);
    assert_eq!(root.list("identity/entity/id").await.expect(200).data()["keys"], json!([id]));
    assert_eq!(root.list("identity/entity-alias/id").await.expect(200).data()["keys"], json!([alias["id"]]));
    let read =
        root.get(&format!("identity/entity-alias/id/{}", alias["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(read.data()["canonical_id"], id);
    root.get("identity/oidc/key").await.expect(404);
    lab.server.stop().await;
}

#[tokio::test]
async fn an_entitys_policies_and_metadata_reach_its_tokens() {
    let (lab, client) = with_user().await;
    let root = &lab.root;
    root.post("sys/mounts/kv", json!({"type": "kv"})).await.expect(204);
    root.post("kv/red/x", json!({"k": "v"})).await.expect(204);
    let policy = "path \"kv/{{identity.entity.metadata.team}}/*\" { capabilities = [\"read\"] }";
    root.post("sys/policies/acl/team", json!({ "policy": policy })).await.expect(204);
    let before = login(&client).await;
    let token = client.with_token(before["client_token"].as_str().unwrap());
    token.get("kv/red/x").await.expect(403);
    let path = format!("identity/entity/id/{}", before["entity_id"].as_str().unwrap());
    root.post(&path, json!({"policies": "team", "metadata": {"team": "red"}})).await.expect(204);
    token.get("kv/red/x").await.expect(200);
    let after = login(&client).await;
    assert_eq!(after["entity_id"], before["entity_id"]);
    assert_eq!(after["identity_policies"], json!(["team"]));
    root.post(&path, json!({"metadata": {"team": "blue"}})).await.expect(204);
    token.get("kv/red/x").await.expect(403);
    root.post(&path, json!({"disabled": true})).await.expect(204);
    token.get("auth/token/lookup-self").await.expect(403);
    client.post("auth/userpass/login/bob", json!({"password": "correct"})).await.expect(403);
    root.post(&path, json!({"disabled": false})).await.expect(204);
    token.get("auth/token/lookup-self").await.expect(200);

    root.delete(&path).await.expect(204);
    root.get(&path).await.expect(404);
    assert_ne!(login(&client).await["entity_id"], before["entity_id"]);
    root.post(&path, json!({"metadata": {}})).await.expect(400);
    lab.server.stop().await;
}

#[tokio::test]
async fn an_entity_made_ahead_of_a_login_is_the_logins() {
    let (lab, client) = with_user().await;
    let root = &lab.root;
    let made =
        root.post("identity/entity", json!({"name": "robert", "policies": ["team"]})).await.expect(200);
    let mounts = root.get("sys/auth").await.expect(200);
    let accessor = &mounts.data()["userpass/"]["accessor"];
    let alias = json!({"name": "bob", "canonical_id": made.data()["id"], "mount_accessor": accessor});
    let alias = root.post("identity/entity-alias", alias).await.expect(200);
    let auth = login(&client).await;
    assert_eq!(auth["entity_id"], made.data()["id"]);
    assert_eq!(auth["policies"], json!(["default", "team"]));
    // Moved to another entity, and removed with it.
    let other = root.post("identity/entity", json!({"name": "other"})).await.expect(200);
    let change = json!({"id": alias.data()["id"], "canonical_id": other.data()["id"]});
    root.post("identity/entity-alias", change).await.expect(200);
    assert_eq!(login(&client).await["entity_id"], other.data()["id"]);
    root.delete("identity/entity/name/other").await.expect(204);
    let fresh = login(&client).await;
    assert!(fresh["entity_id"] != other.data()["id"] && fresh["entity_id"] != made.data()["id"]);
    lab.server.stop().await;
}
