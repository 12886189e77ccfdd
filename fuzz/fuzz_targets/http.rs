//! Any sequence of requests is answered: with a status a client can tell what to do by, in JSON, and without a
//! panic.
//!
//! The paths and their parameters are those the server itself lists as OpenAPI, so that requests reach the
//! endpoints; what answers tell (tokens, accessors, lease and role IDs …) can be used in later requests. A server
//! serves some inputs, since starting one takes longer than most of them; a panic shows all that it was sent.
//! What it keeps looks like a leak after each of them, and looking for those takes nearly all the time: run with
//! `-- -detect_leaks=0`.
#![no_main]

mod words;

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use vaultlab_server::Server;

use words::{EXTRA, WORDS};

/// How many requests of an input are sent.
const MAX_CALLS: usize = 12;

/// A text that leaves bytes for what comes after it: mostly short, at times long.
#[derive(Debug)]
struct Text(String);

impl<'a> Arbitrary<'a> for Text {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let size = u8::arbitrary(u)?;
        let length = usize::from(size % 32).min(u.len());
        let text = String::from_utf8_lossy(u.bytes(length)?).into_owned();
        Ok(Self(if size > 250 { text.repeat(2000) } else { text }))
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    calls: Vec<Call>,
}

#[derive(Arbitrary, Debug)]
struct Call {
    method: Method,
    place: Place,
    /// What stands in the path's fields.
    names: [Name; 3],
    query: Vec<(u8, Value)>,
    header: Option<(Header, Text)>,
    token: Token,
    body: Body,
}

#[derive(Arbitrary, Debug)]
enum Place {
    Listed(u16),
    Other(Text),
}

#[derive(Arbitrary, Debug)]
enum Name {
    Word(u8),
    Told(u8),
    Text(Text),
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
enum Token {
    Root,
    Told(u8),
    None,
}

#[derive(Arbitrary, Debug)]
enum Body {
    None,
    /// JSON with parameters of the endpoint.
    Fields(Vec<(u8, Value)>),
    Bytes(Vec<Text>),
}

#[derive(Arbitrary, Debug)]
enum Value {
    Word(u8),
    Told(u8),
    Text(Text),
    Number(i64),
    Small(i8),
    Float(f64),
    Bool(bool),
    Words(Vec<u8>),
    Map(Vec<(u8, u8)>),
    Texts(Vec<(Text, Text)>),
    /// A list in a list in a list …
    Deep(u8),
    Null,
}

/// An endpoint as the server lists it.
struct Endpoint {
    path: String,
    parameters: Vec<String>,
}

struct Target {
    server: Server,
    root: String,
    /// Texts of earlier answers.
    told: Vec<String>,
    /// Inputs it may still serve.
    left: usize,
}

/// How many inputs a server serves.
const SERVED: usize = 40;

/// What the server was sent so far.
static SENT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Has a panic show what the server was sent.
fn show_what_was_sent() {
    let next = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        for request in SENT.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            eprintln!("{request}");
        }
        next(panic);
    }));
}

fn pick<T>(list: &[T], at: usize) -> Option<&T> {
    list.get(at.checked_rem(list.len())?)
}

fn word(at: u8) -> String {
    pick(WORDS, usize::from(at)).map_or_else(String::new, |word| (*word).to_owned())
}

impl Target {
    fn told(&self, at: u8) -> String {
        let newest_first = self.told.len().wrapping_sub(1 + usize::from(at) % self.told.len().max(1));
        self.told.get(newest_first).cloned().unwrap_or_default()
    }

    fn name(&self, name: &Name) -> String {
        let text = match name {
            Name::Word(at) => word(*at),
            Name::Told(at) => self.told(*at),
            Name::Text(Text(text)) => text.clone(),
        };
        text.replace(' ', "%20")
    }

    /// The value of a parameter; nothing where it could have the server do something outside of itself.
    fn value(&self, path: &str, name: &str, value: &Value) -> Option<Json> {
        let fixed = matches!(
            value,
            Value::Word(_) | Value::Words(_) | Value::Map(_) | Value::Bool(_) | Value::Small(_)
        );
        if path.starts_with("sys/audit/") && !fixed {
            return None;
        }
        if name == "connection_url" {
            // Nobody listens there.
            let Value::Text(Text(text)) = value else {
                return Some(json!("postgresql://{{username}}:{{password}}@127.0.0.1:1/a?connect_timeout=1"));
            };
            return Some(if text.len() % 2 == 0 {
                format!("postgresql://a:b@127.0.0.1:1/{}", text.replace(['@', '='], "")).into()
            } else {
                format!("a:b@tcp(127.0.0.1:1)/{}", text.replace(['@', '('], "")).into()
            });
        }
        if name == "key_type" && !fixed {
            // Making RSA keys takes seconds.
            return Some("ec".into());
        }
        Some(match value {
            Value::Word(at) => word(*at).into(),
            Value::Told(at) => self.told(*at).into(),
            Value::Text(Text(text)) => text.as_str().into(),
            Value::Number(number) => (*number).into(),
            Value::Small(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Bool(value) => (*value).into(),
            Value::Words(words) => words.iter().map(|at| word(*at)).collect::<Vec<_>>().into(),
            Value::Map(entries) => {
                entries.iter().map(|(key, value)| (word(*key), Json::from(word(*value)))).collect()
            }
            Value::Texts(entries) => {
                entries.iter().map(|(key, value)| (key.0.clone(), Json::from(value.0.as_str()))).collect()
            }
            Value::Deep(depth) => (0..*depth).fold(Json::Null, |inner, _| json!([inner])),
            Value::Null => Json::Null,
        })
    }

    fn request(&self, call: &Call, endpoints: &[Endpoint]) -> Option<Request<Full<bytes::Bytes>>> {
        let method = match call.method {
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
        let (path, known) = match &call.place {
            Place::Listed(at) => {
                let endpoint = pick(endpoints, usize::from(*at))?;
                let mut path = String::new();
                let mut names = call.names.iter();
                for (at, piece) in endpoint.path.split(['{', '}']).enumerate() {
                    if at % 2 == 0 {
                        path.push_str(piece);
                    } else {
                        path.push_str(&names.next().map_or_else(String::new, |name| self.name(name)));
                    }
                }
                (path, endpoint.parameters.as_slice())
            }
            Place::Other(Text(path)) => (path.clone(), [].as_slice()),
        };
        let parameter = |at: u8| {
            let at = usize::from(at) % (known.len() + EXTRA.len());
            known.get(at).map_or_else(|| EXTRA[at - known.len()], String::as_str)
        };
        let query: Vec<String> = call
            .query
            .iter()
            .filter_map(|(at, value)| {
                let name = parameter(*at);
                Some(match self.value(&path, name, value)? {
                    Json::String(text) => format!("{name}={}", text.replace(' ', "+")),
                    other => format!("{name}={other}"),
                })
            })
            .collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let mut builder = Request::builder().method(method).uri(format!("/v1/{path}{query}"));
        match &call.token {
            Token::Root => builder = builder.header("x-vault-token", &self.root),
            Token::Told(at) => builder = builder.header("x-vault-token", self.told(*at)),
            Token::None => {}
        }
        if method == "PATCH" {
            builder = builder.header("content-type", "application/merge-patch+json");
        }
        if let Some((name, Text(value))) = &call.header {
            let name = match name {
                Header::WrapTtl => "x-vault-wrap-ttl",
                Header::ContentType => "content-type",
                Header::ForwardedFor => "x-forwarded-for",
                Header::Origin => "origin",
                Header::Authorization => "authorization",
            };
            builder = builder.header(name, value);
        }
        let mut body = match &call.body {
            Body::None => Vec::new(),
            // Bytes that name no file and no host.
            Body::Bytes(parts) => {
                let bytes = parts.iter().flat_map(|part| part.0.bytes());
                let named = path.starts_with("sys/audit/") || path.contains("config/");
                bytes.filter(|byte| !named || *byte != b'_').collect()
            }
            Body::Fields(fields) => {
                let fields = fields.iter().filter_map(|(at, value)| {
                    let name = parameter(*at);
                    Some((name.to_owned(), self.value(&path, name, value)?))
                });
                Json::Object(fields.collect()).to_string().into_bytes()
            }
        };
        if path.starts_with("pki/") && (path.contains("/generate/") || path.contains("pki/roles/")) {
            let mut object: Json =
                serde_json::from_slice(&body).ok().filter(Json::is_object).unwrap_or(json!({}));
            if !matches!(object["key_type"].as_str(), Some("ed25519" | "a" | "*" | "")) {
                object["key_type"] = "ec".into();
            }
            body = object.to_string().into_bytes();
        }
        let mut sent =
            format!("{method} /v1/{path}{query} {:?} {}", call.token, String::from_utf8_lossy(&body));
        sent.truncate(sent.floor_char_boundary(2000));
        SENT.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        // What is no request line never gets past hyper.
        builder.body(Full::new(body.into())).ok()
    }

    /// Whether the server is unsealed and its token good: a request may have ended both.
    async fn is_whole(&self) -> bool {
        let request =
            Request::builder().uri("/v1/auth/token/lookup-self").header("x-vault-token", &self.root);
        let request = request.body(Full::new(bytes::Bytes::new())).expect("a request");
        whole(self.server.request(request).await).await.0 == 200
    }

    /// Keeps the texts of an answer that are names for something.
    fn learn(&mut self, answer: &Json) {
        match answer {
            Json::Object(map) => {
                map.iter().filter(|(key, _)| *key != "request_id").for_each(|(_, v)| self.learn(v))
            }
            Json::Array(list) => list.iter().for_each(|value| self.learn(value)),
            Json::String(text) if (1..4096).contains(&text.len()) && !self.told.contains(text) => {
                self.told.push(text.clone());
            }
            _ => {}
        }
        let from = self.told.len().saturating_sub(200);
        self.told.drain(..from);
    }
}

async fn ask(server: &Server, method: &str, path: &str, token: &str, body: Json) -> Json {
    let request = Request::builder()
        .method(method)
        .uri(format!("/v1/{path}"))
        .header("x-vault-token", token)
        .body(Full::new(bytes::Bytes::from(body.to_string())))
        .expect("a request");
    let response = server.request(request).await;
    let (status, body) = whole(response).await;
    assert!(status < 400, "{path}: {status} {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap_or_default()
}

async fn whole(response: Response<Full<bytes::Bytes>>) -> (u16, bytes::Bytes) {
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.expect("a body").to_bytes())
}

/// An unsealed server with something mounted everywhere.
async fn start() -> Target {
    let server = Server::builder().start().await.expect("a server");
    let shares = json!({ "secret_shares": 1, "secret_threshold": 1 });
    let init = ask(&server, "POST", "sys/init", "", shares).await;
    ask(&server, "POST", "sys/unseal", "", json!({ "key": init["keys"][0] })).await;
    let root = init["root_token"].as_str().expect("a token").to_owned();
    let key = init["keys"][0].as_str().expect("a key").to_owned();
    for (path, body) in [
        ("sys/mounts/kv", json!({ "type": "kv" })),
        ("sys/mounts/secret", json!({ "type": "kv", "options": { "version": "2" } })),
        ("sys/mounts/database", json!({ "type": "database" })),
        ("sys/mounts/pki", json!({ "type": "pki" })),
        ("sys/auth/approle", json!({ "type": "approle" })),
        ("sys/auth/userpass", json!({ "type": "userpass" })),
        ("sys/config/cors", json!({ "allowed_origins": "*" })),
        ("auth/approle/role/a", json!({})),
        ("secret/data/a", json!({ "data": { "a": "b" } })),
        ("pki/root/generate/internal", json!({ "common_name": "a", "key_type": "ec", "ttl": "1000h" })),
        ("pki/roles/a", json!({ "allow_any_name": true, "key_type": "ec" })),
        (
            "database/config/a",
            json!({
                "plugin_name": "postgresql-database-plugin", "verify_connection": false, "allowed_roles": "*",
                "connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1:1/a", "username": "a",
            }),
        ),
        ("database/roles/a", json!({ "db_name": "a", "creation_statements": "CREATE ROLE {{name}}" })),
    ] {
        ask(&server, "POST", path, &root, body).await;
    }
    SENT.lock().unwrap_or_else(PoisonError::into_inner).clear();
    Target { server, root, told: vec![key], left: SERVED }
}

/// The endpoints a server has, from its own description.
async fn endpoints(target: &Target) -> Vec<Endpoint> {
    let document = ask(&target.server, "GET", "sys/internal/specs/openapi", &target.root, Json::Null).await;
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 100, "{} paths", paths.len());
    let listed = paths.iter().map(|(path, item)| {
        let mut parameters = BTreeSet::new();
        for operation in item.as_object().into_iter().flatten().map(|(_, operation)| operation) {
            let query = operation["parameters"].as_array().into_iter().flatten();
            parameters.extend(query.filter_map(|parameter| parameter["name"].as_str()).map(str::to_owned));
            for content in operation["requestBody"]["content"].as_object().into_iter().flatten() {
                let properties = content.1["schema"]["properties"].as_object();
                parameters.extend(properties.into_iter().flatten().map(|(name, _)| name.clone()));
            }
        }
        Endpoint {
            path: path.trim_start_matches('/').to_owned(),
            parameters: parameters.into_iter().collect(),
        }
    });
    let unlisted = [
        ("sys/init", "secret_shares secret_threshold"),
        ("sys/unseal", "key reset"),
        ("sys/health", "activecode sealedcode standbyok uninitcode"),
        ("sys/seal-status", ""),
        ("sys/leader", ""),
        ("sys/generate-root/attempt", "otp"),
        ("sys/generate-root/update", "key nonce"),
        ("sys/rekey/init", "secret_shares secret_threshold require_verification"),
        ("sys/rekey/update", "key nonce"),
        ("sys/rekey/verify", "key nonce"),
        ("sys/wrapping/lookup", "token"),
        ("sys/wrapping/unwrap", "token"),
        ("cubbyhole/response", ""),
    ];
    let unlisted = unlisted.into_iter().map(|(path, parameters)| Endpoint {
        path: path.to_owned(),
        parameters: parameters.split_whitespace().map(str::to_owned).collect(),
    });
    listed.chain(unlisted).collect()
}

/// Shows each failure of the server's own once: Vault fails in the same places, so that they are no crash.
fn note_failure(text: &str) {
    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let kind: String = text.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.len() < 200 && seen.insert(kind) {
        eprintln!("status 500: {}", text.chars().take(300).collect::<String>().trim_end());
    }
}

fuzz_target!(|input: Input| -> Corpus {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static ENDPOINTS: OnceLock<Vec<Endpoint>> = OnceLock::new();
    static TARGET: Mutex<Option<Target>> = Mutex::new(None);
    if input.calls.is_empty() {
        return Corpus::Reject;
    }
    let runtime = RUNTIME.get_or_init(|| {
        show_what_was_sent();
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    });
    let mut kept = TARGET.lock().unwrap_or_else(PoisonError::into_inner);
    runtime.block_on(async {
        let mut target = match kept.take() {
            Some(target) => target,
            None => start().await,
        };
        if ENDPOINTS.get().is_none() {
            let _ = ENDPOINTS.set(endpoints(&target).await);
        }
        let endpoints = ENDPOINTS.get().expect("endpoints");
        let mut sent = false;
        for call in input.calls.iter().take(MAX_CALLS) {
            let Some(request) = target.request(call, endpoints) else {
                continue;
            };
            sent = true;
            let response = target.server.request(request).await;
            let json = response.headers().get("content-type").is_some_and(|kind| kind == "application/json");
            let (status, body) = whole(response).await;
            assert!((200..600).contains(&status), "{status}");
            if body.is_empty() {
                continue;
            }
            if json {
                let mut reader = serde_json::Deserializer::from_slice(&body);
                // As deep as a client sent it, and a little more.
                reader.disable_recursion_limit();
                let answer = <Json as serde::Deserialize>::deserialize(&mut reader).expect("JSON");
                assert!(answer["errors"][0] != "internal error", "a handler failed");
                target.learn(&answer);
            }
            if status == 500 {
                note_failure(&String::from_utf8_lossy(&body));
            }
        }
        target.left -= 1;
        if target.left > 0 && target.is_whole().await {
            *kept = Some(target);
        } else {
            target.server.stop().await;
        }
        if sent { Corpus::Keep } else { Corpus::Reject }
    })
});
