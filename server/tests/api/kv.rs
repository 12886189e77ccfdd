//! The key-value engines over HTTP.

use crate::support::lab;
use serde_json::{Value, json};

#[tokio::test]
async fn version_2_over_http() {
    let lab = lab().await;
    let root = &lab.root;
    root.post("sys/mounts/secret", json!({"type": "kv", "options": {"version": "2"}})).await.expect(204);
    root.get("secret/data/app").await.expect(404);
    let written =
        root.post("secret/data/app", json!({"data": {"a": 1}, "options": {"cas": 0}})).await.expect(200);
    assert_eq!(written.data()["version"], 1);
    let refused = root.post("secret/data/app", json!({"data": {}, "options": {"cas": 0}})).await.expect(400);
    assert_eq!(refused.error(), "check-and-set parameter did not match the current version");
    let patch = root
        .request("PATCH", "secret/data/app")
        .header("Content-Type", "application/merge-patch+json")
        .body(json!({"data": {"b": 2}}).to_string());
    assert_eq!(root.send(patch).await.expect(200).data()["version"], 2);
    assert_eq!(root.get("secret/data/app").await.expect(200).data()["data"], json!({"a": 1, "b": 2}));
    assert_eq!(root.get("secret/data/app?version=1").await.expect(200).data()["data"], json!({"a": 1}));
    assert_eq!(root.list("secret/metadata").await.expect(200).data()["keys"], json!(["app"]));
    assert_eq!(root.get("secret/metadata?list=true").await.expect(200).data()["keys"], json!(["app"]));

    root.delete("secret/data/app").await.expect(204);
    let gone = root.get("secret/data/app").await.expect(404);
    assert_eq!(gone.data()["data"], Value::Null);
    assert_eq!(gone.data()["metadata"]["version"], 2);
    assert_ne!(gone.body["request_id"], "");
    assert_eq!(root.get("secret/data/none").await.expect(404).body, json!({"errors": []}));
    root.post("secret/undelete/app", json!({"versions": [2]})).await.expect(204);
    assert_eq!(
        root.get("secret/subkeys/app").await.expect(200).data()["subkeys"],
        json!({"a": null, "b": null})
    );
    root.delete("secret/metadata/app").await.expect(204);
    root.list("secret/metadata").await.expect(404);
    lab.server.stop().await;
}

#[tokio::test]
async fn version_1_over_http() {
    let lab = lab().await;
    let root = &lab.root;
    root.post("sys/mounts/plain", json!({"type": "kv"})).await.expect(204);
    root.post("plain/app/db", json!({"user": "u", "ttl": "1h"})).await.expect(204);
    let read = root.get("plain/app/db").await.expect(200);
    assert_eq!(read.data(), &json!({"user": "u", "ttl": "1h"}));
    assert_eq!((&read.body["lease_duration"], &read.body["lease_id"]), (&json!(3600), &json!("")));
    assert_eq!(read.body["renewable"], false);
    root.post("plain/app/db", json!({})).await.expect(400);
    root.delete("plain/app/db").await.expect(204);
    root.get("plain/app/db").await.expect(404);
    let odd = root.post("sys/mounts/odd", json!({"type": "kv", "options": {"version": "3"}})).await;
    assert_eq!(odd.status, 400);
    lab.server.stop().await;
}
