//! The server as a program: what `vaultlab server -config=…` does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::{Builder, ServerError};
use crate::config::{Config, ConfigError};

/// Why the program ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server could not start.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// There is no storage to keep anything in.
    #[error("A storage backend must be specified")]
    NoStorage,
    /// The pid file cannot be written.
    #[error("cannot write the pid file {}: {cause}", path.display())]
    PidFile {
        /// Its path.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Signals cannot be watched.
    #[error("cannot watch signals: {0}")]
    Signals(io::Error),
}

/// Runs a server by configuration files and folders until SIGTERM or SIGINT. SIGHUP reads
/// certificates again and reopens audit files.
///
/// # Errors
/// When the configuration is wrong or the server cannot start.
pub async fn run(paths: &[PathBuf]) -> Result<(), RunError> {
    let (config, warnings) = Config::load(paths)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    if config.storage.is_none() {
        return Err(RunError::NoStorage);
    }
    allow_connections();
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(RunError::Signals)?;
    let server = Builder::from_config(&config).start().await?;
    let pid_file = config.pid_file.as_deref().map(PidFile::write).transpose();
    let pid_file = match pid_file {
        Ok(file) => file,
        Err(error) => {
            server.stop().await;
            return Err(error);
        }
    };
    for address in server.addresses() {
        tracing::info!(%address, "vault server started");
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                tracing::info!("reload triggered");
                server.reload();
            }
        }
    }
    tracing::info!("vault shutdown triggered");
    server.stop().await;
    drop(pid_file);
    Ok(())
}

/// Takes as many open files as the system lets: each connection is one, and the usual limit of 1024 is
/// there for programs that cannot handle more.
fn allow_connections() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
}

/// The pid file, removed at the end.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &Path) -> Result<Self, RunError> {
        fs::write(path, std::process::id().to_string())
            .map_err(|cause| RunError::PidFile { path: path.to_owned(), cause })?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the pid file");
        }
    }
}
