//! What audit devices record of requests, as clients cause it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::Lab;

/// A server with an audit file.
async fn audited(dir: &Path) -> (Lab, PathBuf) {
    let lab = support::lab().await;
    let log = dir.join("audit.log");
    let body = json!({"type": "file", "options": {"file_path": log}});
    lab.root.post("sys/audit/file", body).await.expect(204);
    (lab, log)
}

/// The lines about `path`.
fn lines(log: &Path, path: &str) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    let all = text.lines().map(|line| serde_json::from_str(line).unwrap());
    all.filter(|line: &Value| line["request"]["path"] == path).collect()
}

async fn hash(lab: &Lab, text: &str) -> String {
    let answer = lab.root.post("sys/audit-hash/file", json!({ "input": text })).await.expect(200);
    answer.data()["hash"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_and_its_response_are_a_pair() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, log) = audited(dir.path()).await;
    lab.root.post("sys/mounts/kv", json!({"type": "kv"})).await.expect(204);
    lab.root.post("kv/a", json!({"password": "pw", "count": 3})).await.expect(204);
    lab.root.get("kv/a").await.expect(200);
    let lines = lines(&log, "kv/a");
    let kinds: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["request", "response", "request", "response"]);
    for pair in lines.chunks(2) {
        assert_eq!(pair[0]["request"]["id"], pair[1]["request"]["id"]);
        assert_eq!(pair[0]["request"]["mount_type"], "kv");
        assert_eq!(pair[0]["auth"]["policies"], json!(["root"]));
        assert_eq!(pair[0]["auth"]["client_token"], hash(&lab, &lab.root.token).await);
        assert_eq!(pair[0]["request"]["remote_address"], "127.0.0.1");
    }
    let hashed = hash(&lab, "pw").await;
    assert_eq!(lines[0]["request"]["operation"], "create");
    assert_eq!(lines[0]["request"]["data"], json!({"password": hashed, "count": 3}));
    assert_eq!(lines[2]["request"]["operation"], "read");
    assert_eq!(lines[3]["response"]["data"], json!({"password": hashed, "count": 3}));
    lab.server.stop().await;
}

#[tokio::test]
async fn what_is_refused_is_recorded_too() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, log) = audited(dir.path()).await;
    let weak = lab.token_with(r#"path "sys/none" { capabilities = ["read"] }"#).await;
    weak.get("sys/policies/acl/x").await.expect(403);
    lab.root.with_token("hvs.unknown").get("sys/mounts").await.expect(403);
    lab.root.with_token("").get("auth/token/lookup-self").await.expect(403);
    lab.root.get("nowhere/a").await.expect(404);
    weak.get("nowhere/b").await.expect(403);
    let denied = "1 error occurred:\n\t* permission denied\n\n";
    for (path, error) in [
        ("sys/policies/acl/x", denied),
        ("sys/mounts", "permission denied"),
        ("auth/token/lookup-self", "permission denied"),
        ("nowhere/a", "no handler for route"),
        ("nowhere/b", denied),
    ] {
        let lines = lines(&log, path);
        let kinds: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["request", "response"], "{path}");
        for line in &lines {
            assert!(line["error"].as_str().unwrap().contains(error), "{path}: {line}");
        }
    }
    let denied = &lines(&log, "sys/policies/acl/x")[0];
    assert_eq!(denied["auth"]["policy_results"]["allowed"], false);
    let unknown = &lines(&log, "sys/mounts")[0];
    assert_eq!(unknown["request"]["client_token"], hash(&lab, "hvs.unknown").await);
    lab.server.stop().await;
}

#[tokio::test]
async fn issued_tokens_and_wrapped_answers_do_not_show() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, log) = audited(dir.path()).await;
    let created = lab.root.post("auth/token/create", json!({"policies": ["x"]})).await.expect(200);
    let token = created.body["auth"]["client_token"].as_str().unwrap().to_owned();
    let body = json!({"policies": ["y"]});
    let wrapped = lab.root.wrapped("POST", "auth/token/create", "60s", body).await.expect(200);
    let wrapping = wrapped.body["wrap_info"]["token"].as_str().unwrap().to_owned();
    let opened = lab.root.with_token(&wrapping).post("sys/wrapping/unwrap", json!({})).await.expect(200);
    let inner = opened.body["auth"]["client_token"].as_str().unwrap().to_owned();
    let lines = lines(&log, "auth/token/create");
    assert_eq!(lines[1]["response"]["auth"]["client_token"], hash(&lab, &token).await);
    assert_eq!(lines[3]["response"]["wrap_info"]["token"], hash(&lab, &wrapping).await);
    assert_eq!(lines[2]["request"]["wrap_ttl"], 60);
    let text = fs::read_to_string(&log).unwrap();
    for secret in [&lab.root.token, &token, &wrapping, &inner] {
        assert!(!text.contains(secret.as_str()));
    }
    lab.server.stop().await;
}

#[tokio::test]
async fn devices_come_back_after_a_restart_with_the_same_salt() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let lab = support::file_lab(&store).await;
    let log = dir.path().join("audit.log");
    let body = json!({"type": "file", "options": {"file_path": log}});
    lab.root.post("sys/audit/file", body).await.expect(204);
    let before = hash(&lab, "x").await;
    let (token, keys) = (lab.root.token.clone(), lab.keys.clone());
    lab.server.stop().await;

    let server = support::start_on(&store).await;
    let root = support::anonymous(&server).with_token(&token);
    root.post("sys/unseal", json!({"key": keys[0]})).await.expect(200);
    let lab = Lab { server, root, keys };
    assert_eq!(hash(&lab, "x").await, before);
    lab.root.get("sys/policies/acl/default").await.expect(200);
    assert_eq!(lines(&log, "sys/policies/acl/default").len(), 2);
    lab.server.stop().await;
}
