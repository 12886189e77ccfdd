//! Database plugins: what the engine asks of a database, and the databases it knows.

mod mysql;
mod percent;
mod pool;
mod postgresql;
mod settings;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::PluginError;
use crate::logical::Object;

/// How long one operation may take on the database, below Vault's request limit of 90 s.
const OPERATION_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 6 } else { 60 });
/// How long removing what a failed creation left may take on top, within the same request.
const CLEANUP_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 4 } else { 15 });
/// How long it may take to tell the database that nobody waits for an operation any more.
const CANCEL_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
/// Format of `{{expiration}}`: Go's `2006-01-02 15:04:05-0700`.
const EXPIRATION_FORMAT: &str = "%Y-%m-%d %H:%M:%S%z";

/// A user to create.
pub struct NewUser<'a> {
    /// Display name of the token that asks, for the user's name.
    pub display_name: &'a str,
    /// Role, for the user's name.
    pub role: &'a str,
    /// Creation statements.
    pub statements: &'a [String],
    /// Statements that undo a failed creation; empty for the plugin's own way.
    pub rollback: &'a [String],
    /// Password of the user.
    pub password: &'a str,
    /// When the database may stop accepting the user.
    pub expiration: Timestamp,
}

/// A connection to one kind of database through which users are managed.
///
/// Every operation takes a pooled connection, replaces it when it turns out to be dead before anything was
/// executed, and gives up after 60 s.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Opens a new connection with the stored credentials and tries it.
    ///
    /// # Errors
    /// `error verifying connection: …` in the plugin's wording.
    async fn verify(&self) -> Result<(), PluginError>;

    /// Creates a user and returns its name. After an error the user does not exist, or the error says that it
    /// could not be removed.
    ///
    /// # Errors
    /// `PluginError::Statement` when a statement is refused; connection errors.
    async fn new_user(&self, request: &NewUser<'_>) -> Result<String, PluginError>;

    /// Moves a user's expiration.
    ///
    /// # Errors
    /// As [`Plugin::new_user`].
    async fn renew_user(
        &self,
        username: &str,
        statements: &[String],
        expiration: Timestamp,
    ) -> Result<(), PluginError>;

    /// Removes a user; one that is gone already is no error with the default statements.
    ///
    /// # Errors
    /// As [`Plugin::new_user`].
    async fn revoke_user(&self, username: &str, statements: &[String]) -> Result<(), PluginError>;

    /// Sets a user's password.
    ///
    /// # Errors
    /// As [`Plugin::new_user`].
    async fn change_password(
        &self,
        username: &str,
        password: &str,
        statements: &[String],
    ) -> Result<(), PluginError>;

    /// Closes idle connections; running operations end first.
    fn close(&self);
}

/// Whether `name` is a plugin this server has.
pub fn is_known(name: &str) -> bool {
    opener(name).is_some()
}

/// Makes a plugin from its name and the connection settings, without connecting.
///
/// # Errors
/// `PluginError::Config` or `PluginError::Username` for faulty settings.
pub fn open(name: &str, settings: &Object) -> Result<Arc<dyn Plugin>, PluginError> {
    let open =
        opener(name).ok_or_else(|| PluginError::Config(format!("unknown database plugin {name:?}")))?;
    open(settings)
}

type Opener = fn(&Object) -> Result<Arc<dyn Plugin>, PluginError>;

fn opener(name: &str) -> Option<Opener> {
    match name {
        "postgresql-database-plugin" => Some(|s| Ok(Arc::new(postgresql::PostgreSql::new(s)?))),
        "mysql-database-plugin" | "mysql-aurora-database-plugin" | "mysql-rds-database-plugin" => {
            Some(|s| Ok(Arc::new(mysql::MySql::new(s, super::username::MYSQL_TEMPLATE)?)))
        }
        "mysql-legacy-database-plugin" => {
            Some(|s| Ok(Arc::new(mysql::MySql::new(s, super::username::MYSQL_LEGACY_TEMPLATE)?)))
        }
        _ => None,
    }
}

/// Gives up on `work` after [`OPERATION_LIMIT`].
async fn within_limit<T>(
    operation: &'static str,
    work: impl Future<Output = Result<T, PluginError>> + Send,
) -> Result<T, PluginError> {
    tokio::time::timeout(OPERATION_LIMIT, work)
        .await
        .unwrap_or_else(|_| Err(pool::time_is_up(operation, OPERATION_LIMIT)))
}

/// The same after [`CLEANUP_LIMIT`].
async fn within_cleanup<T>(
    work: impl Future<Output = Result<T, PluginError>> + Send,
) -> Result<T, PluginError> {
    tokio::time::timeout(CLEANUP_LIMIT, work)
        .await
        .unwrap_or_else(|_| Err(pool::time_is_up("removing the user", CLEANUP_LIMIT)))
}

fn expiration_text(expiration: Timestamp) -> String {
    expiration.to_zoned(jiff::tz::TimeZone::UTC).strftime(EXPIRATION_FORMAT).to_string()
}

/// Puts `[password]` in place of every secret in a database's message, as Vault does, and of what a quotation
/// left of one, as Vault does not.
fn redact(message: &str, secrets: &[&str]) -> String {
    crate::redact::hide(message, secrets, "[password]")
}

/// What Go, and so Vault, says of a connection that was not made.
fn dial_error(network: &str, address: &str, error: &std::io::Error) -> String {
    let text = error.to_string();
    let system = text.split(" (os error").next().unwrap_or_default();
    let words = match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused",
        ErrorKind::NotFound => "connect: no such file or directory",
        ErrorKind::PermissionDenied => "connect: permission denied",
        ErrorKind::TimedOut => "i/o timeout",
        _ if system.starts_with("failed to lookup address information") => {
            return format!("dial {network}: {}", lookup_error(address));
        }
        _ => system,
    };
    format!("dial {network} {address}: {words}")
}

fn lookup_error(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    format!("lookup {host}: no such host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_are_not_made_have_gos_words() {
        let refused = std::io::Error::from_raw_os_error(111);
        assert_eq!(
            dial_error("tcp", "127.0.0.1:1", &refused),
            "dial tcp 127.0.0.1:1: connect: connection refused"
        );
        let unknown =
            std::io::Error::other("failed to lookup address information: Name or service not known");
        assert_eq!(dial_error("tcp", "no.invalid:1", &unknown), "dial tcp: lookup no.invalid: no such host");
        let unreachable = std::io::Error::from_raw_os_error(101);
        assert_eq!(
            dial_error("tcp", "10.0.0.1:1", &unreachable),
            "dial tcp 10.0.0.1:1: Network is unreachable"
        );
    }

    #[test]
    fn expirations_have_vaults_format() {
        let time = "2026-03-04T17:08:09.9Z".parse().unwrap();
        assert_eq!(expiration_text(time), "2026-03-04 17:08:09+0000");
    }

    #[test]
    fn plugins_are_known_by_vaults_names() {
        for name in ["postgresql", "mysql", "mysql-aurora", "mysql-rds", "mysql-legacy"] {
            assert!(is_known(&format!("{name}-database-plugin")), "{name}");
        }
        let fault = open("mssql-database-plugin", &Object::new()).err().unwrap();
        assert_eq!(fault.to_string(), "unknown database plugin \"mssql-database-plugin\"");
    }
}
