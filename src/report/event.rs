//! The events themselves. None can carry a secret: `Secret` is not `Serialize`.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::KeeperEvent;

/// Something that happened, with its time.
#[derive(Debug, Clone, Serialize)]
pub struct LabEvent {
    /// When (UTC).
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl LabEvent {
    /// `kind`, now.
    pub fn now(kind: EventKind) -> Self {
        Self { at: Timestamp::now(), kind }
    }
}

/// What happened.
///
/// Written as one JSON object whose `event` says which; those of the keeper have `event: "keeper"` and
/// say in `what` what it was.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A step began.
    StepStarted {
        /// Its stable name.
        step: String,
        /// Its name for people.
        title: String,
    },
    /// A step ended.
    StepFinished {
        /// Its stable name.
        step: String,
        /// Its name for people.
        title: String,
        /// How.
        #[serde(flatten)]
        outcome: Outcome,
        /// How long it took, in milliseconds.
        #[serde(rename = "took_ms", serialize_with = "milliseconds::serialize")]
        took: Duration,
    },
    /// A step was given up before its end, because of an interrupt or of another step's failure.
    StepAbandoned {
        /// Its stable name.
        step: String,
    },
    /// How far a step is that takes long (a pull).
    Progress {
        /// The step it belongs to.
        step: String,
        /// What of it, as in a layer's id.
        item: String,
        /// Units done.
        done: u64,
        /// Units in all; 0 while unknown.
        total: u64,
        /// What the units are: `bytes`, or none.
        unit: &'static str,
    },
    /// The last log lines of a service that failed.
    ServiceLog {
        /// The service.
        service: String,
        /// Its lines, oldest first.
        lines: Vec<String>,
    },
    /// Something the keeper did or saw.
    Keeper(KeeperEvent),
    /// Something worth knowing.
    Note {
        /// In one line.
        message: String,
    },
    /// Something that may trouble the user later.
    Warning {
        /// In one line.
        message: String,
    },
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It wrote or started something.
    Changed {
        /// What, in a few words; may be empty.
        #[serde(skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// What it wants was there already.
    Unchanged,
    /// It proved something by a real login or query; nothing was to change.
    Proven {
        /// What was proven, in a few words.
        detail: String,
    },
    /// It failed.
    Failed {
        /// Why.
        error: String,
    },
}

impl Outcome {
    /// [`Outcome::Changed`] with a detail.
    pub fn changed(detail: impl Into<String>) -> Self {
        Self::Changed { detail: detail.into() }
    }

    /// [`Outcome::Proven`] with a detail.
    pub fn proven(detail: impl Into<String>) -> Self {
        Self::Proven { detail: detail.into() }
    }
}

/// A duration as milliseconds to three decimals.
pub(super) mod milliseconds {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(in crate::report) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
    }

    pub(in crate::report) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        duration(f64::deserialize(from)?)
    }

    pub(in crate::report) fn duration<E: Error>(milliseconds: f64) -> Result<Duration, E> {
        Duration::try_from_secs_f64(milliseconds / 1e3).map_err(E::custom)
    }
}
