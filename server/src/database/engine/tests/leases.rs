//! Credentials from issue to revocation.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn credentials_work_until_they_are_revoked() {
    for target in Target::shared() {
        let mount = Mount::new();
        mount.connect(&target).await;
        mount.make_role(&target, "app").await;
        let issued = mount.issue("app").await;
        assert!(issued.username.starts_with("v-approle-app-"), "{}", issued.username);
        assert_eq!(issued.password.len(), 20);
        assert_eq!(issued.lease.lease.ttl, Duration::from_hours(1));
        assert_eq!(issued.lease.lease.max_ttl, Duration::from_hours(2));
        assert!(issued.lease.lease.renewable);
        assert!(issued.work_on(&target).await);
        let renewed = mount.engine.renew(&issued.lease).await.unwrap();
        assert_eq!(renewed.ttl, Duration::from_hours(1));
        mount.engine.revoke(&issued.lease).await.unwrap();
        assert!(!issued.work_on(&target).await);
        assert!(!target.has_user(&issued.username).await);
        mount.engine.revoke(&issued.lease).await.unwrap();
    }
}

#[tokio::test]
async fn renewal_moves_the_expiration_on_postgresql() {
    let Some(target) = Target::shared().into_iter().find(|t| t.plugin.starts_with("postgresql")) else {
        return;
    };
    let mount = Mount::new();
    mount.connect(&target).await;
    mount.make_role(&target, "app").await;
    let issued = mount.issue("app").await;
    let until = async || {
        let admin =
            crate::database::testdb::login_postgres(&target.server, ADMIN, ADMIN_PASSWORD).await.unwrap();
        let query = "SELECT extract(epoch FROM rolvaliduntil)::bigint FROM pg_roles WHERE rolname = $1";
        admin.query_one(query, &[&issued.username]).await.unwrap().get::<_, i64>(0)
    };
    let start = mount.system.now.lock().unwrap().as_second();
    assert_eq!(until().await, start + 3605);
    mount.system.advance(Duration::from_mins(30));
    let mut lease = issued.lease.clone();
    lease.lease.increment = Duration::from_mins(45);
    mount.engine.renew(&lease).await.unwrap();
    assert_eq!(until().await, start + 1800 + 2705);
    mount.engine.revoke(&issued.lease).await.unwrap();
}

#[tokio::test]
async fn revocation_outlives_its_role() {
    for target in Target::shared() {
        let mount = Mount::new();
        mount.connect(&target).await;
        mount.make_role(&target, "app").await;
        let issued = mount.issue("app").await;
        mount.call(Operation::Delete, "roles/app", json!({})).await.unwrap();
        let refused = mount.engine.renew(&issued.lease).await.unwrap_err();
        assert_eq!(refused.to_string(), "error during renew: could not find role with name \"app\"");
        mount.engine.revoke(&issued.lease).await.unwrap();
        assert!(!target.has_user(&issued.username).await);
    }
}

#[tokio::test]
async fn a_failing_grant_leaves_no_user() {
    for target in Target::shared() {
        let mount = Mount::new();
        mount.connect(&target).await;
        mount.write("config/db", json!({"username_template": "gone-{{random 8}}"})).await.unwrap();
        let statements = json!([target.creation(), target.failing_grant()]);
        mount.write("roles/bad", json!({"db_name": "db", "creation_statements": statements})).await.unwrap();
        let error = mount.read("creds/bad").await.unwrap_err();
        assert_eq!(error.status(), 500);
        assert!(error.to_string().contains(target.failing_grant()), "{error}");
        assert!(target.users_like("gone-%").await.is_empty());
        mount.write("roles/empty", json!({"db_name": "db"})).await.unwrap();
        assert_eq!(mount.read("creds/empty").await.unwrap_err().to_string(), "empty creation statements");
    }
}

#[tokio::test]
async fn a_database_that_comes_back_is_used_again() {
    for target in Target::own() {
        let mount = Mount::new();
        mount.connect(&target).await;
        mount.make_role(&target, "app").await;
        let issued = mount.issue("app").await;
        target.server.kill();
        assert_eq!(mount.read("creds/app").await.unwrap_err().status(), 500);
        assert!(mount.engine.revoke(&issued.lease).await.is_err());
        target.server.restart();
        mount.engine.revoke(&issued.lease).await.unwrap();
        assert!(!target.has_user(&issued.username).await);
        target.server.restart();
        assert!(mount.issue("app").await.work_on(&target).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_workers_create_and_revoke_side_by_side() {
    for target in Target::shared() {
        let mount = Arc::new(Mount::new());
        mount.connect(&target).await;
        mount.make_role(&target, "busy").await;
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let (mount, target) = (Arc::clone(&mount), target.clone());
                tokio::spawn(async move {
                    for _ in 0..4 {
                        let issued = mount.issue("busy").await;
                        assert!(issued.work_on(&target).await);
                        mount.engine.renew(&issued.lease).await.unwrap();
                        mount.engine.revoke(&issued.lease).await.unwrap();
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        assert!(target.users_like("v-approle-busy-%").await.is_empty());
    }
}
