//! Services that died are started again, on their data.

use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Shared;
use crate::report::KeeperEvent;
use crate::runtime::ServiceState;
use crate::service::Service;
use crate::spec::LabSpec;
use crate::state::LabLock;

/// Pause between two looks at services whose end the runtime tells of.
const LOOK: Duration = Duration::from_secs(30);

/// The same while one of them does not run, or cannot be looked at.
const LOOK_AT_MISSING: Duration = Duration::from_secs(3);

/// Shortest pause between two looks that something asked for.
const SOON: Duration = Duration::from_millis(20);

/// How long a start may take.
const START: Duration = Duration::from_secs(60);

/// One that ran for so long is not counted among those that die as soon as they are started.
const STABLE: Duration = Duration::from_secs(5);

/// How often in a row a service is started again before it is given up.
const LIMIT: u32 = 10;

/// First and longest pause before the second and further restarts in a row.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// The services a lab declares, Vault first.
fn services(spec: &LabSpec) -> Vec<Service> {
    let databases = spec.databases.iter().cloned().map(Service::Database);
    std::iter::once(Service::Vault(spec.vault.clone())).chain(databases).collect()
}

/// Watches the services for ever.
pub(super) async fn watch(shared: &Shared) {
    let mut watched: Vec<_> = services(&shared.spec).into_iter().map(Watched::new).collect();
    loop {
        for service in &mut watched {
            service.look(shared).await;
        }
        let mut pause =
            if watched.iter().all(|service| service.end.is_some()) { LOOK } else { LOOK_AT_MISSING };
        let dead: Vec<&mut Watched<'_>> = watched.iter_mut().filter(|service| service.is_dead()).collect();
        if !dead.is_empty() {
            pause = restart(shared, dead).await.min(pause);
        }
        let told = async {
            tokio::select! {
                () = first_end(&mut watched) => {}
                () = shared.look_at_services.notified() => {}
            }
            tokio::time::sleep(SOON).await;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = told => {}
        }
    }
}

/// Completes when one of those that run has ended.
async fn first_end(watched: &mut [Watched<'_>]) {
    std::future::poll_fn(|context| {
        let mut ended = Poll::Pending;
        for service in watched.iter_mut() {
            if service.end.as_mut().is_some_and(|end| end.poll_unpin(context).is_ready()) {
                service.end = None;
                ended = Poll::Ready(());
            }
        }
        ended
    })
    .await;
}

struct Watched<'a> {
    service: Service,
    state: State,
    /// Completes when it ends, while it runs.
    end: Option<BoxFuture<'a, ()>>,
    /// Restarts in a row.
    attempts: u32,
}

enum State {
    /// Since when.
    Runs(Instant),
    /// Whether that was told, and when a restart is due.
    Dead {
        told: bool,
        due: Instant,
    },
    GivenUp,
}

impl<'a> Watched<'a> {
    fn new(service: Service) -> Self {
        Self { service, state: State::Runs(Instant::now()), end: None, attempts: 0 }
    }

    fn watch_end(&mut self, shared: &'a Shared) {
        let name = self.service.name().to_owned();
        self.end = Some(Box::pin(async move { drop(shared.runtime.ended(&name).await) }));
    }

    fn is_dead(&self) -> bool {
        matches!(self.state, State::Dead { .. })
    }

    async fn look(&mut self, shared: &'a Shared) {
        let now = Instant::now();
        let found = shared.runtime.state(self.service.name()).await;
        match (&found, self.end.is_some()) {
            (Ok(ServiceState::Running { .. }), false) => self.watch_end(shared),
            (Ok(ServiceState::Running { .. }), true) => {}
            _ => self.end = None,
        }
        match (found, &self.state) {
            (Ok(ServiceState::Running { .. }), State::Dead { .. } | State::GivenUp) => {
                // Somebody else started it.
                self.state = State::Runs(now);
                let mut record = shared.record();
                let entry = record.services.entry(self.service.name().into()).or_default();
                (entry.given_up, entry.error) = (false, None);
            }
            (Ok(ServiceState::Stopped), State::Runs(since)) => {
                if since.elapsed() > STABLE {
                    self.attempts = 0;
                }
                let pause = match self.attempts {
                    0 => Duration::ZERO,
                    n => (BACKOFF.0 * 2_u32.saturating_pow(n - 1)).min(BACKOFF.1),
                };
                self.state = State::Dead { told: false, due: now + pause };
            }
            // What is absent was removed on purpose; what cannot be looked at is looked at again.
            _ => {}
        }
    }
}

/// Starts those that are due, unless somebody is changing the lab; gives how long to wait.
async fn restart<'a>(shared: &'a Shared, mut dead: Vec<&mut Watched<'a>>) -> Duration {
    let due_at = |watched: &Watched<'_>| match watched.state {
        State::Dead { due, .. } => Some(due),
        State::Runs(_) | State::GivenUp => None,
    };
    let now = Instant::now();
    let next = |dead: &[&mut Watched<'_>]| {
        let due = dead.iter().filter_map(|watched| due_at(watched)).min();
        due.map_or(LOOK, |due| due.saturating_duration_since(Instant::now()).max(SOON))
    };
    if dead.iter().all(|watched| due_at(watched).is_some_and(|due| due > now)) {
        return next(&dead);
    }
    // `up` starts services itself, and `down` stops them.
    let Ok(Ok(_lock)) = LabLock::try_acquire(&shared.dir, "supervise") else { return SOON * 5 };
    if shared.dir.keeper_stop().exists() {
        return LOOK;
    }
    let due = dead.iter_mut().filter(|watched| due_at(watched).is_some_and(|due| due <= now));
    join_all(due.map(|watched| watched.start(shared))).await;
    shared.look_at_vault.notify_one();
    next(&dead)
}

impl<'a> Watched<'a> {
    async fn start(&mut self, shared: &'a Shared) {
        let name = self.service.name().to_owned();
        // It may have been started while the lock was waited for.
        self.look(shared).await;
        let State::Dead { told, .. } = &mut self.state else { return };
        if !std::mem::replace(told, true) {
            shared.report.keeper(KeeperEvent::ServiceDied { service: name.clone() });
            let mut record = shared.record();
            record.services.entry(name.clone()).or_default().died_at = Some(Timestamp::now());
        }
        self.attempts += 1;
        let began = Instant::now();
        let started = shared.runtime.ensure_running(&self.service, &shared.report, began + START).await;
        let mut record = shared.record();
        let entry = record.services.entry(name.clone()).or_default();
        match started {
            Ok(_) => {
                self.state = State::Runs(Instant::now());
                entry.restarts += 1;
                (entry.given_up, entry.error) = (false, None);
                drop(record);
                self.watch_end(shared);
                let (attempt, took) = (self.attempts, began.elapsed());
                shared.report.keeper(KeeperEvent::ServiceRestarted { service: name, attempt, took });
            }
            Err(error) => {
                let pause = (BACKOFF.0 * 2_u32.saturating_pow(self.attempts)).min(BACKOFF.1);
                let retry = (self.attempts < LIMIT).then_some(pause);
                self.state = match retry {
                    Some(pause) => State::Dead { told: true, due: Instant::now() + pause },
                    None => State::GivenUp,
                };
                (entry.given_up, entry.error) = (retry.is_none(), Some(error.to_string()));
                drop(record);
                let error = error.to_string();
                shared.report.keeper(KeeperEvent::RestartFailed { service: name, error, retry });
            }
        }
    }
}
