//! Why a service could not be run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::docker::DockerError;
use crate::database::{DatabaseError, ScriptError};
use crate::service::ServiceKind;
use crate::state::StateError;

/// A failed operation on a service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The host has no program for it.
    #[error("{service}: this host has no {what}: {hint}")]
    ProgramMissing {
        /// The service.
        service: String,
        /// What was looked for, as in "PostgreSQL server".
        what: String,
        /// How to get it.
        hint: String,
    },
    /// A program was found but is not one that can be used.
    #[error("{service}: {} cannot be used: {cause}", program.display())]
    ProgramUnusable {
        /// The service.
        service: String,
        /// The program.
        program: PathBuf,
        /// Why not.
        cause: String,
    },
    /// The port that was asked for is in use.
    #[error("{service}: port {port} is taken by {holder}")]
    PortTaken {
        /// The service.
        service: String,
        /// The port.
        port: u16,
        /// Who has it, as far as can be told.
        holder: String,
    },
    /// A file or folder operation failed.
    #[error("{service}: cannot {operation} {}: {source}", path.display())]
    Folder {
        /// The service.
        service: String,
        /// What was tried, as in "write".
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A program could not be started, looked at or signalled.
    #[error("{service}: cannot {operation} {program}: {source}")]
    Process {
        /// The service.
        service: String,
        /// What was tried, as in "start".
        operation: &'static str,
        /// The program.
        program: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Initialising the data failed.
    #[error("{service}: {program} could not initialise the data: {status}")]
    Initialise {
        /// The service.
        service: String,
        /// The program that was to do it.
        program: String,
        /// How it ended.
        status: String,
        /// Its last lines.
        output: Vec<String>,
    },
    /// It ended while it was needed.
    #[error("{service} ended unasked: {status}")]
    Exited {
        /// The service.
        service: String,
        /// How it ended.
        status: String,
        /// Its last log lines.
        log: Vec<String>,
    },
    /// It was not ready in time.
    #[error("{service} was not ready after {:.1} s: {last}", waited.as_secs_f64())]
    Timeout {
        /// The service.
        service: String,
        /// How long it was waited for.
        waited: Duration,
        /// What the last probe said.
        last: String,
        /// Its last log lines.
        log: Vec<String>,
    },
    /// It did not end when it was told to.
    #[error("{service} (pid {pid}) does not end, not even when killed")]
    WillNotStop {
        /// The service.
        service: String,
        /// Its process.
        pid: u32,
    },
    /// There is no log yet, or no such service.
    #[error("there is no service {service} in this lab, or it has never run")]
    NoSuchService {
        /// The service.
        service: String,
    },
    /// The lab's own SQL failed.
    #[error("{service}: {source}")]
    Script {
        /// The service.
        service: String,
        /// Where, and what the database said.
        source: Box<ScriptError>,
    },
    /// Making the accounts or setting their passwords failed.
    #[error("{service}: {source}")]
    Database {
        /// The service.
        service: String,
        /// What failed.
        source: Box<DatabaseError>,
    },
    /// Data is there whose passwords are not known any more.
    #[error(
        "{service}: its data is there, but the lab's accounts file does not know its passwords: remove the data with `vaultlab down --volumes` and bring the lab up again"
    )]
    AccountsLost {
        /// The service.
        service: String,
    },
    /// The kept data belongs to another server than the one found now.
    #[error(
        "{service}: its data was made by {made_by}, this host now has {found}: bring the old version back, or remove the data with `vaultlab down --volumes`"
    )]
    DataMismatch {
        /// The service.
        service: String,
        /// Program and version that made the data.
        made_by: String,
        /// Program and version found now.
        found: String,
    },
    /// The kept data is of something else than the lab file now asks for.
    #[error(
        "{service}: its data was made for {made_for}, and the lab file now says {wanted}: change that back, or remove the data with `vaultlab down --volumes`"
    )]
    DataOfAnother {
        /// The service.
        service: String,
        /// What the data is of, as in "PostgreSQL".
        made_for: String,
        /// What the lab file says.
        wanted: String,
    },
    /// The lab's state could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The container engine failed, or is not there.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// Something this runtime, or this machine, does not offer.
    #[error("{service}: {cause}")]
    Unsupported {
        /// The service.
        service: String,
        /// What, and what to do instead.
        cause: String,
    },
}

impl RuntimeError {
    pub(super) fn database(service: &str) -> impl FnOnce(DatabaseError) -> Self {
        let service = service.to_owned();
        move |source| Self::Database { service, source: Box::new(source) }
    }

    pub(super) fn script(service: &str) -> impl FnOnce(ScriptError) -> Self {
        let service = service.to_owned();
        move |source| Self::Script { service, source: Box::new(source) }
    }

    /// The service it is about; empty where the lab's state or the container engine is what failed.
    pub fn service(&self) -> &str {
        match self {
            Self::ProgramMissing { service, .. }
            | Self::ProgramUnusable { service, .. }
            | Self::PortTaken { service, .. }
            | Self::Folder { service, .. }
            | Self::Process { service, .. }
            | Self::Initialise { service, .. }
            | Self::Exited { service, .. }
            | Self::Timeout { service, .. }
            | Self::WillNotStop { service, .. }
            | Self::NoSuchService { service }
            | Self::Script { service, .. }
            | Self::Database { service, .. }
            | Self::AccountsLost { service }
            | Self::DataMismatch { service, .. }
            | Self::DataOfAnother { service, .. }
            | Self::Unsupported { service, .. } => service,
            Self::State(_) | Self::Docker(_) => "",
        }
    }

    /// The service's last log lines, where the error is about a service that failed. They are not
    /// part of its text.
    pub fn log(&self) -> &[String] {
        match self {
            Self::Exited { log, .. } | Self::Timeout { log, .. } => log,
            Self::Initialise { output, .. } => output,
            _ => &[],
        }
    }
}

/// Names the file or folder of an I/O error.
pub(super) fn folder(
    service: &str,
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> RuntimeError {
    let (service, path) = (service.to_owned(), path.to_path_buf());
    move |source| RuntimeError::Folder { service, operation, path, source }
}

/// The package to install for a kind of service, per platform.
pub fn install_hint(kind: ServiceKind) -> &'static str {
    let (debian, fedora, brew) = match kind {
        ServiceKind::Postgres => (
            "`apt-get install postgresql`",
            "`dnf install postgresql-server`",
            "`brew install postgresql@17`",
        ),
        ServiceKind::Mysql => {
            ("`apt-get install mariadb-server`", "`dnf install mariadb-server`", "`brew install mariadb`")
        }
        ServiceKind::Vault => {
            return "install `vault` or `bao` and name it in VAULTLAB_VAULT_BIN, or choose the flavour `embedded`, which needs nothing";
        }
    };
    match Platform::current() {
        Platform::Debian => debian,
        Platform::Fedora => fedora,
        Platform::Mac => brew,
        Platform::Other => match kind {
            ServiceKind::Postgres => {
                "install the PostgreSQL server package (Debian: postgresql, Fedora: postgresql-server, Homebrew: postgresql@17)"
            }
            _ => "install the package mariadb-server (Homebrew: mariadb)",
        },
    }
}

enum Platform {
    Debian,
    Fedora,
    Mac,
    Other,
}

impl Platform {
    fn current() -> Self {
        if cfg!(target_os = "macos") {
            return Self::Mac;
        }
        let exists = |path: &str| std::path::Path::new(path).exists();
        if exists("/etc/debian_version") {
            Self::Debian
        } else if exists("/etc/fedora-release") || exists("/etc/redhat-release") {
            Self::Fedora
        } else {
            Self::Other
        }
    }
}
