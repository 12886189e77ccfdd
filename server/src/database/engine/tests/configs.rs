//! `config/NAME` and `reset/NAME`.

use super::*;

#[tokio::test]
async fn connections_are_verified_shown_and_listed_without_their_password() {
    for target in Target::shared() {
        let mount = Mount::new();
        assert!(mount.read("config/db").await.unwrap().is_none());
        mount.connect(&target).await;
        let data = mount.data("config/db").await;
        assert_eq!(data["plugin_name"], target.plugin);
        assert_eq!(data["allowed_roles"], json!(["*"]));
        assert_eq!(data["connection_details"]["connection_url"], target.url());
        assert_eq!(data["connection_details"]["username"], ADMIN);
        assert!(data["connection_details"].get("password").is_none());
        assert_eq!(data["root_credentials_rotate_statements"], json!([]));
        let keys = mount.call(Operation::List, "config/", json!({})).await.unwrap().unwrap();
        assert_eq!(keys.data.unwrap()["keys"], json!(["db"]));
        mount.write("reset/db", json!({})).await.unwrap();
        mount.call(Operation::Delete, "config/db", json!({})).await.unwrap();
        assert!(mount.read("config/db").await.unwrap().is_none());
        let (status, text) = mount.fault("reset/db", json!({})).await;
        assert_eq!((status, text.as_str()), (500, "failed to find entry for connection with name: \"db\""));
    }
}

#[tokio::test]
async fn what_cannot_be_verified_is_refused_and_not_stored() {
    for target in Target::shared() {
        let mount = Mount::new();
        let mut data = json!({"plugin_name": target.plugin, "connection_url": target.url(), "username": ADMIN, "password": "wrong-pw"});
        let (status, text) = mount.fault("config/db", data.clone()).await;
        assert_eq!(status, 400);
        assert!(text.starts_with("error creating database object: error verifying"), "{text}");
        assert!(!text.contains("wrong-pw"));
        assert!(mount.read("config/db").await.unwrap().is_none());
        data["verify_connection"] = json!(false);
        assert!(mount.write("config/db", data).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn updates_merge_and_keep_a_password_that_is_not_given() {
    for target in Target::shared() {
        let mount = Mount::new();
        mount.connect(&target).await;
        let change = json!({"allowed_roles": ["a", "b-*"], "max_open_connections": 2, "root_rotation_statements": "X"});
        mount.write("config/db", change).await.unwrap();
        let data = mount.data("config/db").await;
        assert_eq!(data["allowed_roles"], json!(["a", "b-*"]));
        assert_eq!(data["connection_details"]["max_open_connections"], 2);
        assert_eq!(data["root_credentials_rotate_statements"], json!(["X"]));
        assert_eq!(mount.stored_password(), ADMIN_PASSWORD);
    }
}

#[tokio::test]
async fn faulty_settings_are_named() {
    let mount = Mount::new();
    for (data, expected) in [
        (json!({}), "empty plugin name"),
        (
            json!({"plugin_name": "x-database-plugin"}),
            "error creating database object: invalid database version: 2 errors occurred:\n\t* plugin not found in the catalog: x-database-plugin\n\t* plugin not found in the catalog: x-database-plugin\n\n",
        ),
        (
            json!({"plugin_name": "mysql-database-plugin"}),
            "error creating database object: connection_url cannot be empty",
        ),
        (
            json!({"plugin_name": "mysql-database-plugin", "plugin_version": "zz"}),
            "version \"zz\" is not a valid semantic version: Malformed version: zz",
        ),
        (
            json!({"plugin_name": "mysql-rds-database-plugin", "connection_url": "u:p@tcp(h)/", "username_template": "{{ nosuch }}"}),
            "error creating database object: unable to initialize username template: ",
        ),
    ] {
        let (status, text) = mount.fault("config/db", data).await;
        assert_eq!(status, 400);
        assert!(text.starts_with(expected), "{text}");
    }
}

#[tokio::test]
async fn a_password_in_the_url_is_warned_about_and_hidden() {
    let mount = Mount::new();
    let data = json!({"plugin_name": "postgresql-database-plugin", "connection_url": "postgresql://u:pa55@h/x", "verify_connection": false});
    let response = mount.write("config/db", data).await.unwrap().unwrap();
    assert!(response.warnings[0].starts_with("Password found in connection_url"));
    let shown = mount.data("config/db").await;
    assert_eq!(shown["connection_details"]["connection_url"], "postgresql://u:xxxxx@h/x");
}
