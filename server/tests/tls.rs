//! A server started by a configuration file with a TLS listener, and SIGHUP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/process.rs"]
mod child;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use child::{Process, free_address, wait_for};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

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
async fn health(address: &str, ca: &Ca) -> std::io::Result<(String, Vec<u8>)> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
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
async fn wait_for_certificate(address: &str, ca: &Ca, certificate: &[u8]) {
    let shown = async || health(address, ca).await.is_ok_and(|(_, shown)| shown == certificate);
    wait_for("the certificate", shown).await;
}

#[tokio::test]
async fn sighup_loads_a_new_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let files = |folder: &Path| {
        let folder = folder.display();
        format!("tls_cert_file = \"{folder}/cert.pem\"\n  tls_key_file = \"{folder}/key.pem\"")
    };
    let ca = ca();
    let [first, _] = [&one, &two].map(|folder| {
        fs::create_dir(folder).unwrap();
        write_certificate(&ca, folder)
    });
    // A second listener, whose certificate is read again after the first one's.
    let other = free_address();
    let second_stanza = format!("}}\nlistener \"tcp\" {{\n  address = \"{other}\"\n  {}", files(&two));
    let stanzas = format!("{}\n{second_stanza}", files(&one));
    let mut process = Process::limited(dir.path(), &stanzas, "").await;
    wait_for_certificate(&process.address, &ca, &first).await;
    assert_eq!(health(&process.address, &ca).await.unwrap().0, "HTTP/1.1 501 Not Implemented");

    let second = write_certificate(&ca, &one);
    process.signal("-HUP");
    wait_for_certificate(&process.address, &ca, &second).await;

    // A certificate that cannot be used changes nothing, and does not keep the others from being read.
    fs::write(one.join("cert.pem"), "broken").unwrap();
    let of_other = write_certificate(&ca, &two);
    process.signal("-HUP");
    wait_for_certificate(&other, &ca, &of_other).await;
    assert_eq!(health(&process.address, &ca).await.unwrap().1, second);

    process.signal("-TERM");
    let status = process.ended();
    assert!(status.success(), "{status}");
}
