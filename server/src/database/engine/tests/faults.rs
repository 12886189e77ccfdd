//! A database that goes away, or whose connection is lost, at every point of every operation.

use std::time::Duration;

use super::*;
use crate::database::testdb::proxy::{Cut, Proxy};
use crate::random;

const START: &str = "start-Passw0rd";

/// Messages after which connections are lost: more than any operation here exchanges.
const POINTS: isize = 7;

/// A mount that reaches its database through a proxy.
pub(super) struct Scene {
    pub(super) mount: Mount,
    pub(super) target: Target,
    pub(super) proxy: Proxy,
    /// The account of the connection.
    root: String,
    /// The account of the static role `still`.
    managed: String,
    /// What the names of dynamic accounts begin with.
    prefix: String,
}

impl Scene {
    pub(super) async fn set_up(target: &Target) -> Self {
        let tag = random::base62(8).to_lowercase();
        let (root, managed, prefix) = (format!("fault-{tag}"), format!("still-{tag}"), format!("dyn-{tag}-"));
        target.make_user(&root, START, true).await;
        target.make_user(&managed, "before", false).await;
        let proxy = Proxy::start(target.server.port).await;
        let mount = Mount::new();
        let scene = Self { mount, target: target.clone(), proxy, root, managed, prefix };
        assert!(scene.configure().await.unwrap().is_none());
        scene.mount.make_role(target, "app").await;
        scene
    }

    fn url(&self) -> String {
        let port = |port: u16| format!("127.0.0.1:{port}");
        let url = self.target.url().replace(&port(self.target.server.port), &port(self.proxy.address.port()));
        // How long a silent database is waited for.
        let limit = if self.target.is_postgres() { "&connect_timeout=1" } else { "?timeout=1s" };
        url + limit
    }

    async fn configure(&self) -> Result<Option<Response>, Error> {
        let data = json!({
            "plugin_name": self.target.plugin,
            "connection_url": self.url(),
            "username": self.root,
            "password": START,
            "allowed_roles": "*",
            "username_template": format!("{}{{{{random 8}}}}", self.prefix),
        });
        self.mount.write("config/db", data).await
    }

    pub(super) async fn make_static_role(&self) -> Result<Option<Response>, Error> {
        let role = json!({"db_name": "db", "username": self.managed, "rotation_period": "1h"});
        self.mount.write("static-roles/still", role).await
    }

    /// Connects `other` to the same database, past the proxy, with a role `calm`.
    pub(super) async fn connect_other(&self) {
        let data = json!({
            "plugin_name": self.target.plugin,
            "connection_url": self.target.url(),
            "username": ADMIN,
            "password": ADMIN_PASSWORD,
            "allowed_roles": "*",
        });
        self.mount.write("config/other", data).await.unwrap();
        let role = json!({"db_name": "other", "creation_statements": self.target.creation()});
        self.mount.write("roles/calm", role).await.unwrap();
    }

    /// A static role `other` of that connection; its password.
    pub(super) async fn make_other_static_role(&self) -> Value {
        let username = format!("{}-other", self.managed);
        self.target.make_user(&username, "before", false).await;
        let role = json!({"db_name": "other", "username": username, "rotation_period": "1h"});
        self.mount.write("static-roles/other", role).await.unwrap();
        self.mount.data("static-creds/other").await["password"].clone()
    }

    /// The dynamic accounts there are.
    pub(super) async fn accounts(&self) -> Vec<String> {
        self.target.users_like(&format!("{}%", self.prefix)).await
    }

    /// What holds whenever the database is there again: the stored passwords are the ones that log in, and
    /// credentials are issued and taken back.
    pub(super) async fn assert_whole(&self, at: &str) {
        // What failed is tried again, and what was left open is settled.
        self.mount.system.advance(Duration::from_secs(61));
        self.mount.work().await;
        let issued = self.mount.issue("app").await;
        assert!(issued.work_on(&self.target).await, "{at}");
        self.mount.engine.revoke(&issued.lease).await.unwrap();
        assert_eq!(self.accounts().await, Vec::<String>::new(), "{at}");
        assert!(self.target.can_login(&self.root, &self.mount.stored_password()).await, "{at}");
        if let Ok(Some(answer)) = self.mount.read("static-creds/still").await {
            let password = answer.data.unwrap()["password"].as_str().unwrap().to_owned();
            assert!(self.target.can_login(&self.managed, &password).await, "{at}");
        }
    }
}

/// Runs an operation with the connection lost after every number of messages, either way, and with no database
/// at all. `prepare` makes what it works on, `check` looks at what came of it.
async fn lose_the_connection<P, R>(
    targets: Vec<Target>,
    prepare: impl AsyncFn(&Scene) -> P,
    operation: impl AsyncFn(&Scene, &P) -> Result<R, Error>,
    check: impl AsyncFn(&Scene, P, Result<R, Error>),
) {
    for target in targets {
        let scene = Scene::set_up(&target).await;
        for way in [Cut::Request, Cut::Answer] {
            for point in 0..POINTS {
                let at = format!("{way:?} {point} of {}", target.plugin);
                let prepared = prepare(&scene).await;
                scene.proxy.cut_after(point, way);
                let result = operation(&scene, &prepared).await;
                let lost = scene.proxy.mend();
                assert!(lost || result.is_ok(), "{at}: {:?}", result.err());
                assert!(lost || point > 0, "{at}: nothing was lost");
                check(&scene, prepared, result).await;
                scene.assert_whole(&at).await;
            }
        }
        let prepared = prepare(&scene).await;
        scene.proxy.set_down(true);
        let result = operation(&scene, &prepared).await;
        assert!(matches!(result.as_ref().map_err(Error::status), Err(400 | 500)), "{}", target.plugin);
        scene.proxy.set_down(false);
        check(&scene, prepared, result).await;
        scene.assert_whole(&format!("{} down", target.plugin)).await;
    }
}

#[tokio::test]
async fn a_configuration_is_verified_or_refused() {
    lose_the_connection(
        Target::shared(),
        async |scene| scene.mount.data("config/db").await,
        async |scene, _| scene.configure().await,
        async |scene, before, _| assert_eq!(scene.mount.data("config/db").await, before),
    )
    .await;
}

#[tokio::test]
async fn credentials_are_issued_or_not_there() {
    lose_the_connection(
        Target::shared(),
        async |_| (),
        async |scene, ()| scene.mount.read("creds/app").await,
        async |scene, (), result| match result {
            Err(error) => assert_eq!(scene.accounts().await, Vec::<String>::new(), "{error}"),
            Ok(response) => {
                let issued = Credentials::new(response.unwrap());
                assert!(issued.work_on(&scene.target).await);
                scene.mount.engine.revoke(&issued.lease).await.unwrap();
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_lease_is_renewed_when_it_could_not_be_before() {
    // MariaDB is not asked.
    let targets = Target::shared().into_iter().filter(Target::is_postgres).collect();
    lose_the_connection(
        targets,
        async |scene| scene.mount.issue("app").await,
        async |scene, issued| scene.mount.engine.renew(&issued.lease).await,
        async |scene, issued, _| {
            scene.mount.engine.renew(&issued.lease).await.unwrap();
            scene.mount.engine.revoke(&issued.lease).await.unwrap();
        },
    )
    .await;
}

#[tokio::test]
async fn a_revocation_is_done_or_can_be_repeated() {
    lose_the_connection(
        Target::shared(),
        async |scene| scene.mount.issue("app").await,
        async |scene, issued| scene.mount.engine.revoke(&issued.lease).await,
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
    lose_the_connection(
        Target::shared(),
        async |scene| scene.mount.stored_password(),
        async |scene, _| scene.mount.write("rotate-root/db", json!({})).await,
        async |scene, before, result| {
            if result.is_ok() {
                assert!(!scene.target.can_login(&scene.root, &before).await);
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_static_role_is_made_with_the_password_that_counts() {
    lose_the_connection(
        Target::shared(),
        async |scene| {
            scene.mount.call(Operation::Delete, "static-roles/still", json!({})).await.unwrap();
        },
        async |scene, ()| scene.make_static_role().await,
        async |scene, (), result| {
            if result.is_ok() {
                assert!(!scene.target.can_login(&scene.managed, "before").await);
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_static_role_is_rotated_or_keeps_its_password() {
    lose_the_connection(
        Target::shared(),
        async |scene| {
            scene.make_static_role().await.unwrap();
        },
        async |scene, ()| scene.mount.write("rotate-role/still", json!({})).await,
        async |_, (), _| {},
    )
    .await;
}

#[tokio::test]
async fn a_connection_is_reset_when_the_database_is_back() {
    for target in Target::shared() {
        let scene = Scene::set_up(&target).await;
        scene.proxy.set_down(true);
        scene.mount.read("creds/app").await.unwrap_err();
        let result = scene.mount.write("reset/db", json!({})).await;
        assert!(matches!(result.map_err(|error| error.status()), Err(400 | 500)), "{}", target.plugin);
        scene.proxy.set_down(false);
        scene.mount.write("reset/db", json!({})).await.unwrap();
        scene.assert_whole(target.plugin).await;
    }
}

#[tokio::test]
async fn a_database_that_says_nothing_is_given_up() {
    for target in Target::shared() {
        let scene = Scene::set_up(&target).await;
        scene.proxy.set_down(true);
        scene.proxy.set_down(false);
        scene.proxy.set_silent(true);
        let refused = scene.configure().await.unwrap_err();
        assert_eq!(refused.status(), 400, "{refused}");
        assert!(refused.to_string().contains("error verifying"), "{refused}");
        assert_eq!(scene.mount.read("creds/app").await.unwrap_err().status(), 500);
        assert_eq!(scene.mount.write("rotate-root/db", json!({})).await.unwrap_err().status(), 500);
        scene.proxy.set_silent(false);
        scene.assert_whole(target.plugin).await;
    }
}
