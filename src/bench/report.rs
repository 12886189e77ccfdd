//! What was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::latency::{Latencies, Percentiles};

/// Different errors that are counted by themselves; the rest is counted together.
const MAX_KINDS: usize = 12;

/// What a run found. Holds no secret.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    /// The Vault.
    pub address: String,
    /// What it says of its version.
    pub version: String,
    /// Requests under way at a time.
    pub workers: usize,
    /// The loads, in the order they were run.
    pub loads: Vec<LoadReport>,
}

/// One load.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// `reads`, `logins` or `creds`.
    pub load: &'static str,
    /// The path that was read, the AppRole, or the role of the database.
    pub what: String,
    /// What Vault did.
    #[serde(flatten)]
    pub measured: Measured,
    /// How much of one core making the load took, 0 to 1. Near 1 it was the load that was measured.
    pub generator_busy: f64,
    /// The revocations, when each credential was revoked before the next was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocations: Option<Measured>,
    /// The role's statements without a Vault, in the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct: Option<DirectReport>,
    /// What was removed afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleaned: Option<Cleaned>,
}

/// Requests of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// How many succeeded.
    pub done: u64,
    /// Over so many seconds.
    pub seconds: f64,
    /// Per second.
    pub per_second: f64,
    /// How long those that succeeded took.
    pub latency_ms: Percentiles,
    /// How many failed, by what the answer or the system said.
    pub errors: BTreeMap<String, u64>,
}

/// The role's statements issued on the database by this program.
#[derive(Debug, Clone, Serialize)]
pub struct DirectReport {
    /// Accounts made.
    #[serde(flatten)]
    pub measured: Measured,
    /// Vault's rate divided by this one: the median of slices that took turns.
    pub ratio: f64,
    /// Connections that made them at a time: one for each worker.
    pub connections: usize,
    /// Connections Vault may have open at a time (`max_open_connections`); none when there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault_connections: Option<usize>,
}

/// Tokens or leases revoked after the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cleaned {
    /// How many were revoked.
    pub revoked: u64,
    /// How many could not be: they end with their TTL.
    pub failed: u64,
    /// Over so many seconds.
    pub seconds: f64,
}

impl BenchReport {
    /// Whether every load got something done.
    pub fn is_success(&self) -> bool {
        self.loads.iter().all(|load| load.measured.done > 0)
    }
}

/// Collects what becomes of requests.
#[derive(Debug, Default)]
pub(super) struct Tally {
    latencies: Latencies,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn succeeded(&mut self, took: Duration) {
        self.latencies.record(took);
    }

    pub(super) fn failed(&mut self, kind: &str) {
        self.count_error(kind, 1);
    }

    pub(super) fn done(&self) -> u64 {
        self.latencies.count()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        for (kind, count) in &other.errors {
            self.count_error(kind, *count);
        }
    }

    pub(super) fn measured(&self, over: Duration) -> Measured {
        let seconds = over.as_secs_f64();
        let done = self.done();
        Measured {
            done,
            seconds: rounded(seconds),
            per_second: rounded(if seconds > 0.0 { done as f64 / seconds } else { 0.0 }),
            latency_ms: self.latencies.percentiles(),
            errors: self.errors.clone(),
        }
    }

    fn count_error(&mut self, kind: &str, count: u64) {
        let known = self.errors.len() < MAX_KINDS || self.errors.contains_key(kind);
        *self.errors.entry(if known { kind } else { "other errors" }.to_owned()).or_default() += count;
    }
}

/// Three digits after the point are enough for everyone.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_kind_and_bounded() {
        let mut tally = Tally::default();
        for number in 0..100 {
            tally.failed(&format!("kind {number}"));
            tally.failed("kind 0");
        }
        let errors = tally.measured(Duration::from_secs(1)).errors;
        assert_eq!(errors.len(), MAX_KINDS + 1);
        assert_eq!((errors["kind 0"], errors["other errors"]), (101, 88));
        let mut both = Tally::default();
        both.add(&tally);
        both.add(&tally);
        assert_eq!(both.measured(Duration::from_secs(1)).errors["kind 0"], 202);
    }

    #[test]
    fn rates_are_per_second() {
        let mut tally = Tally::default();
        for _ in 0..10 {
            tally.succeeded(Duration::from_millis(2));
        }
        let measured = tally.measured(Duration::from_secs(4));
        assert_eq!((measured.done, measured.per_second), (10, 2.5));
        assert!(tally.measured(Duration::ZERO).per_second.abs() < 1e-9);
    }
}
