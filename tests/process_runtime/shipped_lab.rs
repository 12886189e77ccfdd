//! The SQL that ships, run as Vault runs it, with the account that Vault has.

use std::time::{Duration, Instant};

use vaultlab::database::{Check, Database, Target, connect};
use vaultlab::runtime::Runtime;
use vaultlab::spec::LabSpec;
use vaultlab::spec::model::{DatabaseSpec, Engine, RoleSpec, SqlText};
use vaultlab::state::Credentials;

use crate::support::{Place, available, superuser, target};

/// The statements as Vault sends them: a PostgreSQL text that contains `END` whole, else split at `;`.
fn statements(sql: &SqlText, name: &str) -> Vec<String> {
    let whole = sql.text.contains(" END ");
    let parts: Vec<&str> = if whole { vec![&sql.text] } else { sql.text.split(';').collect() };
    parts
        .into_iter()
        .map(str::trim)
        .filter(|statement| !statement.is_empty())
        .map(|statement| {
            statement
                .replace("{{name}}", name)
                .replace("{{password}}", "Pass-word-1")
                .replace("{{expiration}}", "2099-01-01 00:00:00+0000")
        })
        .collect()
}

async fn run(vault: &mut Box<dyn Database>, sql: &SqlText, name: &str) {
    for statement in statements(sql, name) {
        vault.execute(&statement).await.unwrap_or_else(|error| panic!("{}: {error}", sql.origin));
    }
}

async fn issue(
    vault: &mut Box<dyn Database>,
    target: &Target,
    role: &RoleSpec,
    name: &str,
) -> Box<dyn Database> {
    run(vault, &role.creation_statements, name).await;
    connect(target, &Credentials::new(name, "Pass-word-1".to_owned())).await.unwrap()
}

async fn revoke(vault: &mut Box<dyn Database>, role: &RoleSpec, name: &str) {
    run(vault, role.revocation_statements.as_ref().unwrap(), name).await;
}

async fn prove(database: &DatabaseSpec, target: &Target, root: &mut Box<dyn Database>, vault: &Credentials) {
    let mut vault = connect(target, vault).await.unwrap();
    for role in &database.roles {
        let name = format!("v-test-{}", role.name);
        let mut account = issue(&mut vault, target, role, &name).await;
        for sql in &role.proof.allows {
            let check = account.check(sql).await;
            assert!(matches!(check, Check::Allowed), "{name}: {sql}: {check:?}");
        }
        for sql in &role.proof.refuses {
            let check = account.check(sql).await;
            assert!(matches!(check, Check::Refused(_)), "{name}: {sql}: {check:?}");
        }
        assert_eq!(root.sessions(&name).await.unwrap(), 1);

        revoke(&mut vault, role, &name).await;
        assert!(!root.account_exists(&name).await.unwrap());
        let started = Instant::now();
        while root.sessions(&name).await.unwrap() > 0 {
            assert!(started.elapsed() < Duration::from_secs(5), "the session of {name} survives");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(account.ping().await.is_err());
        // What is gone already can be revoked again, and nobody else's session is ended.
        revoke(&mut vault, role, &name).await;
        vault.ping().await.unwrap();
    }
    vault.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shipped_roles_allow_and_refuse_what_they_say_and_leave_nothing_behind() {
    let lab = LabSpec::builtin().unwrap();
    for database in &lab.databases {
        if !available(database.engine).await {
            continue;
        }
        let place = Place::new();
        let services = place.lab("shipped");
        let running = services.up(database).await.unwrap();
        let mut root = superuser(&running, database.engine).await;
        let target = target(&running, database.engine);
        let vault = running.accounts.as_ref().unwrap().admin.clone();
        prove(database, &target, &mut root, &vault).await;

        if database.engine == Engine::Postgres {
            what_an_account_owns_is_kept(database, &target, &mut root, &vault).await;
        }
        root.close().await;
        services.runtime.remove(&database.name).await.unwrap();
    }
}

/// An account that owns tables can be revoked; its tables stay with the group.
async fn what_an_account_owns_is_kept(
    database: &DatabaseSpec,
    target: &Target,
    root: &mut Box<dyn Database>,
    vault: &Credentials,
) {
    root.execute("GRANT CREATE ON SCHEMA public TO notes_writer").await.unwrap();
    root.execute("GRANT TEMPORARY ON DATABASE notes TO notes_writer").await.unwrap();
    let mut vault = connect(target, vault).await.unwrap();
    let role = database.roles.iter().find(|role| role.name == "pg-write").unwrap();
    let mut account = issue(&mut vault, target, role, "v-test-owner").await;
    account.execute("CREATE TABLE owned (id integer)").await.unwrap();
    account.execute("CREATE TEMPORARY TABLE brief (id serial)").await.unwrap();

    revoke(&mut vault, role, "v-test-owner").await;
    assert!(!root.account_exists("v-test-owner").await.unwrap());
    let owner = root.scalar("SELECT tableowner FROM pg_tables WHERE tablename = 'owned'").await.unwrap();
    assert_eq!(owner.as_deref(), Some("notes_writer"));
    vault.close().await;
}
