//! A lean HTTP client: one connection that is kept, one request at a time. What the typed client
//! does for each request would be most of what is measured. The home of hyper.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::secret::Secret;

/// Vault's own limit for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// Why no answer came, in few words: what happened is counted by them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoAnswer(String);

/// Where requests go.
pub(super) struct Server {
    authority: String,
    host: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Server {
    /// The server at `address`, as in `http://127.0.0.1:8200`. An `https` one has to show a
    /// certificate of `ca`, a PEM file.
    pub(super) fn new(address: &str, ca: Option<&Path>) -> Result<Self, NoAnswer> {
        let odd = |what: &str| NoAnswer(format!("{address:?} is no address of a Vault: {what}"));
        let uri: Uri = address.parse().map_err(|_| odd("write it as in http://127.0.0.1:8200"))?;
        let authority = uri.authority().ok_or_else(|| odd("it names no host"))?;
        let (tls, port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(tls(ca, authority.host())?), 443),
            _ => return Err(odd("it starts with neither http:// nor https://")),
        };
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| odd("it names no host"))?;
        let authority = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(port));
        Ok(Self { authority, host, tls })
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
        let stream = TcpStream::connect(&self.authority).await.map_err(|e| innermost(&e))?;
        stream.set_nodelay(true).map_err(|e| innermost(&e))?;
        match &self.tls {
            None => handshake(stream).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                handshake(stream.map_err(|e| innermost(&e))?).await
            }
        }
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

async fn handshake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, NoAnswer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| innermost(&e))?;
    // Its errors reach the request they interrupt.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// A request that can be sent any number of times.
pub(super) struct Prepared(Request<Full<Bytes>>);

impl Prepared {
    /// A request of `server`; `body` is JSON, none for a GET.
    pub(super) fn new(
        server: &Server,
        path: &str,
        token: Option<&Secret>,
        body: Option<&serde_json::Value>,
    ) -> Result<Self, NoAnswer> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = format!("/v1/{}", path.trim_start_matches('/'))
            .parse()
            .map_err(|_| NoAnswer(format!("{path:?} cannot be a path")))?;
        let headers = request.headers_mut();
        headers.insert(HOST, server.host.clone());
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose())
                .map_err(|_| NoAnswer("the token holds characters no token has".into()))?;
            value.set_sensitive(true);
            headers.insert("x-vault-token", value);
        }
        if let Some(body) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.method_mut() = Method::POST;
            *request.body_mut() = Full::new(body.to_string().into());
        }
        Ok(Self(request))
    }
}

/// What came back. The body may hold secrets, so there is no `Debug`.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// One connection, opened when it is first needed and again after it broke.
pub(super) struct Connection {
    server: Arc<Server>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub(super) fn new(server: &Arc<Server>) -> Self {
        Self { server: Arc::clone(server), sender: None }
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn send(&mut self, request: &Prepared) -> Result<Answer, NoAnswer> {
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, self.exchange(request)).await;
        let answer = answer.unwrap_or_else(|_| Err(NoAnswer("no answer in time".into())));
        if answer.is_err() {
            self.sender = None;
        }
        answer
    }

    async fn exchange(&mut self, request: &Prepared) -> Result<Answer, NoAnswer> {
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => self.server.open().await?,
        };
        // A server may close a connection it has kept long enough.
        if sender.ready().await.is_err() {
            sender = self.server.open().await?;
        }
        let response = sender.send_request(request.0.clone()).await.map_err(|e| innermost(&e))?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|e| innermost(&e))?.to_bytes();
        self.sender = Some(sender);
        Ok(Answer { status, body })
    }
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
        assert!(fault("ftp://x").contains("neither http:// nor https://"));
        assert_eq!(fault("https://x"), "an https address needs the CA's certificate");
        assert_eq!(Server::new("http://[::1]:8200/", None).unwrap().authority, "[::1]:8200");
        assert_eq!(Server::new("http://vault", None).unwrap().authority, "vault:80");
    }

    #[tokio::test]
    async fn nobody_there_is_told_as_such() {
        let server = Arc::new(Server::new("http://127.0.0.1:1", None).unwrap());
        let request = Prepared::new(&server, "sys/health", None, None).unwrap();
        let error = Connection::new(&server).send(&request).await.err().unwrap();
        assert!(error.to_string().contains("Connection refused"), "{error}");
    }
}
