//! The database secrets engine over HTTP, on real PostgreSQL and MariaDB.

mod support;
#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#[path = "../src/database/testdb/mod.rs"]
mod testdb;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Answer, Client, Lab, anonymous, file_lab, lab, start_on};
use testdb::{ADMIN, ADMIN_PASSWORD, Target};

/// Mounts the engine and connects it, with a role `app` of these TTLs.
async fn connect(root: &Client, target: &Target, admin: (&str, &str), ttl: &str, max_ttl: &str) {
    root.post("sys/mounts/database", json!({"type": "database"})).await.expect(204);
    let config = json!({
        "plugin_name": target.plugin, "connection_url": target.url(), "allowed_roles": ["app"],
        "username": admin.0, "password": admin.1,
    });
    root.post("database/config/db", config).await.expect(204);
    let role = json!({
        "db_name": "db", "creation_statements": target.creation(), "default_ttl": ttl, "max_ttl": max_ttl,
    });
    root.post("database/roles/app", role).await.expect(204);
}

async fn connected(target: &Target, ttl: &str, max_ttl: &str) -> Lab {
    let lab = lab().await;
    connect(&lab.root, target, (ADMIN, ADMIN_PASSWORD), ttl, max_ttl).await;
    lab
}

fn text<'a>(answer: &'a Answer, field: &str) -> &'a str {
    answer.data()[field].as_str().unwrap_or_default()
}

async fn can_login(target: &Target, issued: &Answer) -> bool {
    target.can_login(text(issued, "username"), text(issued, "password")).await
}

/// Waits until a credential's account is gone.
async fn wait_until_gone(target: &Target, issued: &Answer) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while target.has_user(text(issued, "username")).await {
        assert!(Instant::now() < deadline, "the account is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn answers_have_vaults_shapes() {
    for target in Target::shared() {
        let lab = connected(&target, "1h", "2h").await;
        let issued = lab.root.get("database/creds/app").await.expect(200);
        let lease_id = issued.body["lease_id"].as_str().unwrap_or_default();
        assert!(lease_id.starts_with("database/creds/app/"), "{lease_id}");
        assert_eq!((&issued.body["lease_duration"], &issued.body["renewable"]), (&json!(3600), &json!(true)));
        assert_eq!(issued.body["auth"], Value::Null);
        assert!(can_login(&target, &issued).await);

        let renew = json!({"lease_id": lease_id, "increment": "10h"});
        let renewed = lab.root.post("sys/leases/renew", renew).await.expect(200);
        let warnings = renewed.body["warnings"].as_array().map_or(0, Vec::len);
        assert_eq!(warnings, 1, "capped once: {}", renewed.body);
        assert!(renewed.body["lease_duration"].as_u64() > Some(7000), "{}", renewed.body);
        lab.root.post("sys/leases/revoke", json!({ "lease_id": lease_id })).await.expect(204);
        wait_until_gone(&target, &issued).await;

        let unknown = lab.root.get("database/creds/nobody").await.expect(400);
        assert_eq!(unknown.error(), "unknown role: nobody");
        lab.root.post("database/roles/other", json!({"db_name": "db"})).await.expect(204);
        let refused = lab.root.get("database/creds/other").await.expect(500);
        assert_eq!(refused.error(), "1 error occurred:\n\t* \"other\" is not an allowed role\n\n");
        lab.root.get("database/config/none").await.expect(404);
        assert_eq!(lab.root.list("database/roles").await.expect(200).data()["keys"], json!(["app", "other"]));
        lab.root.list("database/static-roles").await.expect(404);
        lab.root.post("database/creds/app", json!({})).await.expect(405);
        lab.root.get("database/nothing").await.expect(404);
    }
}

#[tokio::test]
async fn credentials_die_with_the_login_that_asked_for_them() {
    for target in Target::shared() {
        let lab = connected(&target, "1h", "2h").await;
        let policy = json!({"policy": "path \"database/creds/app\" { capabilities = [\"read\"] }"});
        lab.root.post("sys/policies/acl/app", policy).await.expect(204);
        lab.root.post("sys/auth/approle", json!({"type": "approle"})).await.expect(204);
        lab.root.post("auth/approle/role/web", json!({"token_policies": "app"})).await.expect(204);
        let role_id = lab.root.get("auth/approle/role/web/role-id").await.expect(200);
        let secret_id = lab.root.post("auth/approle/role/web/secret-id", json!({})).await.expect(200);
        let body = json!({"role_id": text(&role_id, "role_id"), "secret_id": text(&secret_id, "secret_id")});
        let login = anonymous(&lab.server).post("auth/approle/login", body).await.expect(200);
        let client = lab.root.with_token(login.body["auth"]["client_token"].as_str().unwrap_or_default());

        let issued = client.get("database/creds/app").await.expect(200);
        assert!(text(&issued, "username").starts_with("v-approle-app-"), "{}", issued.body);
        assert!(can_login(&target, &issued).await);
        client.get("database/config/db").await.expect(403);
        client.post("auth/token/revoke-self", json!({})).await.expect(204);
        wait_until_gone(&target, &issued).await;
    }
}

#[tokio::test]
async fn leases_that_end_take_their_accounts_with_them() {
    for target in Target::shared() {
        let lab = connected(&target, "1s", "5s").await;
        let mut issued = Vec::new();
        for _ in 0..10 {
            issued.push(lab.root.get("database/creds/app").await.expect(200));
        }
        for credential in &issued {
            wait_until_gone(&target, credential).await;
        }
        let lookup = json!({"lease_id": issued[0].body["lease_id"]});
        assert_eq!(lab.root.post("sys/leases/lookup", lookup).await.expect(400).error(), "invalid lease");
    }
}

#[tokio::test]
async fn disabling_the_mount_revokes_what_it_issued() {
    for target in Target::shared() {
        let lab = connected(&target, "1h", "2h").await;
        let issued = lab.root.get("database/creds/app").await.expect(200);
        lab.root.delete("sys/mounts/database").await.expect(204);
        assert!(!target.has_user(text(&issued, "username")).await);
        lab.root.get("database/creds/app").await.expect(404);
    }
}

#[tokio::test]
async fn a_rotated_root_password_survives_restarts_of_both_sides() {
    for target in Target::own() {
        target.make_user("vault", "first-Passw0rd", true).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lab = file_lab(folder.path()).await;
        connect(&lab.root, &target, ("vault", "first-Passw0rd"), "1h", "2h").await;
        let issued = lab.root.get("database/creds/app").await.expect(200);
        lab.root.post("database/rotate-root/db", json!({})).await.expect(204);
        assert!(!target.can_login("vault", "first-Passw0rd").await);
        lab.server.stop().await;
        target.server.restart();

        let server = start_on(folder.path()).await;
        let client = anonymous(&server);
        client.post("sys/unseal", json!({ "key": lab.keys[0] })).await.expect(200);
        let root = client.with_token(&lab.root.token);
        let lease = json!({"lease_id": issued.body["lease_id"]});
        root.post("sys/leases/revoke", lease).await.expect(204);
        wait_until_gone(&target, &issued).await;
        let issued = root.get("database/creds/app").await.expect(200);
        assert!(can_login(&target, &issued).await);
        // Writing the connection again without a password keeps the rotated one.
        root.post("database/config/db", json!({"plugin_name": target.plugin})).await.expect(204);
        root.post("database/rotate-root/db", json!({})).await.expect(204);
        root.get("database/creds/app").await.expect(200);
    }
}

#[tokio::test]
async fn static_roles_rotate_by_themselves() {
    for target in Target::shared() {
        let lab = connected(&target, "1h", "2h").await;
        lab.root.post("database/config/db", json!({"allowed_roles": "*"})).await.expect(204);
        let user = format!("static-http-{}", target.plugin);
        target.make_user(&user, "before", false).await;
        let role = json!({"db_name": "db", "username": user, "rotation_period": "5s"});
        lab.root.post("database/static-roles/kept", role).await.expect(204);
        let first = lab.root.get("database/static-creds/kept").await.expect(200);
        assert_eq!(first.body["lease_id"], "");
        assert!(can_login(&target, &first).await);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let now = lab.root.get("database/static-creds/kept").await.expect(200);
            if text(&now, "password") != text(&first, "password") {
                assert!(can_login(&target, &now).await && !can_login(&target, &first).await);
                break;
            }
            assert!(Instant::now() < deadline, "not rotated");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        lab.root.post("database/rotate-role/kept", json!({})).await.expect(204);
    }
}
