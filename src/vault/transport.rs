//! Requests and answers. The only place that knows the HTTP library.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
pub(super) use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::secret::Secret;

/// Vault's own limit for one request is 90 s; a client that waits less would give up on answers
/// that still come.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// How long Vault may take to say how it is. A Vault that hangs is told as such, not waited for.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// By how much the time of an answer may differ from this host's although both clocks show the same.
const SAME_CLOCK: SignedDuration = SignedDuration::from_secs(2);

/// Speaks to one Vault, with or without a token. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    address: String,
    token: Option<Secret>,
    /// How long the wrapping token lives that answers are to be wrapped in.
    wrap_ttl: Option<Duration>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why a request to Vault did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// No answer came.
    #[error("cannot {operation}: Vault at {address} does not answer: {cause}")]
    Unreachable {
        /// Method and path.
        operation: String,
        /// Where Vault should be.
        address: String,
        /// What the HTTP library says, innermost cause last.
        cause: String,
    },
    /// Vault answered with an error.
    #[error("Vault refused to {operation}: {} (status {status})", errors.join("; "))]
    Refused {
        /// Method and path.
        operation: String,
        /// The HTTP status.
        status: u16,
        /// Vault's `errors`, or the status' own name where it gave none.
        errors: Vec<String>,
    },
    /// The answer is not what the API promises.
    #[error("Vault's answer to {operation} is not as expected: {cause}")]
    Unexpected {
        /// Method and path.
        operation: String,
        /// What is missing or wrong.
        cause: String,
    },
}

impl VaultError {
    /// Whether Vault answered with this status.
    pub fn is_status(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == wanted)
    }

    /// Whether the answer says that there is no such thing (404, or a 400 with one of `texts`).
    fn is_absent(&self, texts: &[&str]) -> bool {
        match self {
            Self::Refused { status: 404, .. } => true,
            Self::Refused { status: 400, errors, .. } => {
                errors.iter().any(|e| texts.iter().any(|text| e.contains(text)))
            }
            _ => false,
        }
    }
}

/// A successful answer. Its body may hold secrets, so it has no `Debug`.
pub(super) struct Answer {
    operation: String,
    pub(super) status: u16,
    pub(super) body: Value,
    /// When Vault answered, by its own clock; by this host's where it does not tell.
    pub(super) at: Timestamp,
}

impl Answer {
    /// The whole body as `T`.
    pub(super) fn parse<T: DeserializeOwned>(self) -> Result<T, VaultError> {
        parse(&self.operation, self.body)
    }

    /// A top-level member (`data`, `auth`, `wrap_info`) as `T`.
    pub(super) fn member<T: DeserializeOwned>(mut self, name: &str) -> Result<T, VaultError> {
        let value = self.body.get_mut(name).map(Value::take).filter(|v| !v.is_null());
        let value = value.ok_or_else(|| VaultError::Unexpected {
            operation: self.operation.clone(),
            cause: format!("it has no `{name}`"),
        })?;
        parse(&self.operation, value)
    }
}

fn parse<T: DeserializeOwned>(operation: &str, value: Value) -> Result<T, VaultError> {
    serde_json::from_value(value)
        .map_err(|e| VaultError::Unexpected { operation: operation.into(), cause: e.to_string() })
}

impl Client {
    /// A client of the Vault at `address`, as in `http://127.0.0.1:8200`. Nothing is sent yet.
    pub fn new(address: &str) -> Result<Self, VaultError> {
        Self::trusting(address, None)
    }

    /// The same for an `https` address whose certificate is of `ca`, a PEM file.
    pub fn trusting(address: &str, ca: Option<&Path>) -> Result<Self, VaultError> {
        crate::install_crypto_provider();
        let mut builder = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).no_proxy(); // a lab is on loopback; a proxy of the environment would never reach it
        if let Some(ca) = ca {
            builder = builder.tls_certs_only(certificates(ca, address)?);
        } else if !address.starts_with("https:") {
            // Nothing to verify: the system's certificates are not read, and need not be installed.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|e| unreachable("set up HTTP".into(), address, &e))?;
        Ok(Self { http, address: address.trim_end_matches('/').to_owned(), token: None, wrap_ttl: None })
    }

    /// The same Vault, asked with this token.
    #[must_use]
    pub fn with_token(&self, token: Secret) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    /// The same Vault, whose answers come wrapped in a token that lives so long.
    pub(super) fn wrapping(&self, ttl: Duration) -> Self {
        Self { wrap_ttl: Some(ttl), ..self.clone() }
    }

    /// The same Vault, asked without a token.
    pub(super) fn without_token(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// Where Vault is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The token requests are made with.
    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, VaultError> {
        self.send(Method::GET, path, None).await
    }

    /// `data` of a GET; `None` when there is no such thing. Some absent things are a 400 with a
    /// text of their own rather than a 404.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        path: &str,
        absent: &[&str],
    ) -> Result<Option<T>, VaultError> {
        match self.get(path).await {
            Ok(answer) => answer.member("data").map(Some),
            Err(error) if error.is_absent(absent) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The keys of a LIST; none when there is nothing.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<String>, VaultError> {
        #[derive(serde::Deserialize)]
        struct Keys {
            keys: Vec<String>,
        }
        Ok(self.find::<Keys>(&format!("{path}?list=true"), &[]).await?.map_or_else(Vec::new, |k| k.keys))
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, VaultError> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Deletes what is at `path`. What is not there is no error.
    pub async fn delete(&self, path: &str) -> Result<(), VaultError> {
        match self.send(Method::DELETE, path, None).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_status(404) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a request; any status below 400 is a success. Statuses from 400 on become
    /// [`VaultError::Refused`].
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, VaultError> {
        let answer = self.raw(method, path, body).await?;
        if answer.status < 400 {
            return Ok(answer);
        }
        let Answer { operation, status, body, .. } = answer;
        let errors: Vec<String> =
            body["errors"].as_array().into_iter().flatten().filter_map(|e| Some(tidy(e.as_str()?))).collect();
        let name = reqwest::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
        let errors = if errors.is_empty() { vec![name.unwrap_or("no reason given").into()] } else { errors };
        Err(VaultError::Refused { operation, status, errors })
    }

    /// Sends a request whose status itself is the answer (`sys/health`).
    pub(super) async fn raw(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, VaultError> {
        let operation = format!("{method} {path}");
        let url = format!("{}/v1/{path}", self.address);
        let mut request = self.http.request(method, &url).header("X-Vault-Request", "true");
        if let Some(token) = &self.token {
            request = request.header("X-Vault-Token", token.expose());
        }
        if let Some(ttl) = self.wrap_ttl {
            request = request.header("X-Vault-Wrap-TTL", ttl.as_secs());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        if matches!(path, "sys/health" | "sys/seal-status") {
            request = request.timeout(PROBE_TIMEOUT);
        }
        let response = request.send().await.map_err(|e| unreachable(operation.clone(), &self.address, &e))?;
        let status = response.status().as_u16();
        let date = response.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned);
        let bytes = response.bytes().await.map_err(|e| unreachable(operation.clone(), &self.address, &e))?;
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).map_err(|e| VaultError::Unexpected {
                operation: operation.clone(),
                cause: format!("status {status} with a body that is not JSON ({e}); is this a Vault?"),
            })?
        };
        let at = clock_of_vault(date.as_deref(), Timestamp::now());
        Ok(Answer { operation, status, body, at })
    }
}

/// What Vault's clock shows, by the `Date` of an answer that came `now`. That has whole seconds only, and
/// servers take it once a second: a clock that may be the same is taken for the same.
fn clock_of_vault(date: Option<&str>, now: Timestamp) -> Timestamp {
    let told = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let told = told.map(|date| date.timestamp() + SAME_CLOCK / 2);
    told.filter(|told| told.duration_since(now).abs() > SAME_CLOCK).unwrap_or(now)
}

fn certificates(ca: &Path, address: &str) -> Result<Vec<reqwest::Certificate>, VaultError> {
    let odd = |cause: String| VaultError::Unreachable {
        operation: format!("use the certificate {}", ca.display()),
        address: address.into(),
        cause,
    };
    let pem = std::fs::read(ca).map_err(|e| odd(e.to_string()))?;
    reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| odd(e.to_string()))
}

/// Go's multierror puts each cause on a line of its own after a count, and a database quotes statements with
/// their line breaks; one line reads better.
fn tidy(error: &str) -> String {
    let mut causes: Vec<String> = Vec::new();
    for line in error.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match (line.strip_prefix("* "), causes.last_mut()) {
            (Some(cause), _) => causes.push(cause.to_owned()),
            (None, _) if line.ends_with(" error occurred:") || line.ends_with(" errors occurred:") => {}
            (None, Some(cause)) => *cause += &format!(" {line}"),
            (None, None) => causes.push(line.to_owned()),
        }
    }
    without_passwords(&causes.join("; "))
}

/// Takes out the passwords of statements that are quoted: HashiCorp's Vault leaves one that a database cut off.
fn without_passwords(text: &str) -> String {
    const BEFORE: [&str; 2] = ["IDENTIFIED BY '", "PASSWORD '"];
    // Of the same length, as only ASCII changes.
    let upper = text.to_ascii_uppercase();
    let (mut shown, mut at) = (String::new(), 0);
    while let Some(start) =
        BEFORE.iter().filter_map(|before| Some(at + upper[at..].find(before)? + before.len())).min()
    {
        let password = &text[start..];
        let password = &password[..password.find('\'').unwrap_or(password.len())];
        let known = password.starts_with("{{") || password.starts_with('[');
        shown += &text[at..start];
        shown += if known { password } else { "[password]" };
        at = start + password.len();
    }
    shown + &text[at..]
}

fn unreachable(operation: String, address: &str, error: &reqwest::Error) -> VaultError {
    // reqwest's own text repeats the URL; the innermost cause says what happened.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    VaultError::Unreachable { operation, address: address.into(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_multierrors_become_one_line() {
        assert_eq!(tidy("1 error occurred:\n\t* permission denied\n\n"), "permission denied");
        assert_eq!(
            tidy("2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"),
            "permission denied; invalid token"
        );
        assert_eq!(tidy("unknown role: x"), "unknown role: x");
    }

    #[test]
    fn a_clock_of_vaults_own_counts_and_one_that_is_the_same_is_read_exactly() {
        let now: Timestamp = "2026-03-01T12:00:00.7Z".parse().unwrap();
        let clock = |date| clock_of_vault(date, now).to_string();
        for same in [None, Some("no date"), Some("Sun, 01 Mar 2026 11:59:59 GMT")] {
            assert_eq!(clock(same), now.to_string(), "{same:?}");
        }
        assert_eq!(clock(Some("Sun, 01 Mar 2026 12:00:00 GMT")), now.to_string());
        assert_eq!(clock(Some("Sun, 01 Mar 2026 13:00:00 GMT")), "2026-03-01T13:00:01Z");
        assert_eq!(clock(Some("Sun, 01 Mar 2026 11:00:00 GMT")), "2026-03-01T11:00:01Z");
    }

    #[test]
    fn the_lines_of_a_statement_are_no_statements_of_their_own() {
        let error = "1 error occurred:\n\t* near 'CREATE ROLE x\n    IN ROLE y' at line 1\n\n";
        assert_eq!(tidy(error), "near 'CREATE ROLE x IN ROLE y' at line 1");
    }

    #[test]
    fn passwords_in_quoted_statements_are_taken_out() {
        for (told, shown) in [
            ("near 'x' identified by 'Lag4bk...' at", "near 'x' identified by '[password]' at"),
            ("PASSWORD 'a' and PASSWORD 'b", "PASSWORD '[password]' and PASSWORD '[password]"),
            ("PASSWORD '{{password}}' BY '[password]'", "PASSWORD '{{password}}' BY '[password]'"),
        ] {
            assert_eq!(tidy(told), shown);
        }
    }

    #[test]
    fn a_client_does_not_show_its_token() {
        let client = Client::new("http://127.0.0.1:1/").unwrap().with_token("hvs.secret".into());
        assert_eq!(format!("{client:?}"), r#"Client { address: "http://127.0.0.1:1", .. }"#);
    }

    #[tokio::test]
    async fn nobody_there_is_told_as_such() {
        let client = Client::new("http://127.0.0.1:1").unwrap();
        let error = client.get("sys/health").await.err().unwrap().to_string();
        assert!(error.contains("GET sys/health") && error.contains("Connection refused"), "{error}");
    }
}
