use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::*;

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key in PEM form, signed by `ca`.
fn issue(ca: &Ca) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    (certificate.pem(), key.serialize_pem())
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(pair: &(String, String)) -> Self {
        let this = Self { dir: tempfile::tempdir().unwrap() };
        this.write(pair);
        this
    }

    fn write(&self, (cert, key): &(String, String)) {
        fs::write(self.dir.path().join("cert.pem"), cert).unwrap();
        fs::write(self.dir.path().join("key.pem"), key).unwrap();
    }

    fn settings(&self) -> Tls {
        Tls {
            cert_file: self.dir.path().join("cert.pem"),
            key_file: self.dir.path().join("key.pem"),
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            client_ca_file: None,
            require_client_cert: false,
        }
    }
}

fn load_error(settings: &Tls) -> String {
    Acceptor::load(settings).unwrap_err().to_string()
}

/// A client that trusts `ca` and presents `own` if given.
fn client(ca: &Ca, own: Option<&(String, String)>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// Sends "ping" through an echoing server and returns the certificate it showed.
async fn ping(acceptor: &Acceptor, client: &TlsConnector) -> io::Result<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let acceptor = acceptor.clone();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        let mut stream = acceptor.accept(stream).await?;
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await?;
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    });
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await?;
    let mut stream = client.connect(name, stream).await?;
    stream.write_all(b"ping").await?;
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).await?;
    assert_eq!(&bytes, b"ping");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    server.await.unwrap()?;
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    Ok(chain[0].to_vec())
}

#[tokio::test]
async fn clients_connect_and_a_reload_changes_the_certificate() {
    let ca = ca();
    let (first, second) = (issue(&ca), issue(&ca));
    let files = Files::new(&first);
    let acceptor = Acceptor::load(&files.settings()).unwrap();
    // A new client each time: the same one would resume its session.
    let show = async || ping(&acceptor, &client(&ca, None)).await.unwrap();
    let der = |pair: &(String, String)| CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap().to_vec();
    assert_eq!(show().await, der(&first));
    files.write(&second);
    assert_eq!(show().await, der(&first));
    acceptor.reload().unwrap();
    assert_eq!(show().await, der(&second));

    // A reload that fails, here half-way through a change of the files, changes nothing.
    fs::write(files.dir.path().join("cert.pem"), &first.0).unwrap();
    let error = acceptor.reload().unwrap_err();
    assert!(matches!(error, TlsError::Unusable { .. }), "{error}");
    assert_eq!(show().await, der(&second));
}

#[tokio::test]
async fn a_required_client_certificate_is_verified() {
    let (ca, other) = (ca(), self::ca());
    let files = Files::new(&issue(&ca));
    let ca_file = files.dir.path().join("ca.pem");
    fs::write(&ca_file, ca.pem()).unwrap();
    let mut settings = Tls { require_client_cert: true, ..files.settings() };
    assert!(load_error(&settings).contains("needs a tls_client_ca_file"));
    settings.client_ca_file = Some(ca_file);
    let acceptor = Acceptor::load(&settings).unwrap();
    ping(&acceptor, &client(&ca, None)).await.unwrap_err();
    ping(&acceptor, &client(&ca, Some(&issue(&other)))).await.unwrap_err();
    ping(&acceptor, &client(&ca, Some(&issue(&ca)))).await.unwrap();
}

#[tokio::test]
async fn a_silent_client_is_dropped() {
    let files = Files::new(&issue(&ca()));
    let mut acceptor = Acceptor::load(&files.settings()).unwrap();
    acceptor.handshake_timeout = Duration::from_millis(50);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let error = acceptor.accept(stream).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn unusable_files_are_named_and_never_quoted() {
    let ca = ca();
    let pair = issue(&ca);
    let files = Files::new(&pair);
    let settings = files.settings();
    let (cert, key) = (&settings.cert_file, &settings.key_file);

    fs::write(key, &issue(&ca).1).unwrap();
    assert!(load_error(&settings).contains("cannot use the TLS certificate"));

    fs::write(key, &pair.0).unwrap();
    assert!(load_error(&settings).ends_with("it contains no private key"));

    let broken = pair.1.replace("-----END PRIVATE KEY-----", "");
    fs::write(key, &broken).unwrap();
    let error = load_error(&settings);
    assert!(error.contains("key.pem is not a TLS private key"), "{error}");
    let secret = pair.1.lines().nth(1).unwrap();
    assert!(!error.contains(secret));

    fs::remove_file(key).unwrap();
    assert!(load_error(&settings).starts_with("cannot read the TLS private key"));

    fs::write(cert, "nothing of the kind").unwrap();
    assert!(load_error(&settings).ends_with("it contains no certificate"));
}

#[test]
fn versions_are_those_between_the_limits() {
    use TlsVersion::{Tls12, Tls13};
    let files = Files::new(&issue(&ca()));
    let between = |min_version, max_version| {
        let settings = Tls { min_version, max_version, ..files.settings() };
        versions(&settings).map(|versions| versions.len())
    };
    assert_eq!(between(Tls12, Tls13).unwrap(), 2);
    assert_eq!(between(Tls12, Tls12).unwrap(), 1);
    assert_eq!(between(Tls13, Tls13).unwrap(), 1);
    assert!(matches!(between(Tls13, Tls12), Err(TlsError::NoVersion)));
}

proptest::proptest! {
    #[test]
    fn arbitrary_files_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        static FILES: Mutex<Option<Files>> = Mutex::new(None);
        let mut files = FILES.lock().unwrap();
        let files = files.get_or_insert_with(|| Files::new(&issue(&ca())));
        fs::write(files.dir.path().join("key.pem"), &bytes).unwrap();
        proptest::prop_assert!(Acceptor::load(&files.settings()).is_err());
    }
}
