//! Scenarios that show what a lab does. Each is a list of checks; none is passed without a login,
//! a query or a refusal that was really seen.

mod rotate;
mod watch;

use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;

use crate::lab::LabError;
use crate::report::{Outcome, Report};

pub use watch::Watched;

/// What a scenario found.
#[derive(Debug, Clone, Serialize)]
pub struct DemoResult {
    /// The lab.
    pub lab: String,
    /// Whether every check passed.
    pub passed: bool,
    /// The checks, in their order.
    pub checks: Vec<CheckResult>,
    /// What the application saw, when one was kept running.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<Watched>,
}

/// One checked step.
#[derive(Debug, Clone, Serialize)]
pub struct CheckResult {
    /// What was checked.
    pub check: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was seen.
    pub seen: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Collects checks while they are reported.
struct Checks<'a> {
    report: &'a Report,
    results: Vec<CheckResult>,
}

impl<'a> Checks<'a> {
    fn new(report: &'a Report) -> Self {
        Self { report, results: Vec::new() }
    }

    /// Runs one check. Its value is what later checks build on; `None` when it failed.
    async fn check<T>(
        &mut self,
        name: impl Into<String>,
        work: impl Future<Output = Result<(String, T), CheckError>>,
    ) -> Option<T> {
        let name = name.into();
        let began = std::time::Instant::now();
        let mut seen = String::new();
        let step = async {
            let (what, value) = work.await?;
            seen.clone_from(&what);
            Ok::<_, CheckError>((Outcome::proven(what), value))
        };
        let result = self.report.step(&name, &name, &[], step).await;
        let (passed, value) = match result {
            Ok(value) => (true, Some(value)),
            Err(error) => {
                seen = error.to_string();
                (false, None)
            }
        };
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.results.push(CheckResult { check: name, passed, seen, took_ms });
        value
    }

    fn into_result(self, lab: &str, watched: Vec<Watched>) -> DemoResult {
        let passed = self.results.iter().all(|check| check.passed)
            && watched.iter().all(|watched| watched.failed == 0 && watched.queries > 0);
        DemoResult { lab: lab.into(), passed, checks: self.results, watched }
    }
}

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("{0}")]
    Seen(String),
}

impl CheckError {
    fn seen(what: impl Display) -> Self {
        Self::Seen(what.to_string())
    }
}

impl From<crate::vault::VaultError> for CheckError {
    fn from(error: crate::vault::VaultError) -> Self {
        Self::Lab(error.into())
    }
}

impl From<crate::database::DatabaseError> for CheckError {
    fn from(error: crate::database::DatabaseError) -> Self {
        Self::Lab(error.into())
    }
}

impl From<crate::provision::ProvisionError> for CheckError {
    fn from(error: crate::provision::ProvisionError) -> Self {
        Self::Lab(error.into())
    }
}

/// How a demo is run.
#[derive(Debug, Clone, Default)]
pub struct DemoOptions {
    /// Keep an application querying for so long while its credentials are replaced.
    pub watch: Option<Duration>,
}
