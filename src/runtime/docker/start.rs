//! Bringing a service's container to ready, or to the reason why it is not.

use std::time::Duration;

use bollard::query_parameters::WaitContainerOptionsBuilder;
use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::DockerRuntime;
use super::container::{Container, Plan};
use super::error::DockerError;
use crate::runtime::RuntimeError;
use crate::runtime::ports::holder;
use crate::runtime::probe::{Ask, Probed};
use crate::state::ServiceRecord;

/// Pause between two probes: this at least, and the longer the longer it has been waited, up to the
/// second. Every probe passes through the engine's proxy, and on a machine that is busy with the start of
/// many labs it takes from them what they wait for.
const PROBE_INTERVAL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// The part of the time waited that a pause is.
const PROBE_SHARE: u32 = 20;

/// Pause between two questions whether a container has ended, where one is answered too early.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long after a failure the news may take that the container ended, which is its reason.
const NEWS: Duration = Duration::from_millis(500);

/// How many log lines an error shows.
const LOG_LINES: usize = 20;

/// How often another port is tried when a foreign program takes the chosen one at the last moment.
const PORT_ATTEMPTS: usize = 5;

/// How long a server may refuse every password that could be right.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);

/// A container that runs, and its port on this host.
#[derive(Debug)]
pub(super) struct Started {
    pub id: String,
    pub port: u16,
    /// Whether it ran before, unchanged.
    pub reused: bool,
}

impl DockerRuntime {
    /// Makes the service's container be there and run as planned: one that fits is used, one that
    /// does not is replaced. Its volumes are not touched.
    pub(super) async fn run(
        &self,
        plan: &Plan,
        wished: Option<u16>,
        record: &mut ServiceRecord,
    ) -> Result<Started, RuntimeError> {
        self.run_on(std::future::ready(Ok(())), plan, wished, record).await
    }

    /// [`run`](Self::run) on volumes that `data` fills while the container is made.
    pub(super) async fn run_on(
        &self,
        data: impl Future<Output = Result<(), RuntimeError>>,
        plan: &Plan,
        wished: Option<u16>,
        record: &mut ServiceRecord,
    ) -> Result<Started, RuntimeError> {
        let service = plan.service.as_str();
        let mut earlier = self.engine.find(&self.names, service).await?;
        if let Some(container) = &earlier {
            let port_fits = wished.is_none() || container.port == wished;
            if container.fits(plan) && port_fits {
                if let Some(started) = self.resume(container).await? {
                    record.port = started.port;
                    self.ledger.save_record(service, record)?;
                    return Ok(started);
                }
            } else if container.running {
                self.engine.stop(container, 10).await?;
            }
        }
        let mut data = Some(data);
        for attempt in 1.. {
            if let Some(container) = earlier.take() {
                self.engine.remove_container(&container.id).await?;
            }
            let hold = self.hold_port(service, wished, record.port, plan.kind.usual_port())?;
            record.port = hold.port;
            self.ledger.save_record(service, record)?;
            self.ensure_network().await?;
            let create = self.engine.create(plan, &self.names, hold.port);
            let id = match data.take() {
                // Neither is cut off half done because the other one failed.
                Some(data) => {
                    let (id, filled) = tokio::join!(create, data);
                    filled.and(Ok(id?))?
                }
                None => create.await?,
            };
            drop(hold);
            match self.engine.start(&self.names, &id, &self.names.container(service)).await {
                Ok(()) => return Ok(Started { id, port: record.port, reused: false }),
                Err(error) if is_port_taken(&error) => {
                    self.engine.remove_container(&id).await?;
                    if let Some(port) = wished {
                        return Err(RuntimeError::PortTaken {
                            service: service.into(),
                            port,
                            holder: holder(port),
                        });
                    }
                    if attempt == PORT_ATTEMPTS {
                        return Err(error.into());
                    }
                    record.port = 0;
                }
                Err(error) => {
                    self.engine.remove_container(&id).await?;
                    return Err(error.into());
                }
            }
        }
        Err(RuntimeError::NoSuchService { service: service.into() })
    }

    /// Starts a container that is there; `None` when its port is taken by now.
    async fn resume(&self, container: &Container) -> Result<Option<Started>, RuntimeError> {
        let Some(port) = container.port else { return Ok(None) };
        let (id, reused) = (container.id.clone(), container.running);
        if container.paused {
            self.engine.unpause(&container.id).await?;
        }
        if !reused {
            match self.engine.start(&self.names, &container.id, &container.name).await {
                Ok(()) => {}
                Err(error) if is_port_taken(&error) || is_network_gone(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(Started { id, port, reused }))
    }

    fn hold_port(
        &self,
        service: &str,
        wished: Option<u16>,
        last: u16,
        usual: u16,
    ) -> Result<crate::runtime::ports::PortHold, RuntimeError> {
        match wished {
            Some(port) => self.ports.claim(port).map_err(|_| RuntimeError::PortTaken {
                service: service.into(),
                port,
                holder: holder(port),
            }),
            None => self.ports.pick([last, usual]).map_err(|source| RuntimeError::Process {
                service: service.into(),
                operation: "find a port of 127.0.0.1 for",
                program: service.into(),
                source,
            }),
        }
    }

    /// Waits until `probe` says ready; fails when the container ends, or at `deadline`.
    pub(super) async fn wait_ready<T: Send>(
        &self,
        plan: &Plan,
        started: &Started,
        deadline: Instant,
        probe: &impl Ask<Ready = T>,
    ) -> Result<T, RuntimeError> {
        tokio::select! {
            ready = self.ask_until_ready(plan, started, deadline, probe) => ready,
            error = self.end_of(&plan.service, &started.id) => Err(error),
        }
    }

    async fn ask_until_ready<T: Send>(
        &self,
        plan: &Plan,
        started: &Started,
        deadline: Instant,
        probe: &impl Ask<Ready = T>,
    ) -> Result<T, RuntimeError> {
        let service = plan.service.as_str();
        let began = Instant::now();
        let mut last = "it was not asked yet".to_owned();
        let mut refused_since = None;
        loop {
            match tokio::time::timeout_at(deadline, probe.ask(started.port)).await {
                Ok(Probed::Ready(ready)) => {
                    // A login that succeeds while the entrypoint still initialises was let in by a
                    // temporary server, which goes away again.
                    let still =
                        if plan.first.env.is_empty() { None } else { self.initialising(&started.id).await? };
                    match still {
                        Some(program) => last = format!("{program} still initialises the data"),
                        None => return Ok(ready),
                    }
                }
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
                let log = self.engine.last_lines(&started.id, LOG_LINES).await;
                return Err(RuntimeError::Timeout {
                    service: service.into(),
                    waited: began.elapsed(),
                    last,
                    log,
                });
            }
            tokio::time::sleep((began.elapsed() / PROBE_SHARE).clamp(PROBE_INTERVAL.0, PROBE_INTERVAL.1))
                .await;
        }
    }

    /// What became of work on a container that was ready: when that has ended, this is the failure.
    pub(super) async fn unless_ended<T>(
        &self,
        service: &str,
        id: &str,
        work: impl Future<Output = Result<T, RuntimeError>>,
    ) -> Result<T, RuntimeError> {
        match work.await {
            Err(error) => Err(tokio::time::timeout(NEWS, self.end_of(service, id)).await.unwrap_or(error)),
            done => done,
        }
    }

    /// Waits for the end of a container and says how it ended.
    pub(super) async fn end_of(&self, service: &str, id: &str) -> RuntimeError {
        loop {
            // One long question; what an answer means that comes early, the container itself tells.
            let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
            let mut wait = Box::pin(self.engine.docker.wait_container(id, Some(options)));
            drop(wait.next().await);
            match self.fail_if_ended(service, id).await {
                Err(error) => return error,
                Ok(()) => tokio::time::sleep(LOOK_INTERVAL).await,
            }
        }
    }

    async fn fail_if_ended(&self, service: &str, id: &str) -> Result<(), RuntimeError> {
        let status = match self.engine.inspect(id).await? {
            Some(container) if container.running => return Ok(()),
            Some(container) => container.ended,
            None => "its container was removed".into(),
        };
        let log = self.engine.last_lines(id, LOG_LINES).await;
        Err(RuntimeError::Exited { service: service.into(), status, log })
    }

    /// The shell that runs an entrypoint in place of the server, while it does.
    async fn initialising(&self, id: &str) -> Result<Option<String>, RuntimeError> {
        let Some(container) = self.engine.inspect(id).await? else { return Ok(None) };
        let program = self.engine.main_program(&container).await.unwrap_or_default();
        let shell = ["bash", "sh", "ash", "dash", "busybox"].contains(&program.as_str());
        Ok((shell || program.starts_with("docker-entrypoi")).then_some(program))
    }
}

/// Engines answer a taken port in words.
fn is_port_taken(error: &DockerError) -> bool {
    let DockerError::Operation { cause, .. } = error else { return false };
    ["port is already allocated", "address already in use", "ports are not available"]
        .iter()
        .any(|words| cause.contains(words))
}

/// Its network was removed since it was made.
fn is_network_gone(error: &DockerError) -> bool {
    matches!(error, DockerError::Operation { cause, .. } if cause.contains("network") && cause.contains("not found"))
}
