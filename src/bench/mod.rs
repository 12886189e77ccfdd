//! A Vault under load: workers that each do one thing after the other for a while, and what came of
//! it. Works on any Vault; what it makes is revoked afterwards.
//!
//! All load comes from one thread with a connection per worker, so that it costs as little as it can
//! beside a server on the same machine.

mod direct;
mod http;
mod latency;
mod load;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde_json::{Map, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

pub use direct::Direct;
pub use latency::Percentiles;
pub use report::{BenchReport, Cleaned, DirectReport, LoadReport, Measured};

use direct::{DirectWorker, Script, median_ratio};
use http::{NoAnswer, Prepared, Server};
use load::{Job, Worker};
use report::{Tally, rounded};

use crate::lab::LabError;
use crate::report::{Outcome, Report};
use crate::secret::Secret;
use crate::vault::{Client, VaultError};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Address of the Vault, as in `http://127.0.0.1:8200`.
    pub address: String,
    /// The token for reads and credentials, and to make a secret_id with.
    pub token: Secret,
    /// The CA of an `https` address, a PEM file.
    pub ca: Option<PathBuf>,
    /// Requests under way at a time.
    pub workers: usize,
    /// How long each load lasts.
    pub time: Duration,
    /// The loads, one after the other.
    pub loads: Vec<Load>,
}

/// One kind of load.
#[derive(Debug, Clone)]
pub enum Load {
    /// The same authenticated read again and again.
    Reads {
        /// What is read, as in `auth/token/lookup-self`.
        path: String,
    },
    /// Logins with a secret_id made for it.
    Logins {
        /// The AppRole, of the method mounted at `approle`.
        approle: String,
    },
    /// Credentials of a role of the database secrets engine.
    Credentials {
        /// Where the engine is mounted, as in `database`.
        mount: String,
        /// The role.
        role: String,
        /// Each is revoked before its worker asks for the next.
        revoke: bool,
        /// The same statements are issued directly too, taking turns.
        direct: Option<Direct>,
    },
}

impl Load {
    fn kind(&self) -> &'static str {
        match self {
            Self::Reads { .. } => "reads",
            Self::Logins { .. } => "logins",
            Self::Credentials { .. } => "creds",
        }
    }

    fn what(&self) -> &str {
        match self {
            Self::Reads { path } => path,
            Self::Logins { approle } => approle,
            Self::Credentials { role, .. } => role,
        }
    }
}

/// Measures. When `interrupted` completes, the load ends early and what it made is revoked all the
/// same.
///
/// # Errors
/// When the Vault or a database cannot be reached, or refuses what has to be read or made before.
/// What fails under load is counted instead.
pub async fn run(
    plan: Plan,
    report: &Report,
    interrupted: impl Future<Output = ()>,
) -> Result<BenchReport, LabError> {
    crate::install_crypto_provider();
    let (stop, stopped) = watch::channel(false);
    let (done, mut finished) = oneshot::channel();
    let report = report.clone();
    let thread = std::thread::Builder::new().name("vaultlab-bench".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(measure(&plan, &report, &stopped)),
            Err(source) => Err(LabError::Program { program: "the load's thread".into(), source }),
        };
        // Nobody waits any more when the caller was dropped.
        drop(done.send(result));
    });
    thread.map_err(|source| LabError::Program { program: "the load's thread".into(), source })?;
    let result = tokio::select! {
        result = &mut finished => result,
        () = interrupted => {
            stop.send_replace(true);
            finished.await
        }
    };
    result.unwrap_or(Err(LabError::Interrupted))
}

/// What every load needs.
struct Bench<'a> {
    plan: &'a Plan,
    vault: Client,
    server: Arc<Server>,
    stop: &'a watch::Receiver<bool>,
}

async fn measure(
    plan: &Plan,
    report: &Report,
    stop: &watch::Receiver<bool>,
) -> Result<BenchReport, LabError> {
    let server = Server::new(&plan.address, plan.ca.as_deref());
    let server = server.map_err(|error| unusable(plan, "measure", &error))?;
    let vault = Client::trusting(&plan.address, plan.ca.as_deref())?.with_token(plan.token.clone());
    let version = vault.health().await?.version;
    let bench = Bench { plan, vault, server: Arc::new(server), stop };
    let mut loads = Vec::new();
    for load in &plan.loads {
        if *stop.borrow() {
            break;
        }
        let title = format!("{} {}", load.kind(), load.what());
        let work = async {
            let measured = bench.load(load).await?;
            let rate = format!("{:.0}/s", measured.measured.per_second);
            Ok::<_, LabError>((Outcome::proven(rate), measured))
        };
        loads.push(report.step(&title, &title, &[], work).await?);
    }
    Ok(BenchReport { address: plan.address.clone(), version, workers: plan.workers, loads })
}

fn unusable(plan: &Plan, operation: &str, error: &NoAnswer) -> LabError {
    LabError::Vault(VaultError::Unreachable {
        operation: operation.into(),
        address: plan.address.clone(),
        cause: error.to_string(),
    })
}

impl Bench<'_> {
    async fn load(&self, load: &Load) -> Result<LoadReport, LabError> {
        let prepare = |path: &str, token: Option<&Secret>, body: Option<&serde_json::Value>| {
            Prepared::new(&self.server, path, token, body)
                .map_err(|error| unusable(self.plan, load.kind(), &error))
        };
        let token = Some(&self.plan.token);
        match load {
            Load::Reads { path } => {
                let jobs = self.jobs(|| Ok(Job::Read(prepare(path, token, None)?)))?;
                self.run(load, jobs, Vec::new()).await
            }
            Load::Logins { approle } => {
                let role_id = self.vault.role_id(approle).await?;
                let made = self.vault.generate_secret_id(approle, &Map::new()).await?;
                let body = json!({ "role_id": role_id.expose(), "secret_id": made.secret_id.expose() });
                let job = || Ok(Job::Login(prepare("auth/approle/login", None, Some(&body))?));
                let jobs = self.jobs(job)?;
                let measured = self.run(load, jobs, Vec::new()).await;
                self.vault.destroy_secret_id_accessor(approle, &made.secret_id_accessor).await?;
                measured
            }
            Load::Credentials { mount, role, revoke, direct } => {
                let path = format!("{mount}/creds/{role}");
                let job = || Ok(Job::Credential { request: prepare(&path, token, None)?, revoke: *revoke });
                let jobs = self.jobs(job)?;
                let mut direct_workers = Vec::new();
                if let Some(direct) = direct {
                    let script = Arc::new(Script::read(&self.vault, mount, role, direct).await?);
                    for _ in 0..self.plan.workers {
                        direct_workers.push(DirectWorker::connect(&script, direct).await?);
                    }
                }
                self.run(load, jobs, direct_workers).await
            }
        }
    }

    fn jobs(&self, make: impl Fn() -> Result<Job, LabError>) -> Result<Vec<Worker>, LabError> {
        let worker = |_| Ok(Worker::new(&self.server, &self.plan.token, make()?));
        (0..self.plan.workers).map(worker).collect()
    }

    async fn run(
        &self,
        load: &Load,
        mut workers: Vec<Worker>,
        mut directly: Vec<DirectWorker>,
    ) -> Result<LoadReport, LabError> {
        let compared = !directly.is_empty();
        let connections = directly.len();
        let vault_connections = directly.first().and_then(DirectWorker::vault_connections);
        let slice = if compared { direct::slice(self.plan.time) } else { self.plan.time };
        let (mut vault, mut database) = (Side::default(), Side::default());
        let mut busy = Duration::ZERO;
        for _ in 0..if compared { direct::SLICES } else { 1 } {
            let (began, cpu) = (Instant::now(), thread_time());
            workers = together(workers, |worker| worker.run(began + slice, self.stop.clone())).await;
            busy += thread_time().saturating_sub(cpu);
            vault.slice(began.elapsed(), workers.iter().map(|worker| worker.asked.done()).sum());
            if compared {
                let began = Instant::now();
                directly = together(directly, |worker| worker.run(began + slice, self.stop.clone())).await;
                database.slice(began.elapsed(), directly.iter().map(|worker| worker.made.done()).sum());
            }
        }
        let (mut asked, mut revoked, mut made) = (Tally::default(), Tally::default(), Tally::default());
        for worker in &workers {
            asked.add(&worker.asked);
            revoked.add(&worker.revoked);
        }
        for worker in &directly {
            made.add(&worker.made);
        }
        let began = Instant::now();
        let counts = together(workers, Worker::clean).await;
        let dropped = together(directly, DirectWorker::clean).await;
        let (revoked_after, failed) =
            counts.into_iter().chain(dropped).fold((0, 0), |sum, (a, b)| (sum.0 + a, sum.1 + b));
        let cleaned =
            Cleaned { revoked: revoked_after, failed, seconds: rounded(began.elapsed().as_secs_f64()) };
        Ok(LoadReport {
            load: load.kind(),
            what: load.what().to_owned(),
            measured: asked.measured(vault.took),
            generator_busy: rounded(busy.as_secs_f64() / vault.took.as_secs_f64().max(1e-9)),
            revocations: matches!(load, Load::Credentials { revoke: true, .. })
                .then(|| revoked.measured(vault.took)),
            direct: compared.then(|| DirectReport {
                measured: made.measured(database.took),
                ratio: rounded(median_ratio(&vault.rates, &database.rates)),
                connections,
                vault_connections,
            }),
            cleaned: Some(cleaned).filter(|cleaned| cleaned.revoked + cleaned.failed > 0),
        })
    }
}

/// One of two that take turns.
#[derive(Default)]
struct Side {
    took: Duration,
    done: u64,
    rates: Vec<f64>,
}

impl Side {
    /// Notes a slice that took so long and ended with `done` in all.
    fn slice(&mut self, took: Duration, done: u64) {
        self.rates.push((done - self.done) as f64 / took.as_secs_f64().max(1e-9));
        self.took += took;
        self.done = done;
    }
}

/// Runs something for each at the same time.
async fn together<T, R, F>(items: Vec<T>, run: impl Fn(T) -> F) -> Vec<R>
where
    F: Future<Output = R> + Send + 'static,
    R: Send + 'static,
{
    let mut tasks = JoinSet::new();
    for item in items {
        tasks.spawn(run(item));
    }
    tasks.join_all().await
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}
