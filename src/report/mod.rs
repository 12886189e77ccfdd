//! What the lab tells while it works: events, and the reporters that show them.
//!
//! Logic emits [`LabEvent`]s through a [`Report`]; only reporters print.

mod event;
mod jsonl;
mod timing;

pub use event::{EventKind, LabEvent, Outcome};
pub use jsonl::JsonLines;
pub use timing::{StepTiming, critical_path};

use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
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
    reporters: Vec<Box<dyn Reporter>>,
    began: Instant,
    steps: Mutex<Vec<StepTiming>>,
}

impl Report {
    /// A report to these reporters; its clock starts now.
    pub fn new(reporters: Vec<Box<dyn Reporter>>) -> Self {
        Self { inner: Arc::new(Inner { reporters, began: Instant::now(), steps: Mutex::default() }) }
    }

    /// A report nobody reads.
    pub fn silent() -> Self {
        Self::new(Vec::new())
    }

    /// Tells the reporters something.
    pub fn emit(&self, kind: EventKind) {
        let event = LabEvent::now(kind);
        for reporter in &self.inner.reporters {
            reporter.event(&event);
        }
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
        let unfinished = Unfinished { report: self, step: name, armed: true };
        let result = work.await;
        unfinished.disarm();
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
    armed: bool,
}

impl Unfinished<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.report.emit(EventKind::StepAbandoned { step: self.step.into() });
        }
    }
}
