//! Any request is answered: with a status a client can tell what to do by, in JSON, and without a panic.
#![no_main]

use std::sync::{Mutex, OnceLock, PoisonError};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::{Corpus, fuzz_target};
use tokio::runtime::Runtime;
use vaultlab_server::Server;

#[derive(Arbitrary, Debug)]
struct Input {
    method: Method,
    /// Where the path begins, so that most requests reach a backend.
    place: u8,
    path: String,
    query: String,
    header: Option<(Header, String)>,
    with_token: bool,
    body: Body,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Method {
    Get,
    List,
    Post,
    Put,
    Patch,
    Delete,
    Head,
    Options,
    Help,
    Brew,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Header {
    WrapTtl,
    ContentType,
    ForwardedFor,
    Origin,
    Authorization,
}

#[derive(Arbitrary, Debug)]
enum Body {
    None,
    Bytes(Vec<u8>),
    /// JSON with one field that endpoints know.
    Field(u8, Value),
}

#[derive(Arbitrary, Debug)]
enum Value {
    Text(String),
    Number(i64),
    Float(f64),
    Bool(bool),
    List(Vec<String>),
    Map(Vec<(String, String)>),
    Null,
}

const PLACES: &[&str] = &[
    "", "sys/", "sys/mounts/", "sys/auth/", "sys/policies/acl/", "sys/policies/password/", "sys/leases/",
    "sys/tools/", "sys/wrapping/", "sys/internal/ui/", "sys/audit-hash/", "sys/config/", "sys/capabilities",
    "auth/token/", "auth/token/create", "auth/token/roles/", "auth/approle/role/", "auth/approle/login",
    "auth/userpass/users/", "auth/userpass/login/", "identity/", "identity/entity/", "cubbyhole/", "kv/",
    "secret/data/", "secret/metadata/", "secret/", "database/config/", "database/roles/",
    "database/static-roles/", "database/creds/", "pki/", "pki/roles/", "pki/root/generate/internal", "pki/issue/",
];

const FIELDS: &[&str] = &[
    "ttl", "max_ttl", "token_ttl", "token_policies", "policies", "policy", "type", "path", "paths", "data",
    "options", "config", "versions", "custom_metadata", "max_versions", "delete_version_after", "metadata",
    "num_uses", "period", "cidr_list", "token_bound_cidrs", "role_id", "secret_id", "bytes", "format", "input",
    "lease_id", "increment", "creation_statements", "rotation_period", "username", "password",
    "connection_url", "plugin_name", "common_name", "alt_names", "ip_sans", "key_type", "allowed_domains",
    "default_lease_ttl", "listing_visibility", "user_lockout_config", "from", "to", "allowed_origins",
];

impl Value {
    fn json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Number(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::Bool(value) => (*value).into(),
            Self::List(items) => items.clone().into(),
            Self::Map(entries) => entries.iter().cloned().collect::<std::collections::BTreeMap<_, _>>().into_iter().collect(),
            Self::Null => serde_json::Value::Null,
        }
    }
}

impl Input {
    fn request(&self, token: &str) -> Option<Request<Full<bytes::Bytes>>> {
        let method = match self.method {
            Method::Get => "GET",
            Method::List => "LIST",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
            Method::Head => "HEAD",
            Method::Options => "OPTIONS",
            Method::Help => "HELP",
            Method::Brew => "BREW",
        };
        let place = PLACES[usize::from(self.place) % PLACES.len()];
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        let mut builder = Request::builder().method(method).uri(format!("/v1/{place}{}{query}", self.path));
        if self.with_token {
            builder = builder.header("x-vault-token", token);
        }
        if let Some((name, value)) = &self.header {
            let name = match name {
                Header::WrapTtl => "x-vault-wrap-ttl",
                Header::ContentType => "content-type",
                Header::ForwardedFor => "x-forwarded-for",
                Header::Origin => "origin",
                Header::Authorization => "authorization",
            };
            builder = builder.header(name, value);
        }
        let body = match &self.body {
            Body::None => Vec::new(),
            Body::Bytes(bytes) => bytes.clone(),
            Body::Field(field, value) => {
                let field = FIELDS[usize::from(*field) % FIELDS.len()];
                serde_json::json!({ field: value.json() }).to_string().into_bytes()
            }
        };
        // What is no request line never gets past hyper.
        builder.body(Full::new(body.into())).ok()
    }
}

struct Target {
    server: Server,
    token: String,
}

async fn ask(server: &Server, method: &str, path: &str, token: &str, body: serde_json::Value) -> serde_json::Value {
    let request = Request::builder()
        .method(method)
        .uri(format!("/v1/{path}"))
        .header("x-vault-token", token)
        .body(Full::new(bytes::Bytes::from(body.to_string())))
        .expect("a request");
    let response = server.request(request).await;
    serde_json::from_slice(&whole(response).await.1).unwrap_or_default()
}

async fn whole(response: Response<Full<bytes::Bytes>>) -> (u16, bytes::Bytes) {
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.expect("a body").to_bytes())
}

/// An unsealed server with something mounted everywhere.
async fn start() -> Target {
    let server = Server::builder().start().await.expect("a server");
    let shares = serde_json::json!({ "secret_shares": 1, "secret_threshold": 1 });
    let init = ask(&server, "POST", "sys/init", "", shares).await;
    ask(&server, "POST", "sys/unseal", "", serde_json::json!({ "key": init["keys"][0] })).await;
    let token = init["root_token"].as_str().expect("a token").to_owned();
    for (path, body) in [
        ("sys/mounts/kv", serde_json::json!({ "type": "kv" })),
        ("sys/mounts/secret", serde_json::json!({ "type": "kv", "options": { "version": "2" } })),
        ("sys/mounts/database", serde_json::json!({ "type": "database" })),
        ("sys/mounts/pki", serde_json::json!({ "type": "pki" })),
        ("sys/auth/approle", serde_json::json!({ "type": "approle" })),
        ("sys/auth/userpass", serde_json::json!({ "type": "userpass" })),
        ("sys/config/cors", serde_json::json!({ "allowed_origins": "*" })),
        ("auth/approle/role/a", serde_json::json!({})),
        ("secret/data/a", serde_json::json!({ "data": { "a": "b" } })),
    ] {
        ask(&server, "POST", path, &token, body).await;
    }
    Target { server, token }
}

fuzz_target!(|input: Input| -> Corpus {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static TARGET: Mutex<Option<Target>> = Mutex::new(None);
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    });
    let mut target = TARGET.lock().unwrap_or_else(PoisonError::into_inner);
    runtime.block_on(async {
        let current = match target.take() {
            Some(target) => target,
            None => start().await,
        };
        let Some(request) = input.request(&current.token) else {
            *target = Some(current);
            return Corpus::Reject;
        };
        let (status, body) = whole(current.server.request(request).await).await;
        assert!((200..600).contains(&status), "{status}");
        let text = String::from_utf8_lossy(&body);
        assert!(!text.contains("internal error"), "a handler failed: {text}");
        // A request may have sealed the server or ended its token.
        let alive = ask(&current.server, "GET", "auth/token/lookup-self", &current.token, serde_json::Value::Null).await;
        if alive["data"]["id"] == current.token.as_str() {
            *target = Some(current);
        } else {
            current.server.stop().await;
        }
        Corpus::Keep
    })
});
