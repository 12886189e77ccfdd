//! TLS for listeners: certificate and key from PEM files, read anew on request, for example
//! on SIGHUP, without dropping a connection.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{Tls, TlsVersion};

/// A client that has not finished the handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why TLS cannot be offered.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read the TLS {what} {}: {cause}", path.display())]
    Read {
        /// What it should contain.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// A file contains something else.
    #[error("{} is not a TLS {what} in PEM form: {cause}", path.display())]
    Content {
        /// What it should contain.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Certificate and key are well-formed but cannot be used.
    #[error("cannot use the TLS certificate {} with the key {}: {cause}", cert.display(), key.display())]
    Unusable {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// Why not.
        cause: rustls::Error,
    },
    /// The certificates that should verify clients are not usable.
    #[error("cannot verify clients with {}: {cause}", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// The oldest version asked for is newer than the newest.
    #[error("tls_min_version is newer than tls_max_version")]
    NoVersion,
    /// Clients shall be verified, but not by what.
    #[error("tls_require_and_verify_client_cert needs a tls_client_ca_file")]
    NoClientCa,
}

/// Turns accepted connections into TLS ones; clones share the certificate.
#[derive(Clone)]
pub struct Acceptor {
    handshake: TlsAcceptor,
    certificate: Arc<Certificate>,
    handshake_timeout: Duration,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("cert_file", &self.certificate.cert_file).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Reads the files. HTTP/2 and HTTP/1.1 are offered by ALPN.
    ///
    /// # Errors
    /// When a file or a setting cannot be used.
    pub fn load(settings: &Tls) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificate = Arc::new(Certificate::load(settings, Arc::clone(&provider))?);
        let unusable = |cause| certificate.unusable(cause);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(settings)?)
            .map_err(unusable)?;
        let builder = if settings.require_client_cert {
            let path = settings.client_ca_file.as_ref().ok_or(TlsError::NoClientCa)?;
            let roots = Arc::new(client_roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| TlsError::ClientCa { path: path.clone(), cause: error.to_string() })?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&certificate) as _;
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            handshake: TlsAcceptor::from(Arc::new(config)),
            certificate,
            handshake_timeout: HANDSHAKE_TIMEOUT,
        })
    }

    /// Reads certificate and key again. New sessions get them; existing connections, and
    /// clients that resume a session, stay as they are. On an error the old ones stay in use.
    ///
    /// # Errors
    /// When the files cannot be used.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.certificate.reload()
    }

    /// The settings for a handshake made elsewhere. They stay valid through reloads.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(self.handshake.config())
    }

    /// The TLS handshake with a client that has just connected.
    ///
    /// # Errors
    /// When it fails or takes more than ten seconds.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        tokio::time::timeout(self.handshake_timeout, self.handshake.accept(stream))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "TLS handshake timed out"))?
    }
}

/// The certificate in use and where it comes from.
#[derive(Debug)]
struct Certificate {
    cert_file: PathBuf,
    key_file: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

impl Certificate {
    fn load(settings: &Tls, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let current = read_pair(&settings.cert_file, &settings.key_file, &provider)?;
        Ok(Self {
            cert_file: settings.cert_file.clone(),
            key_file: settings.key_file.clone(),
            provider,
            current: RwLock::new(Arc::new(current)),
        })
    }

    fn reload(&self) -> Result<(), TlsError> {
        let pair = read_pair(&self.cert_file, &self.key_file, &self.provider)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
        Ok(())
    }

    fn unusable(&self, cause: rustls::Error) -> TlsError {
        TlsError::Unusable { cert: self.cert_file.clone(), key: self.key_file.clone(), cause }
    }
}

/// Reads a certificate chain and its key and checks that they belong together.
fn read_pair(cert_file: &Path, key_file: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = read_certificates("certificate", cert_file)?;
    let key_pem = zeroize::Zeroizing::new(read("private key", key_file)?);
    let key =
        PrivateKeyDer::from_pem_slice(&key_pem).map_err(|error| not_pem("private key", key_file, &error))?;
    let unusable = |cause| TlsError::Unusable { cert: cert_file.to_owned(), key: key_file.to_owned(), cause };
    CertifiedKey::from_der(chain, key, provider).map_err(unusable)
}

fn client_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates("client CA", path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::ClientCa { path: path.to_owned(), cause: error.to_string() })?;
    }
    Ok(roots)
}

/// All certificates of a PEM file, at least one.
fn read_certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(what, path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| not_pem(what, path, &error))?;
    if certificates.is_empty() {
        return Err(not_pem(what, path, &pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|cause| TlsError::Read { what, path: path.to_owned(), cause })
}

fn not_pem(what: &'static str, path: &Path, cause: &pem::Error) -> TlsError {
    // The errors about malformed sections quote the file, which may hold a key.
    let cause = match cause {
        pem::Error::NoItemsFound => format!("it contains no {what}"),
        pem::Error::MissingSectionEnd { .. } => "a section has no end line".to_owned(),
        _ => "it is malformed".to_owned(),
    };
    TlsError::Content { what, path: path.to_owned(), cause }
}

/// The protocol versions between the two settings.
fn versions(settings: &Tls) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let versions: Vec<_> =
        [(TlsVersion::Tls12, &rustls::version::TLS12), (TlsVersion::Tls13, &rustls::version::TLS13)]
            .into_iter()
            .filter(|(version, _)| (settings.min_version..=settings.max_version).contains(version))
            .map(|(_, version)| version)
            .collect();
    if versions.is_empty() {
        return Err(TlsError::NoVersion);
    }
    Ok(versions)
}

#[cfg(test)]
mod tests;
