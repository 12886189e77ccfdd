//! `roles/NAME` and who may use which connection.

use super::*;

#[tokio::test]
async fn roles_are_stored_as_given_and_changed_in_part() {
    let mount = Mount::new();
    let data = json!({
        "db_name": "db", "creation_statements": ["A", "B"], "revocation_statements": ["", "C"],
        "default_ttl": "1h", "max_ttl": 7200,
    });
    assert!(mount.write("roles/app", data).await.unwrap().is_none());
    let expected = json!({
        "db_name": "db", "creation_statements": ["A", "B"], "revocation_statements": ["C"],
        "rollback_statements": [], "renew_statements": [], "default_ttl": 3600, "max_ttl": 7200,
        "credential_type": "password",
    });
    assert_eq!(Value::Object(mount.data("roles/app").await), expected);
    mount
        .write(
            "roles/app",
            json!({"creation_statements": "Z", "credential_config": {"password_policy": "p"}}),
        )
        .await
        .unwrap();
    let changed = mount.data("roles/app").await;
    assert_eq!(changed["creation_statements"], json!(["Z"]));
    assert_eq!(changed["default_ttl"], 3600);
    assert_eq!(changed["credential_config"], json!({"password_policy": "p"}));
    let listed = mount.call(Operation::List, "roles/", json!({})).await.unwrap().unwrap();
    assert_eq!(listed.data.unwrap()["keys"], json!(["app"]));
    mount.call(Operation::Delete, "roles/app", json!({})).await.unwrap();
    assert!(mount.read("roles/app").await.unwrap().is_none());
    assert!(mount.call(Operation::List, "roles/", json!({})).await.unwrap().is_none());
}

#[tokio::test]
async fn faulty_roles_are_refused_with_vaults_texts() {
    let mount = Mount::new();
    for (data, expected) in [
        (json!({}), "database name is required"),
        (json!({"db_name": "db", "credential_type": "x"}), "invalid credential_type \"x\""),
        (
            json!({"db_name": "db", "credential_type": "rsa_private_key", "credential_config": {"key_bits": 1}}),
            "credential_config validation failed: invalid key_bits: 1",
        ),
    ] {
        assert_eq!(mount.fault("roles/app", data).await, (400, expected.to_owned()));
    }
    assert_eq!(mount.fault("roles/app", json!({"db_name": "db", "default_ttl": "soon"})).await.0, 400);
}

#[tokio::test]
async fn only_allowed_roles_get_credentials() {
    for target in Target::shared() {
        let mount = Mount::new();
        mount.connect(&target).await;
        mount.write("config/db", json!({"allowed_roles": "app-*"})).await.unwrap();
        mount.make_role(&target, "app-ro").await;
        mount.make_role(&target, "other").await;
        let issued = mount.issue("app-ro").await;
        assert!(issued.work_on(&target).await);
        mount.engine.revoke(&issued.lease).await.unwrap();
        let refused = mount.read("creds/other").await.unwrap_err();
        assert_eq!(
            (refused.status(), refused.to_string().as_str()),
            (500, "\"other\" is not an allowed role")
        );
        mount.write("config/db", json!({"allowed_roles": []})).await.unwrap();
        assert!(mount.read("creds/app-ro").await.is_err());
        let unknown = mount.read("creds/nobody").await.unwrap_err();
        assert_eq!((unknown.status(), unknown.to_string().as_str()), (400, "unknown role: nobody"));
    }
}

#[tokio::test]
async fn kinds_of_credential_no_plugin_makes_are_refused_when_asked_for() {
    let Some(target) = Target::shared().pop() else { return };
    let mount = Mount::new();
    mount.connect(&target).await;
    let role = json!({"db_name": "db", "credential_type": "rsa_private_key"});
    mount.write("roles/keys", role).await.unwrap();
    assert_eq!(
        mount.data("roles/keys").await["credential_config"],
        json!({"format": "pkcs8", "key_bits": 2048})
    );
    let refused = mount.read("creds/keys").await.unwrap_err();
    assert_eq!(
        (refused.status(), refused.to_string().as_str()),
        (400, "unsupported credential_type: \"rsa_private_key\"")
    );
}

#[tokio::test]
async fn unsupported_requests_answer_as_in_vault() {
    let mount = Mount::new();
    let status = |error: Error| error.status();
    assert_eq!(mount.read("nothing").await.map_err(status).unwrap_err(), 404);
    assert_eq!(mount.write("creds/x", json!({})).await.map_err(status).unwrap_err(), 405);
    let missing = mount.write("rotate-root/none", json!({})).await.unwrap_err();
    assert_eq!(missing.to_string(), "failed to find entry for connection with name: \"none\"");
}
