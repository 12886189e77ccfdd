//! Mounting, tuning, moving.

use serde_json::json;

use crate::support::lab;

#[tokio::test]
async fn a_new_server_has_vaults_mounts() {
    let lab = lab().await;
    let mounts = lab.root.get("sys/mounts").await.expect(200);
    for path in ["cubbyhole/", "identity/", "sys/"] {
        assert_eq!(mounts.body[path], mounts.data()[path]);
        for key in ["type", "accessor", "uuid", "config", "options", "description", "local", "seal_wrap"] {
            assert!(mounts.data()[path].get(key).is_some(), "{path} {key}");
        }
    }
    let headers = |path: &str| mounts.data()[path]["config"]["passthrough_request_headers"].clone();
    assert_eq!((headers("sys/"), headers("identity/")), (json!(["Accept"]), json!(["Authorization"])));
    assert_eq!(lab.root.get("sys/auth").await.expect(200).body["token/"]["type"], "token");
    let seen = lab.root.get("sys/internal/ui/mounts").await.expect(200);
    assert!(seen.data()["auth"].get("token/").is_some());
    let nothing = lab.root.with_token("").get("sys/internal/ui/mounts").await.expect(200);
    assert_eq!(*nothing.data(), json!({"auth": {}, "secret": {}}));
    lab.server.stop().await;
}

#[tokio::test]
async fn mounts_come_and_go_with_their_data() {
    let lab = lab().await;
    let root = &lab.root;
    root.post("sys/mounts/kv", json!({"type": "kv-v2", "description": "d"})).await.expect(204);
    let read = root.get("sys/mounts/kv").await.expect(200);
    assert_eq!((&read.data()["type"], &read.data()["options"]), (&json!("kv"), &json!({"version": "2"})));
    for path in ["sys/mounts/kv", "sys/auth/token", "sys/config/cors", "sys/ha-status"] {
        let answer = root.get(path).await.expect(200);
        for (key, value) in answer.data().as_object().unwrap() {
            assert_eq!(answer.body[key], *value, "{path} {key}");
        }
    }
    root.post("kv/data/a", json!({"data": {"x": 1}})).await.expect(200);
    root.delete("sys/mounts/kv").await.expect(204);
    root.delete("sys/mounts/kv").await.expect(204);
    root.get("kv/data/a").await.expect(404);
    assert_eq!(root.get("sys/mounts/kv").await.expect(400).error(), "No secret engine mount at kv/");
    root.post("sys/mounts/kv", json!({"type": "kv-v2"})).await.expect(204);
    root.get("kv/data/a").await.expect(404);
    lab.server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_mounted_says_why() {
    let lab = lab().await;
    lab.root.post("sys/mounts/a/b", json!({"type": "kv"})).await.expect(204);
    for (path, body, text) in [
        ("a/b", json!({"type": "kv"}), "path is already in use at a/b/"),
        ("a", json!({"type": "kv"}), "path is already in use at a/b/"),
        ("a/b/c", json!({"type": "kv"}), "path is already in use at a/b/"),
        ("x", json!({}), "backend type must be specified as a string"),
        ("x", json!({"type": "nope"}), "plugin not found in the catalog: nope"),
        ("sys/x", json!({"type": "kv"}), "cannot mount \"sys/x/\""),
        ("auth/x", json!({"type": "kv"}), "cannot mount \"auth/x/\""),
        ("x", json!({"type": "system"}), "mount type of \"system\" is not mountable"),
        ("x/", json!({"type": "kv"}), "cannot write to a path ending in '/'"),
        (
            "x",
            json!({"type": "kv", "config": {"default_lease_ttl": "2h", "max_lease_ttl": "1h"}}),
            "given default lease TTL greater than given max lease TTL",
        ),
    ] {
        let refused = lab.root.post(&format!("sys/mounts/{path}"), body).await.expect(400);
        assert_eq!(refused.error(), text);
    }
    assert_eq!(
        lab.root.delete("sys/auth/token").await.expect(400).error(),
        "token credential backend cannot be disabled"
    );
    lab.root.delete("sys/mounts/sys").await.expect(400);
    lab.server.stop().await;
}

#[tokio::test]
async fn tuning_is_shown_and_checked() {
    let lab = lab().await;
    let root = &lab.root;
    root.post("sys/mounts/kv", json!({"type": "kv"})).await.expect(204);
    let tune = root.get("sys/mounts/kv/tune").await.expect(200);
    assert_eq!(
        (&tune.data()["default_lease_ttl"], &tune.body["max_lease_ttl"]),
        (&json!(2_764_800), &json!(2_764_800))
    );
    root.post("sys/mounts/kv/tune", json!({"default_lease_ttl": "1h", "max_lease_ttl": 7200}))
        .await
        .expect(204);
    let tune = root.get("sys/mounts/kv/tune").await.expect(200);
    assert_eq!(
        (&tune.data()["default_lease_ttl"], &tune.data()["max_lease_ttl"]),
        (&json!(3600), &json!(7200))
    );
    let refused = root.post("sys/mounts/kv/tune", json!({"max_lease_ttl": "10m"})).await.expect(400);
    assert_eq!(
        refused.error(),
        "backend max lease TTL of 600 would be less than backend default lease TTL of 3600"
    );
    root.post("sys/mounts/kv/tune", json!({"default_lease_ttl": "system"})).await.expect(204);
    root.post("sys/auth/approle", json!({"type": "approle"})).await.expect(204);
    let lockout = json!({"user_lockout_config": {"lockout_disable": true}});
    root.post("sys/auth/approle/tune", lockout).await.expect(204);
    let tune = root.get("sys/mounts/auth/approle/tune").await.expect(200);
    assert_eq!(tune.data()["user_lockout_disable"], true);
    let listed = root.get("sys/auth").await.expect(200);
    assert_eq!(listed.data()["approle/"]["config"]["user_lockout_config"]["user_lockout_disable"], true);
    assert_eq!(tune.data()["token_type"], "default-service");
    assert_eq!(
        root.get("sys/mounts/none/tune").await.expect(400).error(),
        "cannot fetch sysview for path \"none/\""
    );
    lab.server.stop().await;
}

#[tokio::test]
async fn a_moved_mount_keeps_its_data() {
    let lab = lab().await;
    let root = &lab.root;
    root.post("sys/mounts/old", json!({"type": "kv"})).await.expect(204);
    root.post("old/x", json!({"a": 1})).await.expect(204);
    let moved = root.post("sys/remount", json!({"from": "old", "to": "new/place"})).await.expect(200);
    let id = moved.data()["migration_id"].as_str().unwrap();
    let status = root.get(&format!("sys/remount/status/{id}")).await.expect(200);
    assert_eq!(status.data()["migration_info"]["status"], "success");
    assert_eq!(root.get("new/place/x").await.expect(200).data()["a"], 1);
    root.get("old/x").await.expect(404);
    root.post("sys/remount", json!({"from": "none", "to": "x"})).await.expect(400);
    root.post("sys/remount", json!({"from": "sys", "to": "x"})).await.expect(400);
    lab.server.stop().await;
}

/// What code is generated from: every endpoint of every mount that the caller can see.
#[tokio::test]
async fn the_whole_api_is_one_document() {
    let lab = lab().await;
    lab.root.post("sys/mounts/db", json!({"type": "database"})).await.expect(204);
    lab.root.post("sys/auth/ar", json!({"type": "approle"})).await.expect(204);
    let document = lab.root.get("sys/internal/specs/openapi").await.expect(200).body;
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/db/roles/{name}",
        "/auth/ar/login",
        "/auth/token/create",
        "/sys/mounts/{path}",
        "/cubbyhole/{path}",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    assert_eq!(document["paths"]["/auth/ar/login"]["x-vault-unauthenticated"], true);
    let generic = lab.root.get("sys/internal/specs/openapi?generic_mount_paths=true").await.expect(200).body;
    let login = &generic["paths"]["/auth/{approle_mount_path}/login"];
    assert_eq!(login["parameters"][0]["name"], "approle_mount_path");
    // Without a token there is what needs none to be seen: nothing here.
    let nobody = lab.root.with_token("").get("sys/internal/specs/openapi").await.expect(200).body;
    assert_eq!(nobody["paths"], json!({}));
    lab.server.stop().await;
}
