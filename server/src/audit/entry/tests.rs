use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::logical::{LeaseOptions, Secret, TokenType, testing};

const NOW: &str = "2026-01-02T03:04:05.123456789Z";

async fn salt() -> Salt {
    let view = testing::context("", "").0.storage;
    Salt::load_or_create(&view).await.unwrap()
}

fn write(kind: Kind, input: &LogInput<'_>, format: &Format, salt: &Salt) -> Value {
    let line = line(kind, input, format, salt, NOW.parse().unwrap()).unwrap();
    assert_eq!(line.iter().position(|&byte| byte == b'\n'), Some(line.len() - 1));
    serde_json::from_slice(&line[format.prefix.len()..]).unwrap()
}

fn request_by_token() -> Request {
    let token = TokenEntry {
        id: "hvs.token".into(),
        accessor: "acc".into(),
        policies: vec!["default".into(), "webapp".into()],
        display_name: "approle".into(),
        meta: BTreeMap::from([("role_name".into(), "webapp".into())]),
        creation_time: 1_767_225_600,
        ttl: Duration::from_hours(1),
        num_uses: 3,
        entity_id: "entity-1".into(),
        ..TokenEntry::default()
    };
    let mut request =
        testing::request(Operation::Update, "creds/readonly", json!({"secret": "s3cr3t", "count": 2}));
    request.mount_point = "database/".into();
    request.mount_type = "database".into();
    request.mount_accessor = "database_1a2b".into();
    request.client_token = "hvs.token".into();
    request.token = Some(Arc::new(token));
    request.remote_addr = Some("127.0.0.1".parse().unwrap());
    request.remote_port = 40_000;
    request.wrap_ttl = Some(Duration::from_mins(1));
    request
}

#[tokio::test]
async fn a_request_line_has_vaults_fields() {
    let salt = salt().await;
    let request = request_by_token();
    let identity = vec!["team".to_owned(), "default".to_owned()];
    let decision = PolicyDecision { allowed: true, granting_policies: vec!["webapp".into()] };
    let input =
        LogInput { identity_policies: &identity, decision: Some(&decision), ..LogInput::new(&request) };
    assert_eq!(
        write(Kind::Request, &input, &Format::default(), &salt),
        json!({
            "time": NOW,
            "type": "request",
            "auth": {
                "client_token": salt.hash("hvs.token"),
                "accessor": salt.hash("acc"),
                "display_name": "approle",
                "policies": ["default", "team", "webapp"],
                "token_policies": ["default", "webapp"],
                "identity_policies": ["team", "default"],
                "policy_results": {
                    "allowed": true,
                    "granting_policies": [{"name": "webapp", "namespace_id": "root", "type": "acl"}],
                },
                "metadata": {"role_name": "webapp"},
                "remaining_uses": 3,
                "entity_id": "entity-1",
                "token_type": "service",
                "token_ttl": 3600,
                "token_issue_time": "2026-01-01T00:00:00Z",
            },
            "request": {
                "id": "11111111-1111-4111-8111-111111111111",
                "client_id": "entity-1",
                "operation": "update",
                "mount_point": "database/",
                "mount_type": "database",
                "mount_accessor": "database_1a2b",
                "mount_class": "secret",
                "client_token": salt.hash("hvs.token"),
                "client_token_accessor": salt.hash("acc"),
                "namespace": {"id": "root"},
                "path": "database/creds/readonly",
                "data": {"secret": salt.hash("s3cr3t"), "count": 2},
                "remote_address": "127.0.0.1",
                "remote_port": 40000,
                "wrap_ttl": 60,
            },
        })
    );
}

#[tokio::test]
async fn a_response_line_hides_what_was_issued() {
    let salt = salt().await;
    let request = request_by_token();
    let mut response = Response::json(json!({"username": "v-app", "password": "pw"}));
    response.secret =
        Some(Box::new(Secret { lease_id: "database/creds/readonly/abc".into(), ..Secret::default() }));
    response.warnings = vec!["careful".into()];
    let plain = vec!["username".to_owned()];
    let input =
        LogInput { response: Some(&response), plain_response_keys: &plain, ..LogInput::new(&request) };
    let written = write(Kind::Response, &input, &Format::default(), &salt);
    assert_eq!(written["type"], "response");
    assert_eq!(
        written["response"],
        json!({
            "mount_point": "database/",
            "mount_type": "database",
            "mount_accessor": "database_1a2b",
            "mount_class": "secret",
            "secret": {"lease_id": "database/creds/readonly/abc"},
            "data": {"username": "v-app", "password": salt.hash("pw")},
            "warnings": ["careful"],
        })
    );
    assert_eq!(written["request"]["path"], "database/creds/readonly");
}

#[tokio::test]
async fn a_login_shows_who_logged_in_on_its_response_line() {
    let salt = salt().await;
    let mut request = testing::request(Operation::Update, "login", json!({"role_id": "r", "secret_id": "s"}));
    request.mount_point = "auth/approle/".into();
    let before = write(Kind::Request, &LogInput::new(&request), &Format::default(), &salt);
    assert_eq!(before["auth"], json!({"token_type": "default"}));
    assert_eq!(before["request"]["mount_class"], "auth");
    assert_eq!(before["request"].get("client_token"), None);

    let response = Response {
        auth: Some(Box::new(Auth {
            client_token: "hvs.new".into(),
            accessor: "new-acc".into(),
            display_name: "approle".into(),
            policies: vec!["default".into()],
            token_policies: vec!["default".into()],
            num_uses: 5,
            token_type: TokenType::Service,
            lease: LeaseOptions { ttl: Duration::from_mins(20), ..LeaseOptions::default() },
            ..Auth::default()
        })),
        ..Response::default()
    };
    let input = LogInput { response: Some(&response), ..LogInput::new(&request) };
    let after = write(Kind::Response, &input, &Format::default(), &salt);
    assert_eq!(after["auth"], after["response"]["auth"]);
    assert_eq!(
        after["auth"],
        json!({
            "client_token": salt.hash("hvs.new"),
            "accessor": salt.hash("new-acc"),
            "display_name": "approle",
            "policies": ["default"],
            "token_policies": ["default"],
            "num_uses": 5,
            "token_type": "service",
            "token_ttl": 1200,
        })
    );
}

#[tokio::test]
async fn options_change_what_is_hidden() {
    let salt = salt().await;
    let request = request_by_token();
    let input = LogInput::new(&request);
    let clear_accessor = Format { hmac_accessor: false, ..Format::default() };
    let written = write(Kind::Request, &input, &clear_accessor, &salt);
    assert_eq!(written["auth"]["accessor"], "acc");
    assert_eq!(written["request"]["client_token_accessor"], "acc");
    assert_eq!(written["auth"]["client_token"], salt.hash("hvs.token"));

    let raw = Format { log_raw: true, prefix: "@cee: ".into(), ..Format::default() };
    let written = write(Kind::Request, &input, &raw, &salt);
    assert_eq!(written["auth"]["client_token"], "hvs.token");
    assert_eq!(written["request"]["data"]["secret"], "s3cr3t");
    let bytes = line(Kind::Request, &input, &raw, &salt, NOW.parse().unwrap()).unwrap();
    assert!(bytes.starts_with(b"@cee: {\"time\":"));
}

#[tokio::test]
async fn listings_are_shortened_only_when_asked_for_and_only_listings() {
    let salt = salt().await;
    let mut request = request_by_token();
    let response = Response::list(vec!["a".into(), "b".into()]).unwrap();
    let elide = Format { elide_list_responses: true, ..Format::default() };
    let data = |request: &Request, format: &Format| {
        let input = LogInput { response: Some(&response), ..LogInput::new(request) };
        write(Kind::Response, &input, format, &salt)["response"]["data"].clone()
    };
    let hashed = json!({"keys": [salt.hash("a"), salt.hash("b")]});
    assert_eq!(data(&request, &elide), hashed);
    request.operation = Operation::List;
    assert_eq!(data(&request, &Format::default()), hashed);
    assert_eq!(data(&request, &elide), json!({"keys": 2}));
}

#[tokio::test]
async fn wrapping_tokens_and_raw_bodies_are_hidden() {
    let salt = salt().await;
    let request = request_by_token();
    let mut response = Response::raw("application/pem", "-----BEGIN");
    response.wrap_info = Some(WrapInfo {
        token: "hvs.wrap".into(),
        accessor: "wrap-acc".into(),
        ttl: Duration::from_mins(5),
        creation_time: NOW.parse().unwrap(),
        creation_path: "auth/approle/login".into(),
        wrapped_accessor: "inner".into(),
    });
    let input = LogInput { response: Some(&response), ..LogInput::new(&request) };
    let written = write(Kind::Response, &input, &Format::default(), &salt);
    assert_eq!(
        written["response"]["wrap_info"],
        json!({
            "ttl": 300,
            "token": salt.hash("hvs.wrap"),
            "accessor": salt.hash("wrap-acc"),
            "creation_time": NOW,
            "creation_path": "auth/approle/login",
            "wrapped_accessor": salt.hash("inner"),
        })
    );
    assert_eq!(
        written["response"]["data"],
        json!({
            "http_content_type": "application/pem",
            "http_raw_body": salt.hash("-----BEGIN"),
            "http_status_code": 200,
        })
    );
}

#[tokio::test]
async fn errors_and_empty_answers_are_recorded() {
    let salt = salt().await;
    let request = request_by_token();
    let decision = PolicyDecision::default();
    let input =
        LogInput { error: Some("permission denied"), decision: Some(&decision), ..LogInput::new(&request) };
    let written = write(Kind::Response, &input, &Format::default(), &salt);
    assert_eq!(written["error"], "permission denied");
    assert_eq!(written["auth"]["policy_results"], json!({"allowed": false}));
    assert_eq!(written["response"].get("data"), None);
    let written = write(Kind::Request, &LogInput::new(&request), &Format::default(), &salt);
    assert_eq!(written.get("error"), None);
    assert_eq!(written.get("response"), None);
}
