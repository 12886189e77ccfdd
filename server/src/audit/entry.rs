//! One line of an audit log, with the field names Vault uses.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::mask::{MaskedData, Masking, Salt};
use crate::logical::{AuditedHeader, Auth, Object, Operation, Request, Response, TokenEntry, WrapInfo};

/// What is to be recorded about a request.
#[derive(Clone, Copy)]
pub struct LogInput<'a> {
    /// The request.
    pub request: &'a Request,
    /// Policies the token has from its identity.
    pub identity_policies: &'a [String],
    /// The decision of the policies, when there was one.
    pub decision: Option<&'a PolicyDecision>,
    /// The answer, for a response line.
    pub response: Option<&'a Response>,
    /// The error the client gets.
    pub error: Option<&'a str>,
    /// `audit_non_hmac_request_keys` of the mount.
    pub plain_request_keys: &'a [String],
    /// `audit_non_hmac_response_keys` of the mount.
    pub plain_response_keys: &'a [String],
}

impl<'a> LogInput<'a> {
    /// Only the request; the rest is set by who knows it.
    pub fn new(request: &'a Request) -> Self {
        Self {
            request,
            identity_policies: &[],
            decision: None,
            response: None,
            error: None,
            plain_request_keys: &[],
            plain_response_keys: &[],
        }
    }
}

/// What the policies said about a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyDecision {
    /// Whether they allow it.
    pub allowed: bool,
    /// Names of the policies that do.
    pub granting_policies: Vec<String>,
}

/// How a device writes entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// Write secrets as they are.
    pub log_raw: bool,
    /// Hash accessors as well.
    pub hmac_accessor: bool,
    /// Shorten listings to their size.
    pub elide_list_responses: bool,
    /// Text in front of every line.
    pub prefix: String,
}

impl Default for Format {
    fn default() -> Self {
        Self { log_raw: false, hmac_accessor: true, elide_list_responses: false, prefix: String::new() }
    }
}

/// Which of the two lines of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Response,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// The whole line, with its line feed.
pub(super) fn line(
    kind: Kind,
    input: &LogInput<'_>,
    format: &Format,
    salt: &Salt,
    now: Timestamp,
) -> Result<Vec<u8>, serde_json::Error> {
    let hasher = Hasher { salt: (!format.log_raw).then_some(salt), hmac_accessor: format.hmac_accessor };
    let entry = Entry {
        time: now,
        r#type: kind.as_str(),
        auth: caller(input, hasher),
        request: request(input, hasher, salt),
        response: (kind == Kind::Response).then(|| response(input, format, hasher)),
        error: input.error.unwrap_or_default(),
    };
    let mut line = format.prefix.clone().into_bytes();
    line.reserve(2048);
    serde_json::to_writer(&mut line, &entry)?;
    line.push(b'\n');
    Ok(line)
}

#[derive(Clone, Copy)]
struct Hasher<'a> {
    salt: Option<&'a Salt>,
    hmac_accessor: bool,
}

impl<'a> Hasher<'a> {
    /// A token, which is always secret.
    fn token(self, token: &str) -> String {
        match self.salt {
            Some(salt) if !token.is_empty() => salt.hash(token),
            _ => token.to_owned(),
        }
    }

    fn accessor(self, accessor: &str) -> String {
        if self.hmac_accessor { self.token(accessor) } else { accessor.to_owned() }
    }

    fn masking(self, plain_keys: &'a [String]) -> Masking<'a> {
        Masking { salt: self.salt, plain_keys, elide_listing: false }
    }
}

#[derive(Serialize)]
struct Entry<'a> {
    time: Timestamp,
    r#type: &'static str,
    auth: AuthEntry<'a>,
    request: RequestEntry<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<ResponseEntry<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Serialize, Default)]
struct AuthEntry<'a> {
    #[serde(skip_serializing_if = "String::is_empty")]
    client_token: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    accessor: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    display_name: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    token_policies: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    identity_policies: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_results: Option<PolicyResults<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "is_zero")]
    num_uses: i64,
    #[serde(skip_serializing_if = "is_zero")]
    remaining_uses: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    entity_id: &'a str,
    token_type: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    token_ttl: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_issue_time: Option<Timestamp>,
}

#[derive(Serialize)]
struct PolicyResults<'a> {
    allowed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    granting_policies: Vec<PolicyInfo<'a>>,
}

#[derive(Serialize)]
struct PolicyInfo<'a> {
    name: &'a str,
    namespace_id: &'static str,
    r#type: &'static str,
}

#[derive(Serialize)]
struct Namespace {
    id: &'static str,
}

#[derive(Serialize)]
struct RequestEntry<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_id: &'a str,
    operation: &'static str,
    #[serde(flatten)]
    mount: MountEntry<'a>,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_token: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_token_accessor: String,
    namespace: Namespace,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<MaskedData<'a>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    remote_address: String,
    #[serde(skip_serializing_if = "is_zero")]
    remote_port: i64,
    #[serde(skip_serializing_if = "is_zero")]
    wrap_ttl: i64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'a str, Vec<Cow<'a, str>>>,
}

#[derive(Serialize, Clone, Copy)]
struct MountEntry<'a> {
    #[serde(rename = "mount_point", skip_serializing_if = "str::is_empty")]
    point: &'a str,
    #[serde(rename = "mount_type", skip_serializing_if = "str::is_empty")]
    kind: &'a str,
    #[serde(rename = "mount_accessor", skip_serializing_if = "str::is_empty")]
    accessor: &'a str,
    #[serde(rename = "mount_class", skip_serializing_if = "str::is_empty")]
    class: &'static str,
}

#[derive(Serialize)]
struct ResponseEntry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<AuthEntry<'a>>,
    #[serde(flatten)]
    mount: MountEntry<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<SecretEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<ResponseData<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    wrap_info: Option<WrapEntry<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ResponseData<'a> {
    Masked(MaskedData<'a>),
    Raw(RawData),
}

/// A body that is not an envelope, under the names Vault's backends use for it.
#[derive(Serialize)]
struct RawData {
    #[serde(rename = "http_content_type")]
    content_type: &'static str,
    #[serde(rename = "http_raw_body")]
    body: String,
    #[serde(rename = "http_status_code")]
    status: u16,
}

#[derive(Serialize)]
struct SecretEntry<'a> {
    lease_id: &'a str,
}

#[derive(Serialize)]
struct WrapEntry<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    ttl: i64,
    token: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    accessor: String,
    creation_time: Timestamp,
    creation_path: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    wrapped_accessor: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Who asks: the token's owner or, on a login's response line, who has just logged in.
fn caller<'a>(input: &LogInput<'a>, hasher: Hasher<'a>) -> AuthEntry<'a> {
    let login = input.response.and_then(|response| response.auth.as_ref());
    let mut auth = match (&input.request.token, login) {
        (Some(token), _) => token_auth(token, input, hasher),
        (None, Some(login)) => login_auth(login, hasher),
        (None, None) => AuthEntry { token_type: "default", ..AuthEntry::default() },
    };
    auth.policy_results = input.decision.map(|decision| PolicyResults {
        allowed: decision.allowed,
        granting_policies: decision
            .granting_policies
            .iter()
            .map(|name| PolicyInfo { name, namespace_id: "root", r#type: "acl" })
            .collect(),
    });
    auth
}

fn token_auth<'a>(token: &'a TokenEntry, input: &LogInput<'a>, hasher: Hasher<'a>) -> AuthEntry<'a> {
    AuthEntry {
        client_token: hasher.token(&token.id),
        accessor: hasher.accessor(&token.accessor),
        display_name: &token.display_name,
        policies: all_policies(&token.policies, input.identity_policies),
        token_policies: &token.policies,
        identity_policies: input.identity_policies,
        metadata: (!token.meta.is_empty()).then_some(&token.meta),
        remaining_uses: token.num_uses.max(0),
        entity_id: &token.entity_id,
        token_type: token_type(token.token_type),
        token_ttl: token.ttl.as_secs() as i64,
        token_issue_time: Some(token.created()),
        ..AuthEntry::default()
    }
}

fn login_auth<'a>(auth: &'a Auth, hasher: Hasher<'a>) -> AuthEntry<'a> {
    AuthEntry {
        client_token: hasher.token(&auth.client_token),
        accessor: hasher.accessor(&auth.accessor),
        display_name: &auth.display_name,
        policies: auth.policies.iter().map(String::as_str).collect(),
        token_policies: &auth.token_policies,
        identity_policies: &auth.identity_policies,
        metadata: (!auth.metadata.is_empty()).then_some(&auth.metadata),
        num_uses: auth.num_uses,
        entity_id: &auth.entity_id,
        token_type: token_type(auth.token_type),
        token_ttl: auth.lease.ttl.as_secs() as i64,
        token_issue_time: auth.lease.issue_time,
        ..AuthEntry::default()
    }
}

fn token_type(kind: crate::logical::TokenType) -> &'static str {
    match kind {
        crate::logical::TokenType::Service => "service",
        crate::logical::TokenType::Batch => "batch",
    }
}

/// The policies of a token and its identity, each once, sorted.
fn all_policies<'a>(token: &'a [String], identity: &'a [String]) -> Vec<&'a str> {
    let mut all: Vec<&str> = token.iter().chain(identity).map(String::as_str).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn request<'a>(input: &LogInput<'a>, hasher: Hasher<'a>, salt: &Salt) -> RequestEntry<'a> {
    let request = input.request;
    let token = request.token.as_deref();
    RequestEntry {
        id: &request.id,
        client_id: token.map_or("", |token| &token.entity_id),
        operation: request.operation.as_str(),
        mount: mount(request),
        client_token: hasher.token(&request.client_token),
        client_token_accessor: hasher.accessor(token.map_or("", |token| &token.accessor)),
        namespace: Namespace { id: "root" },
        path: request.full_path(),
        data: (!request.data.is_empty())
            .then(|| MaskedData { data: &request.data, masking: hasher.masking(input.plain_request_keys) }),
        remote_address: request.remote_addr.map_or_else(String::new, |address| address.to_string()),
        remote_port: i64::from(request.remote_port),
        wrap_ttl: request.wrap_ttl.map_or(0, |ttl| ttl.as_secs() as i64),
        headers: request.audited_headers.iter().map(|header| audited(header, salt)).collect(),
    }
}

/// A header, hashed where that was asked for, even by a device that writes secrets as they are.
fn audited<'a>(header: &'a AuditedHeader, salt: &Salt) -> (&'a str, Vec<Cow<'a, str>>) {
    let value = |value: &'a String| {
        if header.hmac { Cow::Owned(salt.hash(value)) } else { Cow::Borrowed(value.as_str()) }
    };
    (header.name.as_str(), header.values.iter().map(value).collect())
}

fn mount(request: &Request) -> MountEntry<'_> {
    MountEntry {
        point: &request.mount_point,
        kind: &request.mount_type,
        accessor: &request.mount_accessor,
        class: match request.mount_point.as_str() {
            "" => "",
            auth if auth.starts_with("auth/") => "auth",
            _ => "secret",
        },
    }
}

fn response<'a>(input: &LogInput<'a>, format: &Format, hasher: Hasher<'a>) -> ResponseEntry<'a> {
    let mount = mount(input.request);
    let Some(response) = input.response else {
        return ResponseEntry { auth: None, mount, secret: None, data: None, warnings: &[], wrap_info: None };
    };
    let masking = Masking {
        elide_listing: format.elide_list_responses && input.request.operation == Operation::List,
        ..hasher.masking(input.plain_response_keys)
    };
    ResponseEntry {
        auth: response.auth.as_ref().map(|auth| login_auth(auth, hasher)),
        mount,
        secret: response.secret.as_ref().map(|secret| SecretEntry { lease_id: &secret.lease_id }),
        data: response_data(response, masking),
        warnings: &response.warnings,
        wrap_info: response.wrap_info.as_ref().map(|info| wrap(info, hasher)),
    }
}

fn response_data<'a>(response: &'a Response, masking: Masking<'a>) -> Option<ResponseData<'a>> {
    if let Some(raw) = &response.raw {
        let body = String::from_utf8_lossy(&raw.body);
        let plain = masking.plain_keys.iter().any(|key| key == "http_raw_body");
        return Some(ResponseData::Raw(RawData {
            content_type: raw.content_type,
            body: match masking.salt {
                Some(salt) if !plain => salt.hash(&body),
                _ => body.into_owned(),
            },
            status: raw.status,
        }));
    }
    let data: &Object = response.data.as_ref().filter(|data| !data.is_empty())?;
    Some(ResponseData::Masked(MaskedData { data, masking }))
}

fn wrap<'a>(info: &'a WrapInfo, hasher: Hasher<'a>) -> WrapEntry<'a> {
    WrapEntry {
        ttl: info.ttl.as_secs() as i64,
        token: hasher.token(&info.token),
        accessor: hasher.accessor(&info.accessor),
        creation_time: info.creation_time,
        creation_path: &info.creation_path,
        wrapped_accessor: hasher.accessor(&info.wrapped_accessor),
    }
}

#[cfg(test)]
mod tests;
