//! The PKI engine over HTTP: who may read what, leases, and the CA without a token.

use crate::support::{anonymous, lab};
use serde_json::json;

#[tokio::test]
async fn certificates_are_issued_leased_and_revoked() {
    let lab = lab().await;
    let root = &lab.root;
    root.post("sys/mounts/pki", json!({"type": "pki", "config": {"max_lease_ttl": "8760h"}}))
        .await
        .expect(204);
    let client = anonymous(&lab.server);
    client.get("pki/ca/pem").await.expect(204);
    let body = json!({"common_name": "Root", "key_type": "ec", "ttl": "8760h"});
    let ca = root.post("pki/root/generate/internal", body).await.expect(200);
    let pem = client.get("pki/ca/pem").await.expect(200);
    assert_eq!(pem.body, ca.data()["certificate"]);
    assert_eq!(pem.headers["content-type"], "application/pem-certificate-chain");
    client.get("pki/crl").await.expect(200);
    client.get("pki/issuer/default/pem").await.expect(200);
    client.get("pki/issuer/default").await.expect(403);

    let role = json!({"allowed_domains": "lab.test", "allow_subdomains": true, "key_type": "ec", "generate_lease": true});
    root.post("pki/roles/web", role).await.expect(200);
    let issued =
        root.post("pki/issue/web", json!({"common_name": "a.lab.test", "ttl": "1h"})).await.expect(200);
    let lease = issued.body["lease_id"].as_str().unwrap();
    assert!(lease.starts_with("pki/issue/web/"), "{lease}");
    let serial = issued.data()["serial_number"].as_str().unwrap();
    let read = client.get(&format!("pki/cert/{serial}")).await.expect(200);
    assert_eq!(read.data()["revocation_time"], 0);
    root.post("sys/leases/revoke", json!({"lease_id": lease, "sync": true})).await.expect(204);
    let read = client.get(&format!("pki/cert/{serial}")).await.expect(200);
    assert_ne!(read.data()["revocation_time"], 0);
    let refused = root.post("pki/issue/web", json!({"common_name": "a.evil.test"})).await.expect(400);
    assert_eq!(refused.error(), "common name a.evil.test not allowed by this role");

    let weak = lab.token_with("path \"pki/*\" { capabilities = [\"delete\"] }").await;
    weak.delete("pki/root").await.expect(403);
    root.delete("pki/root").await.expect(200);
    client.get("pki/cert/00:11").await.expect(404);
    lab.server.stop().await;
}
