//! A server started by a configuration file with a TLS listener, and SIGHUP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const CONFIG: &str = "VAULTLAB_TEST_CONFIG";

/// Not a test of its own: what `vaultlab server -config=FILE` does.
#[tokio::test]
#[ignore = "run as a child process by sighup_loads_a_new_certificate"]
async fn child_run() {
    let Some(config) = std::env::var_os(CONFIG).map(PathBuf::from) else { return };
    vaultlab_server::server::run(&[config]).await.unwrap();
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a new certificate for localhost and its key; the certificate.
fn write_certificate(ca: &Ca, dir: &Path) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let pem = params.signed_by(&key, ca).unwrap().pem();
    fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(dir.join("cert.pem"), &pem).unwrap();
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// The status line of a request over TLS and the certificate the server showed.
async fn health(port: u16, ca: &Ca) -> std::io::Result<(String, Vec<u8>)> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"GET /v1/sys/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let text = String::from_utf8_lossy(&answer).into_owned();
    Ok((text.lines().next().unwrap_or_default().to_owned(), shown))
}

/// Asks until the server shows this certificate.
async fn wait_for(port: u16, ca: &Ca, certificate: &[u8]) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match health(port, ca).await {
            Ok((status, shown)) if shown == certificate => return status,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn sighup_loads_a_new_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let dir_text = dir.path().display();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = dir.path().join("server.hcl");
    let text = format!(
        r#"
        storage "file" {{ path = "{dir_text}/store" }}
        listener "tcp" {{
            address       = "127.0.0.1:{port}"
            tls_cert_file = "{dir_text}/cert.pem"
            tls_key_file  = "{dir_text}/key.pem"
        }}
        "#
    );
    fs::write(&config, text).unwrap();
    let ca = ca();
    let first = write_certificate(&ca, dir.path());
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["child_run", "--exact", "--ignored", "--nocapture"])
        .env(CONFIG, &config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    assert_eq!(wait_for(port, &ca, &first).await, "HTTP/1.1 501 Not Implemented");

    let second = write_certificate(&ca, dir.path());
    process.signal("-HUP");
    wait_for(port, &ca, &second).await;

    // A certificate that cannot be used changes nothing.
    fs::write(dir.path().join("cert.pem"), "broken").unwrap();
    process.signal("-HUP");
    tokio::time::sleep(Duration::from_millis(200)).await;
    wait_for(port, &ca, &second).await;

    process.signal("-TERM");
    let status = process.0.wait().unwrap();
    assert!(status.success(), "{status}");
}
