//! Where the services of a lab run. Everything above this module works with [`Runtime`] alone.

pub mod docker;
mod error;
pub(crate) mod kept;

mod ledger;
mod leftover;
mod mixed;
mod origin;
mod ports;
mod probe;
pub mod process;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use tokio::time::Instant;

use error::folder;
pub use error::{RuntimeError, install_hint};
pub use leftover::{Leftover, LeftoverKind};
pub use mixed::MixedRuntime;

use crate::report::Report;
use crate::service::{Endpoint, Service, ServiceKind};
use crate::spec::model::Flavour;
use crate::state::DatabaseAccounts;

/// The runtimes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuntimeKind {
    /// Containers.
    Docker,
    /// Programs of this host.
    Process,
    /// Some services are containers, others programs of this host.
    Mixed,
}

impl RuntimeKind {
    /// `docker`, `process` or `mixed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Process => "process",
            Self::Mixed => "mixed",
        }
    }

    /// The runtime of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Docker, Self::Process, Self::Mixed].into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A network of containers, as this host sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostNetwork {
    /// This host's address in it.
    gateway: Ipv4Addr,
    /// Its addresses, as in `172.18.0.0/16`.
    subnet: String,
}

/// Who listens on a port of 127.0.0.1, as in `postgres (pid 1234)`; `None` when it is free.
pub fn port_holder(port: u16) -> Option<String> {
    ports::is_taken(port).then(|| ports::holder(port))
}

/// Lines of a log; ends with the log unless it is followed.
pub type LogLines = BoxStream<'static, Result<String, RuntimeError>>;

/// Runs the services of one lab. The caller holds the lab's lock for everything that changes
/// something ([`ensure_running`](Self::ensure_running), [`stop`](Self::stop),
/// [`remove`](Self::remove)); different services may be worked on at the same time.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Which one this is.
    fn kind(&self) -> RuntimeKind;

    /// Where each service is, in a lab whose services are not all in one place.
    fn places(&self) -> BTreeMap<String, RuntimeKind> {
        BTreeMap::new()
    }

    /// Gets what the services need before they can be started and that may take long: images that
    /// have to be pulled. Its time does not count against the deadline of a start.
    async fn prepare(&self, services: &[Service], report: &Report) -> Result<(), RuntimeError> {
        let _ = (services, report);
        Ok(())
    }

    /// Brings a service to *ready* and says how to reach it. One that already runs and fits is
    /// reused; one that died is started again on its data. A database that is ready has its
    /// accounts, schema and seed, and passwords of this lab's own.
    ///
    /// Steps are reported as `start NAME` (and `initialise NAME` when nothing fitting was kept).
    ///
    /// # Errors
    /// At once when the service exits while it is waited for, with its last log lines; at
    /// `deadline` otherwise.
    async fn ensure_running(
        &self,
        service: &Service,
        report: &Report,
        deadline: Instant,
    ) -> Result<Running, RuntimeError>;

    /// The services that there is something of, with their kind where it is known, by what the runtime
    /// itself has: also those that no manifest names. A runtime that keeps everything in the lab's
    /// folder has none to tell.
    async fn found(&self) -> Result<BTreeMap<String, String>, RuntimeError> {
        Ok(BTreeMap::new())
    }

    /// Completes when a service that runs ends, with the reason and its last log lines. A runtime
    /// that is not told of it never completes.
    async fn ended(&self, service: &str) -> RuntimeError {
        let _ = service;
        std::future::pending().await
    }

    /// Completes when the program of a service that is being stopped has ended and its connections are
    /// closed, which a runtime may know before [`stop`](Self::stop) is done.
    async fn gone(&self, service: &str) {
        drop(self.ended(service).await);
    }

    /// Finishes what was begun beside the way to ready, such as keeping data for later labs. Where
    /// that fails it is told, and no lab is the worse for it.
    async fn settle(&self) {}

    /// How a service is. Changes nothing.
    async fn state(&self, service: &str) -> Result<ServiceState, RuntimeError>;

    /// Whether there is data of a service.
    async fn has_data(&self, service: &str) -> Result<bool, RuntimeError>;

    /// Stops a service in an orderly way, forcibly after `grace`. Its data is kept. Gives whether
    /// there was something to stop.
    async fn stop(&self, service: &str, grace: Duration) -> Result<bool, RuntimeError>;

    /// Stops a service and removes its data, configuration and log. Nothing to remove is no error.
    async fn remove(&self, service: &str) -> Result<(), RuntimeError>;

    /// The folder, as this host sees it, of logs that a service writes by itself, such as Vault's audit
    /// log; `None` where they are not on this host.
    fn log_folder(&self, service: &str) -> Option<std::path::PathBuf> {
        let _ = service;
        None
    }

    /// The last `tail` lines of a service's log (all of them for `None`), then with `follow` every
    /// new line as it comes.
    async fn logs(&self, service: &str, tail: Option<usize>, follow: bool) -> Result<LogLines, RuntimeError>;
}

/// A service that is ready.
#[derive(Debug, Clone)]
pub struct Running {
    /// Its name in the lab.
    pub name: String,
    /// What it is.
    pub kind: ServiceKind,
    /// How this host reaches it.
    pub endpoint: Endpoint,
    /// How other services of the lab reach it.
    pub from_services: Endpoint,
    /// Whether it ran already.
    pub reused: bool,
    /// Where its data came from.
    pub data: DataOrigin,
    /// What it says of itself, as in `PostgreSQL 15.10`.
    pub version: String,
    /// Which Vault it is; never [`Flavour::Auto`]. `None` for databases.
    pub flavour: Option<Flavour>,
    /// A database's superuser and Vault's account in it; `None` for the Vault.
    pub accounts: Option<DatabaseAccounts>,
    /// The folder in which *the service* may write logs such as Vault's audit log, as it sees it.
    pub log_folder: String,
}

/// Where a service's data came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataOrigin {
    /// It was initialised now.
    Fresh,
    /// Copied from data initialised earlier.
    Template,
    /// The lab's own from before.
    Kept,
}

/// How a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceState {
    /// There is nothing of it.
    Absent,
    /// It has data but does not run.
    Stopped,
    /// It runs.
    Running {
        /// Process id on this host; `None` where the runtime has none to tell.
        pid: Option<u32>,
        /// Since when.
        since: Option<Timestamp>,
        /// How this host reaches it.
        endpoint: Endpoint,
    },
}
