//! Connections to MySQL and MariaDB, and their errors in Vault's form.

use async_trait::async_trait;
use mysql_async::{Conn, DriverError, Error, IoError, Opts, OptsBuilder, SslOpts};
use tokio::time::timeout;

use super::dsn::{Dsn, Target};
use crate::database::PluginError;
use crate::database::plugin::pool::{Connect, time_is_up};
use crate::database::plugin::{dial_error, redact};

/// Access denied: wrong user or password, and the form without a password.
const ACCESS_DENIED: [u16; 2] = [1045, 1698];

/// Opens connections, trying the hosts in order.
pub struct Connector {
    /// Where to.
    pub dsn: Dsn,
}

#[async_trait]
impl Connect for Connector {
    type Connection = Conn;

    async fn connect(&self) -> Result<Conn, PluginError> {
        let mut last = PluginError::Config("connection_url names no host".to_owned());
        for target in &self.dsn.targets {
            let attempt = connect_one(target, self.dsn.plain_fallback);
            let result = match self.dsn.timeout {
                Some(limit) if !limit.is_zero() => timeout(limit, attempt)
                    .await
                    .unwrap_or_else(|_| Err(time_is_up("connecting to the database", limit))),
                _ => attempt.await,
            };
            match result {
                Ok(connection) => return Ok(connection),
                // The server is there: the next one would not know the account any better.
                Err(error) if error.is_authentication() => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn is_broken(connection: &Conn) -> bool {
        connection.is_disconnected()
    }
}

async fn connect_one(target: &Target, plain_fallback: bool) -> Result<Conn, PluginError> {
    let error = match Conn::new(Opts::from(target.options.clone())).await {
        Ok(connection) => return Ok(connection),
        Err(Error::Driver(DriverError::NoClientSslFlagFromServer)) if plain_fallback => {
            let plain: OptsBuilder = target.options.clone().ssl_opts(None::<SslOpts>);
            match Conn::new(Opts::from(plain)).await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            }
        }
        Err(error) => error,
    };
    Err(match &error {
        Error::Server(server) if ACCESS_DENIED.contains(&server.code) => {
            PluginError::Authentication(message(&error))
        }
        Error::Io(IoError::Io(io)) => {
            let network = if target.name.starts_with('/') { "unix" } else { "tcp" };
            PluginError::Connect(dial_error(network, &target.name, io))
        }
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            PluginError::Connect("TLS requested but server does not support TLS".to_owned())
        }
        Error::Server(_) => PluginError::Connect(message(&error)),
        _ => PluginError::Connect(format!("{}: {}", target.name, message(&error))),
    })
}

/// The error of a statement or query: the server's message with `secrets` taken out, or a lost connection.
pub fn query_error(error: &Error, secrets: &[&str]) -> PluginError {
    let text = redact(&message(error), secrets);
    match error {
        // Shutdown in progress, and killed: the server closes the connection after these.
        Error::Server(server) if ![1053, 1927].contains(&server.code) => PluginError::Query(text),
        _ => PluginError::Lost(text),
    }
}

/// `Error 1064 (42000): text`, as Go's driver writes it.
fn message(error: &Error) -> String {
    match error {
        Error::Server(server) => format!("Error {} ({}): {}", server.code, server.state, server.message),
        other => other.to_string(),
    }
}
