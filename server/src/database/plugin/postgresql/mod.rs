//! `postgresql-database-plugin`.

mod connection;
mod dsn;
mod revoke;
mod tls;
mod transaction;

use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use self::connection::{Connector, query_error};
use super::pool::Pool;
use super::settings::Settings;
use super::{NewUser, Plugin, expiration_text, within_cleanup, within_limit};
use crate::database::PluginError;
use crate::database::statements::{Blocks, prepare};
use crate::database::username::{POSTGRESQL_TEMPLATE, UsernameTemplate};
use crate::logical::Object;

const DEFAULT_RENEW: &str = r#"ALTER ROLE "{{name}}" VALID UNTIL '{{expiration}}';"#;
const DEFAULT_ROTATE: &str = r#"ALTER ROLE "{{username}}" WITH PASSWORD '{{password}}';"#;

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
            Err(error) if error.is_unanswered() => match within_cleanup(self.default_revoke(&username)).await
            {
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
        let changed = self.transaction(&statements, &[self.admin_password.as_str()]).await;
        changed.map_err(|error| PluginError::Collected(Box::new(error)))
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
        let is_default = statements.is_empty();
        let entries = if is_default { &default } else { statements };
        let statements = prepare(entries, &values, Blocks::KeepWhole);
        let secrets = [password, value.as_str(), self.admin_password.as_str()];
        self.transaction(&statements, &secrets).await.map_err(|error| {
            let error = if is_default { error.without_statement() } else { error };
            PluginError::Collected(Box::new(error))
        })
    }

    fn close(&self) {
        self.pool.close();
    }
}

#[cfg(test)]
mod tests;
