//! The server as a library: build, start, stop; as many in one process as one likes.

mod bind;
mod run;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::barrier::Barrier;
use crate::config::{Address, Config, Listener as ListenerConfig, StorageKind};
use crate::core::Core;
use crate::core::mounts::Table;
use crate::core::registry::Registry;
use crate::core::settings::Settings;
use crate::http::{self, Listener};
use crate::storage::{FileOptions, StorageError, Store};
use crate::tls::{Acceptor, TlsError};

pub use run::{RunError, run};

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The storage cannot be opened.
    #[error("cannot open the storage: {0}")]
    Storage(#[from] StorageError),
    /// The node of storage "raft" has no name.
    #[error("cannot read or write the name of this raft node: {0}")]
    Node(std::io::Error),
    /// A listener's address cannot be bound.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// Address.
        address: String,
        /// Why.
        cause: std::io::Error,
    },
    /// A listener's certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Builds a [`Server`].
#[derive(Default)]
pub struct Builder {
    storage: Option<(PathBuf, FileOptions)>,
    listeners: Vec<ListenerConfig>,
    settings: Settings,
}

impl Builder {
    /// A builder with everything a configuration says.
    pub fn from_config(config: &Config) -> Self {
        let storage = config.storage.as_ref().and_then(|storage| match &storage.kind {
            StorageKind::Inmem => None,
            StorageKind::File { path, sync } | StorageKind::Raft { path, sync } => {
                Some((path.clone(), FileOptions { sync: *sync }))
            }
        });
        Self { storage, listeners: config.listeners.clone(), settings: Settings::from(config) }
    }

    /// Keeps everything in this folder; without it everything is in memory and lost at the end.
    #[must_use]
    pub fn file_storage(mut self, folder: &Path, options: FileOptions) -> Self {
        self.storage = Some((folder.to_owned(), options));
        self
    }

    /// Listens on an address such as `127.0.0.1:8200`, without TLS; port 0 takes a free one. Without
    /// any listener it is `127.0.0.1:0`.
    #[must_use]
    pub fn listen(self, address: &str) -> Self {
        self.listener(ListenerConfig {
            address: Address::Tcp(address.to_owned()),
            ..ListenerConfig::default()
        })
    }

    /// Listens as a `listener` stanza says.
    #[must_use]
    pub fn listener(mut self, listener: ListenerConfig) -> Self {
        self.listeners.push(listener);
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
    /// When the storage cannot be opened (another server uses it), a certificate not be used, or an
    /// address not be bound.
    pub async fn start(mut self) -> Result<Server, ServerError> {
        if self.listeners.is_empty() {
            self = self.listen("127.0.0.1:0");
        }
        let mut listeners = Vec::new();
        for options in self.listeners {
            let tls = options.tls.as_ref().map(Acceptor::load).transpose()?;
            let socket = bind::socket(&options.address).await?;
            listeners.push(Listener { socket, tls, options: Arc::new(options) });
        }
        let store = match &self.storage {
            None => Store::memory(),
            Some((folder, options)) => Store::open(folder, options)?,
        };
        if let (Some(node), Some((folder, _))) = (&mut self.settings.raft, &self.storage) {
            node.name(folder).map_err(ServerError::Node)?;
        }
        let core = Core::new(self.settings, Barrier::new(store), registry());
        let bound: Vec<SocketAddr> = listeners.iter().filter_map(bind::address).collect();
        *core.settings.listening.write().unwrap_or_else(PoisonError::into_inner) = bound.first().copied();
        let stop = watch::Sender::new(false);
        let acceptors = listeners.iter().filter_map(|listener| listener.tls.clone()).collect();
        let mut tasks = JoinSet::new();
        for listener in listeners {
            tasks.spawn(listener.run(Arc::clone(&core), stop.subscribe()));
        }
        Ok(Server { core, stop, tasks, bound, acceptors })
    }
}

/// What can be mounted.
fn registry() -> Registry {
    Registry::default()
        .with(Table::Auth, "approle", crate::approle::AppRole::factory)
        .with(Table::Auth, "userpass", crate::userpass::Userpass::factory)
        .with(Table::Secret, "cubbyhole", crate::cubbyhole::Cubbyhole::factory)
        .with(Table::Secret, "database", crate::database::DatabaseEngine::factory)
        .with(Table::Secret, "kv", crate::kv::factory)
        .with(Table::Secret, "pki", crate::pki::Pki::factory)
}

/// A running server. Dropping it without [`Server::stop`] ends it at once.
pub struct Server {
    core: Arc<Core>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    bound: Vec<SocketAddr>,
    acceptors: Vec<Acceptor>,
}

impl Server {
    /// A builder with Vault's defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The TCP addresses it listens on, in the order they were given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.bound
    }

    /// Answers a request without a connection, as if a client without an address had sent it to a
    /// listener with default options.
    pub async fn request<B>(&self, request: hyper::Request<B>) -> hyper::Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let options = Arc::new(ListenerConfig::default());
        match http::serve(Arc::clone(&self.core), options, None, request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// What `SIGHUP` does: certificates are read again, audit devices open their files anew.
    pub fn reload(&self) {
        for acceptor in &self.acceptors {
            if let Err(error) = acceptor.reload() {
                tracing::error!(%error, "certificate not reloaded; the old one stays in use");
            }
        }
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
