//! `postgresql-database-plugin`.

mod connection;
mod dsn;
mod revoke;
mod tls;

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use self::connection::{Connector, Session, is_conflict, query_error};
use super::pool::{Pool, Taken};
use super::settings::Settings;
use super::{NewUser, Plugin, expiration_text, redact, within_limit};
use crate::database::PluginError;
use crate::database::statements::{Blocks, Statement, prepare};
use crate::database::username::{POSTGRESQL_TEMPLATE, UsernameTemplate};
use crate::logical::Object;

const DEFAULT_RENEW: &str = r#"ALTER ROLE "{{name}}" VALID UNTIL '{{expiration}}';"#;
const DEFAULT_ROTATE: &str = r#"ALTER ROLE "{{username}}" WITH PASSWORD '{{password}}';"#;

/// How often a transaction that collided with others is tried.
const MAX_ATTEMPTS: u32 = 20;

/// How passwords are sent to the server (`password_authentication`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PasswordForm {
    /// As they are; the server makes the verifier.
    Plain,
    /// As a SCRAM-SHA-256 verifier made here, which also keeps them out of the server's log.
    Scram,
}

/// A PostgreSQL server and the account on it.
pub struct PostgreSql {
    pool: Pool<Connector>,
    usernames: UsernameTemplate,
    form: PasswordForm,
    admin_password: Zeroizing<String>,
    /// Whether transactions have collided on the privileges of shared objects.
    contended: AtomicBool,
    /// Since then they take turns.
    turn: Semaphore,
}

impl PostgreSql {
    /// Reads the settings of a connection; does not connect.
    ///
    /// # Errors
    /// `PluginError::Config` or `PluginError::Username` naming the setting.
    pub fn new(settings: &Object) -> Result<Self, PluginError> {
        let settings = Settings(settings);
        let dsn = dsn::parse(&settings)?;
        let tls = tls::client_config(dsn.verification, &dsn.files, &settings)?;
        let template = settings.text("username_template")?;
        let template = if template.is_empty() { POSTGRESQL_TEMPLATE } else { &template };
        let usernames = UsernameTemplate::parse(template)?;
        let form = match settings.text("password_authentication")?.as_str() {
            "" | "password" => PasswordForm::Plain,
            "scram-sha-256" => PasswordForm::Scram,
            other => {
                return Err(PluginError::Config(format!(
                    "'{other}' is not a valid password authentication type"
                )));
            }
        };
        let limits = settings.limits()?;
        let admin_password = settings.secret("password")?;
        Ok(Self {
            pool: Pool::new(Connector { dsn, tls }, limits),
            usernames,
            form,
            admin_password,
            contended: AtomicBool::new(false),
            turn: Semaphore::new(1),
        })
    }

    /// What `{{password}}` is replaced by.
    fn password_value(&self, password: &str) -> Zeroizing<String> {
        Zeroizing::new(match self.form {
            PasswordForm::Plain => password.to_owned(),
            PasswordForm::Scram => postgres_protocol::password::scram_sha_256(password.as_bytes()),
        })
    }

    /// Takes a connection and begins a transaction on it. A pooled connection that died shows here, where
    /// nothing has been executed yet, and is replaced.
    async fn begin(&self) -> Result<Taken<'_, Connector>, PluginError> {
        let taken = self.pool.take().await.map_err(|e| e.during("unable to get connection"))?;
        let begun = taken.connection.client.batch_execute("BEGIN").await;
        let Err(error) = begun else {
            return Ok(taken);
        };
        if !taken.reused {
            return Err(query_error(&error, &[]).during("unable to start transaction"));
        }
        drop(taken);
        let fresh = self.pool.take_new().await.map_err(|e| e.during("unable to get connection"))?;
        match fresh.connection.client.batch_execute("BEGIN").await {
            Ok(()) => Ok(fresh),
            Err(error) => Err(query_error(&error, &[]).during("unable to start transaction")),
        }
    }

    /// Runs all statements in one transaction, again when it collided with another.
    async fn transaction(&self, statements: &[Statement], secrets: &[&str]) -> Result<(), PluginError> {
        let work = async {
            let mut attempt = 1;
            loop {
                match self.attempt(statements, secrets).await {
                    Err(Failure { conflict: true, .. }) if attempt < MAX_ATTEMPTS => attempt += 1,
                    result => return result.map_err(|failure| failure.error),
                }
            }
        };
        within_limit("the database operation", work).await
    }

    async fn attempt(&self, statements: &[Statement], secrets: &[&str]) -> Result<(), Failure> {
        let taken = self.begin().await?;
        let result = self.run_all(&taken.connection, statements, secrets).await;
        match &result {
            Ok(()) => taken.put_back(),
            Err(failure) if failure.error.is_lost() => drop(taken),
            Err(_) => {
                // The statement's error counts; a connection that does not roll back is not kept.
                if taken.connection.client.batch_execute("ROLLBACK").await.is_ok() {
                    taken.put_back();
                }
            }
        }
        result
    }

    async fn run_all(
        &self,
        session: &Session,
        statements: &[Statement],
        secrets: &[&str],
    ) -> Result<(), Failure> {
        let mut turn = None;
        for (index, statement) in statements.iter().enumerate() {
            if turn.is_none() && !creates_role(&statement.sql) {
                turn = self.turn().await;
            }
            if let Err(error) = session.client.batch_execute(&statement.sql).await {
                let conflict = is_conflict(&error);
                if conflict {
                    self.contended.store(true, Ordering::Relaxed);
                }
                let error = match query_error(&error, secrets) {
                    PluginError::Query(message) => PluginError::Statement {
                        message,
                        number: index + 1,
                        statement: redact(&statement.template, secrets),
                    },
                    other => other,
                };
                return Err(Failure { error: error.during("failed to execute query"), conflict });
            }
        }
        let committed = session.client.batch_execute("COMMIT").await;
        committed.map_err(|e| Failure { conflict: is_conflict(&e), error: query_error(&e, secrets) })
    }

    /// Waits for the turn to change what other transactions change too, once such changes have collided.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if self.contended.load(Ordering::Relaxed) { self.turn.acquire().await.ok() } else { None }
    }
}

/// A failed transaction.
struct Failure {
    error: PluginError,
    /// Whether it only collided with another.
    conflict: bool,
}

impl From<PluginError> for Failure {
    fn from(error: PluginError) -> Self {
        Self { error, conflict: false }
    }
}

/// Whether the statement makes a new role. That is the slow part of a creation, as the server derives the
/// password's verifier, and it collides with nothing.
fn creates_role(sql: &str) -> bool {
    let mut words = sql.split_ascii_whitespace();
    words.next().is_some_and(|w| w.eq_ignore_ascii_case("CREATE"))
        && words.next().is_some_and(|w| w.eq_ignore_ascii_case("ROLE") || w.eq_ignore_ascii_case("USER"))
}

#[async_trait]
impl Plugin for PostgreSql {
    async fn verify(&self) -> Result<(), PluginError> {
        let check = async {
            let taken = self.pool.take_new().await?;
            taken.connection.client.batch_execute("").await.map_err(|e| query_error(&e, &[]))?;
            taken.put_back();
            Ok(())
        };
        within_limit("verifying the connection", check)
            .await
            .map_err(|e| e.during("error verifying connection"))
    }

    async fn new_user(&self, request: &NewUser<'_>) -> Result<String, PluginError> {
        if request.statements.is_empty() {
            return Err(PluginError::EmptyCreationStatements);
        }
        let username = self.usernames.generate(request.display_name, request.role)?;
        let password = self.password_value(request.password);
        let expiration = expiration_text(request.expiration);
        let values = [
            ("name", username.as_str()),
            ("username", username.as_str()),
            ("password", password.as_str()),
            ("expiration", expiration.as_str()),
        ];
        let statements = prepare(request.statements, &values, Blocks::KeepWhole);
        let secrets = [request.password, password.as_str(), self.admin_password.as_str()];
        match self.transaction(&statements, &secrets).await {
            Ok(()) => Ok(username),
            // The commit may have happened although its answer did not arrive.
            Err(error) if error.is_lost() => match self.default_revoke(&username).await {
                Ok(()) => Err(error),
                Err(reason) => {
                    Err(PluginError::Leaked { cause: Box::new(error), username, reason: reason.to_string() })
                }
            },
            Err(error) => Err(error),
        }
    }

    async fn renew_user(
        &self,
        username: &str,
        statements: &[String],
        expiration: Timestamp,
    ) -> Result<(), PluginError> {
        let expiration = expiration_text(expiration);
        let values = [("name", username), ("username", username), ("expiration", expiration.as_str())];
        let default = [DEFAULT_RENEW.to_owned()];
        let entries = if statements.is_empty() { &default } else { statements };
        let statements = prepare(entries, &values, Blocks::KeepWhole);
        self.transaction(&statements, &[self.admin_password.as_str()]).await
    }

    async fn revoke_user(&self, username: &str, statements: &[String]) -> Result<(), PluginError> {
        if statements.is_empty() {
            return self.default_revoke(username).await;
        }
        let values = [("name", username), ("username", username)];
        let statements = prepare(statements, &values, Blocks::KeepWhole);
        self.transaction(&statements, &[self.admin_password.as_str()]).await
    }

    async fn change_password(
        &self,
        username: &str,
        password: &str,
        statements: &[String],
    ) -> Result<(), PluginError> {
        if username.is_empty() {
            return Err(PluginError::Config("missing username".to_owned()));
        }
        if password.is_empty() {
            return Err(PluginError::Config("missing password".to_owned()));
        }
        let value = self.password_value(password);
        let values = [("name", username), ("username", username), ("password", value.as_str())];
        let default = [DEFAULT_ROTATE.to_owned()];
        let entries = if statements.is_empty() { &default } else { statements };
        let statements = prepare(entries, &values, Blocks::KeepWhole);
        let secrets = [password, value.as_str(), self.admin_password.as_str()];
        self.transaction(&statements, &secrets).await
    }

    fn close(&self) {
        self.pool.close();
    }
}

#[cfg(test)]
mod tests;
