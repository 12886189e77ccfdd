//! The server as a library: build, start, stop; as many in one process as one likes.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::barrier::Barrier;
use crate::core::Core;
use crate::core::mounts::Table;
use crate::core::registry::Registry;
use crate::core::settings::Settings;
use crate::http::Listener;
use crate::storage::{FileOptions, StorageError, Store};

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The storage cannot be opened.
    #[error("cannot open the storage: {0}")]
    Storage(#[from] StorageError),
    /// A listener's address cannot be bound.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// Address.
        address: String,
        /// Why.
        cause: io::Error,
    },
}

/// Builds a [`Server`].
#[derive(Default)]
pub struct Builder {
    storage: Option<PathBuf>,
    file_options: FileOptions,
    listeners: Vec<String>,
    settings: Settings,
}

impl Builder {
    /// Keeps everything in this folder; without it everything is in memory and lost at the end.
    #[must_use]
    pub fn file_storage(mut self, folder: &Path, options: FileOptions) -> Self {
        self.storage = Some(folder.to_owned());
        self.file_options = options;
        self
    }

    /// Listens on an address such as `127.0.0.1:8200`; port 0 takes a free one. Without any it is
    /// `127.0.0.1:0`.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        self.listeners.push(address.to_owned());
        self
    }

    /// Replaces the settings.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Opens the storage, binds the listeners and serves.
    ///
    /// # Errors
    /// When the storage cannot be opened (another server uses it) or an address not be bound.
    pub async fn start(self) -> Result<Server, ServerError> {
        let store = match &self.storage {
            None => Store::memory(),
            Some(folder) => Store::open(folder, &self.file_options)?,
        };
        let mut addresses = self.listeners;
        if addresses.is_empty() {
            addresses.push("127.0.0.1:0".to_owned());
        }
        let mut sockets = Vec::new();
        for address in addresses {
            let fail = |cause| ServerError::Listen { address: address.clone(), cause };
            sockets.push(TcpListener::bind(&address).await.map_err(fail)?);
        }
        let core = Core::new(self.settings, Barrier::new(store), registry());
        let stop = watch::Sender::new(false);
        let mut bound = Vec::new();
        let mut tasks = JoinSet::new();
        for socket in sockets {
            let address = socket
                .local_addr()
                .map_err(|cause| ServerError::Listen { address: "a bound socket".to_owned(), cause })?;
            bound.push(address);
            tasks.spawn(Listener { socket, tls: None }.run(Arc::clone(&core), stop.subscribe()));
        }
        *core.settings.listening.write().unwrap_or_else(PoisonError::into_inner) = bound.first().copied();
        Ok(Server { core, stop, tasks, bound })
    }
}

/// What can be mounted.
fn registry() -> Registry {
    Registry::default()
        .with(Table::Auth, "approle", crate::approle::AppRole::factory)
        .with(Table::Secret, "database", crate::database::DatabaseEngine::factory)
        .with(Table::Secret, "kv", crate::kv::factory)
}

/// A running server. Dropping it without [`Server::stop`] ends it at once.
pub struct Server {
    core: Arc<Core>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    bound: Vec<SocketAddr>,
}

impl Server {
    /// A builder with Vault's defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The addresses it listens on, in the order they were given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.bound
    }

    /// The core, for what does not go over HTTP.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Makes audit devices open their files anew.
    pub fn reopen_audit(&self) {
        if let Some(active) = self.core.active() {
            active.audit.reopen();
        }
    }

    /// Stops accepting, lets requests under way finish, seals, closes the storage.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        self.core.seal().await;
        self.core.barrier.store().close().await;
    }
}
