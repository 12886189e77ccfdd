//! The HTTP layer: methods, headers, bodies, limits.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::lab;

#[tokio::test]
async fn headers_of_every_answer() {
    let lab = lab().await;
    for path in ["sys/health", "sys/mounts", "none"] {
        let answer = lab.root.get(path).await;
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
        assert_eq!(answer.headers["content-type"], "application/json", "{path}");
    }
    lab.server.stop().await;
}

#[tokio::test]
async fn list_and_write_have_two_spellings_each() {
    let lab = lab().await;
    let root = &lab.root;
    let listed = root.list("sys/policies/acl").await.expect(200);
    assert_eq!(root.get("sys/policies/acl?list=true").await.expect(200).data(), listed.data());
    let put = root
        .request("PUT", "sys/policies/acl/x")
        .json(&json!({"policy": "path \"a\" { policy = \"read\" }"}));
    root.send(put).await.expect(204);
    let bearer = root.with_token("");
    let request = bearer.request("GET", "auth/token/lookup-self").bearer_auth(&root.token);
    bearer.send(request).await.expect(200);
    // curl sends JSON as a form.
    let form = root
        .request("POST", "sys/capabilities-self")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("{\"path\": \"a\"}");
    root.send(form).await.expect(200);
    lab.server.stop().await;
}

#[tokio::test]
async fn bad_requests_get_a_clear_4xx() {
    let lab = lab().await;
    let root = &lab.root;
    for (method, path, body, status) in [
        ("POST", "sys/policies/acl/x", "{bad", 400),
        ("POST", "sys/policies/acl/x", "[1]", 400),
        ("BREW", "sys/mounts", "", 405),
        ("PATCH", "sys/mounts", "{}", 415),
        ("DELETE", "sys/health", "", 405),
        ("GET", "sys/unseal", "", 405),
        ("GET", "sys/policies/acl?list=maybe", "", 400),
        ("GET", "sys/nope", "", 404),
        ("DELETE", "auth/token/create", "", 405),
        ("POST", "sys/unseal", "{bad", 400),
    ] {
        let answer = root.send(root.request(method, path).body(body)).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.body);
        assert!(answer.body["errors"].is_array(), "{method} {path}");
    }
    let unsupported = root.get("sys/nope").await;
    assert_eq!(unsupported.error(), "1 error occurred:\n\t* unsupported path\n\n");
    lab.server.stop().await;
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let lab = lab().await;
    let body = vec![b' '; 33 * 1024 * 1024];
    let answer = lab.root.send(lab.root.request("POST", "sys/policies/acl/x").body(body)).await;
    assert_eq!(answer.status, 413);
    lab.server.stop().await;
}

/// Sends bytes as they are and returns the status line.
async fn raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![0; 200];
    let read = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let listener = vaultlab_server::config::Listener {
        address: vaultlab_server::config::Address::Tcp("127.0.0.1:0".to_owned()),
        http_read_timeout: Some(std::time::Duration::from_millis(200)),
        ..vaultlab_server::config::Listener::default()
    };
    let server = vaultlab_server::Server::builder().listener(listener).start().await.unwrap();
    let request = b"POST /v1/sys/unseal HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{";
    let line = raw(&server.addresses()[0].to_string(), request).await;
    assert!(line.contains("408"), "{line}");
    server.stop().await;
}

#[tokio::test]
async fn odd_paths_are_answered() {
    let lab = lab().await;
    let address = lab.server.addresses()[0].to_string();
    let head =
        format!("HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {}\r\nConnection: close\r\n\r\n", lab.root.token);
    for (target, status) in [
        ("/v1/sys/../sys/mounts", "301"),
        ("/v1/sys/%2e%2e/mounts", "301"),
        ("/v1/sys//mounts", "301"),
        ("/v1/sys/%zz", "400"),
        ("/v1/sys/%00", "400"),
        ("/v1/", "404"),
        ("/", "404"),
        ("/v2/sys/mounts", "404"),
    ] {
        let line = raw(&address, format!("GET {target} {head}").as_bytes()).await;
        assert!(line.contains(status), "{target}: {line}");
    }
    assert!(raw(&address, b"nonsense\r\n\r\n").await.contains("400"));
    lab.server.stop().await;
}
