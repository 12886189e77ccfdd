//! Why a lab cannot be kept.

use crate::runtime::RuntimeError;
use crate::state::{LockHolder, StateError};

/// A keeper that could not begin, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// There is one already.
    #[error("lab {lab} has a keeper: {holder}")]
    Kept {
        /// The lab.
        lab: String,
        /// Who keeps it.
        holder: LockHolder,
    },
    /// One that was asked to end did not.
    #[error("the keeper of lab {lab}, {holder}, does not end")]
    WillNotStop {
        /// The lab.
        lab: String,
        /// Who keeps it.
        holder: LockHolder,
    },
    /// Its program could not be started.
    #[error("cannot start the keeper with {program}: {source}")]
    Program {
        /// The program.
        program: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The state on disk.
    #[error(transparent)]
    State(#[from] StateError),
    /// The services could not be looked at.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}
