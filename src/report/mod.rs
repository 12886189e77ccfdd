//! What the lab tells while it works: events, and the reporters that show them.
//!
//! Logic emits [`LabEvent`]s through a [`Report`]; only reporters print.

mod event;
mod jsonl;
mod keeper;
mod log;
mod plain;
mod progress;
mod read;
mod size;
mod timing;

pub use event::{EventKind, LabEvent, Outcome};
pub use jsonl::JsonLines;
pub use keeper::KeeperEvent;
pub use log::EventLog;
pub use plain::{Failures, Plain};
pub use progress::Progress;
pub use read::{readable, time_of};
pub use size::human_size;
pub use timing::{StepTiming, critical_path};

use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

/// Shows or keeps events. Called from several tasks at once; must not block for long.
pub trait Reporter: Send + Sync {
    /// One event.
    fn event(&self, event: &LabEvent);
}

/// Hands events to reporters and keeps the time of every step. Cheap to clone.
#[derive(Clone)]
pub struct Report {
    inner: Arc<Inner>,
}

struct Inner {
    reporters: RwLock<Vec<Box<dyn Reporter>>>,
    began: Instant,
    steps: Mutex<Vec<StepTiming>>,
    running: Mutex<Vec<String>>,
}

impl Report {
    /// A report to these reporters; its clock starts now.
    pub fn new(reporters: Vec<Box<dyn Reporter>>) -> Self {
        Self {
            inner: Arc::new(Inner {
                reporters: RwLock::new(reporters),
                began: Instant::now(),
                steps: Mutex::default(),
                running: Mutex::default(),
            }),
        }
    }

    /// A report nobody reads.
    pub fn silent() -> Self {
        Self::new(Vec::new())
    }

    /// Tells the reporters something.
    pub fn emit(&self, kind: EventKind) {
        let event = LabEvent::now(kind);
        for reporter in self.inner.reporters.read().unwrap_or_else(PoisonError::into_inner).iter() {
            reporter.event(&event);
        }
    }

    /// Adds a reporter; it is told what happens from now on.
    pub fn attach(&self, reporter: Box<dyn Reporter>) {
        self.inner.reporters.write().unwrap_or_else(PoisonError::into_inner).push(reporter);
    }

    /// Something the keeper did or saw.
    pub fn keeper(&self, event: KeeperEvent) {
        self.emit(EventKind::Keeper(event));
    }

    /// Something worth knowing that is not a step.
    pub fn note(&self, message: impl Into<String>) {
        self.emit(EventKind::Note { message: message.into() });
    }

    /// Something that may trouble the user later.
    pub fn warn(&self, message: impl Into<String>) {
        self.emit(EventKind::Warning { message: message.into() });
    }

    /// Runs one step: tells its start and its end, and keeps its time. `name` is stable (for
    /// scripts), as in `rotate-root postgres`; `title` is for people; `after` names the steps that
    /// had to end before this one could begin.
    pub async fn step<T, E: Display>(
        &self,
        name: &str,
        title: &str,
        after: &[&str],
        work: impl Future<Output = Result<(Outcome, T), E>>,
    ) -> Result<T, E> {
        let started = self.inner.began.elapsed();
        self.emit(EventKind::StepStarted { step: name.into(), title: title.into() });
        let unfinished = Unfinished::begin(self, name, title);
        let result = work.await;
        unfinished.end();
        let took = self.inner.began.elapsed().saturating_sub(started);
        let (outcome, result) = match result {
            Ok((outcome, value)) => (outcome, Ok(value)),
            Err(error) => (Outcome::Failed { error: error.to_string() }, Err(error)),
        };
        self.lock().push(StepTiming {
            step: name.into(),
            after: after.iter().map(ToString::to_string).collect(),
            outcome: outcome.clone(),
            started,
            took,
        });
        self.emit(EventKind::StepFinished { step: name.into(), title: title.into(), outcome, took });
        result
    }

    /// The steps that have ended, in the order in which they ended.
    pub fn steps(&self) -> Vec<StepTiming> {
        self.lock().clone()
    }

    /// The steps that have begun and not ended, by their names for people.
    pub fn running_steps(&self) -> Vec<String> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Time since the report was made.
    pub fn elapsed(&self) -> std::time::Duration {
        self.inner.began.elapsed()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<StepTiming>> {
        self.inner.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the end of a step whose future was dropped (Ctrl-C, a sibling that failed).
struct Unfinished<'a> {
    report: &'a Report,
    step: &'a str,
    title: &'a str,
    ended: bool,
}

impl<'a> Unfinished<'a> {
    fn begin(report: &'a Report, step: &'a str, title: &'a str) -> Self {
        report.inner.running.lock().unwrap_or_else(PoisonError::into_inner).push(title.to_owned());
        Self { report, step, title, ended: false }
    }

    fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let mut running = self.report.inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = running.iter().position(|title| title == self.title) {
            running.remove(at);
        }
        drop(running);
        if !self.ended {
            self.report.emit(EventKind::StepAbandoned { step: self.step.into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Keep(Arc<Mutex<Vec<String>>>);
    impl Reporter for Keep {
        fn event(&self, event: &LabEvent) {
            self.0
                .lock()
                .unwrap()
                .push(serde_json::to_value(event).unwrap()["event"].as_str().unwrap().into());
        }
    }

    #[tokio::test]
    async fn steps_are_timed_and_a_dropped_one_is_told_as_abandoned() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let report = Report::new(vec![Box::new(Keep(seen.clone()))]);
        report.step("a", "A", &[], async { Ok::<_, String>((Outcome::Unchanged, ())) }).await.unwrap();
        report.step::<(), _>("b", "B", &[], async { Err("no") }).await.unwrap_err();
        let mut endless = Box::pin(report.step::<(), String>("c", "C", &["a"], std::future::pending()));
        assert!(futures_util::poll!(&mut endless).is_pending());
        assert_eq!(report.running_steps(), ["C"]);
        drop(endless);
        assert!(report.running_steps().is_empty());
        assert_eq!(
            *seen.lock().unwrap(),
            [
                "step_started",
                "step_finished",
                "step_started",
                "step_finished",
                "step_started",
                "step_abandoned"
            ]
        );
        assert!(matches!(report.steps()[1].outcome, Outcome::Failed { .. }));
    }
}
