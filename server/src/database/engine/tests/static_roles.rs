//! Static roles and their rotation.

use std::time::Duration;

use super::*;
use crate::random;

/// A mount with the static role `app` of a user that exists.
async fn prepared(target: &Target) -> (Mount, String) {
    let user = format!("static-{}", random::base62(8).to_lowercase());
    target.make_user(&user, "before", false).await;
    let mount = Mount::new();
    mount.connect(target).await;
    let role = json!({"db_name": "db", "username": user, "rotation_period": "60s"});
    assert!(mount.write("static-roles/app", role).await.unwrap().is_none());
    (mount, user)
}

async fn password(mount: &Mount) -> String {
    mount.data("static-creds/app").await["password"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_user_is_rotated_at_creation_and_when_due() {
    for target in Target::shared() {
        let (mount, user) = prepared(&target).await;
        assert!(!target.can_login(&user, "before").await);
        let data = mount.data("static-creds/app").await;
        assert_eq!(
            (&data["username"], &data["ttl"], &data["rotation_period"]),
            (&json!(user), &json!(60), &json!(60))
        );
        let first = password(&mount).await;
        assert!(target.can_login(&user, &first).await);

        mount.system.advance(Duration::from_secs(59));
        mount.work().await;
        assert_eq!(password(&mount).await, first, "not due yet");
        assert_eq!(mount.data("static-creds/app").await["ttl"], 1);
        mount.system.advance(Duration::from_secs(1));
        mount.work().await;
        let second = password(&mount).await;
        assert_ne!(second, first);
        assert!(target.can_login(&user, &second).await && !target.can_login(&user, &first).await);

        mount.write("rotate-role/app", json!({})).await.unwrap();
        assert!(!target.can_login(&user, &second).await);
        assert!(target.can_login(&user, &password(&mount).await).await);
        assert!(mount.engine.engine.intents().unwrap().is_empty());
    }
}

#[tokio::test]
async fn static_roles_are_shown_changed_and_deleted() {
    let Some(target) = Target::shared().pop() else { return };
    let (mount, user) = prepared(&target).await;
    let shown = mount.data("static-roles/app").await;
    assert_eq!(shown["username"], json!(user));
    assert_eq!(shown["rotation_statements"], json!([]));
    assert!(shown.contains_key("last_vault_rotation") && !shown.contains_key("password"));
    let before = password(&mount).await;
    mount.write("static-roles/app", json!({"username": user, "rotation_period": 30})).await.unwrap();
    assert_eq!(password(&mount).await, before, "a change does not rotate");
    mount.system.advance(Duration::from_secs(30));
    mount.work().await;
    assert_ne!(password(&mount).await, before);
    let listed = mount.call(Operation::List, "static-roles/", json!({})).await.unwrap().unwrap();
    assert_eq!(listed.data.unwrap()["keys"], json!(["app"]));
    mount.call(Operation::Delete, "static-roles/app", json!({})).await.unwrap();
    let unknown = mount.read("static-creds/app").await.unwrap_err();
    assert_eq!((unknown.status(), unknown.to_string().as_str()), (400, "unknown role: app"));
}

/// Sets the clock forward to the next time of that hour, with a fraction of a second.
fn until(mount: &Mount, hour: i8) {
    let now = mount.system.now.lock().unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    let mut at = now.date().at(hour, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
    if at <= now {
        at = at.tomorrow().unwrap();
    }
    *mount.system.now.lock().unwrap() = at.timestamp();
}

#[tokio::test]
async fn a_schedule_rotates_at_its_times_within_their_window() {
    let Some(target) = Target::shared().pop() else { return };
    let (mount, user) = prepared(&target).await;
    let schedule = json!({"username": user, "rotation_schedule": "0 3 * * *", "rotation_window": "2h"});
    until(&mount, 1);
    mount.write("rotate-role/app", json!({})).await.unwrap();
    mount.write("static-roles/app", schedule).await.unwrap();
    for path in ["static-roles/app", "static-creds/app"] {
        let data = mount.data(path).await;
        assert_eq!(
            (&data["rotation_schedule"], &data["rotation_window"]),
            (&json!("0 3 * * *"), &json!(7200))
        );
        assert!(!data.contains_key("rotation_period"));
    }
    assert_eq!(mount.data("static-creds/app").await["ttl"], 7200);
    let first = password(&mount).await;
    mount.work().await;
    assert_eq!(password(&mount).await, first, "not due yet");
    until(&mount, 3);
    mount.work().await;
    let second = password(&mount).await;
    assert_ne!(second, first);
    assert_eq!(mount.data("static-creds/app").await["ttl"], 24 * 3600);

    // Not after its window, neither in this process nor in the next one.
    until(&mount, 5);
    *mount.system.now.lock().unwrap() += Duration::from_hours(24);
    mount.work().await;
    assert_eq!(password(&mount).await, second);
    let mount = mount.restarted().await;
    mount.work().await;
    assert_eq!(password(&mount).await, second);
    until(&mount, 4);
    mount.work().await;
    let third = password(&mount).await;
    assert_ne!(third, second, "an hour late is within the window");

    // A period takes the schedule's place.
    mount.write("static-roles/app", json!({"username": user, "rotation_period": 60})).await.unwrap();
    let shown = mount.data("static-roles/app").await;
    assert_eq!(shown["rotation_period"], 60);
    assert!(!shown.contains_key("rotation_schedule") && !shown.contains_key("rotation_window"));
}

#[tokio::test]
async fn faulty_static_roles_are_refused_with_vaults_texts() {
    let Some(target) = Target::shared().pop() else { return };
    let (mount, user) = prepared(&target).await;
    for (path, data, expected) in [
        ("static-roles/x", json!({}), "database name is a required field"),
        (
            "static-roles/x",
            json!({"db_name": "db"}),
            "username is a required field to create a static account",
        ),
        (
            "static-roles/x",
            json!({"db_name": "db", "username": "u"}),
            "one of rotation_schedule or rotation_period must be provided to create a static account",
        ),
        (
            "static-roles/app",
            json!({"username": user, "rotation_schedule": "0 0 * * *", "rotation_period": "1h"}),
            "mutually exclusive fields rotation_period and rotation_schedule were both specified; only one of \
             them can be provided",
        ),
        (
            "static-roles/app",
            json!({"username": user, "rotation_window": "1h", "rotation_period": "1h"}),
            "rotation_window is invalid with use of rotation_period",
        ),
        (
            "static-roles/x",
            json!({"db_name": "db", "username": "u", "rotation_period": 4}),
            "rotation_period must be 5 seconds or more",
        ),
        ("static-roles/app", json!({"username": "another"}), "cannot update static account username"),
        ("roles/app", json!({"db_name": "db"}), "Role and Static Role names must be unique"),
        ("rotate-role/x", json!({}), "no static role found for role name"),
    ] {
        assert_eq!(mount.fault(path, data).await, (400, expected.to_owned()));
    }
    mount.write("config/db", json!({"allowed_roles": "other"})).await.unwrap();
    let role = json!({"db_name": "db", "username": user, "rotation_period": 60});
    assert_eq!(mount.fault("static-roles/y", role).await, (500, "\"y\" is not an allowed role".to_owned()));
    assert!(mount.read("static-roles/y").await.unwrap().is_none());
    assert!(mount.engine.engine.intents().unwrap().is_empty());
}

#[tokio::test]
async fn a_failed_creation_leaves_no_role() {
    for target in Target::shared() {
        let mount = Mount::new();
        mount.connect(&target).await;
        let role = json!({"db_name": "db", "username": "nobody-here", "rotation_period": 60});
        let (status, text) = mount.fault("static-roles/app", role).await;
        assert_eq!(status, 500);
        // PostgreSQL's plugin collects errors in Vault. The statement is not the role's own, and not told.
        let expected = match target.plugin {
            "postgresql-database-plugin" => {
                "error setting credentials: 1 error occurred:\n\t* failed to execute query: ERROR: role \
                 \"nobody-here\" does not exist (SQLSTATE 42704)\n\n"
            }
            _ => "error setting credentials: failed to change password: ",
        };
        assert!(text.starts_with(expected) && !text.contains("(statement"), "{text}");
        assert!(mount.read("static-roles/app").await.unwrap().is_none());
        assert!(mount.engine.engine.intents().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_crash_at_any_write_keeps_the_password_known() {
    for target in Target::shared() {
        for writes in 0..=2 {
            let (mount, user) = prepared(&target).await;
            mount.storage.writes_left.store(writes, Ordering::SeqCst);
            let rotated = mount.write("rotate-role/app", json!({})).await;
            assert_eq!(rotated.is_ok(), writes == 2, "{writes}");
            let mount = mount.restarted().await;
            mount.work().await;
            assert!(target.can_login(&user, &password(&mount).await).await, "{writes}");
            assert!(mount.engine.engine.intents().unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn a_rotation_is_retried_when_the_database_is_back() {
    for target in Target::own() {
        let (mount, user) = prepared(&target).await;
        let before = password(&mount).await;
        target.server.kill();
        mount.system.advance(Duration::from_mins(1));
        mount.work().await;
        assert_eq!(password(&mount).await, before);
        assert_eq!(mount.data("static-creds/app").await["ttl"], 0);
        target.server.restart();
        mount.work().await;
        assert_eq!(password(&mount).await, before, "not before ten seconds have passed");
        mount.system.advance(Duration::from_secs(10));
        mount.work().await;
        assert_ne!(password(&mount).await, before);
        assert!(target.can_login(&user, &password(&mount).await).await);
    }
}
