//! The one command to try after an error.

use std::path::Path;

use super::LabError;
use crate::provision::ProvisionError;
use crate::runtime::RuntimeError;
use crate::runtime::docker::DockerError;
use crate::shell::{quote, quote_path};
use crate::state::{Home, StateError};
use crate::vault::VaultError;

const START_OVER: &str = "vaultlab down --volumes && vaultlab up   # starts over; this lab's data is lost";

impl LabError {
    /// One command to try next.
    pub fn next_command(&self) -> String {
        if let Self::Runtime(RuntimeError::Docker(error)) = self
            && error.disk_is_full()
        {
            return "vaultlab prune   # the engine's disk is full (`docker system df`); with room, `vaultlab up` goes on"
                .into();
        }
        if self.disk_is_full() {
            return "df -h   # the disk is full: make room (`vaultlab prune` removes what no lab uses), then bring the lab up again".into();
        }
        if let Some(state) = self.state() {
            return next_for_state(state);
        }
        match self {
            Self::Spec(_) => {
                "vaultlab init example   # writes a lab that works into that folder, to compare with".into()
            }
            Self::Runtime(error) => next_for_runtime(error),
            Self::Provision(ProvisionError::KeysMissing { .. } | ProvisionError::WrongKeys { .. }) => {
                START_OVER.into()
            }
            Self::Provision(ProvisionError::NotOurs { path, .. }) => {
                let (path, aside) = (quote_path(path), quote_path(&path.with_added_extension("mine")));
                format!("mv {path} {aside} && vaultlab up   # or name another file under `deliver`")
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
            Self::Interrupted => "vaultlab status   # what there is of it now".into(),
            Self::Database(_)
            | Self::Keeper(_)
            | Self::State(_)
            | Self::UnknownRole { .. }
            | Self::UnknownAppRole { .. } => "vaultlab status".into(),
            Self::NoDatabase { .. } => {
                "vaultlab init example   # the lab that it writes has two databases".into()
            }
            Self::UnknownLease { .. } => "vaultlab leases".into(),
            Self::NoBreakGlass { .. } => "vaultlab up   # after `break_glass: on` in the lab file".into(),
            Self::NotGone { .. } => "vaultlab logs".into(),
            Self::UnknownVariable { .. } => "vaultlab env".into(),
            Self::OtherFile { lab, .. } => format!("vaultlab up --name {lab}-2"),
            Self::Program { program, .. } => {
                format!("command -v {}   # is it there, and on PATH?", quote(program))
            }
            Self::File { path, .. } => look_at(path),
            Self::Unasked => "vaultlab prune --yes".into(),
            Self::Server(_) => "vaultlab server --help".into(),
            Self::DatabaseUrl => "vaultlab bench --help".into(),
        }
    }
}

/// Shows a file, or what there is of the way to it.
fn look_at(path: &Path) -> String {
    let there = path.ancestors().find(|path| path.symlink_metadata().is_ok());
    let there = there.unwrap_or_else(|| Path::new("."));
    format!("ls -ld {}   # may this user use it?", quote_path(there))
}

fn next_for_state(error: &StateError) -> String {
    match error {
        StateError::NoHome => "VAULTLAB_HOME=/some/folder vaultlab up",
        // A file that an application reads, or that was asked for, lies elsewhere.
        StateError::Io { path, .. } if Home::discover().is_ok_and(|home| !home.holds(path)) => {
            return look_at(path);
        }
        StateError::Io { .. } => "VAULTLAB_HOME=/a/folder/of/yours vaultlab up",
        StateError::Damaged { .. } => START_OVER,
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
    .into()
}

fn next_for_runtime(error: &RuntimeError) -> String {
    match error {
        RuntimeError::PortTaken { .. } => {
            "vaultlab ls   # is it another lab's? or take the `port:` out of the lab file"
        }
        RuntimeError::Timeout { .. } => "vaultlab up --timeout 5m",
        RuntimeError::ProgramMissing { .. } => "vaultlab up   # once it is installed",
        RuntimeError::NoSuchService { .. } => "vaultlab status",
        RuntimeError::DataMismatch { .. }
        | RuntimeError::DataOfAnother { .. }
        | RuntimeError::AccountsLost { .. } => START_OVER,
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
        RuntimeError::Docker(error) => {
            return error
                .login()
                .unwrap_or_else(|| "vaultlab up --runtime process   # as programs of this host".into());
        }
        // In Vault's words, whose builds do not all have every one.
        error if error.log().iter().any(|line| line.to_lowercase().contains("unknown storage type")) => {
            "vaultlab up   # after `storage: raft` under `vault:` in the lab file: this program has no other"
        }
        error if !error.log().is_empty() => "vaultlab up --retain && vaultlab logs",
        _ => "vaultlab up --retain   # keeps everything, to look at it",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_without_the_storage_is_told_of_the_one_it_has() {
        let exited = |line: &str| {
            let log = vec![line.to_owned()];
            LabError::from(RuntimeError::Exited { service: "vault".into(), status: "1".into(), log })
        };
        let next = exited("Unknown storage type file").next_command();
        assert!(next.contains("`storage: raft`"), "{next}");
        assert_eq!(exited("no memory").next_command(), "vaultlab up --retain && vaultlab logs");
    }

    #[test]
    fn a_file_that_is_not_the_lab_s_own_is_looked_at() {
        let io = |path: &str| StateError::io("write", path)(std::io::ErrorKind::PermissionDenied.into());
        let error = LabError::from(io("/proc/it's none/webapp/agent.hcl"));
        assert_eq!(error.next_command(), "ls -ld /proc   # may this user use it?");
        let folder = tempfile::Builder::new().prefix("sp ace").tempdir().unwrap();
        let path = folder.path().join("a/b");
        let error = LabError::File { operation: "write", path, source: std::io::ErrorKind::NotFound.into() };
        assert_eq!(
            error.next_command(),
            format!("ls -ld '{}'   # may this user use it?", folder.path().display())
        );
    }
}
