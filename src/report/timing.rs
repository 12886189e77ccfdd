//! Where the time went.

use std::time::Duration;

use serde::Serialize;

use super::Outcome;
use super::event::milliseconds;

/// One ended step.
#[derive(Debug, Clone, Serialize)]
pub struct StepTiming {
    /// Its stable name.
    pub step: String,
    /// The steps it had to wait for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// When it began, in milliseconds since the start.
    #[serde(rename = "started_ms", serialize_with = "milliseconds::serialize")]
    pub started: Duration,
    /// How long it took, in milliseconds.
    #[serde(rename = "took_ms", serialize_with = "milliseconds::serialize")]
    pub took: Duration,
}

impl StepTiming {
    fn end(&self) -> Duration {
        self.started + self.took
    }
}

/// The chain of steps that the last one waited for, first to last: shortening any other step
/// would not have made the whole shorter.
pub fn critical_path(steps: &[StepTiming]) -> Vec<&StepTiming> {
    let mut path: Vec<&StepTiming> = Vec::new();
    let mut next = steps.iter().max_by_key(|s| s.end());
    while let Some(step) = next {
        path.push(step);
        next = steps
            .iter()
            .filter(|s| step.after.contains(&s.step) && s.end() <= step.end())
            .filter(|s| !path.iter().any(|p| p.step == s.step))
            .max_by_key(|s| s.end());
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, after: &[&str], started: u64, took: u64) -> StepTiming {
        StepTiming {
            step: name.into(),
            after: after.iter().map(ToString::to_string).collect(),
            outcome: Outcome::Unchanged,
            started: Duration::from_millis(started),
            took: Duration::from_millis(took),
        }
    }

    #[test]
    fn the_critical_path_follows_the_latest_predecessor() {
        let steps = [
            step("vault", &[], 0, 20),
            step("mysql", &[], 0, 300),
            step("postgres", &[], 0, 150),
            step("connect mysql", &["vault", "mysql"], 300, 10),
            step("connect postgres", &["vault", "postgres"], 150, 10),
            step("prove", &["connect mysql", "connect postgres"], 310, 40),
        ];
        let names: Vec<_> = critical_path(&steps).iter().map(|s| s.step.clone()).collect();
        assert_eq!(names, ["mysql", "connect mysql", "prove"]);
        assert!(critical_path(&[]).is_empty());
    }
}
