//! The server as a process of its own: many connections, slow clients, SIGHUP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/process.rs"]
mod child;
mod support;

use std::fs;
use std::time::Duration;

use child::{Process, wait_for};
use serde_json::json;
use support::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A client of a server without keys, with a root token.
async fn initialised(server: &Process) -> Client {
    let client = Client::new(&server.url(), "");
    let shares = json!({"secret_shares": 1, "secret_threshold": 1});
    let init = client.post("sys/init", shares).await.expect(200);
    client.post("sys/unseal", json!({ "key": init.body["keys"][0] })).await.expect(200);
    client.with_token(init.body["root_token"].as_str().unwrap())
}

/// Files this process may have open: as many as the system lets, which is what it then is.
fn allow_files() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    usize::try_from(hard).unwrap_or(usize::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_are_held_and_each_is_served() {
    const SPARE: usize = 200;
    let count = allow_files().saturating_sub(SPARE).min(10_000);
    let dir = tempfile::tempdir().unwrap();
    // They are all opened before the first of them says anything, however long that takes.
    let server = Process::start(dir.path(), "http_read_header_timeout = \"10m\"").await;
    let client = initialised(&server).await;
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(TcpStream::connect(&server.address).await.unwrap());
    }
    // Beside them others are served, and each of them too.
    client.get("auth/token/lookup-self").await.expect(200);
    let request = b"GET /v1/sys/seal-status HTTP/1.1\r\nHost: x\r\n\r\n";
    for connection in &mut connections {
        connection.write_all(request).await.unwrap();
    }
    for (number, connection) in connections.iter_mut().enumerate() {
        let mut start = [0; 12];
        connection
            .read_exact(&mut start)
            .await
            .unwrap_or_else(|error| panic!("connection {number}: {error}"));
        assert_eq!(&start, b"HTTP/1.1 200");
    }
    drop(connections);
    client.get("auth/token/lookup-self").await.expect(200);
}

#[tokio::test]
async fn slow_clients_are_let_go_and_idle_ones_kept() {
    let dir = tempfile::tempdir().unwrap();
    let limits = "http_read_header_timeout = \"200ms\"\n  http_read_timeout = \"200ms\"";
    let server = Process::start(dir.path(), limits).await;
    let status = "GET /v1/sys/seal-status HTTP/1.1\r\nHost: x\r\n\r\n";
    let read = async |stream: &mut TcpStream| {
        let mut text = vec![0; 4096];
        let read = stream.read(&mut text).await.unwrap_or_default();
        String::from_utf8_lossy(&text[..read]).into_owned()
    };
    // Half a head: the connection ends without an answer.
    let mut slow = TcpStream::connect(&server.address).await.unwrap();
    slow.write_all(&status.as_bytes()[..20]).await.unwrap();
    assert_eq!(read(&mut slow).await, "");
    // Half a body: it is told.
    let mut slow = TcpStream::connect(&server.address).await.unwrap();
    let half = b"POST /v1/sys/unseal HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{";
    slow.write_all(half).await.unwrap();
    assert!(read(&mut slow).await.starts_with("HTTP/1.1 408"));
    // Between requests there is time, far more than for a head.
    let mut idle = TcpStream::connect(&server.address).await.unwrap();
    for _ in 0..2 {
        idle.write_all(status.as_bytes()).await.unwrap();
        assert!(read(&mut idle).await.starts_with("HTTP/1.1 200"));
        let silence = tokio::time::timeout(Duration::from_millis(600), idle.readable()).await;
        assert!(silence.is_err(), "the server ended an idle connection");
    }
}

#[tokio::test]
async fn a_connection_is_kept_as_long_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let server = Process::start(dir.path(), "http_idle_timeout = \"100ms\"").await;
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    stream.write_all(b"GET /v1/sys/seal-status HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    // Its end comes, which five minutes would not let this test see.
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 200"), "{all}");
}

#[tokio::test]
async fn sighup_opens_audit_files_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (log, rotated) = (dir.path().join("audit.log"), dir.path().join("audit.log.1"));
    let mut server = Process::start(dir.path(), "").await;
    let root = initialised(&server).await;
    let device = json!({"type": "file", "options": {"file_path": log}});
    root.post("sys/audit/file", device).await.expect(204);
    root.get("auth/token/lookup-self").await.expect(200);
    fs::rename(&log, &rotated).unwrap();
    server.signal("-HUP");
    wait_for("the new audit file", async || log.exists()).await;
    root.get("sys/mounts").await.expect(200);
    assert!(fs::read_to_string(&rotated).unwrap().contains("auth/token/lookup-self"));
    assert!(fs::read_to_string(&log).unwrap().contains("sys/mounts"));
    server.signal("-TERM");
    assert!(server.ended().success());
}
