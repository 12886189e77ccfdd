//! A database that stops answering in the middle of an operation, without closing anything.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::faults::Scene;
use super::*;
use crate::database::testdb::login_postgres;
use crate::database::testdb::proxy::Cut;

/// Longer than an operation, its cancelling and its cleaning up may take in tests, and far less than for ever.
const PATIENCE: Duration = Duration::from_secs(25);

/// Where the database stalls: at the first message of an operation, at one in the middle, and at the last
/// answers, when everything was done.
const POINTS: [(Cut, isize); 5] =
    [(Cut::Request, 0), (Cut::Request, 1), (Cut::Answer, 0), (Cut::Answer, 1), (Cut::Answer, 2)];

/// Runs an operation with the database stalling at each of the points. Meanwhile others are served, and when it
/// answers again nothing is left over.
async fn stall<P, R>(
    targets: Vec<Target>,
    prepare: impl AsyncFn(&Scene) -> P,
    operation: impl AsyncFn(&Scene, &P) -> Result<R, Error>,
    check: impl AsyncFn(&Scene, P, Result<R, Error>),
) {
    let cases = targets.iter().flat_map(|target| POINTS.map(|point| (target, point)));
    let runs = cases.map(|(target, (way, point))| {
        let (prepare, operation, check) = (&prepare, &operation, &check);
        async move {
            let at = format!("{way:?} {point} of {}", target.plugin);
            let scene = Scene::set_up(target).await;
            scene.connect_other().await;
            let prepared = prepare(&scene).await;
            scene.proxy.stall_after(point, way);
            let began = Instant::now();
            let others = async {
                // Once it hangs.
                tokio::time::sleep(Duration::from_secs(1)).await;
                let other = scene.mount.issue("calm").await;
                scene.mount.engine.revoke(&other.lease).await.unwrap();
                scene.mount.data("config/db").await;
                began.elapsed()
            };
            let (result, served) = tokio::join!(operation(&scene, &prepared), others);
            let took = began.elapsed();
            assert!(took < PATIENCE, "{at}: {took:?}");
            // Either it was short of the point and nothing stalled, or others did not wait for it.
            assert!(result.is_ok() || served < took, "{at}: others waited {served:?}");
            let stalled = scene.proxy.mend();
            assert!(stalled || result.is_ok(), "{at}: {:?}", result.err());
            assert!(stalled || point > 0, "{at}: nothing stalled");
            check(&scene, prepared, result).await;
            scene.assert_whole(&at).await;
        }
    });
    join_all(runs).await;
}

#[tokio::test]
async fn no_account_is_left_of_a_creation() {
    stall(
        Target::shared(),
        async |_| (),
        async |scene, ()| scene.mount.read("creds/app").await,
        async |scene, (), result| {
            if let Ok(response) = result {
                let issued = Credentials::new(response.unwrap());
                scene.mount.engine.revoke(&issued.lease).await.unwrap();
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_renewal_and_a_revocation_can_be_repeated() {
    stall(
        Target::shared(),
        async |scene| scene.mount.issue("app").await,
        async |scene, issued| {
            // MariaDB is not asked.
            scene.mount.engine.renew(&issued.lease).await.map(drop)?;
            scene.mount.engine.revoke(&issued.lease).await
        },
        async |scene, issued, result| {
            if result.is_err() {
                scene.mount.engine.revoke(&issued.lease).await.unwrap();
            }
            assert!(!scene.target.has_user(&issued.username).await);
        },
    )
    .await;
}

#[tokio::test]
async fn a_root_rotation_locks_nobody_out() {
    stall(
        Target::shared(),
        async |_| (),
        async |scene, ()| scene.mount.write("rotate-root/db", json!({})).await,
        async |_, (), _| {},
    )
    .await;
}

#[tokio::test]
async fn a_static_role_keeps_a_password_that_counts_and_others_are_rotated_meanwhile() {
    stall(
        Target::shared(),
        async |scene| {
            scene.make_static_role().await.unwrap();
            scene.make_other_static_role().await
        },
        async |scene, before| {
            // Both are due; the ticks of the core go on while the first of them hangs.
            scene.mount.system.advance(Duration::from_secs(7200));
            scene.mount.engine.tick().await;
            let deadline = Instant::now() + Duration::from_secs(5);
            while scene.mount.data("static-creds/other").await["password"] == *before {
                assert!(Instant::now() < deadline, "one that hangs holds up the others");
                scene.mount.engine.tick().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            scene.mount.write("rotate-role/still", json!({})).await
        },
        async |_, _, _| {},
    )
    .await;
}

/// A server that waits for a lock goes on when it gets it, although nobody waits for it any more.
#[tokio::test]
async fn what_waited_for_a_lock_is_not_committed_later() {
    for target in Target::shared().into_iter().filter(Target::is_postgres) {
        let scene = Scene::set_up(&target).await;
        let locker = login_postgres(&target.server, ADMIN, ADMIN_PASSWORD).await.unwrap();
        locker.batch_execute("SELECT pg_advisory_lock(4711)").await.unwrap();
        let statements =
            r#"CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}'; SELECT pg_advisory_xact_lock(4711)"#;
        let role = json!({"db_name": "db", "creation_statements": statements});
        scene.mount.write("roles/locked", role).await.unwrap();
        let error = scene.mount.read("creds/locked").await.unwrap_err();
        assert!(error.to_string().contains("timed out"), "{error}");
        locker.batch_execute("SELECT pg_advisory_unlock(4711)").await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(scene.accounts().await, Vec::<String>::new());
    }
}
