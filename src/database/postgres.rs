//! PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use tokio::task::JoinHandle;
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::error::{DatabaseError, Refusal, ScriptError, shorten};
use super::quote::{pg_name, pg_text};
use super::script::{Dialect, locate, number_at};
use super::{CONNECT_TIMEOUT, Check, Database, DynamicAccount, Target};
use crate::secret::Secret;
use crate::service::Endpoint;
use crate::spec::model::SqlText;
use crate::state::Credentials;

pub(super) struct Postgres {
    client: Client,
    connection: JoinHandle<()>,
    endpoint: Endpoint,
    user: String,
}

impl Postgres {
    pub(super) async fn connect(target: &Target, account: &Credentials) -> Result<Self, DatabaseError> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&target.endpoint.host)
            .port(target.endpoint.port)
            .user(&account.username)
            .password(account.password.expose())
            .dbname(&target.database)
            .application_name("vaultlab");
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, config.connect(NoTls)).await;
        let (client, connection) = connecting
            .map_err(|_| DatabaseError::silent(&target.endpoint))?
            .map_err(|e| login_error(&target.endpoint, &account.username, &target.database, &e))?;
        // The connection's own errors reach the caller through the statement they interrupt.
        let connection = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { client, connection, endpoint: target.endpoint.clone(), user: account.username.clone() })
    }

    /// Runs `sql`; `label` stands for it in errors.
    async fn run(&self, label: &str, sql: &str) -> Result<Vec<SimpleQueryMessage>, DatabaseError> {
        self.client.simple_query(sql).await.map_err(|e| self.error(label, &e))
    }

    fn error(&self, statement: &str, error: &tokio_postgres::Error) -> DatabaseError {
        let endpoint = self.endpoint.clone();
        let Some(refusal) = refusal(error) else {
            return DatabaseError::Unreachable { endpoint, cause: chain(error) };
        };
        let statement = shorten(statement);
        if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            return DatabaseError::Denied { endpoint, user: self.user.clone(), statement, refusal };
        }
        DatabaseError::Statement { endpoint, statement, refusal }
    }
}

#[async_trait]
impl Database for Postgres {
    async fn ping(&mut self) -> Result<(), DatabaseError> {
        self.run("SELECT 1", "SELECT 1").await.map(drop)
    }

    async fn execute(&mut self, sql: &str) -> Result<u64, DatabaseError> {
        let messages = self.run(sql, sql).await?;
        Ok(messages
            .iter()
            .map(|message| match message {
                SimpleQueryMessage::CommandComplete(rows) => *rows,
                _ => 0,
            })
            .sum())
    }

    async fn scalar(&mut self, sql: &str) -> Result<Option<String>, DatabaseError> {
        let messages = self.run(sql, sql).await?;
        Ok(messages
            .iter()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.try_get(0).ok().flatten().map(str::to_owned)),
                _ => None,
            })
            .flatten())
    }

    async fn run_script(&mut self, script: &SqlText) -> Result<(), ScriptError> {
        let mut done = 0;
        let result = async {
            let mut messages = Box::pin(self.client.simple_query_raw(&script.text).await?);
            while let Some(message) = messages.try_next().await? {
                done += usize::from(matches!(message, SimpleQueryMessage::CommandComplete(_)));
            }
            Ok::<_, tokio_postgres::Error>(())
        }
        .await;
        result.map_err(|e| {
            let message = refusal(&e).map_or_else(|| chain(&e), |refusal| refusal.to_string());
            // The server parses the whole text before it runs any of it: a syntax error has a
            // position, and nothing is done by then.
            let number = match e.as_db_error().and_then(DbError::position) {
                Some(ErrorPosition::Original(at)) => number_at(&script.text, Dialect::Postgres, *at as usize),
                _ => done + 1,
            };
            locate(script, Dialect::Postgres, number, message)
        })
    }

    async fn check(&mut self, sql: &str) -> Check {
        if let Err(e) = self.run("BEGIN", "BEGIN").await {
            return Check::Failed(e);
        }
        let result = self.run(sql, sql).await;
        let undone = self.run("ROLLBACK", "ROLLBACK").await;
        match (result, undone) {
            (Ok(_), Ok(_)) => Check::Allowed,
            (Err(DatabaseError::Denied { refusal, .. }), Ok(_)) => Check::Refused(refusal),
            (Err(e), _) | (_, Err(e)) => Check::Failed(e),
        }
    }

    async fn ensure_account(&mut self, account: &Credentials) -> Result<(), DatabaseError> {
        if self.account_exists(&account.username).await? {
            return self.set_password(&account.username, &account.password).await;
        }
        let sql = format!(
            "CREATE ROLE {} LOGIN PASSWORD {}",
            pg_name(&account.username),
            verifier(&account.password)
        );
        self.run(&format!("CREATE ROLE {}", pg_name(&account.username)), &sql).await.map(drop)
    }

    async fn set_password(&mut self, user: &str, password: &Secret) -> Result<(), DatabaseError> {
        let sql = format!("ALTER ROLE {} PASSWORD {}", pg_name(user), verifier(password));
        self.run(&format!("ALTER ROLE {} PASSWORD …", pg_name(user)), &sql).await.map(drop)
    }

    async fn let_manage(&mut self, manager: &str, user: &str) -> Result<(), DatabaseError> {
        let version = self.scalar("SHOW server_version_num").await?;
        if version.and_then(|version| version.parse::<u32>().ok()).is_some_and(|version| version < 160_000) {
            return Ok(());
        }
        // To replace its password, neither to inherit nor to take on what it may.
        let (manager, user) = (pg_name(manager), pg_name(user));
        self.execute(&format!("GRANT {user} TO {manager} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"))
            .await
            .map(drop)
    }

    async fn ensure_superuser(&mut self, account: &Credentials) -> Result<(), DatabaseError> {
        self.ensure_account(account).await?;
        self.execute(&format!("ALTER ROLE {} LOGIN SUPERUSER", pg_name(&account.username))).await.map(drop)
    }

    async fn ensure_database(&mut self, name: &str) -> Result<(), DatabaseError> {
        let find = format!("SELECT 1 FROM pg_database WHERE datname = {}", pg_text(name));
        if self.scalar(&find).await?.is_none() {
            self.execute(&format!("CREATE DATABASE {}", pg_name(name))).await?;
        }
        Ok(())
    }

    async fn account_exists(&mut self, user: &str) -> Result<bool, DatabaseError> {
        let sql = format!("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = {}", pg_text(user));
        Ok(self.scalar(&sql).await?.is_some())
    }

    async fn dynamic_accounts(&mut self) -> Result<Vec<DynamicAccount>, DatabaseError> {
        let sql = "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname LIKE 'v-%' ORDER BY rolname";
        let messages = self.run(sql, sql).await?;
        let name = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten().map(str::to_owned),
            _ => None,
        };
        let account = |name: String| {
            // The server does not say; Vault ends the name with its clock.
            let seconds = name.rsplit('-').next().and_then(|last| last.parse().ok());
            let created = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
            DynamicAccount { name, created }
        };
        Ok(messages.iter().filter_map(name).map(account).collect())
    }

    async fn drop_account(&mut self, user: &str) -> Result<(), DatabaseError> {
        if !self.account_exists(user).await? {
            return Ok(());
        }
        let (name, text) = (pg_name(user), pg_text(user));
        for sql in [
            format!("ALTER ROLE {name} NOLOGIN"),
            format!(
                "SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = {text}"
            ),
            format!("REASSIGN OWNED BY {name} TO CURRENT_USER"),
            format!("DROP OWNED BY {name}"),
            format!("DROP ROLE IF EXISTS {name}"),
        ] {
            self.run(&sql, &sql).await?;
        }
        Ok(())
    }

    async fn password_digest(&mut self, user: &str) -> Result<Option<String>, DatabaseError> {
        let sql =
            format!("SELECT md5(rolpassword) FROM pg_catalog.pg_authid WHERE rolname = {}", pg_text(user));
        self.scalar(&sql).await
    }

    async fn sessions(&mut self, user: &str) -> Result<u64, DatabaseError> {
        let sql =
            format!("SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usename = {}", pg_text(user));
        Ok(self.scalar(&sql).await?.and_then(|n| n.parse().ok()).unwrap_or(0))
    }

    async fn version(&mut self) -> Result<String, DatabaseError> {
        Ok(self.scalar("SHOW server_version").await?.unwrap_or_default())
    }

    async fn close(self: Box<Self>) {
        drop(self.client);
        // Ends when the server has been told; a server that is gone must not hold us up.
        drop(tokio::time::timeout(Duration::from_secs(1), self.connection).await);
    }
}

/// The SCRAM-SHA-256 verifier of a password as an SQL string, so that the password itself reaches
/// neither the server nor its log.
fn verifier(password: &Secret) -> String {
    pg_text(&scram_verifier(password))
}

/// The SCRAM-SHA-256 verifier of a password. Takes about a millisecond of computing.
pub(crate) fn scram_verifier(password: &Secret) -> String {
    postgres_protocol::password::scram_sha_256(password.expose().as_bytes())
}

fn refusal(error: &tokio_postgres::Error) -> Option<Refusal> {
    let db = error.as_db_error()?;
    let mut message = db.message().to_owned();
    for more in [db.detail(), db.hint()].into_iter().flatten() {
        message = format!("{message}; {more}");
    }
    Some(Refusal { code: db.code().code().into(), message })
}

fn login_error(
    endpoint: &Endpoint,
    user: &str,
    database: &str,
    error: &tokio_postgres::Error,
) -> DatabaseError {
    let endpoint = endpoint.clone();
    let Some(refusal) = refusal(error) else {
        return DatabaseError::Unreachable { endpoint, cause: chain(error) };
    };
    let statement = || format!("log in to {database}");
    match error.code() {
        Some(&SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
            DatabaseError::Refused { endpoint, user: user.into(), refusal }
        }
        // Starting up, shutting down, too many connections: come back later.
        Some(
            &SqlState::CANNOT_CONNECT_NOW
            | &SqlState::ADMIN_SHUTDOWN
            | &SqlState::CRASH_SHUTDOWN
            | &SqlState::TOO_MANY_CONNECTIONS,
        ) => DatabaseError::Unreachable { endpoint, cause: refusal.to_string() },
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            DatabaseError::Denied { endpoint, user: user.into(), statement: statement(), refusal }
        }
        _ => DatabaseError::Statement { endpoint, statement: statement(), refusal },
    }
}

/// The driver's error with its causes: on its own it only says what was being done.
fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
