//! Why something could not be done with a lab: with an exit code and one next command.

use crate::database::DatabaseError;
use crate::keeper::KeeperError;
use crate::provision::ProvisionError;
use crate::runtime::RuntimeError;
use crate::runtime::docker::DockerError;
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
    fn state(&self) -> Option<&StateError> {
        match self {
            Self::State(error)
            | Self::Provision(ProvisionError::State(error))
            | Self::Runtime(RuntimeError::State(error)) => Some(error),
            _ => None,
        }
    }

    /// What Vault answered, if that is what failed, however deep.
    fn vault(&self) -> Option<&VaultError> {
        match self {
            Self::Vault(error)
            | Self::Provision(ProvisionError::Vault(error) | ProvisionError::On { source: error, .. }) => {
                Some(error)
            }
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

    /// One command to try next; `None` where none would help.
    pub fn next_command(&self) -> Option<String> {
        if let Self::Runtime(RuntimeError::Docker(error)) = self
            && error.disk_is_full()
        {
            return Some(
                "vaultlab prune   # the engine's disk is full (`docker system df`); with room, `vaultlab up` goes on"
                    .into(),
            );
        }
        if self.disk_is_full() {
            return Some("df -h   # the disk is full: make room (`vaultlab prune` removes what no lab uses), then bring the lab up again".into());
        }
        if let Some(state) = self.state() {
            return Some(next_for_state(state).into());
        }
        Some(match self {
            Self::Spec(_) => "vaultlab init --help   # a lab file that works, to compare with".into(),
            Self::Runtime(RuntimeError::Docker(error)) if error.login().is_some() => {
                return error.login();
            }
            Self::Runtime(error) => next_for_runtime(error).into(),
            Self::Provision(ProvisionError::KeysMissing { .. } | ProvisionError::WrongKeys { .. }) => {
                "vaultlab down --volumes && vaultlab up   # starts over; this lab's data is lost".into()
            }
            Self::Provision(ProvisionError::NotOurs { path, .. }) => {
                let path = path.display();
                format!("mv {path} {path}.mine && vaultlab up   # or name another file under `deliver`")
            }
            Self::Provision(_) => "vaultlab up --retain   # keeps the services, to look at them".into(),
            Self::Vault(_) => match self.vault() {
                Some(error) if error.is_status(403) => {
                    "vaultlab up   # gives commands a token that Vault accepts".into()
                }
                Some(VaultError::Unreachable { .. }) => "vaultlab status".into(),
                _ => "vaultlab logs vault".into(),
            },
            Self::NotRunning { .. } => "vaultlab up".into(),
            Self::Timeout { .. } => "vaultlab up --timeout 5m".into(),
            Self::Database(_) | Self::Keeper(_) | Self::UnknownRole { .. } | Self::UnknownAppRole { .. } => {
                "vaultlab status".into()
            }
            Self::NoDatabase { .. } => {
                "vaultlab init --help   # the lab that it writes has two databases".into()
            }
            Self::UnknownLease { .. } => "vaultlab leases".into(),
            Self::NoBreakGlass { .. } => "vaultlab up   # after `break_glass: on` in the lab file".into(),
            Self::NotGone { .. } => "vaultlab logs".into(),
            Self::UnknownVariable { .. } => "vaultlab env".into(),
            Self::OtherFile { lab, .. } => format!("vaultlab up --name {lab}-2"),
            Self::Program { program, .. } => format!("command -v {program}   # is it there, and on PATH?"),
            Self::File { path, .. } => format!("ls -ld {}", path.display()),
            Self::Unasked => "vaultlab prune --yes".into(),
            Self::Server(_) => "vaultlab server --help".into(),
            Self::DatabaseUrl => "vaultlab bench --help".into(),
            Self::State(_) | Self::Interrupted => return None,
        })
    }

    /// Whether this failed for lack of room: the system says so, or the service did in its log.
    fn disk_is_full(&self) -> bool {
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

fn next_for_state(error: &StateError) -> &'static str {
    match error {
        StateError::NoHome => "VAULTLAB_HOME=/some/folder vaultlab up",
        StateError::Io { .. } => "VAULTLAB_HOME=/a/folder/of/yours vaultlab up",
        StateError::Damaged { .. } => {
            "vaultlab down --volumes && vaultlab up   # starts over; this lab's data is lost"
        }
        StateError::NoPassphrase { .. } | StateError::WrongPassphrase { .. } => {
            "VAULTLAB_KEY_PASSPHRASE_FILE=/path/to/passphrase vaultlab up"
        }
        StateError::NoIdentity { .. } | StateError::WrongIdentity { .. } => {
            "VAULTLAB_KEY_IDENTITY_FILE=/path/to/identity vaultlab up"
        }
        StateError::Newer { .. } => "vaultlab --version   # then install the newer one",
        StateError::Locked { .. } | StateError::Encryption { .. } => "vaultlab status",
        StateError::Name { .. } | StateError::TemplatesInUse => "vaultlab ls",
    }
}

fn next_for_runtime(error: &RuntimeError) -> &'static str {
    match error {
        RuntimeError::PortTaken { .. } => {
            "vaultlab ls   # is it another lab's? or take the `port:` out of the lab file"
        }
        RuntimeError::Timeout { .. } => "vaultlab up --timeout 5m",
        RuntimeError::ProgramMissing { .. } => "vaultlab up   # once it is installed",
        RuntimeError::NoSuchService { .. } => "vaultlab status",
        RuntimeError::DataMismatch { .. }
        | RuntimeError::DataOfAnother { .. }
        | RuntimeError::AccountsLost { .. } => {
            "vaultlab down --volumes && vaultlab up   # starts over; this lab's data is lost"
        }
        RuntimeError::Docker(DockerError::Operation { status: None, .. }) => {
            "docker info   # does the engine answer? then `vaultlab up` goes on from what it finds"
        }
        RuntimeError::Docker(DockerError::Remote { .. }) => {
            "docker context ls   # is there an engine of this machine? else run vaultlab on the engine's"
        }
        RuntimeError::Docker(DockerError::ImageStale { .. }) => {
            "vaultlab up --pull missing   # with the one that is here"
        }
        RuntimeError::Docker(DockerError::Credentials { .. }) => {
            "docker logout   # of that registry; or mend `credsStore`, `credHelpers` or `auths` in ~/.docker/config.json"
        }
        RuntimeError::Docker(_) => "vaultlab up --runtime process   # as programs of this host",
        error if !error.log().is_empty() => "vaultlab up --retain && vaultlab logs",
        _ => "vaultlab up --retain   # keeps everything, to look at it",
    }
}
