//! Starting a service and waiting until it is ready, or until it has ended.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::identity::Identity;
use super::spawn::{Launch, describe};
use super::{ProcessRuntime, log};
use crate::report::Outcome;
use crate::runtime::RuntimeError;
use crate::runtime::folder;
use crate::runtime::ports::{PortHold, holder, is_taken, listens};
use crate::runtime::probe::{Ask, Probed};
use crate::state::ServiceRecord;

/// Pause between two probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(5);

/// How many log lines an error shows.
pub(super) const LOG_LINES: usize = 20;

/// All that can be said of the end of another's child.
const GONE: &str = "it is gone";

/// How long a port may stay busy after its server was killed.
const PORT_LINGERS: Duration = Duration::from_millis(500);

/// How often another port is tried when a foreign program takes the chosen one at the last moment.
pub(super) const PORT_ATTEMPTS: usize = 5;

/// How long a server may refuse every password that could be right: meanwhile the one that answers
/// may turn out to be another, on a port that was taken from under ours.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);

/// Which port a service is to have.
#[derive(Debug, Clone)]
pub(super) enum PortWish {
    /// This one or none.
    Exactly(u16),
    /// The first free one of these, else any.
    Rather(Vec<u16>),
}

/// A service to bring up.
#[derive(Clone)]
pub(super) struct Start<'a> {
    pub name: &'a str,
    pub log: &'a Path,
    pub port: PortWish,
    pub record: ServiceRecord,
    pub deadline: Instant,
}

/// A process that is waited for.
pub(super) struct Wait<'a> {
    pub service: &'a str,
    /// Its name among the children of this program.
    pub child: &'a str,
    pub identity: Option<Identity>,
    pub log: &'a Path,
    /// Length of the log before the process was started.
    pub from: u64,
    pub port: u16,
    pub deadline: Instant,
}

impl ProcessRuntime {
    /// Takes the port that was asked for. A server that was killed a moment ago holds its port until
    /// its last thread has ended, so a busy one is tried again for a while.
    async fn claim(&self, service: &str, port: u16) -> Result<PortHold, RuntimeError> {
        let patience = Instant::now() + PORT_LINGERS;
        loop {
            match self.ports.claim(port) {
                Ok(hold) => return Ok(hold),
                Err(_) if Instant::now() < patience => tokio::time::sleep(PROBE_INTERVAL).await,
                Err(_) => {
                    return Err(RuntimeError::PortTaken {
                        service: service.into(),
                        port,
                        holder: holder(port),
                    });
                }
            }
        }
    }

    /// Waits for the port that the service had before: its clients know that one. 0 is none.
    async fn until_free(&self, port: u16) {
        let patience = Instant::now() + PORT_LINGERS;
        while port != 0 && is_taken(port) && Instant::now() < patience {
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    /// Starts a service and waits for it. What was started is written down before and after.
    pub(super) async fn start<T: Send>(
        &self,
        start: Start<'_>,
        launch: impl Fn(u16) -> Result<Launch, RuntimeError> + Send + Sync,
        probe: &impl Ask<Ready = T>,
    ) -> Result<(T, ServiceRecord), RuntimeError> {
        let Start { name, log, port: wish, mut record, deadline } = start;
        log::rotate(log).map_err(folder(name, "rename", log))?;
        let mut attempt = 1;
        loop {
            let hold = match &wish {
                PortWish::Exactly(port) => self.claim(name, *port).await?,
                PortWish::Rather(ports) => {
                    self.until_free(ports.first().copied().unwrap_or(0)).await;
                    self.ports.pick(ports.iter().copied()).map_err(|source| RuntimeError::Process {
                        service: name.into(),
                        operation: "find a port of 127.0.0.1 for",
                        program: name.into(),
                        source,
                    })?
                }
            };
            let port = hold.port;
            let launch = launch(port)?;
            (record.port, record.pid, record.started) = (port, None, None);
            self.ledger.save_record(name, &record)?;
            let from = log::length(log);
            drop(hold);
            let child = launch.spawn(log).map_err(|source| RuntimeError::Process {
                service: name.into(),
                operation: "start",
                program: launch.program.display().to_string(),
                source,
            })?;
            let identity = Identity::of(child.id());
            self.children().insert(name.to_owned(), child);
            if let Some(identity) = identity {
                (record.pid, record.started) = (Some(identity.pid), Some(identity.started));
                self.ledger.save_record(name, &record)?;
            }
            let wait = Wait { service: name, child: name, identity, log, from, port, deadline };
            let ready = self.wait_ready(&wait, probe).await;
            if ready.is_ok() {
                // Bound by now: when it ends, it is to get the same port again.
                self.ports.release(port);
            }
            if let Err(error @ RuntimeError::Exited { .. }) = &ready {
                self.ports.release(port);
                record.pid = None;
                record.started = None;
                self.ledger.save_record(name, &record)?;
                // A server that a killed vaultlab was about to start could not be seen before. By now
                // it can, and it is what stood in the way.
                if attempt < PORT_ATTEMPTS && self.clear_strays(name, &record).await? {
                    attempt += 1;
                    continue;
                }
                // Whoever took the port may be gone again; the server's own words stay.
                let lost = |line: &String| line.to_ascii_lowercase().contains("address already in use");
                if is_taken(port) || error.log().iter().any(lost) {
                    match wish {
                        PortWish::Exactly(port) => {
                            return Err(RuntimeError::PortTaken {
                                service: name.into(),
                                port,
                                holder: holder(port),
                            });
                        }
                        PortWish::Rather(_) if attempt < PORT_ATTEMPTS => {
                            attempt += 1;
                            continue;
                        }
                        PortWish::Rather(_) => {}
                    }
                }
            }
            return ready.map(|ready| (ready, record));
        }
    }

    /// Waits until `probe` says ready; fails when the process ends or at the deadline.
    pub(super) async fn wait_ready<T: Send>(
        &self,
        wait: &Wait<'_>,
        probe: &impl Ask<Ready = T>,
    ) -> Result<T, RuntimeError> {
        let Wait { service, port, deadline, .. } = *wait;
        let began = Instant::now();
        let mut last = "it was not asked yet".to_owned();
        let mut refused_since = None;
        loop {
            if let Some(error) = self.ended(wait) {
                return Err(error);
            }
            match tokio::time::timeout_at(deadline, probe.ask(port)).await {
                Ok(Probed::Ready(ready)) => match wait.identity.and_then(|it| listens(it.pid, port)) {
                    Some(false) => last = format!("port {port} is answered by {}", holder(port)),
                    _ => return Ok(ready),
                },
                Ok(Probed::NotYet(text)) => last = text,
                Ok(Probed::Refused(error)) => {
                    if refused_since.get_or_insert_with(Instant::now).elapsed() >= REFUSAL_PATIENCE {
                        return Err(error);
                    }
                    last = error.to_string();
                }
                Ok(Probed::Failed(error)) => return Err(error),
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                return Err(RuntimeError::Timeout {
                    service: service.into(),
                    waited: began.elapsed(),
                    last,
                    log: log::since(wait.log, wait.from, LOG_LINES),
                });
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    /// The error for a process that has ended; `None` while it runs.
    pub(super) fn ended(&self, wait: &Wait<'_>) -> Option<RuntimeError> {
        let mut children = self.children();
        let status = match children.get_mut(wait.child) {
            Some(child) => match child.try_wait() {
                Ok(None) => return None,
                Ok(Some(status)) => {
                    children.remove(wait.child);
                    describe(status)
                }
                Err(e) => format!("its end cannot be told: {e}"),
            },
            None if wait.identity.is_some_and(Identity::is_alive) => return None,
            None => GONE.into(),
        };
        let log = log::since(wait.log, wait.from, LOG_LINES);
        Some(RuntimeError::Exited { service: wait.service.into(), status, log })
    }

    /// The error for the process of a service, which has ended, whoever started it.
    pub(super) fn exited(&self, service: &str) -> RuntimeError {
        let ended = self.children().get_mut(service).and_then(|child| child.try_wait().ok().flatten());
        let status = ended.map_or_else(|| GONE.into(), describe);
        let log = log::since(&self.places(service).log, 0, LOG_LINES);
        RuntimeError::Exited { service: service.into(), status, log }
    }
}

/// For a service that was found running: `None` when it turns out to be ending.
pub(super) async fn ended_is_none<T>(
    reuse: impl Future<Output = Result<(Outcome, T), RuntimeError>>,
) -> Result<(Outcome, Option<T>), RuntimeError> {
    match reuse.await {
        Ok((outcome, running)) => Ok((outcome, Some(running))),
        Err(RuntimeError::Exited { status, .. }) => {
            Ok((Outcome::changed(format!("was ending: {status}")), None))
        }
        Err(other) => Err(other),
    }
}
