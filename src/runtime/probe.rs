//! Asking a service whether it is ready.

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::RuntimeError;
use crate::database::{self, Database, DatabaseError, Target};
use crate::service::Endpoint;
use crate::spec::model::Engine;
use crate::state::Credentials;

/// What one look at a service showed.
pub(super) enum Probed<T> {
    Ready(T),
    /// Ask again.
    NotYet(String),
    /// It answers, but refuses the accounts that are known.
    Refused(RuntimeError),
    /// Asking again will not help.
    Failed(RuntimeError),
}

/// A declared probe, ready to be asked.
#[async_trait]
pub(super) trait Ask: Send + Sync {
    /// What being ready gives.
    type Ready: Send;

    async fn ask(&self, port: u16) -> Probed<Self::Ready>;
}

/// [`Probe::Sql`](crate::service::Probe::Sql): logs in with the first of `accounts` that the server
/// takes.
pub(super) struct AskSql<'a> {
    pub service: &'a str,
    pub engine: Engine,
    pub database: &'a str,
    pub accounts: Vec<&'a Credentials>,
}

#[async_trait]
impl Ask for AskSql<'_> {
    /// The connection, and which of the accounts it is.
    type Ready = (Box<dyn Database>, usize);

    async fn ask(&self, port: u16) -> Probed<Self::Ready> {
        let target = Target {
            engine: self.engine,
            endpoint: Endpoint::loopback(port),
            database: self.database.to_owned(),
        };
        for (index, account) in self.accounts.iter().enumerate() {
            match database::connect(&target, account).await {
                Ok(mut connection) => match connection.ping().await {
                    Ok(()) => return Probed::Ready((connection, index)),
                    Err(e) => return Probed::NotYet(e.to_string()),
                },
                Err(DatabaseError::Unreachable { cause, .. }) => return Probed::NotYet(cause),
                Err(DatabaseError::Refused { .. }) => {}
                Err(error) => return Probed::Failed(RuntimeError::database(self.service)(error)),
            }
        }
        Probed::Refused(RuntimeError::AccountsLost { service: self.service.into() })
    }
}

/// [`Probe::Http`](crate::service::Probe::Http), in a few lines: this must work before there is a
/// Vault to speak of.
pub(super) struct AskHttp {
    pub path: &'static str,
}

#[async_trait]
impl Ask for AskHttp {
    type Ready = ();

    async fn ask(&self, port: u16) -> Probed<()> {
        match status_line(&Endpoint::loopback(port), self.path).await {
            // `HTTP/1.1 200 OK`
            Ok(line) if line.starts_with("HTTP/1.") && line.split(' ').nth(1) == Some("200") => {
                Probed::Ready(())
            }
            Ok(line) => Probed::NotYet(format!("it answers {line:?}")),
            Err(e) => Probed::NotYet(e.to_string()),
        }
    }
}

/// The first line of the answer to a `GET`.
async fn status_line(endpoint: &Endpoint, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    stream.take(64).read_to_end(&mut head).await?;
    Ok(String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned())
}
