//! PKI as a client of its paths sees it; what it issues is judged by rustls' verifier.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use serde_json::{Value, json};

use super::*;
use crate::logical::testing::{TestSystem, context, request};
use crate::logical::{LeaseOptions, Object};

struct Bench {
    pki: Pki,
    system: Arc<TestSystem>,
}

impl Bench {
    fn new() -> Self {
        let (context, system) = context("pki/", "pki");
        Self { pki: Pki::new(context), system }
    }

    /// A mount with a P-256 root and a role `web` for example.com.
    async fn with_root(role: Value) -> Self {
        let bench = Self::new();
        let root = json!({"common_name": "Test Root", "key_type": "ec", "ttl": "700h"});
        bench.ok("root/generate/internal", root).await;
        let mut body = json!({"allowed_domains": "example.com", "allow_subdomains": true, "key_type": "ec", "max_ttl": "72h"});
        body.as_object_mut().unwrap().extend(role.as_object().unwrap().clone());
        bench.post("roles/web", body).await.unwrap();
        bench
    }

    async fn call(&self, operation: Operation, path: &str, data: Value) -> Answer {
        self.pki.handle(&request(operation, path, data)).await
    }

    async fn post(&self, path: &str, data: Value) -> Answer {
        self.call(Operation::Update, path, data).await
    }

    /// The data of a write that must succeed.
    async fn ok(&self, path: &str, data: Value) -> Object {
        self.post(path, data).await.unwrap().unwrap().data.unwrap()
    }

    async fn read(&self, path: &str) -> Option<Response> {
        self.call(Operation::Read, path, json!({})).await.unwrap()
    }

    /// Status and text of a refused write.
    async fn refused(&self, path: &str, data: Value) -> (u16, String) {
        let error = self.post(path, data).await.unwrap_err();
        (error.status(), error.to_string())
    }

    async fn raw(&self, path: &str) -> (u16, Vec<u8>) {
        let raw = self.read(path).await.unwrap().raw.unwrap();
        (raw.status, raw.body.to_vec())
    }
}

fn text<'a>(data: &'a Object, name: &str) -> &'a str {
    data[name].as_str().unwrap_or_else(|| panic!("{name}: {}", data[name]))
}

fn der(pem: &str) -> Vec<u8> {
    pem::parse(pem).unwrap().into_contents()
}

/// Whether rustls takes the certificate for the name, under the roots, unless it is revoked.
fn accepted(chain: &[Vec<u8>], root: &[u8], name: &str, at: Timestamp, crl: Option<Vec<u8>>) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root.to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .only_check_end_entity_revocation();
    if let Some(crl) = crl {
        builder = builder.with_crls([CertificateRevocationListDer::from(crl)]);
    }
    let certificates: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.as_second() as u64));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    builder.build().unwrap().verify_server_cert(&certificates[0], &certificates[1..], &name, &[], at).is_ok()
}

fn csr(names: &[&str]) -> (String, KeyPair) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, names[0].as_str());
    let key = KeyPair::generate().unwrap();
    (params.serialize_request(&key).unwrap().pem().unwrap(), key)
}

#[tokio::test]
async fn a_root_issues_certificates_that_verify() {
    for key_type in ["rsa", "ec", "ed25519"] {
        let bench = Bench::new();
        let body =
            json!({"common_name": "Test Root", "key_type": key_type, "ttl": "700h", "organization": "Lab"});
        let root = bench.ok("root/generate/exported", body).await;
        assert_eq!(text(&root, "private_key_type"), key_type);
        assert!(text(&root, "private_key").contains("PRIVATE KEY"));
        let role = json!({"allowed_domains": "example.com", "allow_subdomains": true, "key_type": key_type});
        bench.post("roles/web", role).await.unwrap();
        let body = json!({"common_name": "a.example.com", "alt_names": "b.example.com", "ip_sans": "127.0.0.1", "ttl": "1h"});
        let issued = bench.ok("issue/web", body).await;
        let (leaf, root) = (der(text(&issued, "certificate")), der(text(&root, "certificate")));
        let now = bench.system.now();
        for name in ["a.example.com", "b.example.com", "127.0.0.1"] {
            assert!(accepted(std::slice::from_ref(&leaf), &root, name, now, None), "{key_type} {name}");
        }
        assert!(!accepted(std::slice::from_ref(&leaf), &root, "c.example.com", now, None));
        let later = now + Duration::from_secs(3601);
        assert!(!accepted(std::slice::from_ref(&leaf), &root, "a.example.com", later, None), "expired");
        assert_eq!(issued["expiration"], now.as_second() + 3600);
        assert_eq!(issued["private_key_type"], key_type);
        // The key handed out belongs to the certificate.
        let key = key::PrivateKey::from_pem(&pem::parse(text(&issued, "private_key")).unwrap()).unwrap();
        let public = rcgen::PublicKeyData::subject_public_key_info(&key.pair(0).unwrap());
        assert_eq!(public, CertificateInfo::parse(&leaf).unwrap().public_key);
    }
}

#[tokio::test]
async fn an_intermediate_is_signed_set_and_issues() {
    let (upper, lower) = (Bench::new(), Bench::new());
    let root = upper.ok("root/generate/internal", json!({"common_name": "Root", "key_type": "ec"})).await;
    assert!(!root.contains_key("private_key"));
    assert_eq!(
        lower.refused("intermediate/set-signed", json!({"certificate": root["certificate"]})).await.0,
        400
    );
    let request =
        lower.ok("intermediate/generate/internal", json!({"common_name": "Middle", "key_type": "ec"})).await;
    let body = json!({"csr": request["csr"], "common_name": "Middle", "ttl": "700h", "max_path_length": 0});
    let signed = upper.ok("root/sign-intermediate", body).await;
    assert_eq!(
        lower.refused("intermediate/set-signed", json!({"certificate": root["certificate"]})).await.0,
        400
    );
    let bundle = format!("{}\n{}", text(&signed, "certificate"), text(&root, "certificate"));
    let imported = lower.ok("intermediate/set-signed", json!({ "certificate": bundle })).await;
    assert_eq!(imported["imported_issuers"].as_array().unwrap().len(), 1);

    lower.post("roles/web", json!({"allow_any_name": true, "key_type": "ec"})).await.unwrap();
    let issued = lower.ok("issue/web", json!({"common_name": "a.example.com", "ttl": "1h"})).await;
    assert_eq!(issued["issuing_ca"], signed["certificate"]);
    assert_eq!(issued["ca_chain"].as_array().unwrap().len(), 2);
    let chain = [der(text(&issued, "certificate")), der(text(&issued, "issuing_ca"))];
    let root = der(text(&root, "certificate"));
    assert!(accepted(&chain, &root, "a.example.com", lower.system.now(), None));
    assert!(!accepted(&chain[..1], &root, "a.example.com", lower.system.now(), None));
    let (_, joined) = lower.raw("ca_chain").await;
    assert_eq!(pem::parse_many(joined).unwrap().len(), 2);
}

#[tokio::test]
async fn a_bundle_can_be_brought_along() {
    let one = Bench::new();
    let body = json!({"common_name": "Root", "key_type": "ec", "format": "pem_bundle"});
    let root = one.ok("root/generate/exported", body).await;
    let other = Bench::new();
    other.ok("config/ca", json!({"pem_bundle": root["certificate"]})).await;
    assert_eq!(one.raw("ca").await, other.raw("ca").await);
    assert_eq!(
        other.refused("config/ca", json!({"pem_bundle": root["certificate"]})).await.0,
        400,
        "it has one"
    );
    let third = Bench::new();
    for bundle in ["", "x", text(&root, "private_key")] {
        assert_eq!(third.refused("config/ca", json!({ "pem_bundle": bundle })).await.0, 400);
    }
}

#[tokio::test]
async fn requests_are_signed_with_their_own_key() {
    let bench = Bench::with_root(json!({})).await;
    let (text_of_csr, key) = csr(&["a.example.com", "b.example.com"]);
    let signed = bench.ok("sign/web", json!({"csr": text_of_csr, "ttl": "1h"})).await;
    assert!(!signed.contains_key("private_key"));
    let leaf = der(text(&signed, "certificate"));
    let public = rcgen::PublicKeyData::subject_public_key_info(&key);
    assert_eq!(CertificateInfo::parse(&leaf).unwrap().public_key, public);
    let (_, root) = bench.raw("ca").await;
    assert!(accepted(&[leaf], &root, "b.example.com", bench.system.now(), None));
    let (foreign, _) = csr(&["a.example.org"]);
    let refused = bench.refused("sign/web", json!({"csr": foreign, "common_name": "a.example.com"})).await;
    assert_eq!(refused, (400, "common name a.example.org not allowed by this role".into()));
    bench.post("roles/rsa", json!({"allow_any_name": true})).await.unwrap();
    let (status, message) = bench.refused("sign/rsa", json!({"csr": text_of_csr})).await;
    assert_eq!((status, message.as_str()), (400, "role requires keys of type rsa"));
    let verbatim = bench.ok("sign-verbatim", json!({"csr": foreign, "ttl": "1h"})).await;
    let leaf = der(text(&verbatim, "certificate"));
    assert!(accepted(&[leaf], &root, "a.example.org", bench.system.now(), None));
}

#[tokio::test]
async fn what_a_role_does_not_allow_is_refused() {
    let bench = Bench::with_root(json!({})).await;
    for (body, message) in [
        (json!({"common_name": "a.example.org"}), "common name a.example.org not allowed by this role"),
        (
            json!({"common_name": "a.example.com", "alt_names": "evil.com"}),
            "subject alternate name evil.com not allowed by this role",
        ),
        (
            json!({"common_name": "a.example.com", "alt_names": "bob@evil.com"}),
            "email address bob@evil.com not allowed by this role",
        ),
        (
            json!({"common_name": "a.example.com", "ip_sans": "x"}),
            "the value \"x\" is not a valid IP address",
        ),
        (
            json!({"common_name": "a.example.com", "uri_sans": "spiffe://x"}),
            "URI Subject Alternative Names are not allowed",
        ),
        (json!({"common_name": "a.example.com", "other_sans": "1.2;UTF8:x"}), "other_sans is not supported"),
        (
            json!({"common_name": "a.example.com", "format": "odd"}),
            "must be \"pem\", \"der\", or \"pem_bundle\"",
        ),
        (json!({}), "the common_name field is required"),
    ] {
        let (status, error) = bench.refused("issue/web", body).await;
        assert_eq!(status, 400);
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(bench.refused("issue/none", json!({})).await, (400, "unknown role: none".into()));
    bench
        .post("roles/web", json!({"allow_any_name": true, "allow_ip_sans": false, "key_type": "ec"}))
        .await
        .unwrap();
    let (_, error) = bench.refused("issue/web", json!({"common_name": "a", "ip_sans": "127.0.0.1"})).await;
    assert!(error.contains("IP Subject Alternative Names are not allowed"));
    let (_, error) = bench.refused("issue/web", json!({"common_name": "a", "ttl": "701h"})).await;
    assert!(error.contains("beyond the expiration of the CA certificate"), "{error}");
    let empty = Bench::new();
    empty.post("roles/web", json!({"allow_any_name": true, "key_type": "ec"})).await.unwrap();
    let (status, error) = empty.refused("issue/web", json!({"common_name": "a"})).await;
    assert_eq!(status, 500);
    assert!(error.contains("could not fetch the CA certificate"), "{error}");
}

#[tokio::test]
async fn revoked_certificates_are_on_the_list() {
    let bench = Bench::with_root(json!({})).await;
    let (_, root) = bench.raw("ca").await;
    let issued = bench.ok("issue/web", json!({"common_name": "a.example.com"})).await;
    let other = bench.ok("issue/web", json!({"common_name": "a.example.com"})).await;
    let (leaf, kept) = (der(text(&issued, "certificate")), der(text(&other, "certificate")));
    let now = bench.system.now();
    let (_, crl) = bench.raw("crl").await;
    assert!(accepted(std::slice::from_ref(&leaf), &root, "a.example.com", now, Some(crl)));
    let revoked = bench.ok("revoke", json!({"serial_number": issued["serial_number"]})).await;
    assert_eq!(
        (revoked["revocation_time"].as_i64(), text(&revoked, "state")),
        (Some(now.as_second()), "revoked")
    );
    bench.system.advance(Duration::from_secs(5));
    let again = bench.ok("revoke", json!({"certificate": issued["certificate"]})).await;
    assert_eq!(again, revoked, "the first time counts");
    let (_, crl) = bench.raw("crl").await;
    assert!(!accepted(std::slice::from_ref(&leaf), &root, "a.example.com", now, Some(crl.clone())));
    assert!(accepted(&[kept], &root, "a.example.com", now, Some(crl)));
    let path = format!("cert/{}", text(&issued, "serial_number"));
    let read = bench.read(&path).await.unwrap().data.unwrap();
    assert_eq!(
        (&read["certificate"], &read["revocation_time"]),
        (&issued["certificate"], &json!(now.as_second()))
    );
    let list = bench.call(Operation::List, "certs/revoked", json!({})).await.unwrap().unwrap();
    assert_eq!(list.data.unwrap()["keys"], json!([issued["serial_number"]]));
    for (body, message) in [
        (json!({}), "must be provided"),
        (json!({"serial_number": "00:11"}), "certificate with serial 00:11 not found."),
        (json!({"serial_number": "a", "certificate": "b"}), "not both"),
        (json!({"certificate": "b"}), "no PEM data"),
        (
            json!({"certificate": bench.read("cert/ca").await.unwrap().data.unwrap()["certificate"]}),
            "to its own CRL is not allowed",
        ),
    ] {
        let (status, error) = bench.refused("revoke", body).await;
        assert_eq!(status, 400);
        assert!(error.contains(message), "{error}");
    }
}

#[tokio::test]
async fn the_list_is_renewed_when_it_is_out_of_date() {
    let bench = Bench::with_root(json!({})).await;
    let (_, first) = bench.raw("crl").await;
    assert_eq!(bench.raw("crl").await.1, first);
    bench.system.advance(Duration::from_hours(73));
    let (_, second) = bench.raw("crl").await;
    assert_ne!(second, first);
    bench.read("crl/rotate").await.unwrap();
    assert_ne!(bench.raw("crl").await.1, second);
    let (_, text) = bench.raw("crl/pem").await;
    assert!(String::from_utf8(text).unwrap().starts_with("-----BEGIN X509 CRL-----"));
}

#[tokio::test]
async fn a_leased_certificate_is_revoked_with_its_lease() {
    let bench = Bench::with_root(json!({"generate_lease": true})).await;
    let answer =
        bench.post("issue/web", json!({"common_name": "a.example.com", "ttl": "1h"})).await.unwrap().unwrap();
    let secret = answer.secret.unwrap();
    assert_eq!(secret.lease.ttl, Duration::from_hours(1));
    let lease = SecretLease {
        lease_id: "pki/issue/web/x".into(),
        path: "issue/web".into(),
        internal: secret.internal,
        data: Object::new(),
        lease: LeaseOptions::default(),
    };
    bench.pki.revoke(&lease).await.unwrap();
    bench.pki.revoke(&lease).await.unwrap();
    let serial = answer.data.unwrap()["serial_number"].clone();
    assert!(bench.pki.revocation(serial.as_str().unwrap()).unwrap().is_some());
}

#[tokio::test]
async fn reading_without_an_authority_and_with_one() {
    let bench = Bench::new();
    for path in ["ca", "ca/pem", "ca_chain", "crl", "crl/pem"] {
        assert_eq!(bench.raw(path).await, (204, Vec::new()), "{path}");
    }
    for (path, status) in [("cert/ca", 400), ("cert/crl", 500)] {
        let error = bench.call(Operation::Read, path, json!({})).await.unwrap_err();
        assert_eq!(
            (error.status(), error.to_string().as_str()),
            (status, "no default issuer currently configured")
        );
    }
    let root = bench
        .ok("root/generate/internal", json!({"common_name": "R", "key_type": "ec", "issuer_name": "first"}))
        .await;
    assert_eq!(
        bench.refused("root/generate/internal", json!({"common_name": "R", "key_type": "ec"})).await.0,
        400
    );
    assert_eq!(bench.refused("root/generate/kms", json!({"common_name": "R"})).await.0, 400);
    let pem = text(&root, "certificate").as_bytes().to_vec();
    assert_eq!(bench.raw("ca/pem").await, (200, pem.clone()));
    assert_eq!(bench.raw("issuer/default/pem").await, (200, pem));
    let issuer = bench.read("issuer/first").await.unwrap().data.unwrap();
    assert_eq!(issuer["issuer_id"], root["issuer_id"]);
    let list = bench.call(Operation::List, "issuers", json!({})).await.unwrap().unwrap().data.unwrap();
    assert_eq!(list["keys"], json!([root["issuer_id"]]));
    assert_eq!(bench.read("cert/11-22").await.map(|_| ()), None);
    bench.call(Operation::Delete, "root", json!({})).await.unwrap();
    assert_eq!(bench.raw("ca").await.0, 204);
}

#[tokio::test]
async fn urls_go_into_certificates() {
    let bench = Bench::with_root(json!({})).await;
    let urls =
        json!({"issuing_certificates": "http://ca.test/ca", "crl_distribution_points": "http://ca.test/crl"});
    bench.post("config/urls", urls).await.unwrap();
    let issued = bench.ok("issue/web", json!({"common_name": "a.example.com", "format": "der"})).await;
    let der = STANDARD.decode(text(&issued, "certificate")).unwrap();
    for url in ["http://ca.test/ca", "http://ca.test/crl"] {
        assert!(der.windows(url.len()).any(|part| part == url.as_bytes()), "{url}");
    }
}

#[tokio::test]
async fn roles_are_replaced_patched_listed_and_removed() {
    let bench = Bench::new();
    bench.post("roles/web", json!({"allow_any_name": true, "ttl": "1h"})).await.unwrap();
    bench.call(Operation::Patch, "roles/web", json!({"ttl": "2h"})).await.unwrap();
    let role = bench.read("roles/web").await.unwrap().data.unwrap();
    assert_eq!((&role["allow_any_name"], &role["ttl"]), (&json!(true), &json!(7200)));
    bench.post("roles/web", json!({})).await.unwrap();
    assert_eq!(bench.read("roles/web").await.unwrap().data.unwrap()["allow_any_name"], false);
    let list = bench.call(Operation::List, "roles/", json!({})).await.unwrap().unwrap();
    assert_eq!(list.data.unwrap()["keys"], json!(["web"]));
    bench.call(Operation::Delete, "roles/web", json!({})).await.unwrap();
    assert!(bench.read("roles/web").await.is_none());
    assert_eq!(bench.call(Operation::Patch, "roles/none", json!({})).await.unwrap_err().status(), 400);
}

#[tokio::test]
async fn tidy_removes_what_expired() {
    let bench = Bench::with_root(json!({})).await;
    let one = bench.ok("issue/web", json!({"common_name": "a.example.com", "ttl": "1h"})).await;
    bench.ok("issue/web", json!({"common_name": "a.example.com", "ttl": "1h"})).await;
    bench.ok("revoke", json!({"serial_number": one["serial_number"]})).await;
    let tidy = json!({"tidy_cert_store": true, "tidy_revoked_certs": true, "safety_buffer": "1h"});
    let count = || bench.pki.view.list("cert/").unwrap().len();
    assert_eq!(bench.post("tidy", tidy.clone()).await.unwrap().unwrap().status, Some(202));
    assert_eq!(count(), 3);
    bench.system.advance(Duration::from_hours(3));
    bench.post("tidy", tidy).await.unwrap();
    assert_eq!(count(), 1, "the root stays");
    assert!(bench.pki.view.list("revoked/").unwrap().is_empty());
    let idle = bench.post("tidy", json!({})).await.unwrap().unwrap();
    assert!(idle.warnings[0].starts_with("Manual tidy requested but no tidy operations"), "{idle:?}");
}

#[tokio::test]
async fn the_one_issuer_is_the_default() {
    let bench = Bench::new();
    let named = json!({"common_name": "R", "key_type": "ec", "issuer_name": "mine"});
    let id = bench.ok("root/generate/internal", named).await["issuer_id"].clone();
    for (body, words) in [
        (json!({}), "Invalid issuer specification"),
        (json!({"default": "default"}), "Invalid issuer specification"),
        (json!({"default": "other"}), "unable to find PKI issuer for reference: other"),
    ] {
        let (status, error) = bench.refused("config/issuers", body).await;
        assert!(status == 400 && error.contains(words), "{error}");
    }
    let body = json!({"default": "mine", "default_follows_latest_issuer": true});
    let shown = bench.ok("config/issuers", body).await;
    assert_eq!(shown, bench.ok("config/issuers", json!({"default": id})).await);
    assert_eq!(json!(shown), json!({"default": id, "default_follows_latest_issuer": true}));
}

#[tokio::test]
async fn roots_are_left_out_of_a_chain_on_request() {
    let bench = Bench::with_root(json!({})).await;
    let whole = bench.ok("issue/web", json!({"common_name": "a.example.com"})).await;
    assert_eq!(whole["ca_chain"].as_array().unwrap().len(), 1);
    let body =
        json!({"common_name": "a.example.com", "remove_roots_from_chain": true, "format": "pem_bundle"});
    let bare = bench.ok("issue/web", body).await;
    assert_eq!((bare.get("ca_chain"), &bare["issuing_ca"]), (None, &whole["issuing_ca"]));
    assert_eq!(text(&bare, "certificate").matches("BEGIN CERTIFICATE").count(), 1);
}

#[tokio::test]
async fn what_a_request_says_is_read_before_its_role() {
    let bench = Bench::new();
    for (body, words) in [
        (json!({"common_name": ["x"]}), "common_name"),
        (json!({"alt_names": ["a", "b"]}), "unconvertible type '[]interface {}'"),
        (json!({"ttl": "x"}), "time: invalid duration"),
        (json!({"common_name": "x"}), "unknown role: none"),
    ] {
        let (status, error) = bench.refused("issue/none", body).await;
        assert!(status == 400 && error.contains(words), "{error}");
    }
    for (body, words) in [
        (json!({"uri_sans": "::bad"}), "\"::bad\" is not a valid URI"),
        (json!({"uri_sans": "urn:x,%zz"}), "\"%zz\" is not a valid URI"),
        (json!({"other_sans": "1.2.3;UTF8:x"}), "other_sans is not supported"),
    ] {
        let (status, error) = bench.refused("root/generate/internal", body).await;
        assert!(status == 400 && error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_tidy_warns_of_nothing_else() {
    let started =
        Bench::new().post("tidy", json!({"tidy_cert_store": true, "nope": 1})).await.unwrap().unwrap();
    assert_eq!(started.warnings.len(), 1, "{:?}", started.warnings);
}
