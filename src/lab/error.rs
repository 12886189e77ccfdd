//! Why something could not be done with a lab, with an exit code.

use crate::database::DatabaseError;
use crate::keeper::KeeperError;
use crate::provision::ProvisionError;
use crate::runtime::RuntimeError;
use crate::spec::SpecError;
use crate::state::StateError;
use crate::vault::VaultError;

/// An operation on a lab that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The lab file is wrong; all its problems at once.
    #[error("{0}")]
    Spec(#[from] SpecError),
    /// The state on disk.
    #[error(transparent)]
    State(#[from] StateError),
    /// A service could not be run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Provisioning stopped.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// Vault refused or does not answer.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A direct connection to a database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The keeper could not begin, or not be ended.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The lab is not up.
    #[error("lab {lab} is not running{detail}")]
    NotRunning {
        /// The lab.
        lab: String,
        /// What exactly is missing; may be empty.
        detail: String,
    },
    /// The lab has no role of that name.
    #[error("lab {lab} has no role {role:?}; it has {}", listed(known))]
    UnknownRole {
        /// The lab.
        lab: String,
        /// The name as given.
        role: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The lab keeps no account outside Vault in that database.
    #[error("lab {lab} keeps no break-glass account in {database:?}{}", .known.first().map(|_| format!("; it does in {}", known.join(", "))).unwrap_or_default())]
    NoBreakGlass {
        /// The lab.
        lab: String,
        /// The database as given.
        database: String,
        /// Those in which it does.
        known: Vec<String>,
    },
    /// The lab has no AppRole of that name.
    #[error("lab {lab} has no AppRole {approle:?}; it has {}", listed(known))]
    UnknownAppRole {
        /// The lab.
        lab: String,
        /// The name as given.
        approle: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// There is nothing to show on the lab.
    #[error("lab {lab} has no database: there is nothing to check")]
    NoDatabase {
        /// The lab.
        lab: String,
    },
    /// There is no such lease.
    #[error("lab {lab} has no lease, account or role {wanted:?}")]
    UnknownLease {
        /// The lab.
        lab: String,
        /// What was given.
        wanted: String,
    },
    /// Something was removed and is still there.
    #[error("{what} was removed, and is still there")]
    NotGone {
        /// What.
        what: String,
    },
    /// The name is taken by a lab that comes from elsewhere.
    #[error("lab {lab} comes from {theirs}; this one is {ours}: give it a name of its own")]
    OtherFile {
        /// The name.
        lab: String,
        /// Where the existing lab comes from.
        theirs: String,
        /// What was to be brought up under its name.
        ours: String,
    },
    /// `--map` names a variable the lab does not have.
    #[error("there is no variable {variable:?}; there are {}", listed(known))]
    UnknownVariable {
        /// The name as given.
        variable: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A program could not be run.
    #[error("cannot run {program}: {source}")]
    Program {
        /// The program.
        program: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file could not be written or read.
    #[error("cannot {operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A database's URL cannot be read; it holds a password and is not shown.
    #[error("the database's URL is none: write it as in postgresql://USER:PASSWORD@127.0.0.1:5432/DATABASE")]
    DatabaseUrl,
    /// The embedded server could not run.
    #[error(transparent)]
    Server(vaultlab_server::server::RunError),
    /// Time was up.
    #[error("lab {lab} was not up after {seconds} s; the last step was: {step}")]
    Timeout {
        /// The lab.
        lab: String,
        /// The limit.
        seconds: u64,
        /// What was being done.
        step: String,
    },
    /// There is nobody to ask whether things may be removed.
    #[error("nothing was removed, for there is no terminal to ask on")]
    Unasked,
    /// Interrupted by the user.
    #[error("interrupted")]
    Interrupted,
}

impl LabError {
    /// What is wrong with the state on disk, if that is what failed, however deep.
    pub(super) fn state(&self) -> Option<&StateError> {
        match self {
            Self::State(error)
            | Self::Provision(ProvisionError::State(error))
            | Self::Runtime(RuntimeError::State(error)) => Some(error),
            _ => None,
        }
    }

    /// What Vault answered, if that is what failed, however deep.
    pub(super) fn vault(&self) -> Option<&VaultError> {
        match self {
            Self::Vault(error)
            | Self::Provision(
                ProvisionError::Vault(error)
                | ProvisionError::On { source: error, .. }
                | ProvisionError::Credential { source: error, .. },
            ) => Some(error),
            _ => None,
        }
    }

    /// The program's exit code, as documented in `docs/exit-codes.md`.
    pub fn exit_code(&self) -> u8 {
        match self.state() {
            Some(StateError::Name { .. }) => return 2,
            Some(StateError::Locked { .. } | StateError::TemplatesInUse) => return 8,
            Some(_) => return 11,
            None => {}
        }
        match self {
            Self::UnknownRole { .. }
            | Self::UnknownAppRole { .. }
            | Self::UnknownVariable { .. }
            | Self::UnknownLease { .. }
            | Self::NoBreakGlass { .. }
            | Self::NoDatabase { .. }
            | Self::OtherFile { .. }
            | Self::DatabaseUrl
            | Self::Unasked
            | Self::Runtime(RuntimeError::NoSuchService { .. }) => 2,
            Self::Spec(_) => 3,
            Self::Runtime(RuntimeError::ProgramMissing { .. } | RuntimeError::ProgramUnusable { .. }) => 4,
            Self::Timeout { .. } | Self::Runtime(RuntimeError::Timeout { .. }) => 10,
            Self::Runtime(_) | Self::Keeper(KeeperError::Runtime(_)) => 5,
            Self::NotGone { .. } | Self::Provision(ProvisionError::NotProven { .. }) => 7,
            Self::Provision(_) | Self::Vault(_) | Self::Database(_) => 6,
            Self::Keeper(KeeperError::Kept { .. } | KeeperError::WillNotStop { .. }) => 8,
            Self::NotRunning { .. } => 9,
            Self::Keeper(_) | Self::State(_) | Self::Program { .. } | Self::File { .. } | Self::Server(_) => {
                11
            }
            Self::Interrupted => 130,
        }
    }

    /// Whether this failed for lack of room: the system says so, or the service did in its log.
    pub(super) fn disk_is_full(&self) -> bool {
        let told = |text: &str| {
            ["No space left on device", "out of disk space", "free disk space"]
                .iter()
                .any(|words| text.contains(words))
        };
        told(&self.to_string()) || self.service_log().iter().any(|line| told(line))
    }

    /// The service the error is about; empty when it is about none.
    pub fn service(&self) -> &str {
        match self {
            Self::Runtime(
                RuntimeError::Exited { service, .. }
                | RuntimeError::Timeout { service, .. }
                | RuntimeError::Initialise { service, .. },
            ) => service,
            _ => "",
        }
    }

    /// Log lines of the service that failed, if the error is about one.
    pub fn service_log(&self) -> &[String] {
        match self {
            Self::Runtime(error) => error.log(),
            _ => &[],
        }
    }
}

/// Names, or that there is none.
fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
