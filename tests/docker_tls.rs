//! An engine over TCP with TLS, as `DOCKER_HOST`, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` say it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod support;

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use support::containers::{POSTGRES, SERVER, has, things_of};
use support::{TestLab, postgres_lab, text};
use tokio_rustls::TlsAcceptor;

/// Who vouches for an engine and its clients.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// What `DOCKER_CERT_PATH` names: a client that this authority vouches for, who trusts `trusted`.
    fn client(&self, folder: &Path, trusted: &Self) {
        let (certificate, key) = self.sign(&[], ExtendedKeyUsagePurpose::ClientAuth);
        std::fs::create_dir_all(folder).unwrap();
        for (name, pem) in
            [("ca.pem", trusted.0.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
        {
            std::fs::write(folder.join(name), pem).unwrap();
        }
    }
}

/// Stands for an engine behind TLS, for clients its authority vouches for; gives its port.
fn engine_behind_tls(authority: &Authority) -> u16 {
    let (certificate, key) = authority.sign(&["127.0.0.1", "localhost"], ExtendedKeyUsagePurpose::ServerAuth);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.0.der().to_vec())).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.unwrap())
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        );
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that is not trusted, or goes away, is no concern of the test's.
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let mut engine = tokio::net::UnixStream::connect("/var/run/docker.sock").await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut client, &mut engine).await);
                });
            }
        });
    });
    port
}

#[test]
fn a_lab_comes_up_over_tls_and_strangers_are_told_on_either_side() {
    if !has(&[POSTGRES, SERVER]) || !Path::new("/var/run/docker.sock").exists() {
        return;
    }
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let mut lab = TestLab::contained("tls");
    lab.write("vaultlab.yaml", &postgres_lab("tls", "storage: file"));
    lab.engine = Some(format!("tcp://127.0.0.1:{}", engine_behind_tls(&ours)));
    let run = |certificates: Option<&Path>, arguments: &[&str]| -> Output {
        let mut command = lab.command(&[arguments, &["--progress", "quiet"]].concat());
        if let Some(folder) = certificates {
            command.env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", folder);
        }
        command.output().unwrap()
    };
    let folder = |name: &str| lab.folder.path().join(name);
    ours.client(&folder("known"), &ours);
    foreign.client(&folder("stranger"), &ours);
    ours.client(&folder("deceived"), &foreign);

    // An engine that others vouch for, a client that the engine does not know, and one without TLS.
    for certificates in [Some("deceived"), Some("stranger"), None] {
        let output = run(certificates.map(folder).as_deref(), &["up"]);
        let error = text(&output.stderr);
        let told = error.contains("no container engine answers at tcp://") && error.contains("DOCKER_HOST");
        assert!(output.status.code() == Some(5) && told, "{certificates:?}: {error}");
        assert!(certificates != Some("deceived") || error.contains("UnknownIssuer"), "{error}");
    }
    let error = text(&run(Some(&folder("none")), &["up"]).stderr);
    assert!(error.contains("ca.pem is not there: set DOCKER_CERT_PATH"), "{error}");
    assert_eq!(things_of(&lab.name), Vec::<String>::new());

    let known = folder("known");
    for arguments in [&["up"][..], &["creds", "app"], &["down", "--volumes"]] {
        let output = run(Some(&known), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        if arguments == ["up"] {
            assert_eq!(things_of(&lab.name).len(), 6, "two containers, three volumes, a network");
        }
    }
    assert_eq!(things_of(&lab.name), Vec::<String>::new());
    lab.assert_gone();
}
