//! The plugin against a real server.

use mysql_async::Row;
use serde_json::json;

use super::*;
use crate::database::testdb::{self, ADMIN, ADMIN_PASSWORD, Server, login_mariadb as login};
use crate::database::username::MYSQL_TEMPLATE;

const CREATE: &str =
    "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'; GRANT SELECT ON notes.* TO '{{name}}'@'%'";

fn plugin(server: &Server, extra: &serde_json::Value) -> MySql {
    let mut settings = json!({
        "connection_url": format!("{{{{username}}}}:{{{{password}}}}@tcp(127.0.0.1:{})/", server.port),
        "username": ADMIN,
        "password": ADMIN_PASSWORD,
    });
    settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    MySql::new(settings.as_object().unwrap(), MYSQL_TEMPLATE).unwrap()
}

async fn users_like(server: &Server, pattern: &str) -> Vec<String> {
    let mut admin = login(server, ADMIN, ADMIN_PASSWORD).await.unwrap();
    admin.exec("SELECT user FROM mysql.user WHERE user LIKE ?", (pattern,)).await.unwrap()
}

fn request<'a>(statements: &'a [String], password: &'a str) -> NewUser<'a> {
    NewUser {
        display_name: "approle",
        role: "readonly",
        statements,
        rollback: &[],
        password,
        expiration: Timestamp::now() + std::time::Duration::from_hours(1),
    }
}

#[tokio::test]
async fn users_live_from_creation_to_revocation() {
    let Some(server) = testdb::mariadb() else { return };
    let plugin = plugin(&server, &json!({}));
    plugin.verify().await.unwrap();
    let user = plugin.new_user(&request(&[CREATE.to_owned()], "pw-1")).await.unwrap();
    assert!(user.starts_with("v-approle-readonly-") && user.len() == 32, "{user}");
    let mut session = login(&server, &user, "pw-1").await.unwrap();
    session.query_drop("SELECT * FROM notes.notes").await.unwrap();
    assert!(session.query_drop("DELETE FROM notes.notes").await.is_err());

    plugin.renew_user(&user, &[], Timestamp::now()).await.unwrap();
    plugin.change_password(&user, "pw-2", &[]).await.unwrap();
    assert!(login(&server, &user, "pw-1").await.is_err());
    login(&server, &user, "pw-2").await.unwrap();

    plugin.revoke_user(&user, &[]).await.unwrap();
    assert!(users_like(&server, &user).await.is_empty());
    plugin.revoke_user(&user, &[]).await.unwrap();
}

#[tokio::test]
async fn an_account_without_access_to_the_users_table_revokes() {
    let Some(server) = testdb::mariadb() else { return };
    let mut admin = login(&server, ADMIN, ADMIN_PASSWORD).await.unwrap();
    for sql in [
        "CREATE OR REPLACE USER 'narrow'@'%' IDENTIFIED BY 'narrow-pw'",
        "GRANT CREATE USER ON *.* TO 'narrow'@'%'",
        "GRANT ALL ON notes.* TO 'narrow'@'%' WITH GRANT OPTION",
    ] {
        admin.query_drop(sql).await.unwrap();
    }
    let plugin = plugin(&server, &json!({"username": "narrow", "password": "narrow-pw"}));
    let user = plugin.new_user(&request(&[CREATE.to_owned()], "pw-1")).await.unwrap();
    plugin.change_password(&user, "pw-2", &[]).await.unwrap();
    login(&server, &user, "pw-2").await.unwrap();
    plugin.revoke_user(&user, &[]).await.unwrap();
    assert!(users_like(&server, &user).await.is_empty());

    let by_hand = plugin.new_user(&request(&[CREATE.to_owned()], "pw")).await.unwrap();
    admin.query_drop(format!("DROP USER '{by_hand}'@'%'")).await.unwrap();
    plugin.revoke_user(&by_hand, &[]).await.unwrap();
}

#[tokio::test]
async fn a_refused_revocation_is_an_error() {
    let Some(server) = testdb::mariadb() else { return };
    let plugin = plugin(&server, &json!({"username_template": "kept-{{random 8}}"}));
    let local = ["CREATE USER '{{name}}'@'localhost' IDENTIFIED BY '{{password}}'".to_owned()];
    let user = plugin.new_user(&request(&local, "pw")).await.unwrap();
    let error = plugin.revoke_user(&user, &[]).await.unwrap_err().to_string();
    assert!(error.starts_with("Error 1396 (HY000): Operation DROP USER failed"), "{error}");
    let dropped = ["DROP USER '{{name}}'@'localhost'".to_owned()];
    plugin.revoke_user(&user, &dropped).await.unwrap();
    plugin.revoke_user(&user, &dropped).await.unwrap_err();

    let user = plugin.new_user(&request(&[CREATE.to_owned()], "pw")).await.unwrap();
    let mut admin = login(&server, ADMIN, ADMIN_PASSWORD).await.unwrap();
    admin.query_drop("CREATE OR REPLACE USER 'powerless'@'%' IDENTIFIED BY 'pw'").await.unwrap();
    let powerless = self::plugin(&server, &json!({"username": "powerless", "password": "pw"}));
    let error = powerless.revoke_user(&user, &[]).await.unwrap_err().to_string();
    assert!(error.starts_with("Error 1227 "), "{error}");
    assert_eq!(users_like(&server, &user).await.len(), 1);
    plugin.revoke_user(&user, &[]).await.unwrap();
}

#[tokio::test]
async fn a_half_created_user_is_removed_again() {
    let Some(server) = testdb::mariadb() else { return };
    let plugin = plugin(&server, &json!({"username_template": "leak-{{random 8}}"}));
    let statements = [
        "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'".to_owned(),
        "GRANT SELECT ON missing.t TO '{{name}}'@'%'".to_owned(),
    ];
    let error = plugin.new_user(&request(&statements, "s3cret-pw")).await.unwrap_err().to_string();
    assert!(error.starts_with("Error 1146 (42S02): Table 'missing.t' doesn't exist"), "{error}");
    assert!(error.ends_with("(statement 2: GRANT SELECT ON missing.t TO '{{name}}'@'%')"), "{error}");
    assert!(users_like(&server, "leak-%").await.is_empty());
    plugin
        .revoke_user(&plugin.new_user(&request(&[CREATE.to_owned()], "pw")).await.unwrap(), &[])
        .await
        .unwrap();
}

#[tokio::test]
async fn rollback_statements_are_used_when_given_and_their_failure_is_told() {
    let Some(server) = testdb::mariadb() else { return };
    let plugin = plugin(&server, &json!({"username_template": "rolled-{{random 8}}"}));
    let statements = [format!("{CREATE}; GRANT SELECT ON missing.t TO '{{{{name}}}}'@'%'")];
    let rollback = ["DROP USER '{{name}}'@'%'".to_owned()];
    let mut wanted = request(&statements, "pw");
    wanted.rollback = &rollback;
    plugin.new_user(&wanted).await.unwrap_err();
    assert!(users_like(&server, "rolled-%").await.is_empty());

    let faulty = ["DROP USER 'nobody-{{name}}'@'%'".to_owned()];
    wanted.rollback = &faulty;
    let error = plugin.new_user(&wanted).await.unwrap_err().to_string();
    assert!(error.contains("could not be removed: Error 1396"), "{error}");
    let left = users_like(&server, "rolled-%").await;
    assert_eq!(left.len(), 1);
    assert!(error.contains(&left[0]));
    plugin.revoke_user(&left[0], &[]).await.unwrap();
}

#[tokio::test]
async fn an_account_that_existed_before_is_never_removed() {
    let Some(server) = testdb::mariadb() else { return };
    let plugin = plugin(&server, &json!({"username_template": "taken-before"}));
    let mut admin = login(&server, ADMIN, ADMIN_PASSWORD).await.unwrap();
    admin.query_drop("CREATE OR REPLACE USER 'taken-before'@'%' IDENTIFIED BY 'old'").await.unwrap();
    for statements in [
        ["SET @x = 1".to_owned(), CREATE.to_owned()],
        [
            "CREATE USER IF NOT EXISTS '{{name}}'@'%'".to_owned(),
            "GRANT SELECT ON missing.t TO '{{name}}'@'%'".to_owned(),
        ],
    ] {
        plugin.new_user(&request(&statements, "pw")).await.unwrap_err();
        login(&server, "taken-before", "old").await.unwrap();
    }
}

#[tokio::test]
async fn statements_that_cannot_be_prepared_run_directly() {
    let Some(server) = testdb::mariadb() else { return };
    let plugin = plugin(&server, &json!({}));
    let statements = [
        "SET @sql = CONCAT('CREATE USER \\'{{name}}\\'@\\'%\\' IDENTIFIED BY \\'{{password}}\\'')".to_owned(),
        "PREPARE made FROM @sql".to_owned(),
        "EXECUTE made".to_owned(),
        "DEALLOCATE PREPARE made".to_owned(),
    ];
    let user = plugin.new_user(&request(&statements, "pw")).await.unwrap();
    login(&server, &user, "pw").await.unwrap();
    plugin.revoke_user(&user, &["DROP USER '{{username}}'@'%'".to_owned()]).await.unwrap();
    assert!(users_like(&server, &user).await.is_empty());
    let error = plugin.new_user(&request(&["SELECT ?".to_owned()], "pw")).await.unwrap_err().to_string();
    assert_eq!(error, "sql: expected 1 arguments, got 0 (statement 1: SELECT ?)");
}

#[tokio::test]
async fn admin_passwords_with_special_characters_log_in() {
    let Some(server) = testdb::mariadb() else { return };
    let mut admin = login(&server, ADMIN, ADMIN_PASSWORD).await.unwrap();
    let password = "p@:/?#[]%41 &=\"{})(ä";
    admin.query_drop(format!("CREATE OR REPLACE USER 'odd'@'%' IDENTIFIED BY '{password}'")).await.unwrap();
    plugin(&server, &json!({"username": "odd", "password": password})).verify().await.unwrap();
}

#[tokio::test]
async fn refused_and_unreachable_are_told_apart() {
    let Some(server) = testdb::mariadb() else { return };
    let wrong = plugin(&server, &json!({"password": "wrong-pw"})).verify().await.unwrap_err();
    assert!(wrong.is_authentication());
    let text = wrong.to_string();
    assert!(text.starts_with("error verifying - ping: Error 1045 (28000): Access denied for user"), "{text}");
    assert!(text.contains("Error 1045 (28000): Access denied") && !text.contains("wrong-pw"), "{text}");
    let closed =
        plugin(&server, &json!({"connection_url": "u:p@tcp(127.0.0.1:1)/"})).verify().await.unwrap_err();
    assert!(!closed.is_authentication() && closed.to_string().contains("refused"), "{closed}");
    // The first host that answers is used.
    let url = format!("{{{{username}}}}:{{{{password}}}}@tcp(127.0.0.1:1,127.0.0.1:{})/", server.port);
    plugin(&server, &json!({"connection_url": url})).verify().await.unwrap();
}

#[tokio::test]
async fn a_restarted_database_is_used_again() {
    let Some(server) = testdb::own_mariadb() else { return };
    let plugin = plugin(&server, &json!({}));
    let statements = [CREATE.to_owned()];
    let first = plugin.new_user(&request(&statements, "pw")).await.unwrap();
    server.kill();
    let error = plugin.new_user(&request(&statements, "pw")).await.unwrap_err();
    assert!(!error.is_authentication(), "{error}");
    server.restart();
    let second = plugin.new_user(&request(&statements, "pw")).await.unwrap();
    login(&server, &second, "pw").await.unwrap();
    server.restart();
    plugin.revoke_user(&first, &[]).await.unwrap();
    server.restart();
    plugin.change_password(&second, "pw-2", &[]).await.unwrap();
    login(&server, &second, "pw-2").await.unwrap();
}

#[tokio::test]
async fn many_at_once_share_four_connections() {
    let Some(server) = testdb::own_mariadb() else { return };
    let plugin = std::sync::Arc::new(plugin(&server, &json!({})));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let plugin = std::sync::Arc::clone(&plugin);
            tokio::spawn(async move {
                let statements = [CREATE.to_owned()];
                for _ in 0..5 {
                    let user = plugin.new_user(&request(&statements, "pw")).await.unwrap();
                    plugin.revoke_user(&user, &[]).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut admin = login(&server, ADMIN, ADMIN_PASSWORD).await.unwrap();
    let sessions: Vec<Row> = admin.query("SHOW PROCESSLIST").await.unwrap();
    // Four of the pool, and this one.
    assert!((2..=5).contains(&sessions.len()), "{} sessions", sessions.len());
    assert!(users_like(&server, "v-%").await.is_empty());
}

#[tokio::test]
async fn no_piece_of_a_password_is_in_an_error() {
    let Some(server) = testdb::mariadb() else { return };
    let plugin = plugin(&server, &json!({}));
    let password = "Lag4bkccUXhp1-GhYq9x";
    for wrong in [
        "CREATE USSER '{{name}}'@'%' IDENTIFIED BY '{{password}}'",
        "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'; GRNT SELECT ON a.* TO '{{name}}' IDENTIFIED BY '{{password}}'",
        "CREATE USER '{{name}}'@'%' IDENTIFIED BY {{password}}",
    ] {
        let error = plugin.new_user(&request(&[wrong.to_owned()], password)).await.unwrap_err().to_string();
        assert!(error.contains("near '"), "{error}");
        for start in 0..password.len() - 3 {
            assert!(!error.contains(&password[start..start + 4]), "{error}");
        }
    }
}
