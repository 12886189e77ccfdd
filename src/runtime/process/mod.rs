//! Services as programs of this host, detached from the program that started them.
//!
//! Each service has a folder of its own below [`LabDir::services`](crate::state::LabDir::services):
//! `data/`, `log/` (for logs the service writes itself), `service.log` (what it prints) and its
//! configuration. What runs is known from the lab's manifest, by pid and start time.

mod accounts;
mod backup;
mod build;
mod database;
mod engine;
mod found;
mod identity;
mod log;
mod network;
mod programs;
mod prune;
mod spawn;
mod start;
mod stop;
mod stray;
mod template;
mod vault;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use process_wrap::std::ChildWrapper;
use tokio::sync::RwLock;
use tokio::time::Instant;

pub use found::FoundProgram;
pub use programs::Programs;
pub use prune::{leftovers, remove as remove_leftover};

use super::docker::DockerRuntime;
use super::ledger::Ledger;
use super::ports::Ports;
use super::{HostNetwork, LogLines, Running, Runtime, RuntimeError, RuntimeKind, ServiceState};
use crate::report::Report;
use crate::service::{Endpoint, Service, ServiceKind};
use crate::state::{Home, LabDir, ServiceRecord};
use identity::Identity;

/// Sends a signal to the process with this pid, if it was started with exactly this argument: another
/// process may have the pid by now. Gives whether it was sent.
pub fn signal_program(pid: u32, argument: &str, signal: nix::sys::signal::Signal) -> std::io::Result<bool> {
    identity::signal_program(pid, argument, signal)
}

/// Sends a signal to the processes whose standard input is the file at `path`. Gives whether there are any.
pub fn signal_readers(path: &Path, signal: nix::sys::signal::Signal) -> std::io::Result<bool> {
    signal_all(&identity::reading(path), signal)
}

/// Sends a signal to the processes whose standard input is the file that was at `path` before it was
/// removed. Gives whether there are any.
pub fn signal_readers_of_removed(path: &Path, signal: nix::sys::signal::Signal) -> std::io::Result<bool> {
    signal_all(&identity::reading_removed(path), signal)
}

fn signal_all(processes: &[identity::Identity], signal: nix::sys::signal::Signal) -> std::io::Result<bool> {
    processes.iter().try_for_each(|process| process.signal(signal))?;
    Ok(!processes.is_empty())
}

/// Runs the services of one lab as programs of this host.
#[derive(Debug)]
pub struct ProcessRuntime {
    home: Home,
    lab: LabDir,
    programs: Programs,
    ports: Arc<Ports>,
    ledger: Arc<Ledger>,
    /// The containers' network that databases are to be reached from, too.
    network: OnceLock<HostNetwork>,
    /// What this very program started, to learn how it ends.
    children: Mutex<HashMap<String, Box<dyn ChildWrapper>>>,
    /// Held, shared, by every copy of a template that is being made.
    copying: Arc<RwLock<()>>,
}

/// The places of one service.
#[derive(Debug, Clone)]
struct Places {
    root: PathBuf,
    data: PathBuf,
    log: PathBuf,
    log_folder: PathBuf,
}

impl ProcessRuntime {
    /// The runtime for a lab; looks for programs as the environment says.
    pub fn new(home: &Home, lab: &LabDir) -> Self {
        Self::with_programs(home, lab, Programs::from_env())
    }

    /// The same, looking for programs elsewhere.
    pub fn with_programs(home: &Home, lab: &LabDir, programs: Programs) -> Self {
        Self {
            home: home.clone(),
            lab: lab.clone(),
            programs,
            ports: Arc::default(),
            ledger: Arc::new(Ledger::new(lab, RuntimeKind::Process)),
            network: OnceLock::new(),
            children: Mutex::default(),
            copying: Arc::default(),
        }
    }

    /// The same, for a lab that also has containers: one record of services, one choice of ports.
    pub(super) fn sharing(self, docker: &DockerRuntime) -> Self {
        let (ledger, ports) = docker.shared();
        Self { ports, ledger, ..self }
    }

    fn places(&self, service: &str) -> Places {
        let root = self.lab.service(service);
        Places { data: root.join("data"), log: root.join("service.log"), log_folder: root.join("log"), root }
    }

    fn children(&self) -> MutexGuard<'_, HashMap<String, Box<dyn ChildWrapper>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process of a service, from the record or, when a crash kept it from being written down,
    /// by its command line.
    fn process_of(&self, service: &str, record: &ServiceRecord) -> Option<Identity> {
        let recorded = match (record.pid, record.started) {
            (Some(pid), Some(started)) => Some(Identity { pid, started }),
            _ => None,
        };
        // A child that has ended stays a zombie until it is asked for.
        if let Some(child) = self.children().get_mut(service) {
            drop(child.try_wait());
        }
        match recorded {
            Some(identity) if identity.is_alive() => Some(identity),
            _ => self.orphans(service, record).into_iter().next(),
        }
    }

    /// Processes of the service that the record does not know.
    fn orphans(&self, service: &str, record: &ServiceRecord) -> Vec<Identity> {
        let places = self.places(service);
        let argument = match ServiceKind::parse(&record.kind) {
            Some(ServiceKind::Vault) => places.root.join(vault::CONFIG),
            _ => places.data,
        };
        let program = record.program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        identity::find(&[program], argument.as_os_str())
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Process
    }

    async fn ensure_running(
        &self,
        service: &Service,
        report: &Report,
        deadline: Instant,
    ) -> Result<Running, RuntimeError> {
        match service {
            Service::Vault(spec) => self.ensure_vault(service, spec, report, deadline).await,
            Service::Database(spec) => self.ensure_database(spec, report, deadline).await,
        }
    }

    async fn ended(&self, service: &str) -> RuntimeError {
        let record = match self.ledger.record(service) {
            Ok(record) => record,
            Err(error) => return error.into(),
        };
        if let Some(process) = record.and_then(|record| self.process_of(service, &record)) {
            process.end().await;
        }
        self.exited(service)
    }

    async fn state(&self, service: &str) -> Result<ServiceState, RuntimeError> {
        let Some(record) = self.ledger.record(service)?.or_else(|| self.stray(service)) else {
            let kept = self.places(service).data.is_dir();
            return Ok(if kept { ServiceState::Stopped } else { ServiceState::Absent });
        };
        Ok(match self.process_of(service, &record) {
            Some(identity) => ServiceState::Running {
                pid: Some(identity.pid),
                since: identity.since(),
                endpoint: Endpoint::loopback(record.port),
            },
            None => ServiceState::Stopped,
        })
    }

    async fn has_data(&self, service: &str) -> Result<bool, RuntimeError> {
        Ok(self.places(service).data.is_dir())
    }

    async fn stop(&self, service: &str, grace: Duration) -> Result<bool, RuntimeError> {
        self.copies_end().await;
        self.stop_service(service, grace).await
    }

    async fn remove(&self, service: &str) -> Result<(), RuntimeError> {
        self.copies_end().await;
        self.remove_service(service).await
    }

    fn log_folder(&self, service: &str) -> Option<std::path::PathBuf> {
        Some(self.places(service).log_folder)
    }

    async fn logs(&self, service: &str, tail: Option<usize>, follow: bool) -> Result<LogLines, RuntimeError> {
        let places = self.places(service);
        if !places.log.is_file() {
            return Err(RuntimeError::NoSuchService { service: service.into() });
        }
        Ok(log::lines(service, places.log, tail, follow))
    }
}
