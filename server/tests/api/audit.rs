//! Audit devices.

use serde_json::{Value, json};

use crate::support::lab;

#[tokio::test]
async fn every_request_and_response_is_recorded_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let lab = lab().await;
    let root = &lab.root;
    let device = json!({"type": "file", "options": {"file_path": path}});
    root.post("sys/audit/file", device.clone()).await.expect(204);
    assert_eq!(root.post("sys/audit/file", device).await.expect(400).error(), "path already in use");
    root.post("sys/audit/x", json!({"type": "nope"})).await.expect(400);
    root.post("sys/mounts/kv", json!({"type": "kv"})).await.expect(204);
    root.post("kv/a", json!({"password": "s3cret-value"})).await.expect(204);
    let weak = lab.token_with("path \"x\" { capabilities = [\"read\"] }").await;
    weak.get("kv/a").await.expect(403);
    let hash = root.post("sys/audit-hash/file", json!({"input": "s3cret-value"})).await.expect(200);
    let hash = hash.data()["hash"].as_str().unwrap();

    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("s3cret-value") && !text.contains(&root.token));
    assert!(text.contains(hash));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str, path: &str| {
        lines
            .iter()
            .filter(|l| l["type"] == kind && l["request"]["path"] == path)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(of("request", "kv/a").len(), 2);
    assert_eq!(of("request", "kv/a")[0]["request"]["operation"], "create");
    assert!(of("request", "kv/a")[1]["error"].as_str().unwrap().contains("permission denied"));
    assert!(!of("response", "kv/a").is_empty());
    let devices = root.get("sys/audit").await.expect(200);
    assert_eq!(devices.data()["file/"]["type"], "file");
    root.delete("sys/audit/file").await.expect(204);
    assert_eq!(*root.get("sys/audit").await.expect(200).data(), json!({}));
    lab.server.stop().await;
}

#[tokio::test]
async fn a_device_is_there_again_after_an_unseal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let lab = lab().await;
    let device = json!({"type": "file", "options": {"file_path": path}});
    lab.root.post("sys/audit/file", device).await.expect(204);
    lab.root.post("sys/seal", json!({})).await.expect(204);
    let before = std::fs::metadata(&path).unwrap().len();
    lab.root.post("sys/unseal", json!({"key": lab.keys[0]})).await.expect(200);
    lab.root.get("auth/token/lookup-self").await.expect(200);
    assert!(std::fs::metadata(&path).unwrap().len() > before);
    lab.server.stop().await;
}

#[tokio::test]
async fn a_device_that_cannot_write_is_not_enabled() {
    let lab = lab().await;
    let device = json!({"type": "file", "options": {"file_path": "/dev/full"}});
    lab.root.post("sys/audit/file", device).await.expect(400);
    assert_eq!(*lab.root.get("sys/audit").await.expect(200).data(), json!({}));
    lab.server.stop().await;
}

#[tokio::test]
async fn chosen_headers_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let lab = lab().await;
    let root = &lab.root;
    root.post("sys/audit/file", json!({"type": "file", "options": {"file_path": path}})).await.expect(204);
    let setting = |name: &str| format!("sys/config/auditing/request-headers/{name}");
    root.post(&setting("X-Plain"), json!({})).await.expect(204);
    root.post(&setting("X-Hidden"), json!({"hmac": true})).await.expect(204);
    let send = async || {
        let request = root.request("GET", "auth/token/lookup-self");
        let request = request.header("X-Plain", "a").header("X-Plain", "b").header("X-Other", "c");
        request.header("x-hidden", "s3cret-value").send().await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("s3cret-value"));
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        last["request"]["headers"].clone()
    };
    let recorded = send().await;
    let hash = root.post("sys/audit-hash/file", json!({"input": "s3cret-value"})).await.expect(200);
    assert_eq!(recorded, json!({"x-plain": ["a", "b"], "x-hidden": [hash.data()["hash"]]}));
    root.delete(&setting("x-hidden")).await.expect(204);
    assert_eq!(send().await, json!({"x-plain": ["a", "b"]}));
    // They are stored.
    let reopen = async || {
        root.post("sys/seal", json!({})).await.expect(204);
        root.post("sys/unseal", json!({"key": lab.keys[0]})).await.expect(200);
    };
    reopen().await;
    assert_eq!(send().await, json!({"x-plain": ["a", "b"]}));
    // Some are recorded anyhow, until they are taken out, and again from the next unseal on.
    let send_known = async || {
        let request = root.request("GET", "auth/token/lookup-self");
        let request = request.header("User-Agent", "probe/1").header("Correlation-Id", "c1");
        request.header("X-Correlation-Id", "c2").send().await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        last["request"]["headers"].clone()
    };
    let all = json!({"correlation-id": ["c1"], "user-agent": ["probe/1"], "x-correlation-id": ["c2"]});
    assert_eq!(send_known().await, all);
    root.delete(&setting("User-Agent")).await.expect(204);
    assert_eq!(send_known().await, json!({"correlation-id": ["c1"], "x-correlation-id": ["c2"]}));
    reopen().await;
    assert_eq!(send_known().await, all);
    lab.server.stop().await;
}
