//! Services as containers of a Docker engine, or of Podman's compatible socket.
//!
//! A lab has one network, on which its services know each other by name, and publishes its ports on
//! 127.0.0.1 only. Everything carries the labels in [`names`], and only by them is it found again.
//! Data lives in named volumes, so a container can be replaced at any time.

mod archive;
mod container;
mod context;
mod credentials;
mod database;
mod engine;
mod error;
mod facts;
mod found;
mod images;
mod logs;
mod names;
mod network;
mod prune;
mod pull;
mod reference;
mod ssh;
mod start;
mod template;
mod vault;
mod volume;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use context::ContextError;
pub use engine::Engine;
pub use error::DockerError;
pub use facts::{EngineFacts, ImageState, OLDEST_API};
pub use found::FoundLab;
pub use images::PullPolicy;

use super::ledger::Ledger;
use super::ports::Ports;
use super::{HostNetwork, LogLines, Running, Runtime, RuntimeError, RuntimeKind, ServiceState};
use crate::report::Report;
use crate::service::{Endpoint, Service};
use crate::state::{Home, LabDir};
use images::Image;
use names::Names;

/// How long an engine may be busy with what a program asked it for that is dead by now.
const BUSY_PATIENCE: Duration = Duration::from_secs(30);

/// How long Podman may take to give a network its address: it has one while a container is on it, and the
/// one that is to reach this host is being started.
const BRIDGE_PATIENCE: Duration = Duration::from_secs(20);

/// Pause between two questions whether it still is.
const BUSY_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the services of one lab as containers.
#[derive(Debug)]
pub struct DockerRuntime {
    engine: Engine,
    home: Home,
    home_id: String,
    lab: LabDir,
    names: Names,
    policy: PullPolicy,
    ledger: Arc<Ledger>,
    ports: Arc<Ports>,
    /// The images found for services so far.
    images: Mutex<HashMap<String, Image>>,
    /// Held while the lab's network is looked for and made.
    network: Mutex<()>,
    /// Templates that are being kept.
    keeping: Mutex<JoinSet<()>>,
}

impl DockerRuntime {
    /// The runtime for a lab on an engine.
    ///
    /// # Errors
    /// When the engine is on another machine: its loopback interface, the only one that ports are
    /// published on, is out of reach.
    pub fn new(engine: Engine, home: &Home, lab: &LabDir, policy: PullPolicy) -> Result<Self, RuntimeError> {
        if !engine.is_local() {
            return Err(DockerError::Remote { host: engine.host().into() }.into());
        }
        Ok(Self {
            engine,
            home_id: names::home_id(home),
            home: home.clone(),
            names: Names::of(home, lab),
            lab: lab.clone(),
            policy,
            ledger: Arc::new(Ledger::new(lab, RuntimeKind::Docker)),
            ports: Arc::default(),
            images: Mutex::default(),
            network: Mutex::default(),
            keeping: Mutex::default(),
        })
    }

    /// The image of a service, pulled if need be; looked for once.
    async fn image(&self, service: &Service, report: &Report) -> Result<Image, RuntimeError> {
        if let Some(image) = self.images.lock().await.get(service.name()) {
            return Ok(image.clone());
        }
        let image = images::ensure(&self.engine, service, self.policy, report).await?;
        self.images.lock().await.insert(service.name().to_owned(), image.clone());
        Ok(image)
    }

    async fn ensure_network(&self) -> Result<(), RuntimeError> {
        let _guard = self.network.lock().await;
        Ok(self.engine.ensure_network(&self.names).await?)
    }

    /// Its record of services and choice of ports, for programs of the host in the same lab.
    pub(super) fn shared(&self) -> (Arc<Ledger>, Arc<Ports>) {
        (self.ledger.clone(), self.ports.clone())
    }

    /// The lab's network, made if need be, as this host sees it: `service` is to be reached there.
    pub(super) async fn network_on_this_host(&self, service: &str) -> Result<HostNetwork, RuntimeError> {
        self.ensure_network().await?;
        let network = self.engine.host_network(&self.names).await?;
        let patience = if self.engine.is_podman().await { BRIDGE_PATIENCE } else { Duration::ZERO };
        let patience = Instant::now() + patience;
        // Only an address of this host can be listened on.
        while let Err(error) = std::net::TcpListener::bind((network.gateway, 0)) {
            if Instant::now() < patience {
                tokio::time::sleep(BUSY_INTERVAL).await;
                continue;
            }
            return Err(RuntimeError::Unsupported {
                service: service.into(),
                cause: format!(
                    "containers cannot reach programs of this host at their network's gateway {} ({error}), as \
                     with Docker Desktop and engines without root: put it in a container too",
                    network.gateway
                ),
            });
        }
        Ok(network)
    }

    /// Removes the lab's network unless a container is on it.
    pub(super) async fn remove_unused_network(&self) -> Result<(), RuntimeError> {
        self.engine.remove_network(&self.names).await?;
        Ok(())
    }

    /// Removes everything a service has in the engine. A volume may be held by a container that is on its
    /// way, because a program asked for it that is dead by now, or by one that is still being removed.
    async fn clear(&self, service: &str) -> Result<(), RuntimeError> {
        let patience = Instant::now() + BUSY_PATIENCE;
        let mut removed = None;
        loop {
            while let Some(container) = self.engine.find(&self.names, service).await? {
                self.engine.remove_container(&container.id).await?;
                if removed.replace(container.id.clone()) == Some(container.id) {
                    tokio::time::sleep(BUSY_INTERVAL).await;
                }
            }
            match self.engine.remove_volumes(&self.names, service).await {
                Err(error) if error.is_conflict() && Instant::now() < patience => {
                    tokio::time::sleep(BUSY_INTERVAL).await;
                }
                result => return Ok(result?),
            }
        }
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    async fn prepare(&self, services: &[Service], report: &Report) -> Result<(), RuntimeError> {
        futures_util::future::try_join_all(services.iter().map(|service| self.image(service, report)))
            .await?;
        Ok(())
    }

    async fn ensure_running(
        &self,
        service: &Service,
        report: &Report,
        deadline: Instant,
    ) -> Result<Running, RuntimeError> {
        match service {
            Service::Vault(spec) => self.ensure_vault(service, spec, report, deadline).await,
            Service::Database(spec) => Box::pin(self.ensure_database(service, spec, report, deadline)).await,
        }
    }

    async fn found(&self) -> Result<BTreeMap<String, String>, RuntimeError> {
        Ok(self.engine.services(&self.names).await?)
    }

    async fn ended(&self, service: &str) -> RuntimeError {
        match self.engine.find(&self.names, service).await {
            Ok(Some(container)) => self.end_of(service, &container.id).await,
            Ok(None) => RuntimeError::Exited {
                service: service.into(),
                status: "its container was removed".into(),
                log: Vec::new(),
            },
            Err(error) => error.into(),
        }
    }

    async fn gone(&self, service: &str) {
        if let Ok(Some(container)) = self.engine.find(&self.names, service).await
            && container.running
        {
            self.engine.until_dead(&container.id).await;
        }
    }

    async fn settle(&self) {
        let mut keeping = self.keeping.lock().await;
        while keeping.join_next().await.is_some() {}
    }

    async fn state(&self, service: &str) -> Result<ServiceState, RuntimeError> {
        Ok(match self.engine.find(&self.names, service).await? {
            Some(container) if container.running => ServiceState::Running {
                pid: container.pid,
                since: container.since,
                endpoint: Endpoint::loopback(container.port.unwrap_or(0)),
            },
            Some(_) => ServiceState::Stopped,
            None if self.engine.has_volumes(&self.names, service).await? => ServiceState::Stopped,
            None => ServiceState::Absent,
        })
    }

    async fn has_data(&self, service: &str) -> Result<bool, RuntimeError> {
        Ok(self.engine.has_volumes(&self.names, service).await?)
    }

    async fn stop(&self, service: &str, grace: Duration) -> Result<bool, RuntimeError> {
        match self.engine.find(&self.names, service).await? {
            Some(container) if container.running => {
                self.engine.stop(&container, i32::try_from(grace.as_secs()).unwrap_or(i32::MAX)).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn remove(&self, service: &str) -> Result<(), RuntimeError> {
        self.clear(service).await?;
        self.remove_unused_network().await?;
        self.lab.remove_service(service)?;
        Ok(self.ledger.forget(service)?)
    }

    async fn logs(&self, service: &str, tail: Option<usize>, follow: bool) -> Result<LogLines, RuntimeError> {
        match self.engine.find(&self.names, service).await? {
            Some(container) => Ok(logs::lines(&self.engine, &container.id, tail, follow)),
            None => Err(RuntimeError::NoSuchService { service: service.into() }),
        }
    }
}
