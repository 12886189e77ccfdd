//! Why something could not be done with a lab: with an exit code and one next command.

use crate::database::DatabaseError;
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
    /// The lab is not up.
    #[error("lab {lab} is not running{detail}")]
    NotRunning {
        /// The lab.
        lab: String,
        /// What exactly is missing; may be empty.
        detail: String,
    },
    /// The lab has no role of that name.
    #[error("lab {lab} has no role {role:?}; it has {}", known.join(", "))]
    UnknownRole {
        /// The lab.
        lab: String,
        /// The name as given.
        role: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The lab has no AppRole of that name.
    #[error("lab {lab} has no AppRole {approle:?}; it has {}", known.join(", "))]
    UnknownAppRole {
        /// The lab.
        lab: String,
        /// The name as given.
        approle: String,
        /// The names there are.
        known: Vec<String>,
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
    #[error("there is no variable {variable:?}; there are {}", known.join(", "))]
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
    /// Interrupted by the user.
    #[error("interrupted")]
    Interrupted,
}

impl LabError {
    /// The program's exit code, as documented in `docs/exit-codes.md`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::UnknownRole { .. }
            | Self::UnknownAppRole { .. }
            | Self::UnknownVariable { .. }
            | Self::OtherFile { .. }
            | Self::Runtime(RuntimeError::NoSuchService { .. })
            | Self::State(StateError::Name { .. }) => 2,
            Self::Spec(_) => 3,
            Self::Runtime(RuntimeError::ProgramMissing { .. } | RuntimeError::ProgramUnusable { .. }) => 4,
            Self::Timeout { .. } | Self::Runtime(RuntimeError::Timeout { .. }) => 10,
            Self::Runtime(_) => 5,
            Self::Provision(ProvisionError::NotProven { .. }) => 7,
            Self::Provision(_) | Self::Vault(_) | Self::Database(_) => 6,
            Self::State(StateError::Locked { .. }) => 8,
            Self::NotRunning { .. } => 9,
            Self::State(_) | Self::Program { .. } | Self::File { .. } | Self::Server(_) => 11,
            Self::Interrupted => 130,
        }
    }

    /// One command to try next.
    pub fn next_command(&self) -> Option<String> {
        Some(match self {
            Self::Spec(_) => "vaultlab init --help   # a lab file that works, to compare with".into(),
            Self::Runtime(RuntimeError::PortTaken { .. }) => {
                "vaultlab ls   # is it another lab's? or take the `port:` out of the lab file".into()
            }
            Self::Runtime(error)
                if !matches!(error, RuntimeError::Timeout { .. }) && !error.log().is_empty() =>
            {
                "vaultlab up --retain && vaultlab logs".into()
            }
            Self::Provision(
                ProvisionError::KeysMissing { .. }
                | ProvisionError::WrongKeys { .. }
                | ProvisionError::RootTokenRefused { .. },
            ) => "vaultlab down --volumes && vaultlab up   # starts over; this lab's data is lost".into(),
            Self::Provision(_) => "vaultlab up --retain   # keeps the services, to look at them".into(),
            Self::State(StateError::NoHome) => "VAULTLAB_HOME=/some/folder vaultlab up".into(),
            Self::NotRunning { .. } => "vaultlab up".into(),
            Self::Timeout { .. } | Self::Runtime(RuntimeError::Timeout { .. }) => {
                "vaultlab up --timeout 5m".into()
            }
            Self::State(StateError::Locked { .. })
            | Self::UnknownRole { .. }
            | Self::UnknownAppRole { .. } => "vaultlab status".into(),
            Self::UnknownVariable { .. } => "vaultlab env".into(),
            Self::OtherFile { lab, .. } => format!("vaultlab up --name {lab}-2"),
            _ => return None,
        })
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
