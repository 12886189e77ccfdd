//! A lab whose services are partly containers and partly programs of this host.
//!
//! Only Vault opens connections to other services. From the host it reaches a container at its
//! published port; from a container it reaches a program of the host at the gateway of the lab's
//! network, where databases then listen too, for that network and Vault's account alone.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::docker::DockerRuntime;
use super::process::ProcessRuntime;
use super::{LogLines, Running, Runtime, RuntimeError, RuntimeKind, ServiceState};
use crate::report::Report;
use crate::service::{Endpoint, Service, ServiceKind, VAULT};

/// How long a listener of this very machine may take to accept a connection.
const ACCEPT: Duration = Duration::from_secs(2);

/// How long a service may take to end in an orderly way.
const GRACE: Duration = Duration::from_secs(10);

/// The services of one lab in two runtimes.
#[derive(Debug)]
pub struct MixedRuntime {
    docker: DockerRuntime,
    process: ProcessRuntime,
    places: BTreeMap<String, RuntimeKind>,
}

impl MixedRuntime {
    /// The runtime of a lab whose services are where `places` says.
    pub fn new(
        docker: DockerRuntime,
        process: ProcessRuntime,
        places: BTreeMap<String, RuntimeKind>,
    ) -> Self {
        // Both write the lab's manifest and choose ports, at the same time.
        let process = process.sharing(&docker);
        Self { docker, process, places }
    }

    fn place(&self, service: &str) -> Option<&dyn Runtime> {
        self.places.get(service).map(|place| match place {
            RuntimeKind::Docker => &self.docker as &dyn Runtime,
            RuntimeKind::Process | RuntimeKind::Mixed => &self.process,
        })
    }

    fn is_in(&self, service: &str, kind: RuntimeKind) -> bool {
        self.places.get(service) == Some(&kind)
    }

    /// A database on the host, reachable for the Vault in its container.
    async fn ensure_for_containers(
        &self,
        service: &Service,
        report: &Report,
        deadline: Instant,
    ) -> Result<Running, RuntimeError> {
        let name = service.name();
        let network = self.docker.network_on_this_host(name).await?;
        let gateway = network.gateway.to_string();
        self.process.open_to(network);
        let mut running = self.process.ensure_running(service, report, deadline).await?;
        let endpoint = Endpoint::new(gateway, running.endpoint.port);
        if running.reused && !accepts(&endpoint).await {
            report.note(format!("{name} is started again, to listen on the lab's network at {endpoint}"));
            self.process.stop(name, GRACE).await?;
            running = self.process.ensure_running(service, report, deadline).await?;
        }
        if !accepts(&endpoint).await {
            return Err(RuntimeError::Unsupported {
                service: name.into(),
                cause: format!(
                    "it does not listen on the lab's network at {endpoint}, where the Vault in its container \
                     needs it: put both in one runtime"
                ),
            });
        }
        running.from_services = endpoint;
        Ok(running)
    }
}

async fn accepts(endpoint: &Endpoint) -> bool {
    let connected = timeout(ACCEPT, TcpStream::connect((endpoint.host.as_str(), endpoint.port))).await;
    matches!(connected, Ok(Ok(_)))
}

#[async_trait]
impl Runtime for MixedRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Mixed
    }

    fn places(&self) -> BTreeMap<String, RuntimeKind> {
        self.places.clone()
    }

    async fn prepare(&self, services: &[Service], report: &Report) -> Result<(), RuntimeError> {
        let contained = services.iter().filter(|service| self.is_in(service.name(), RuntimeKind::Docker));
        self.docker.prepare(&contained.cloned().collect::<Vec<_>>(), report).await
    }

    async fn ensure_running(
        &self,
        service: &Service,
        report: &Report,
        deadline: Instant,
    ) -> Result<Running, RuntimeError> {
        let name = service.name();
        let Some(place) = self.place(name) else {
            return Err(RuntimeError::NoSuchService { service: name.into() });
        };
        if service.kind() == ServiceKind::Vault {
            return place.ensure_running(service, report, deadline).await;
        }
        let vault_in_container = self.is_in(VAULT, RuntimeKind::Docker);
        match (vault_in_container, place.kind()) {
            (true, RuntimeKind::Process) => self.ensure_for_containers(service, report, deadline).await,
            (false, RuntimeKind::Docker) => {
                let running = place.ensure_running(service, report, deadline).await?;
                Ok(Running { from_services: running.endpoint.clone(), ..running })
            }
            _ => place.ensure_running(service, report, deadline).await,
        }
    }

    async fn found(&self) -> Result<BTreeMap<String, String>, RuntimeError> {
        self.docker.found().await
    }

    async fn ended(&self, service: &str) -> RuntimeError {
        match self.place(service) {
            Some(place) => place.ended(service).await,
            None => std::future::pending().await,
        }
    }

    async fn gone(&self, service: &str) {
        if let Some(place) = self.place(service) {
            place.gone(service).await;
        }
    }

    async fn settle(&self) {
        self.docker.settle().await;
    }

    async fn state(&self, service: &str) -> Result<ServiceState, RuntimeError> {
        if let Some(place) = self.place(service) {
            return place.state(service).await;
        }
        match self.docker.state(service).await? {
            ServiceState::Absent => self.process.state(service).await,
            there => Ok(there),
        }
    }

    async fn has_data(&self, service: &str) -> Result<bool, RuntimeError> {
        if let Some(place) = self.place(service) {
            return place.has_data(service).await;
        }
        Ok(self.docker.has_data(service).await? || self.process.has_data(service).await?)
    }

    async fn stop(&self, service: &str, grace: Duration) -> Result<bool, RuntimeError> {
        if let Some(place) = self.place(service) {
            return place.stop(service, grace).await;
        }
        let contained = self.docker.stop(service, grace).await?;
        Ok(self.process.stop(service, grace).await? || contained)
    }

    async fn remove(&self, service: &str) -> Result<(), RuntimeError> {
        if !self.is_in(service, RuntimeKind::Process) {
            self.docker.remove(service).await?;
        }
        if !self.is_in(service, RuntimeKind::Docker) {
            self.process.remove(service).await?;
            // The network is made for a service of the host, too.
            self.docker.remove_unused_network().await?;
        }
        Ok(())
    }

    async fn logs(&self, service: &str, tail: Option<usize>, follow: bool) -> Result<LogLines, RuntimeError> {
        if let Some(place) = self.place(service) {
            return place.logs(service, tail, follow).await;
        }
        match self.docker.logs(service, tail, follow).await {
            Err(RuntimeError::NoSuchService { .. }) => self.process.logs(service, tail, follow).await,
            found => found,
        }
    }
}
