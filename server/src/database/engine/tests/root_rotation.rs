//! `rotate-root/NAME`, and what a crash in the middle of it leaves.

use std::time::Duration;

use super::*;
use crate::database::engine::wal::Intent;
use crate::random;

const START: &str = "start-Passw0rd";

/// A mount connected through an administrator of its own.
async fn prepared(target: &Target) -> (Mount, String) {
    let user = format!("root-{}", random::base62(8).to_lowercase());
    target.make_user(&user, START, true).await;
    let mount = Mount::new();
    mount.connect_as(target, &user, START).await;
    mount.make_role(target, "app").await;
    (mount, user)
}

async fn assert_healthy(mount: &Mount, target: &Target, user: &str) {
    let issued = mount.issue("app").await;
    assert!(issued.work_on(target).await);
    mount.engine.revoke(&issued.lease).await.unwrap();
    assert!(target.can_login(user, &mount.stored_password()).await);
}

#[tokio::test]
async fn only_the_engine_knows_the_rotated_password() {
    for target in Target::shared() {
        let (mount, user) = prepared(&target).await;
        assert!(mount.write("rotate-root/db", json!({})).await.unwrap().is_none());
        assert!(!target.can_login(&user, START).await);
        assert_ne!(mount.stored_password(), START);
        assert!(mount.engine.engine.intents().unwrap().is_empty());
        assert_healthy(&mount, &target, &user).await;
        // A change without a password keeps the rotated one.
        mount.write("config/db", json!({"connection_url": target.url()})).await.unwrap();
        mount.write("rotate-root/db", json!({})).await.unwrap();
        let mount = mount.restarted().await;
        assert_healthy(&mount, &target, &user).await;
    }
}

#[tokio::test]
async fn a_crash_at_any_write_locks_nobody_out() {
    for target in Target::shared() {
        // 0: before the entry is stored, 1: after the change on the database, 2: all writes succeed.
        for writes in 0..=2 {
            let (mount, user) = prepared(&target).await;
            mount.storage.writes_left.store(writes, Ordering::SeqCst);
            assert_eq!(mount.write("rotate-root/db", json!({})).await.is_ok(), writes == 2, "{writes}");
            let changed = !target.can_login(&user, START).await;
            assert_eq!(changed, writes > 0, "{writes}");
            // Once healed by the first use, once by the work at the start.
            let mount = mount.restarted().await;
            if writes == 1 {
                mount.work().await;
                assert!(mount.engine.engine.intents().unwrap().is_empty());
            }
            assert_healthy(&mount, &target, &user).await;
        }
    }
}

#[tokio::test]
async fn a_refused_password_is_healed_on_use() {
    for target in Target::shared() {
        let (mount, user) = prepared(&target).await;
        let intent = Intent::RotateRoot {
            connection: "db".to_owned(),
            old_password: START.into(),
            new_password: "changed-Passw0rd".into(),
        };
        mount.engine.engine.put_intent(intent).await.unwrap();
        target.set_password(&user, "changed-Passw0rd").await;
        let mount = Mount { engine: DatabaseEngine::new(mount.context.clone()), ..mount };
        assert_healthy(&mount, &target, &user).await;
        assert_eq!(mount.stored_password(), "changed-Passw0rd");
        assert!(mount.engine.engine.intents().unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_entry_without_effect_goes_after_a_minute() {
    for target in Target::shared() {
        let (mount, user) = prepared(&target).await;
        let intent = Intent::RotateRoot {
            connection: "db".to_owned(),
            old_password: START.into(),
            new_password: "never-set".into(),
        };
        mount.engine.engine.put_intent(intent).await.unwrap();
        mount.work().await;
        assert_eq!(mount.engine.engine.intents().unwrap().len(), 1, "its change may still be under way");
        mount.system.advance(Duration::from_secs(61));
        mount.work().await;
        assert!(mount.engine.engine.intents().unwrap().is_empty());
        assert_eq!(mount.stored_password(), START);
        assert_healthy(&mount, &target, &user).await;
    }
}

#[tokio::test]
async fn statements_that_fail_or_change_another_account_keep_the_old_password() {
    for target in Target::shared() {
        let (mount, user) = prepared(&target).await;
        mount
            .write("config/db", json!({"root_rotation_statements": ["NONSENSE '{{password}}'"]}))
            .await
            .unwrap();
        let (status, text) = mount.fault("rotate-root/db", json!({})).await;
        assert_eq!(status, 500);
        assert!(
            text.starts_with("failed to update user: ") && text.contains("NONSENSE '{{password}}'"),
            "{text}"
        );
        assert_healthy(&mount, &target, &user).await;

        mount.write("config/db", json!({"root_rotation_statements": ["SELECT 1"]})).await.unwrap();
        let (_, text) = mount.fault("rotate-root/db", json!({})).await;
        assert!(text.starts_with("the rotated password does not log in: "), "{text}");
        assert!(text.ends_with("; the old password was set again"), "{text}");
        assert_eq!(mount.stored_password(), START);
        assert_healthy(&mount, &target, &user).await;
    }
}

#[tokio::test]
async fn a_database_that_is_down_is_not_rotated() {
    for target in Target::own() {
        let (mount, user) = prepared(&target).await;
        target.server.kill();
        assert_eq!(mount.fault("rotate-root/db", json!({})).await.0, 500);
        target.server.restart();
        assert_eq!(mount.stored_password(), START);
        assert_healthy(&mount, &target, &user).await;
        mount.write("rotate-root/db", json!({})).await.unwrap();
        assert_healthy(&mount, &target, &user).await;
    }
}

#[tokio::test]
async fn without_credentials_there_is_nothing_to_rotate() {
    let mount = Mount::new();
    let config = json!({"plugin_name": "mysql-database-plugin", "connection_url": "u:p@tcp(h)/", "verify_connection": false});
    mount.write("config/db", config).await.unwrap();
    let text = "unable to rotate root credentials: no username in configuration".to_owned();
    assert_eq!(mount.fault("rotate-root/db", json!({})).await, (500, text));
    mount.write("config/db", json!({"username": "u", "verify_connection": false})).await.unwrap();
    let text = "unable to rotate root credentials: no password in configuration".to_owned();
    assert_eq!(mount.fault("rotate-root/db", json!({})).await, (500, text));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_issued_while_the_root_password_changes() {
    for target in Target::shared() {
        let (mount, user) = prepared(&target).await;
        // Connections are opened all the time, so that they meet every moment of a rotation.
        let settings = json!({"max_connection_lifetime": "1ms", "max_open_connections": 8});
        mount.write("config/db", settings).await.unwrap();
        let mount = Arc::new(mount);
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let mount = Arc::clone(&mount);
                tokio::spawn(async move {
                    for _ in 0..10 {
                        let issued = mount.issue("app").await;
                        mount.engine.revoke(&issued.lease).await.unwrap();
                    }
                })
            })
            .collect();
        for _ in 0..5 {
            mount.write("rotate-root/db", json!({})).await.unwrap();
        }
        for worker in workers {
            worker.await.unwrap();
        }
        assert_healthy(&mount, &target, &user).await;
    }
}
