//! Whole servers that crash, run out of disk, or have their files changed under them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/process.rs"]
mod child;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use child::{Process, wait_for};
use serde_json::{Value, json};
use support::{Client, start_on};

const WRITERS: usize = 4;

/// Initialises a server with one key; a root client and the key.
async fn initialise(process: &Process) -> (Client, String) {
    let client = Client::new(&process.url(), "");
    let body = json!({"secret_shares": 1, "secret_threshold": 1});
    let init = client.post("sys/init", body).await.expect(200);
    let key = init.body["keys"][0].as_str().unwrap().to_owned();
    unseal(&client, &key).await;
    let root = client.with_token(init.body["root_token"].as_str().unwrap());
    root.post("sys/mounts/kv", json!({"type": "kv"})).await.expect(204);
    (root, key)
}

async fn unseal(client: &Client, key: &str) {
    let status = client.post("sys/unseal", json!({ "key": key })).await.expect(200);
    assert_eq!(status.body["sealed"], false);
}

fn audit_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<&str> = text.split('\n').collect();
    // The kill may have come in the middle of the last line.
    lines.pop();
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Counts up under a key of its own until the server is gone; the last number acknowledged.
async fn count_up(client: Client, writer: usize, start: u64) -> u64 {
    let mut acknowledged = start;
    loop {
        let next = acknowledged + 1;
        let path = format!("kv/counter-{writer}");
        let request = client.request("POST", &path).json(&json!({ "number": next }));
        match request.send().await {
            Ok(answer) => assert_eq!(answer.status().as_u16(), 204),
            Err(_) => return acknowledged,
        }
        acknowledged = next;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_has_every_acknowledged_write_and_recorded_each() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.log");
    let mut process = Process::start(dir.path(), "").await;
    let (root, key) = initialise(&process).await;
    let body = json!({"type": "file", "options": {"file_path": log}});
    root.post("sys/audit/file", body).await.expect(204);

    let mut acknowledged = [0; WRITERS];
    for round in 0..4_u64 {
        let client = Client::new(&process.url(), &root.token);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(count_up(client.clone(), writer, acknowledged[writer])))
            .collect();
        tokio::time::sleep(Duration::from_millis(150 + 70 * round)).await;
        process.kill();
        for (writer, task) in writers.into_iter().enumerate() {
            acknowledged[writer] = task.await.unwrap();
        }

        process = Process::start(dir.path(), "").await;
        let client = Client::new(&process.url(), &root.token);
        unseal(&client, &key).await;
        for (writer, acknowledged) in acknowledged.iter_mut().enumerate() {
            let found = client.get(&format!("kv/counter-{writer}")).await.expect(200);
            let found = found.data()["number"].as_u64().unwrap();
            assert!(found >= *acknowledged, "{acknowledged} was acknowledged, {found} is there");
            *acknowledged = found;
        }
    }
    assert!(acknowledged.iter().all(|&count| count > 10), "{acknowledged:?}");

    // Each was recorded before it was done.
    let lines = audit_lines(&log);
    for (writer, &acknowledged) in acknowledged.iter().enumerate() {
        let path = format!("kv/counter-{writer}");
        let recorded = lines.iter().filter(|line| {
            line["type"] == "request"
                && line["request"]["path"] == *path
                && line["request"]["operation"] != "read"
        });
        assert!(recorded.count() as u64 >= acknowledged, "{path}");
    }
    let mode = fs::metadata(&log).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    // No file can grow beyond 256 blocks of 512 bytes.
    let process =
        Process::limited(dir.path(), "tls_disable = true", r#"trap "" XFSZ; ulimit -S -f 256;"#).await;
    let (root, key) = initialise(&process).await;
    let ballast = "x".repeat(20_000);
    let mut written = 0;
    let refused = loop {
        let answer = root.post(&format!("kv/{written}"), json!({ "ballast": ballast })).await;
        if answer.status != 204 {
            break answer;
        }
        written += 1;
        assert!(written < 100, "the disk never filled up");
    };
    assert_eq!(refused.status, 500);
    assert!(refused.error().contains("no room to write"), "{}", refused.error());
    for number in 0..written {
        root.get(&format!("kv/{number}")).await.expect(200);
    }
    root.get(&format!("kv/{written}")).await.expect(404);
    root.get("sys/health").await.expect(200);

    // There is room again: the same server goes on, and so does the next one.
    let raised = Command::new("prlimit")
        .args(["--fsize=unlimited:unlimited", "--pid", &process.id().to_string()])
        .status();
    assert!(raised.unwrap().success());
    root.post(&format!("kv/{written}"), json!({ "ballast": ballast })).await.expect(204);
    drop(process);
    let process = Process::start(dir.path(), "").await;
    let client = Client::new(&process.url(), &root.token);
    unseal(&client, &key).await;
    client.get(&format!("kv/{written}")).await.expect(200);
}

#[tokio::test]
async fn requests_are_refused_when_the_only_audit_device_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.log");
    let lab = support::lab().await;
    lab.root.post("sys/mounts/kv", json!({"type": "kv"})).await.expect(204);
    // One that cannot write is refused at once; this one stops being able to later.
    let full = json!({"type": "file", "options": {"file_path": "/dev/full"}});
    lab.root.post("sys/audit/full", full).await.expect(400);
    let body = json!({"type": "file", "options": {"file_path": log}});
    lab.root.post("sys/audit/file", body).await.expect(204);
    lab.root.post("kv/a", json!({"value": "x"})).await.expect(204);
    fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    lab.server.reload();
    let refused = lab.root.post("kv/a", json!({"value": "x"})).await.expect(500);
    assert!(refused.error().contains("internal error"), "{}", refused.error());
    lab.root.get("kv/a").await.expect(500);
    lab.root.get("sys/health").await.expect(200);
    fs::remove_file(&log).unwrap();
    lab.server.reload();
    lab.root.get("kv/a").await.expect(200);
    lab.server.stop().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_store_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let first = start_on(dir.path()).await;
    let second = vaultlab_server::Server::builder()
        .file_storage(dir.path(), vaultlab_server::storage::FileOptions::default())
        .start()
        .await;
    let error = second.err().unwrap().to_string();
    assert!(error.contains("in use by another server"), "{error}");
    assert!(error.contains(&std::process::id().to_string()), "{error}");
    first.stop().await;
    start_on(dir.path()).await.stop().await;
}

#[tokio::test]
async fn no_secret_lies_in_clear_in_the_store_or_the_audit_log() {
    let dir = tempfile::tempdir().unwrap();
    let lab = support::file_lab(&dir.path().join("store")).await;
    let log = dir.path().join("audit.log");
    let body = json!({"type": "file", "options": {"file_path": log}});
    lab.root.post("sys/audit/file", body).await.expect(204);
    lab.root.post("sys/mounts/kv", json!({"type": "kv"})).await.expect(204);
    lab.root.post("kv/a", json!({"password": "canary-in-the-store"})).await.expect(204);
    lab.root.get("kv/a").await.expect(200);
    let hashed = lab.root.post("sys/audit-hash/file", json!({"input": "canary-in-the-store"})).await;
    let hash = hashed.expect(200).data()["hash"].as_str().unwrap().to_owned();
    let root_token = lab.root.token.clone();
    lab.server.stop().await;

    let store = fs::read(dir.path().join("store/store.log")).unwrap();
    let audit = fs::read(&log).unwrap();
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    for secret in ["canary-in-the-store", &root_token, &lab.keys[0]] {
        assert!(!has(&store, secret) && !has(&audit, secret));
    }
    assert!(has(&audit, &hash), "the log can be searched for a known value");
}

/// A log is rotated while the server runs.
#[tokio::test]
async fn a_reload_opens_audit_files_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (log, rotated) = (dir.path().join("audit.log"), dir.path().join("audit.log.1"));
    let lab = support::lab().await;
    let body = json!({"type": "file", "options": {"file_path": log}});
    lab.root.post("sys/audit/file", body).await.expect(204);
    lab.root.get("auth/token/lookup-self").await.expect(200);
    fs::rename(&log, &rotated).unwrap();
    lab.server.reload();
    // The file is there at once, not only with the next request.
    wait_for("the new audit file", async || log.exists()).await;
    lab.root.get("sys/policies/acl?list=true").await.expect(200);
    let paths = |path: &Path| -> Vec<String> {
        let lines = audit_lines(path);
        lines.iter().map(|line| line["request"]["path"].as_str().unwrap().to_owned()).collect()
    };
    assert!(paths(&rotated).contains(&"auth/token/lookup-self".to_owned()));
    let new = paths(&log);
    assert!(!new.is_empty() && new.iter().all(|path| path.starts_with("sys/policies/acl")), "{new:?}");
    lab.server.stop().await;
}
