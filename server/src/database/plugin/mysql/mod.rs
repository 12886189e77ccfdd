//! `mysql-database-plugin` and its aliases, for MySQL and MariaDB.

mod connection;
mod dsn;

use async_trait::async_trait;
use jiff::Timestamp;
use mysql_async::Error;
use mysql_async::prelude::Queryable as _;
use tokio::time::timeout;
use zeroize::Zeroizing;

use self::connection::{Connector, query_error};
use super::pool::{Pool, Taken};
use super::settings::Settings;
use super::{CANCEL_LIMIT, NewUser, Plugin, expiration_text, redact, within_cleanup, within_limit};
use crate::database::statements::{Blocks, Statement, prepare};
use crate::database::username::UsernameTemplate;
use crate::database::{OPERATION, PluginError};
use crate::logical::Object;

const DEFAULT_REVOKE: &str =
    "REVOKE ALL PRIVILEGES, GRANT OPTION FROM '{{name}}'@'%'; DROP USER '{{name}}'@'%'";
const DEFAULT_ROTATE: &str = "ALTER USER '{{username}}'@'%' IDENTIFIED BY '{{password}}';";
const DEFAULT_ROLLBACK: &str = "DROP USER IF EXISTS '{{name}}'@'%'";
/// "This command is not supported in the prepared statement protocol yet."
const NOT_PREPARABLE: u16 = 1295;
/// "Unknown thread id".
const NO_SUCH_THREAD: u16 = 1094;
/// "Operation CREATE USER failed": mostly because the user exists already.
const CANNOT_USER: &str = "Error 1396 ";
/// What REVOKE and DROP USER answer for a user that does not exist: not all privileges could be revoked, DROP USER
/// failed, no such grant, and MySQL's unknown authorization id.
const NO_SUCH_USER: [&str; 4] = ["Error 1269 ", CANNOT_USER, "Error 1141 ", "Error 3162 "];

/// A MySQL or MariaDB server and the account on it.
pub struct MySql {
    pool: Pool<Connector>,
    usernames: UsernameTemplate,
    admin_password: Zeroizing<String>,
}

/// How statements are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// As if prepared: one statement without placeholders each.
    Prepared,
    /// Directly.
    Direct,
}

/// A failed batch.
struct Failure {
    /// Statements that were executed before.
    executed: usize,
    /// Whether there was a connection to execute them on.
    begun: bool,
    error: PluginError,
}

impl MySql {
    /// Reads the settings of a connection; does not connect.
    ///
    /// # Errors
    /// `PluginError::Config` or `PluginError::Username` naming the setting.
    pub fn new(settings: &Object, default_template: &str) -> Result<Self, PluginError> {
        let settings = Settings(settings);
        let template = settings.text("username_template")?;
        let template = if template.is_empty() { default_template } else { &template };
        let usernames = UsernameTemplate::parse(template)?;
        let connector = Connector { dsn: dsn::parse(&settings)? };
        let admin_password = settings.secret("password")?;
        Ok(Self { pool: Pool::new(connector, settings.limits()?), usernames, admin_password })
    }

    /// Takes a connection and begins a transaction on it. A pooled connection that died shows here, where
    /// nothing has been executed yet, and is replaced.
    async fn begin(&self) -> Result<Taken<'_, Connector>, PluginError> {
        let mut taken = self.pool.take().await?;
        let Err(error) = taken.connection.query_drop("START TRANSACTION").await else {
            return Ok(taken);
        };
        if !taken.reused {
            return Err(query_error(&error, &[]));
        }
        drop(taken);
        let mut fresh = self.pool.take_new().await?;
        match fresh.connection.query_drop("START TRANSACTION").await {
            Ok(()) => Ok(fresh),
            Err(error) => Err(query_error(&error, &[])),
        }
    }

    /// Runs statements in a transaction, as far as the server's implicit commits leave one.
    async fn run(
        &self,
        statements: &[Statement],
        secrets: &[&str],
        protocol: Protocol,
    ) -> Result<(), Failure> {
        let (mut executed, mut session) = (0, None);
        let work = async {
            let mut taken = self.begin().await?;
            session = Some(taken.connection.id());
            let result = run_all(&mut taken, statements, secrets, protocol, &mut executed).await;
            match &result {
                Ok(()) => taken.put_back(),
                Err(error) if error.is_lost() => drop(taken),
                Err(_) => {
                    // The statement's error counts; a connection that does not roll back is not kept.
                    if taken.connection.query_drop("ROLLBACK").await.is_ok() {
                        taken.put_back();
                    }
                }
            }
            result
        };
        let result = within_limit(OPERATION, work).await;
        if result.as_ref().is_err_and(PluginError::is_unanswered)
            && let Some(session) = session
        {
            self.kill(session).await;
        }
        result.map_err(|error| Failure { executed, begun: session.is_some(), error })
    }

    /// Ends a session of this account: one that waits for a lock does not notice that its client is gone,
    /// and would still make the user.
    async fn kill(&self, session: u32) {
        let work = async {
            let mut taken = self.pool.take_new().await?;
            let killed = taken.connection.query_drop(format!("KILL {session}")).await;
            match killed {
                // It is gone already.
                Err(Error::Server(error)) if error.code == NO_SUCH_THREAD => Ok(()),
                other => other.map_err(|error| query_error(&error, &[])),
            }
        };
        match timeout(CANCEL_LIMIT, work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "an abandoned operation could not be ended"),
            Err(_) => tracing::warn!("an abandoned operation could not be ended in time"),
        }
    }

    /// Removes what a failed creation left: MySQL commits each CREATE USER and GRANT by itself.
    ///
    /// Vault leaves the user behind. It is removed here unless the statements may have met an account that
    /// existed before: then nothing is touched. Of a connection that was lost nobody knows what the server still
    /// did.
    async fn roll_back(&self, request: &NewUser<'_>, username: String, failure: Failure) -> PluginError {
        let Failure { executed, begun, error } = failure;
        let unknown = begun && executed == 0 && error.is_unanswered();
        // A name that would not be made again is nobody else's.
        let again = || self.usernames.generate(request.display_name, request.role).ok();
        let may_be_anothers = error.to_string().contains(CANNOT_USER)
            || (unknown && again().is_none_or(|name| name == username))
            || request.statements.iter().any(|s| s.to_ascii_uppercase().contains("IF NOT EXISTS"));
        if (executed == 0 && !unknown) || (may_be_anothers && request.rollback.is_empty()) {
            return error;
        }
        let values = [("name", username.as_str()), ("username", username.as_str())];
        let default = [DEFAULT_ROLLBACK.to_owned()];
        let entries = if request.rollback.is_empty() { &default } else { request.rollback };
        let statements = prepare(entries, &values, Blocks::Split);
        let secrets = [self.admin_password.as_str()];
        let removal = async {
            self.run(&statements, &secrets, Protocol::Direct).await.map_err(|failure| failure.error)
        };
        match within_cleanup(removal).await {
            Ok(()) => error,
            Err(reason) => {
                PluginError::Leaked { cause: Box::new(error), username, reason: reason.to_string() }
            }
        }
    }

    /// Runs Vault's default statements. They need CREATE USER alone, so that nothing else may be asked of the
    /// account. Vault fails forever when the user was dropped by hand; here that is what was wanted.
    async fn revoke_default(&self, username: &str) -> Result<(), PluginError> {
        let values = [("name", username), ("username", username)];
        let statements = prepare(&[DEFAULT_REVOKE.to_owned()], &values, Blocks::Split);
        let secrets = [self.admin_password.as_str()];
        let Err(Failure { executed, mut error, .. }) =
            self.run(&statements, &secrets, Protocol::Direct).await
        else {
            return Ok(());
        };
        if executed == 0 && is_no_such_user(&error) {
            // REVOKE says the same of privileges it could not take: only DROP USER tells.
            match self.run(&statements[1..], &secrets, Protocol::Direct).await {
                Ok(()) => return Ok(()),
                Err(failure) => error = failure.error,
            }
        }
        if !is_no_such_user(&error) {
            return Err(error);
        }
        // A user of another host than `%` would live on: looked for as far as the account may.
        match within_limit("looking for the user", self.find_user(username)).await {
            Ok(true) => Err(error),
            Ok(false) | Err(PluginError::Query(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    async fn find_user(&self, username: &str) -> Result<bool, PluginError> {
        let mut taken = self.begin().await?;
        let found: Result<Option<u8>, Error> =
            taken.connection.exec_first("SELECT 1 FROM mysql.user WHERE user = ? LIMIT 1", (username,)).await;
        let ended = taken.connection.query_drop("COMMIT").await;
        match (found, ended) {
            (Ok(row), Ok(())) => {
                taken.put_back();
                Ok(row.is_some())
            }
            (Err(error), _) | (_, Err(error)) => Err(query_error(&error, &[])),
        }
    }
}

/// Whether a statement failed because its user does not exist.
fn is_no_such_user(error: &PluginError) -> bool {
    matches!(error, PluginError::Statement { message, .. }
        if NO_SUCH_USER.iter().any(|code| message.starts_with(code)))
}

async fn run_all(
    taken: &mut Taken<'_, Connector>,
    statements: &[Statement],
    secrets: &[&str],
    protocol: Protocol,
    executed: &mut usize,
) -> Result<(), PluginError> {
    for (index, statement) in statements.iter().enumerate() {
        if let Err(error) = run_one(taken, &statement.sql, protocol, secrets).await {
            return Err(match error {
                PluginError::Query(message) => PluginError::Statement {
                    message,
                    number: index + 1,
                    statement: redact(&statement.template, secrets),
                },
                other => other,
            });
        }
        *executed = index + 1;
    }
    taken.connection.query_drop("COMMIT").await.map_err(|e| query_error(&e, secrets))
}

async fn run_one(
    taken: &mut Taken<'_, Connector>,
    sql: &str,
    protocol: Protocol,
    secrets: &[&str],
) -> Result<(), PluginError> {
    let connection = &mut taken.connection;
    let failed = |error: Error| query_error(&error, secrets);
    // Preparing takes two more round trips. It only makes a difference where it refuses what the text protocol
    // takes: several statements in one text. Placeholders without values are refused by both, each in its way.
    if protocol == Protocol::Direct || !sql.contains([';', '?']) {
        return connection.query_drop(sql).await.map_err(failed);
    }
    let prepared = match connection.prep(sql).await {
        Ok(prepared) => prepared,
        Err(Error::Server(error)) if error.code == NOT_PREPARABLE => {
            return connection.query_drop(sql).await.map_err(failed);
        }
        Err(error) => return Err(failed(error)),
    };
    if prepared.num_params() > 0 {
        let message = format!("sql: expected {} arguments, got 0", prepared.num_params());
        return Err(PluginError::Query(message));
    }
    let result = connection.exec_drop(&prepared, ()).await;
    let closed = connection.close(prepared).await;
    result.and(closed).map_err(failed)
}

#[async_trait]
impl Plugin for MySql {
    async fn verify(&self) -> Result<(), PluginError> {
        let check = async {
            let mut taken = self.pool.take_new().await?;
            taken.connection.ping().await.map_err(|e| query_error(&e, &[]))?;
            taken.put_back();
            Ok(())
        };
        within_limit("verifying the connection", check).await.map_err(|e| e.during("error verifying - ping"))
    }

    async fn new_user(&self, request: &NewUser<'_>) -> Result<String, PluginError> {
        if request.statements.is_empty() {
            return Err(PluginError::EmptyCreationStatements);
        }
        let username = self.usernames.generate(request.display_name, request.role)?;
        let expiration = expiration_text(request.expiration);
        let values = [
            ("name", username.as_str()),
            ("username", username.as_str()),
            ("password", request.password),
            ("expiration", expiration.as_str()),
        ];
        let statements = prepare(request.statements, &values, Blocks::Split);
        let secrets = [request.password, self.admin_password.as_str()];
        match self.run(&statements, &secrets, Protocol::Prepared).await {
            Ok(()) => Ok(username),
            Err(failure) => Err(self.roll_back(request, username, failure).await),
        }
    }

    /// MySQL users have no expiration: nothing is done, as in Vault.
    async fn renew_user(&self, _: &str, _: &[String], _: Timestamp) -> Result<(), PluginError> {
        Ok(())
    }

    async fn revoke_user(&self, username: &str, statements: &[String]) -> Result<(), PluginError> {
        if statements.is_empty() {
            return self.revoke_default(username).await;
        }
        let values = [("name", username), ("username", username)];
        let statements = prepare(statements, &values, Blocks::Split);
        let secrets = [self.admin_password.as_str()];
        self.run(&statements, &secrets, Protocol::Direct).await.map_err(|failure| failure.error)
    }

    async fn change_password(
        &self,
        username: &str,
        password: &str,
        statements: &[String],
    ) -> Result<(), PluginError> {
        if username.is_empty() || password.is_empty() {
            return Err(PluginError::Config("must provide both username and password".to_owned()));
        }
        let values = [("name", username), ("username", username), ("password", password)];
        let default = [DEFAULT_ROTATE.to_owned()];
        let is_default = statements.is_empty();
        let entries = if is_default { &default } else { statements };
        let statements = prepare(entries, &values, Blocks::Split);
        let secrets = [password, self.admin_password.as_str()];
        self.run(&statements, &secrets, Protocol::Prepared).await.map_err(|failure| {
            let error = failure.error.during("failed to change password");
            if is_default { error.without_statement() } else { error }
        })
    }

    fn close(&self) {
        self.pool.close();
    }
}

#[cfg(test)]
mod tests;
