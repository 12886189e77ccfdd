//! The plugin against a real server.

use serde_json::json;

use super::*;
use crate::database::testdb::{self, ADMIN, ADMIN_PASSWORD, Server, login_postgres as login};
use crate::random;

const CREATE: &str = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; \
                      GRANT CONNECT ON DATABASE postgres TO \"{{name}}\"";

fn plugin(server: &Server, extra: &serde_json::Value) -> PostgreSql {
    let mut settings = json!({
        "connection_url": format!("postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres", server.port),
        "username": ADMIN,
        "password": ADMIN_PASSWORD,
    });
    settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    PostgreSql::new(settings.as_object().unwrap()).unwrap()
}

async fn exists(server: &Server, user: &str) -> bool {
    let admin = login(server, ADMIN, ADMIN_PASSWORD).await.unwrap();
    !admin.query("SELECT 1 FROM pg_roles WHERE rolname = $1", &[&user]).await.unwrap().is_empty()
}

fn request<'a>(statements: &'a [String], password: &'a str) -> NewUser<'a> {
    NewUser {
        display_name: "token",
        role: "readonly",
        statements,
        rollback: &[],
        password,
        expiration: Timestamp::now() + std::time::Duration::from_hours(1),
    }
}

#[tokio::test]
async fn users_live_from_creation_to_revocation() {
    let Some(server) = testdb::postgres() else { return };
    let plugin = plugin(&server, &json!({}));
    plugin.verify().await.unwrap();
    let user = plugin.new_user(&request(&[CREATE.to_owned()], "pw-1")).await.unwrap();
    assert!(user.starts_with("v-token-readonly-"), "{user}");
    let client = login(&server, &user, "pw-1").await.unwrap();
    assert!(login(&server, &user, "wrong").await.is_err());

    let later = "2031-02-03T04:05:06Z".parse().unwrap();
    plugin.renew_user(&user, &[], later).await.unwrap();
    let admin = login(&server, ADMIN, ADMIN_PASSWORD).await.unwrap();
    let until: String = admin
        .query_one(
            "SELECT (rolvaliduntil AT TIME ZONE 'UTC')::text FROM pg_roles WHERE rolname = $1",
            &[&user],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(until, "2031-02-03 04:05:06");

    plugin.change_password(&user, "pw-2", &[]).await.unwrap();
    assert!(login(&server, &user, "pw-1").await.is_err());
    login(&server, &user, "pw-2").await.unwrap();

    plugin.revoke_user(&user, &[]).await.unwrap();
    assert!(!exists(&server, &user).await);
    // As in Vault, a session that was open goes on; revoking again is no error.
    client.batch_execute("SELECT 1").await.unwrap();
    plugin.revoke_user(&user, &[]).await.unwrap();
}

#[tokio::test]
async fn grants_are_taken_back_before_the_drop() {
    let Some(server) = testdb::postgres() else { return };
    let plugin = plugin(&server, &json!({}));
    let schema = format!("s{}", random::base62(8).to_lowercase());
    let admin = login(&server, ADMIN, ADMIN_PASSWORD).await.unwrap();
    admin
        .batch_execute(&format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.t (id serial)"))
        .await
        .unwrap();
    let create = format!(
        "{CREATE}; GRANT USAGE ON SCHEMA {schema} TO \"{{{{name}}}}\"; \
         GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO \"{{{{name}}}}\""
    );
    let user = plugin.new_user(&request(&[create], "pw")).await.unwrap();
    login(&server, &user, "pw")
        .await
        .unwrap()
        .batch_execute(&format!("SELECT * FROM {schema}.t"))
        .await
        .unwrap();
    plugin.revoke_user(&user, &[]).await.unwrap();
    assert!(!exists(&server, &user).await);
}

#[tokio::test]
async fn a_failing_statement_leaves_nothing_and_is_named() {
    let Some(server) = testdb::postgres() else { return };
    let plugin = plugin(&server, &json!({"username_template": "leak-{{random 8}}"}));
    let statements = [
        CREATE.to_owned(),
        "GRANT SELECT ON missing_table TO \"{{name}}\"; SELECT '{{password}}'".to_owned(),
    ];
    let error = plugin.new_user(&request(&statements, "s3cret-pw")).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "failed to execute query: ERROR: relation \"missing_table\" does not exist (SQLSTATE 42P01) \
         (statement 3: GRANT SELECT ON missing_table TO \"{{name}}\")"
    );
    let admin = login(&server, ADMIN, ADMIN_PASSWORD).await.unwrap();
    let left = admin.query("SELECT 1 FROM pg_roles WHERE rolname LIKE 'leak-%'", &[]).await.unwrap();
    assert!(left.is_empty());
    // The connection is usable again.
    plugin.new_user(&request(&[CREATE.to_owned()], "pw")).await.unwrap();
}

#[tokio::test]
async fn messages_of_the_server_do_not_show_the_password() {
    let Some(server) = testdb::postgres() else { return };
    let plugin = plugin(&server, &json!({}));
    let statements = ["CREATE ROLE \"{{name}}\" {{password}}".to_owned()];
    let error = plugin.new_user(&request(&statements, "s3cretword")).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("[password]") && !text.contains("s3cretword"), "{text}");
}

#[tokio::test]
async fn blocks_with_end_run_whole() {
    let Some(server) = testdb::postgres() else { return };
    let plugin = plugin(&server, &json!({}));
    let block =
        "DO $$ BEGIN EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L', '{{name}}', '{{password}}'); END $$";
    let user = plugin.new_user(&request(&[block.to_owned()], "pw")).await.unwrap();
    login(&server, &user, "pw").await.unwrap();
    let drop = "DO $$ BEGIN EXECUTE format('DROP ROLE %I', '{{name}}'); END $$";
    plugin.revoke_user(&user, &[drop.to_owned()]).await.unwrap();
    assert!(!exists(&server, &user).await);
}

#[tokio::test]
async fn statements_that_end_the_transaction_stop_at_the_first_failure() {
    let Some(server) = testdb::postgres() else { return };
    let plugin = plugin(&server, &json!({"username_template": "early-{{random 8}}"}));
    let statements = ["SELECT 1/0".to_owned(), "COMMIT".to_owned(), CREATE.to_owned()];
    let error = plugin.new_user(&request(&statements, "pw")).await.unwrap_err().to_string();
    assert!(error.ends_with("(statement 1: SELECT 1/0)"), "{error}");
    let admin = login(&server, ADMIN, ADMIN_PASSWORD).await.unwrap();
    let left = admin.query("SELECT 1 FROM pg_roles WHERE rolname LIKE 'early-%'", &[]).await.unwrap();
    assert!(left.is_empty());
}

#[tokio::test]
async fn scram_verifiers_are_made_here() {
    let Some(server) = testdb::postgres() else { return };
    let plugin = plugin(&server, &json!({"password_authentication": "scram-sha-256"}));
    let user = plugin.new_user(&request(&[CREATE.to_owned()], "pw-scram")).await.unwrap();
    login(&server, &user, "pw-scram").await.unwrap();
    plugin.change_password(&user, "pw-scram-2", &[]).await.unwrap();
    login(&server, &user, "pw-scram-2").await.unwrap();
    let settings = json!({"connection_url": "postgres://h/x", "password_authentication": "md5"});
    let fault = PostgreSql::new(settings.as_object().unwrap()).err().unwrap();
    assert_eq!(fault.to_string(), "'md5' is not a valid password authentication type");
}

#[tokio::test]
async fn admin_passwords_with_special_characters_log_in() {
    let Some(server) = testdb::postgres() else { return };
    let admin = login(&server, ADMIN, ADMIN_PASSWORD).await.unwrap();
    let password = "p@:/?#[]%41 &='\\\"{}ä";
    admin
        .batch_execute(&format!(
            "DROP ROLE IF EXISTS odd; CREATE ROLE odd LOGIN PASSWORD '{}'",
            password.replace('\'', "''")
        ))
        .await
        .unwrap();
    for url in [
        format!(
            "postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres?sslmode=disable",
            server.port
        ),
        format!(
            "host=127.0.0.1 port={} user={{{{username}}}} password={{{{password}}}} dbname=postgres",
            server.port
        ),
    ] {
        let settings = json!({"connection_url": url, "username": "odd", "password": password});
        PostgreSql::new(settings.as_object().unwrap()).unwrap().verify().await.unwrap();
    }
}

#[tokio::test]
async fn refused_and_unreachable_are_told_apart() {
    let Some(server) = testdb::postgres() else { return };
    let wrong = plugin(&server, &json!({"password": "wrong-pw"})).verify().await.unwrap_err();
    assert!(wrong.is_authentication());
    let text = wrong.to_string();
    assert!(text.starts_with("error verifying connection: failed to connect to `user="), "{text}");
    assert!(text.contains("FATAL: password authentication failed") && !text.contains("wrong-pw"), "{text}");
    let settings = json!({"connection_url": "postgres://{{username}}@127.0.0.1:1/x", "username": "x"});
    let closed = PostgreSql::new(settings.as_object().unwrap()).unwrap().verify().await.unwrap_err();
    assert!(!closed.is_authentication() && closed.to_string().contains("refused"), "{closed}");
}

#[tokio::test]
async fn a_restarted_database_is_used_again() {
    let Some(server) = testdb::own_postgres() else { return };
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
    plugin.renew_user(&second, &[], Timestamp::now()).await.unwrap();
    assert!(!exists(&server, &first).await);
}

#[tokio::test]
async fn many_at_once_share_four_connections() {
    let Some(server) = testdb::own_postgres() else { return };
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
    let admin = login(&server, ADMIN, ADMIN_PASSWORD).await.unwrap();
    let open: i64 = admin
        .query_one("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vault'", &[])
        .await
        .unwrap()
        .get(0);
    assert!((1..=4).contains(&open), "{open} connections");
    let left = admin.query("SELECT 1 FROM pg_roles WHERE rolname LIKE 'v-%'", &[]).await.unwrap();
    assert!(left.is_empty());
}
