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
use crate::database::plugin::redact;

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
        let (client, connection) = opened.map_err(|e| connect_error(&self.dsn.target, &e))?;
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

fn connect_error(target: &str, error: &tokio_postgres::Error) -> PluginError {
    let target = target.to_owned();
    let reason = message(error);
    match error.code() {
        Some(code)
            if [&SqlState::INVALID_PASSWORD, &SqlState::INVALID_AUTHORIZATION_SPECIFICATION]
                .contains(&code) =>
        {
            PluginError::Authentication { target, reason }
        }
        _ => PluginError::Connect { target, reason },
    }
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
