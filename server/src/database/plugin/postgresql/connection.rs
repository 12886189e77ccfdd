//! Connections to PostgreSQL, and its errors in Vault's form.

use std::error::Error as _;

use async_trait::async_trait;
use rustls::ClientConfig;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::dsn::Dsn;
use crate::database::PluginError;
use crate::database::plugin::pool::{Connect, time_is_up};
use crate::database::plugin::{dial_error, redact};

/// Opens connections.
pub struct Connector {
    /// Where to.
    pub dsn: Dsn,
    /// With which TLS settings.
    pub tls: ClientConfig,
}

/// A session. Dropping it closes the socket at once, whatever the server is doing.
pub struct Session {
    /// The driver's handle.
    pub client: Client,
    task: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl Connect for Connector {
    type Connection = Session;

    async fn connect(&self) -> Result<Session, PluginError> {
        let tls = MakeRustlsConnect::new(self.tls.clone());
        let config = &self.dsn.config;
        let connecting = config.connect(tls);
        // The driver's own limit ends with the TCP connection: a server that then says nothing would be waited
        // for.
        let opened = match config.get_connect_timeout() {
            None => connecting.await,
            Some(limit) => {
                let limit = *limit * u32::try_from(config.get_hosts().len()).unwrap_or(1).max(1);
                let late = |_| time_is_up("connecting to the database", limit);
                timeout(limit, connecting).await.map_err(late)?
            }
        };
        let (client, connection) = opened.map_err(|e| connect_error(&self.dsn, &e))?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "PostgreSQL connection ended");
            }
        });
        Ok(Session { client, task: task.abort_handle() })
    }

    fn is_broken(session: &Session) -> bool {
        session.client.is_closed()
    }
}

fn connect_error(dsn: &Dsn, error: &tokio_postgres::Error) -> PluginError {
    let user = dsn.config.get_user().unwrap_or_default();
    let database = dsn.config.get_dbname().unwrap_or(user);
    let told = |cause: &str| {
        format!("failed to connect to `user={user} database={database}`: {}: {cause}", dsn.target)
    };
    let refused = [&SqlState::INVALID_PASSWORD, &SqlState::INVALID_AUTHORIZATION_SPECIFICATION];
    if error.code().is_some_and(|code| refused.contains(&code)) {
        return PluginError::Authentication(told(&format!("failed SASL auth: {}", message(error))));
    }
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    let text = message(error);
    PluginError::Connect(told(&match (error.to_string().as_str(), io) {
        _ if error.as_db_error().is_some() => format!("server error: {text}"),
        ("error performing TLS handshake", _) => {
            let cause = text.split_once(": ").map_or(text.as_str(), |(_, cause)| cause);
            let refused = cause == "server does not support TLS";
            format!("tls error: {}", if refused { "server refused TLS connection" } else { cause })
        }
        ("error connecting to server", Some(io)) => {
            let network = if dsn.target.starts_with('/') { "unix" } else { "tcp" };
            format!("dial error: {}", dial_error(network, &dsn.target, io))
        }
        _ => text,
    }))
}

/// The error of a statement or query: the server's message with `secrets` taken out, or a lost connection.
pub fn query_error(error: &tokio_postgres::Error, secrets: &[&str]) -> PluginError {
    match error.as_db_error() {
        Some(db) if !is_fatal(db) => PluginError::Query(redact(&message(error), secrets)),
        _ => PluginError::Lost(redact(&message(error), secrets)),
    }
}

/// Whether the statement failed only because another transaction changed the same thing, so that repeating
/// the whole transaction can succeed: GRANT and REVOKE on one object do not wait for each other but fail with
/// an internal error ("tuple concurrently updated"); serialization failures and deadlocks say so.
pub fn is_conflict(error: &tokio_postgres::Error) -> bool {
    let conflicts =
        [&SqlState::INTERNAL_ERROR, &SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED];
    error.code().is_some_and(|code| conflicts.contains(&code))
}

/// Whether the server ended the session with this error.
fn is_fatal(error: &DbError) -> bool {
    matches!(error.severity(), "FATAL" | "PANIC")
}

/// `ERROR: text (SQLSTATE 42P01)` with the server's detail, or the chain of causes below the server.
fn message(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let head = format!("{}: {} (SQLSTATE {})", db.severity(), db.message(), db.code().code());
        return match db.detail() {
            Some(detail) => format!("{head}: {detail}"),
            None => head,
        };
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
