//! A lean HTTP client: one connection that is kept, one request at a time, its bytes made once. What
//! a general client does for each request would be much of what is measured.

mod answer;

use std::fs;
use std::future::poll_fn;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

pub(super) use answer::Answer;

use crate::secret::Secret;

/// Vault's own limit for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// Why no answer came, in few words: what happened is counted by them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoAnswer(String);

/// A connection that was not used for this long is not used again: servers close idle ones, and a
/// request must not meet that.
const IDLE: Duration = Duration::from_secs(5);

/// Where requests go.
pub(super) struct Server {
    authority: String,
    host: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Server {
    /// The server at `address`, as in `http://127.0.0.1:8200`. An `https` one has to show a
    /// certificate of `ca`, a PEM file.
    pub(super) fn new(address: &str, ca: Option<&Path>) -> Result<Self, NoAnswer> {
        let odd = |what: &str| NoAnswer(format!("{address:?} is no address of a Vault: {what}"));
        let (scheme, rest) =
            address.split_once("://").ok_or_else(|| odd("write it as in http://127.0.0.1:8200"))?;
        let host = rest.split('/').next().unwrap_or_default();
        let (name, port) = match host.rsplit_once(':') {
            // Colons inside brackets are an IPv6 address's own.
            Some((name, port)) if !port.ends_with(']') => {
                (name, Some(port.parse::<u16>().map_err(|_| odd("its port is no number"))?))
            }
            _ => (host, None),
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@') {
            return Err(odd("it names no host"));
        }
        let (tls, usual) = match scheme {
            "http" => (None, 80),
            "https" => (Some(tls(ca, name)?), 443),
            _ => return Err(odd("it starts with neither http:// nor https://")),
        };
        let authority = format!("{name}:{}", port.unwrap_or(usual));
        Ok(Self { authority, host: host.to_owned(), tls })
    }

    async fn open(&self) -> Result<Open, NoAnswer> {
        let stream = TcpStream::connect(&self.authority).await.map_err(|e| innermost(&e))?;
        stream.set_nodelay(true).map_err(|e| innermost(&e))?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => {
                Box::new(connector.connect(name.clone(), stream).await.map_err(|e| innermost(&e))?)
            }
        };
        Ok(Open { stream, buffer: BytesMut::new(), used: Instant::now() })
    }
}

/// Plain or TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An open connection and what was read of it beyond an answer.
struct Open {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    used: Instant,
}

impl Open {
    async fn exchange(&mut self, request: &Prepared) -> Result<(Answer, bool), NoAnswer> {
        self.stream.write_all(&request.0).await.map_err(|e| innermost(&e))?;
        let answer = answer::read(&mut *self.stream, &mut self.buffer).await;
        self.used = Instant::now();
        answer
    }
}

fn tls(ca: Option<&Path>, host: &str) -> Result<(TlsConnector, ServerName<'static>), NoAnswer> {
    let ca = ca.ok_or_else(|| NoAnswer("an https address needs the CA's certificate".into()))?;
    let odd = |cause: String| NoAnswer(format!("cannot use {}: {cause}", ca.display()));
    let pem = fs::read(ca).map_err(|e| odd(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| odd(e.to_string()))?;
        roots.add(certificate).map_err(|e| odd(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(odd("it holds no certificate".into()));
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(name).map_err(|e| NoAnswer(e.to_string()))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

/// The bytes of a request, which can be sent any number of times.
pub(super) struct Prepared(Zeroizing<Vec<u8>>);

impl Prepared {
    /// A request of `server`; `body` is JSON, none for a GET.
    pub(super) fn new(
        server: &Server,
        path: &str,
        token: Option<&Secret>,
        body: Option<&serde_json::Value>,
    ) -> Result<Self, NoAnswer> {
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NoAnswer(format!("{path:?} cannot be a path")));
        }
        let path = path.trim_start_matches('/');
        let method = if body.is_some() { "POST" } else { "GET" };
        let host = &server.host;
        let mut bytes = Zeroizing::new(
            format!("{method} /v1/{path} HTTP/1.1\r\nHost: {host}\r\nX-Vault-Request: true\r\n").into_bytes(),
        );
        if let Some(token) = token {
            if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(NoAnswer("the token holds characters no token has".into()));
            }
            bytes.extend_from_slice(b"X-Vault-Token: ");
            bytes.extend_from_slice(token.expose().as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        let body = Zeroizing::new(body.map(ToString::to_string).unwrap_or_default());
        if !body.is_empty() {
            let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
            bytes.extend_from_slice(head.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body.as_bytes());
        Ok(Self(bytes))
    }
}

/// One connection, opened when it is first needed and again after it broke.
pub(super) struct Connection {
    server: Arc<Server>,
    open: Option<Open>,
    /// Armed once and not anew for each request: when it fires it is looked at what is due.
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    pub(super) fn new(server: &Arc<Server>) -> Self {
        let timer = Box::pin(tokio::time::sleep(REQUEST_TIMEOUT));
        Self { server: Arc::clone(server), open: None, timer }
    }

    /// Sends a request and reads the whole answer; when it was there.
    pub(super) async fn send(
        &mut self,
        request: &Prepared,
        now: Instant,
    ) -> Result<(Answer, Instant), NoAnswer> {
        let Self { server, open, timer } = self;
        let due = (now + REQUEST_TIMEOUT).into();
        let outcome = {
            let mut exchange = pin!(exchange(server, open, request, now));
            let answered = poll_fn(|context| match exchange.as_mut().poll(context) {
                Poll::Pending if is_due(timer.as_mut(), due, context) => {
                    Poll::Ready(Err(NoAnswer("no answer in time".into())))
                }
                other => other,
            });
            answered.await
        };
        let kept = outcome.as_ref().is_ok_and(|(_, kept)| *kept);
        let used = open.as_ref().map_or(now, |open| open.used);
        if !kept {
            *open = None;
        }
        outcome.map(|(answer, _)| (answer, used))
    }
}

async fn exchange(
    server: &Server,
    connection: &mut Option<Open>,
    request: &Prepared,
    now: Instant,
) -> Result<(Answer, bool), NoAnswer> {
    let open = match connection {
        Some(open) if now.saturating_duration_since(open.used) < IDLE => open,
        closed => closed.insert(server.open().await?),
    };
    open.exchange(request).await
}

/// Whether it is past `due`; else the timer wakes the task, at the latest then.
fn is_due(mut timer: Pin<&mut Sleep>, due: tokio::time::Instant, context: &mut Context<'_>) -> bool {
    while timer.as_mut().poll(context).is_ready() {
        if timer.deadline() >= due {
            return true;
        }
        timer.as_mut().reset(due);
    }
    false
}

/// The library's own text says what it did; the innermost cause says what happened.
fn innermost(error: &dyn std::error::Error) -> NoAnswer {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    NoAnswer(cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        let fault = |address: &str| Server::new(address, None).err().unwrap().to_string();
        assert!(fault("127.0.0.1:8200").contains("is no address of a Vault"));
        assert!(fault("http://vault:http").contains("its port is no number"));
        assert!(fault("http:///v1").contains("it names no host"));
        assert!(fault("http://me@vault").contains("it names no host"));
        assert!(fault("ftp://x").contains("neither http:// nor https://"));
        assert_eq!(fault("https://x"), "an https address needs the CA's certificate");
        assert_eq!(Server::new("http://[::1]:8200/", None).unwrap().authority, "[::1]:8200");
        assert_eq!(Server::new("http://vault", None).unwrap().authority, "vault:80");
    }

    #[test]
    fn requests_are_whole_and_hold_no_line_of_their_own() {
        let server = Server::new("http://vault:8200/", None).unwrap();
        let text = |request: &Prepared| String::from_utf8(request.0.to_vec()).unwrap();
        let body = serde_json::json!({ "a": 1 });
        let request = Prepared::new(&server, "/kv/x", Some(&"hvs.t".into()), Some(&body)).unwrap();
        assert_eq!(
            text(&request),
            "POST /v1/kv/x HTTP/1.1\r\nHost: vault:8200\r\nX-Vault-Request: true\r\nX-Vault-Token: hvs.t\r\n\
             Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}"
        );
        let request = Prepared::new(&server, "sys/health", None, None).unwrap();
        assert_eq!(
            text(&request),
            "GET /v1/sys/health HTTP/1.1\r\nHost: vault:8200\r\nX-Vault-Request: true\r\n\r\n"
        );
        assert!(Prepared::new(&server, "a b", None, None).is_err());
        assert!(Prepared::new(&server, "a", Some(&"t\r\nX: y".into()), None).is_err());
    }

    #[tokio::test]
    async fn nobody_there_is_told_as_such() {
        let server = Arc::new(Server::new("http://127.0.0.1:1", None).unwrap());
        let request = Prepared::new(&server, "sys/health", None, None).unwrap();
        let error = Connection::new(&server).send(&request, Instant::now()).await.err().unwrap();
        assert!(error.to_string().contains("Connection refused"), "{error}");
    }
}
