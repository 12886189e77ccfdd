//! A sshd of a test's own on a port of 127.0.0.1, with keys of its own, and a `ssh` that knows it.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{eventually, text};

/// The name by which the client's configuration knows it.
pub const ALIAS: &str = "vaultlab-test-engine";

pub struct OwnSshd {
    child: Child,
    folder: tempfile::TempDir,
    pub port: u16,
}

impl OwnSshd {
    /// With these further lines of configuration. `None`, with a word, where it cannot run; where
    /// `VAULTLAB_REQUIRE_DOCKER` is set it must.
    pub fn start(configuration: &str) -> Option<Self> {
        let skip = |cause: &str| {
            let required = std::env::var_os("VAULTLAB_REQUIRE_DOCKER").is_some();
            assert!(!required, "VAULTLAB_REQUIRE_DOCKER is set, but {cause}");
            eprintln!("skipped: {cause}");
            None
        };
        // Not on everybody's path; and it wants to be called by its whole name.
        let Some(program) =
            ["/usr/sbin/sshd", "/usr/bin/sshd", "/sbin/sshd"].iter().find(|path| Path::new(path).exists())
        else {
            return skip("there is no sshd (Debian: apt-get install openssh-server)");
        };
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path(key))
                .status()
                .expect("ssh-keygen");
            assert!(made.success(), "ssh-keygen");
        }
        if nix::unistd::geteuid().is_root() {
            // Where it shuts in what it does not trust; its package's service makes that.
            std::fs::create_dir_all("/run/sshd").expect("a folder");
        }
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("a port").port();
        let show = |name: &str| path(name).display().to_string();
        std::fs::write(
            path("sshd_config"),
            format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
                 StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n\
                 MaxStartups 100\n{configuration}\n",
                show("host"),
                show("user.pub"),
            ),
        )
        .expect("a file");
        let host_key = std::fs::read_to_string(path("host.pub")).expect("a key");
        std::fs::write(path("known"), format!("[127.0.0.1]:{port} {host_key}")).expect("a file");
        std::fs::write(
            path("ssh_config"),
            format!(
                "Host {ALIAS}\n  HostName 127.0.0.1\n  Port {port}\n\
                 Host *\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n\
                   StrictHostKeyChecking yes\n",
                show("user"),
                show("known"),
            ),
        )
        .expect("a file");
        // The client looks for its configuration where the password file says, whatever HOME is.
        let ssh = which::which("ssh").expect("ssh, which comes with sshd");
        let script = format!("#!/bin/sh\nexec {} -F '{}' \"$@\"\n", ssh.display(), show("ssh_config"));
        std::fs::create_dir(path("bin")).expect("a folder");
        std::fs::write(path("bin/ssh"), script).expect("a script");
        std::fs::set_permissions(path("bin/ssh"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("a script");
        let log = std::fs::File::create(path("log")).expect("a log");
        let child = Command::new(program)
            .args(["-D", "-e", "-f"])
            .arg(path("sshd_config"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd");
        let sshd = Self { child, folder, port };
        eventually("sshd answers", Duration::from_secs(30), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let entered =
            Command::new(sshd.path("bin/ssh")).args(["-o", "BatchMode=yes", ALIAS, "true"]).output();
        let entered = entered.expect("ssh");
        if !entered.status.success() {
            let log = std::fs::read_to_string(sshd.path("log")).unwrap_or_default();
            return skip(&format!("its own sshd lets nobody in: {} {log}", text(&entered.stderr)));
        }
        Some(sshd)
    }

    /// For `PATH`: finds the `ssh` that knows this sshd first.
    pub fn search_path(&self) -> String {
        format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap_or_default())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for OwnSshd {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
