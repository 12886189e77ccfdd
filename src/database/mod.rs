//! Direct SQL connections: for readiness, for making the accounts, for seeding, and above all for
//! *proof* that a credential works or no longer does.
//!
//! Everything goes over TCP with a password, as an application's connection would: sockets and
//! loopback trust would let any password pass.

mod error;
mod mysql;
mod postgres;
mod quote;
mod script;

use std::time::Duration;

use async_trait::async_trait;

pub use error::{DatabaseError, Refusal, ScriptError};
pub(crate) use postgres::scram_verifier;
pub(crate) use quote::pg_name as postgres_name;

use crate::secret::Secret;
use crate::service::Endpoint;
use crate::spec::model::{Engine, SqlText};
use crate::state::Credentials;

/// How long a login may take before the server counts as not answering.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which system.
    pub engine: Engine,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Which database of the server.
    pub database: String,
}

/// How a login ended when the server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// The password is right.
    Accepted,
    /// The server refused the account or its password.
    Refused(Refusal),
}

/// An account that Vault made, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamicAccount {
    /// Its name.
    pub name: String,
    /// When it was made, as far as the server or the name tells.
    pub created: Option<jiff::Timestamp>,
}

/// What the server made of a statement.
#[derive(Debug)]
pub enum Check {
    /// It ran. It was undone afterwards as far as the system can undo it.
    Allowed,
    /// It was refused for lack of a privilege.
    Refused(Refusal),
    /// It failed for another reason, so it proves nothing.
    Failed(DatabaseError),
}

/// One connection, logged in.
#[async_trait]
pub trait Database: Send {
    /// `SELECT 1`.
    async fn ping(&mut self) -> Result<(), DatabaseError>;

    /// Runs one statement; gives the number of rows it changed.
    async fn execute(&mut self, sql: &str) -> Result<u64, DatabaseError>;

    /// The first column of the first row as text; `None` when there is no row or it is NULL.
    async fn scalar(&mut self, sql: &str) -> Result<Option<String>, DatabaseError>;

    /// Runs all statements of a text. On failure says which one, in which line, and what the
    /// database said.
    async fn run_script(&mut self, script: &SqlText) -> Result<(), ScriptError>;

    /// Tries one statement inside a transaction that is rolled back, to learn whether this account
    /// may run it.
    async fn check(&mut self, sql: &str) -> Check;

    /// Makes an account that may log in, from anywhere, and nothing else; when it is there already,
    /// gives it this password.
    async fn ensure_account(&mut self, account: &Credentials) -> Result<(), DatabaseError>;

    /// Replaces the password of an account.
    async fn set_password(&mut self, user: &str, password: &Secret) -> Result<(), DatabaseError>;

    /// Lets the account `manager` replace the password of `user`, as far as being allowed to make accounts
    /// is not enough for that: since PostgreSQL 16.
    async fn let_manage(&mut self, manager: &str, user: &str) -> Result<(), DatabaseError>;

    /// Makes an account that may do everything the superuser may; when it is there already, gives it this
    /// password.
    async fn ensure_superuser(&mut self, account: &Credentials) -> Result<(), DatabaseError>;

    /// Makes an empty database unless it is there.
    async fn ensure_database(&mut self, name: &str) -> Result<(), DatabaseError>;

    /// Whether there is an account of that name.
    async fn account_exists(&mut self, user: &str) -> Result<bool, DatabaseError>;

    /// The accounts whose names are as Vault makes them for dynamic credentials (`v-…`).
    async fn dynamic_accounts(&mut self) -> Result<Vec<DynamicAccount>, DatabaseError>;

    /// Removes an account with its sessions, its privileges and, on PostgreSQL, what it owns. One that
    /// is not there is no error.
    async fn drop_account(&mut self, user: &str) -> Result<(), DatabaseError>;

    /// A digest of what the server keeps of an account's password; another password has another one.
    /// `None` when there is no such account.
    async fn password_digest(&mut self, user: &str) -> Result<Option<String>, DatabaseError>;

    /// How many connections that account has open.
    async fn sessions(&mut self, user: &str) -> Result<u64, DatabaseError>;

    /// What the server says of its version, as in `15.10` or `10.11.6-MariaDB`.
    async fn version(&mut self) -> Result<String, DatabaseError>;

    /// Ends the connection and waits until it is told to the server.
    async fn close(self: Box<Self>);
}

/// The statements of a text as the engine would split it: `;` inside quotes, dollar quotes, comments
/// and bodies of routines does not count.
pub fn statements(engine: Engine, text: &str) -> Vec<&str> {
    let dialect = match engine {
        Engine::Postgres => script::Dialect::Postgres,
        Engine::Mysql(_) => script::Dialect::Mysql,
    };
    script::split(text, dialect).into_iter().map(|(_, statement)| statement).collect()
}

/// Logs in.
///
/// # Errors
/// [`DatabaseError::Refused`] when the server refuses the account, [`DatabaseError::Unreachable`]
/// when there is no server.
pub async fn connect(target: &Target, account: &Credentials) -> Result<Box<dyn Database>, DatabaseError> {
    Ok(match target.engine {
        Engine::Postgres => Box::new(postgres::Postgres::connect(target, account).await?),
        Engine::Mysql(_) => Box::new(mysql::Mysql::connect(target, account).await?),
    })
}

/// Tries a login and closes it at once. A server that cannot be reached is an error, not a refusal. One
/// that lets the account in but not into this database is none either: it looks at the password first.
pub async fn try_login(target: &Target, account: &Credentials) -> Result<Login, DatabaseError> {
    match connect(target, account).await {
        Ok(connection) => {
            connection.close().await;
            Ok(Login::Accepted)
        }
        Err(DatabaseError::Denied { .. }) => Ok(Login::Accepted),
        Err(DatabaseError::Refused { refusal, .. }) => Ok(Login::Refused(refusal)),
        Err(other) => Err(other),
    }
}
