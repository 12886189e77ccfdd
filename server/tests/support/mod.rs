//! A server to test against, and a client that sends what it is told.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use vaultlab_server::Server;
use vaultlab_server::storage::FileOptions;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub headers: HeaderMap,
}

impl Answer {
    /// The first entry of `errors`.
    pub fn error(&self) -> &str {
        self.body["errors"][0].as_str().unwrap_or_default()
    }

    /// Fails unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// The envelope's `data`.
    pub fn data(&self) -> &Value {
        &self.body["data"]
    }
}

/// A client with a token.
#[derive(Clone)]
pub struct Client {
    pub address: String,
    pub token: String,
    http: reqwest::Client,
}

impl Client {
    pub fn new(address: &str, token: &str) -> Self {
        // Built together with the lab, the HTTP client has TLS and wants its provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { address: address.to_owned(), token: token.to_owned(), http: reqwest::Client::new() }
    }

    /// The same client with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}/v1/{path}", self.address));
        if !self.token.is_empty() {
            request = request.header("X-Vault-Token", &self.token);
        }
        request
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = response.bytes().await.unwrap();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { status, body, headers }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub async fn list(&self, path: &str) -> Answer {
        self.send(self.request("LIST", path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request("POST", path).json(&body)).await
    }

    /// A post whose answer waits under a wrapping token.
    pub async fn wrapped(&self, method: &str, path: &str, ttl: &str, body: Value) -> Answer {
        self.send(self.request(method, path).header("X-Vault-Wrap-TTL", ttl).json(&body)).await
    }
}

/// A running server with its root client.
pub struct Lab {
    pub server: Server,
    pub root: Client,
    pub keys: Vec<String>,
}

/// A server in memory, initialised with one key and unsealed.
pub async fn lab() -> Lab {
    set_up(Server::builder().start().await.unwrap()).await
}

/// A server with its storage in a folder, initialised and unsealed.
pub async fn file_lab(folder: &Path) -> Lab {
    set_up(start_on(folder).await).await
}

/// A sealed server over a folder.
pub async fn start_on(folder: &Path) -> Server {
    Server::builder().file_storage(folder, FileOptions::default()).start().await.unwrap()
}

/// A client without a token.
pub fn anonymous(server: &Server) -> Client {
    Client::new(&format!("http://{}", server.addresses()[0]), "")
}

async fn set_up(server: Server) -> Lab {
    let client = anonymous(&server);
    let init = client.post("sys/init", json!({"secret_shares": 1, "secret_threshold": 1})).await.expect(200);
    let keys: Vec<String> =
        init.body["keys"].as_array().unwrap().iter().map(|k| k.as_str().unwrap().to_owned()).collect();
    client.post("sys/unseal", json!({ "key": keys[0] })).await.expect(200);
    let root = client.with_token(init.body["root_token"].as_str().unwrap());
    Lab { server, root, keys }
}

impl Lab {
    /// A token with a policy of this text.
    pub async fn token_with(&self, policy: &str) -> Client {
        self.root.post("sys/policies/acl/test", json!({ "policy": policy })).await.expect(204);
        let created = self.root.post("auth/token/create", json!({"policies": ["test"]})).await.expect(200);
        self.root.with_token(created.body["auth"]["client_token"].as_str().unwrap())
    }
}
