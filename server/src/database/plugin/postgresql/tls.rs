//! TLS to PostgreSQL, after libpq's `sslmode` values.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::database::PluginError;
use crate::database::plugin::settings::Settings;

/// Where distributions keep the system's authorities, in one file.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/opt/homebrew/etc/ca-certificates/cert.pem",
];

/// How a server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// Not at all (`prefer`, `require`).
    None,
    /// By its authority, whatever its name (`verify-ca`).
    Authority,
    /// By its authority and name (`verify-full`).
    Full,
}

/// Files named in the connection string; empty for none.
#[derive(Default)]
pub struct TlsFiles {
    /// `sslrootcert`.
    pub root: String,
    /// `sslcert`.
    pub certificate: String,
    /// `sslkey`.
    pub key: String,
}

/// Builds the client's TLS settings from the connection string's files and the settings `tls_ca`,
/// `tls_certificate` and `private_key`, which hold PEM text and win over files.
///
/// # Errors
/// `PluginError::Config` naming the file or setting that cannot be used.
pub fn client_config(
    verification: Verification,
    files: &TlsFiles,
    settings: &Settings<'_>,
) -> Result<ClientConfig, PluginError> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match verification {
        Verification::None => Arc::new(Unverified { provider: Arc::clone(&provider) }),
        Verification::Authority | Verification::Full => {
            let roots = roots(&files.root, &settings.text("tls_ca")?)?;
            let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|e| fault(format!("cannot use the root certificates: {e}")))?;
            if verification == Verification::Full { inner } else { Arc::new(AnyName { inner }) }
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| fault(format!("cannot set up TLS: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let certificate = pem("sslcert", &files.certificate, "tls_certificate", settings)?;
    let key = pem("sslkey", &files.key, "private_key", settings)?;
    let (Some(certificate), Some(key)) = (certificate, key) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(&certificate)?;
    let key =
        PrivateKeyDer::from_pem_slice(&key).map_err(|e| fault(format!("cannot read the client key: {e}")))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|e| fault(format!("cannot use the client certificate: {e}")))
}

fn fault(message: String) -> PluginError {
    PluginError::Config(message)
}

/// PEM text of a setting, else of a file; none when neither is given.
fn pem(
    keyword: &str,
    file: &str,
    key: &str,
    settings: &Settings<'_>,
) -> Result<Option<Vec<u8>>, PluginError> {
    let text = settings.text(key)?;
    if !text.is_empty() {
        return Ok(Some(text.into_bytes()));
    }
    if file.is_empty() {
        return Ok(None);
    }
    std::fs::read(file).map(Some).map_err(|e| fault(format!("cannot read {keyword} {file}: {e}")))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PluginError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(fault("a certificate setting holds no PEM certificate".to_owned())),
        Err(e) => Err(fault(format!("cannot read a certificate: {e}"))),
    }
}

/// The authorities of `tls_ca`, else of `sslrootcert`, else of the system.
fn roots(file: &str, setting: &str) -> Result<RootCertStore, PluginError> {
    let pem = if setting.is_empty() {
        let path = if file.is_empty() || file == "system" {
            SYSTEM_BUNDLES.iter().find(|path| Path::new(path).exists()).copied().ok_or_else(|| {
                fault("no system certificates found: name the authority in sslrootcert or tls_ca".to_owned())
            })?
        } else {
            file
        };
        std::fs::read(path).map_err(|e| fault(format!("cannot read sslrootcert {path}: {e}")))?
    } else {
        setting.as_bytes().to_vec()
    };
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates(&pem)?);
    if added == 0 {
        return Err(fault("the root certificates cannot be used".to_owned()));
    }
    Ok(store)
}

/// Accepts every certificate, but still has the server prove that it owns it.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks the authority and overlooks that the name is another.
#[derive(Debug)]
struct AnyName {
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
