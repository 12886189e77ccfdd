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
        ("PATCH", "sys/mounts", "{}", 400),
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

/// Faults of a client that Vault answers with 500 all the same.
const AS_VAULT: [&str; 1] = ["failed to validate CIDR blocks"];

/// What no client should send gets an answer that says whose fault it is, whatever the endpoint.
#[tokio::test]
async fn odd_values_are_refused_and_never_a_failure_of_the_server() {
    let lab = lab().await;
    let root = &lab.root;
    for (mount, kind) in [("kv", "kv"), ("pki", "pki"), ("database", "database")] {
        root.post(&format!("sys/mounts/{mount}"), json!({ "type": kind })).await.expect(204);
    }
    let v2 = json!({"type": "kv", "options": {"version": "2"}});
    root.post("sys/mounts/secret", v2).await.expect(204);
    root.post("sys/auth/approle", json!({"type": "approle"})).await.expect(204);
    root.post("sys/auth/userpass", json!({"type": "userpass"})).await.expect(204);
    let odd = [
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!("99999999999999999999h"),
        json!("-5m"),
        json!([["x"]]),
        json!({"x": {"y": null}}),
        json!("\u{0}\u{1}\u{fffd}"),
        json!("../../etc/passwd"),
        json!("x".repeat(100_000)),
    ];
    let mut wrong = Vec::new();
    for (path, fields) in [
        ("auth/token/create", &["ttl", "explicit_max_ttl", "num_uses", "policies", "meta", "period"][..]),
        ("auth/token/roles/r", &["token_period", "allowed_policies", "token_bound_cidrs", "path_suffix"]),
        ("auth/approle/role/r", &["token_ttl", "secret_id_ttl", "token_num_uses", "secret_id_bound_cidrs"]),
        ("auth/userpass/users/u", &["password", "token_ttl", "token_policies"]),
        ("sys/mounts/kv/tune", &["default_lease_ttl", "max_lease_ttl", "listing_visibility", "options"]),
        ("sys/policies/acl/p", &["policy"]),
        ("sys/leases/renew", &["lease_id", "increment"]),
        ("sys/leases/revoke", &["lease_id", "sync"]),
        ("sys/tools/random", &["bytes", "format"]),
        ("secret/data/a", &["data", "options"]),
        ("secret/metadata/a", &["max_versions", "delete_version_after", "custom_metadata"]),
        ("secret/destroy/a", &["versions"]),
        ("database/roles/r", &["default_ttl", "max_ttl", "creation_statements", "db_name"]),
        ("database/static-roles/r", &["rotation_period", "username"]),
        ("pki/roles/r", &["ttl", "max_ttl", "key_bits", "allowed_domains", "key_type"]),
        ("pki/root/generate/internal", &["ttl", "common_name", "key_type", "max_path_length"]),
    ] {
        for field in fields {
            for value in &odd {
                let answer = root.post(path, json!({ *field: value })).await;
                let errors = answer.body["errors"].is_array();
                let fault =
                    answer.status >= 500 && !AS_VAULT.iter().any(|text| answer.error().contains(text));
                if fault || answer.status >= 400 && !errors {
                    wrong.push(format!("{path} {field}={value:.60}: {} {}", answer.status, answer.body));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    lab.server.stop().await;
}

#[tokio::test]
async fn deep_and_binary_bodies_are_answered() {
    let lab = lab().await;
    let deep = format!("{{\"a\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let binary: Vec<u8> = (0..=255).cycle().take(5000).collect();
    for body in [deep.into_bytes(), binary, b"\xff\xfe{".to_vec(), b"nul".to_vec(), b"\"text\"".to_vec()] {
        for path in ["sys/policies/acl/x", "cubbyhole/x", "sys/unseal", "auth/token/create"] {
            let answer = lab.root.send(lab.root.request("POST", path).body(body.clone())).await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.body);
        }
    }
    lab.server.stop().await;
}

/// What a page of another origin may do is for the server to say, before the page asks.
#[tokio::test]
async fn pages_of_other_origins_are_told_what_they_may() {
    let lab = lab().await;
    let root = &lab.root;
    let body = json!({"allowed_origins": "http://a.example", "allowed_headers": ["X-Mine"]});
    root.post("sys/config/cors", body).await.expect(204);
    let asked = |method: &str, origin: &str| {
        let request = root.request(method, "sys/seal-status").header("Origin", origin);
        root.send(request.header("Access-Control-Request-Method", "GET"))
    };
    let preflight = asked("OPTIONS", "http://a.example").await.expect(200);
    assert_eq!(preflight.headers["access-control-allow-origin"], "http://a.example");
    assert_eq!(preflight.headers["access-control-allow-methods"], "DELETE,GET,OPTIONS,POST,PUT,LIST");
    assert!(preflight.headers["access-control-allow-headers"].to_str().unwrap().ends_with(",X-Mine"));
    assert_eq!(preflight.headers["access-control-max-age"], "300");
    let answer = asked("GET", "http://a.example").await.expect(200);
    assert_eq!(
        (&answer.headers["vary"], answer.body["sealed"].as_bool()),
        (&"Origin".parse().unwrap(), Some(false))
    );
    let other = asked("GET", "http://b.example").await.expect(403);
    assert!(!other.headers.contains_key("access-control-allow-origin"));
    root.delete("sys/config/cors").await.expect(204);
    let off = asked("GET", "http://b.example").await.expect(200);
    assert!(!off.headers.contains_key("access-control-allow-origin"));
    lab.server.stop().await;
}
