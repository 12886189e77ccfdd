//! An engine behind `ssh://`: as with the Docker CLI, every connection to it is a `docker system
//! dial-stdio` that ssh runs there.
//!
//! The library's own way takes no port and logs in anew for each of them. Here a socket in a private folder
//! stands between, which to the library is an engine of this machine; and one login serves all.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::{JoinHandle, JoinSet};

/// How long ssh may take to get there, in seconds; the first answer is waited for no longer.
const CONNECT: &str = "ConnectTimeout=9";

/// How long ssh may take to end once nothing comes any more.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Pause between two looks whether ssh has logged in.
const LOOK: Duration = Duration::from_millis(10);

/// Where the engine is: `ssh://[USER@]HOST[:PORT][/SOCKET]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SshTarget {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// A socket other than the one Docker's client there uses.
    socket: Option<String>,
    /// The socket of a login that others share.
    login: Option<PathBuf>,
}

impl SshTarget {
    /// Reads what comes after `ssh://`; the error is what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (authority, path) = text.split_once('/').map_or((text, ""), |(host, path)| (host, path));
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err("a password does not belong into an ssh address: use a key");
        }
        // An IPv6 address is in brackets.
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':').or(Some("").filter(|_| rest.is_empty()))),
            None => place.split_once(':').map_or((place, Some("")), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            Some("") if !place.ends_with(':') => None,
            Some(port) => Some(port.parse().map_err(|_| "its port is no number from 1 to 65535")?),
            None => return Err("it is not ssh://[USER@]HOST[:PORT]"),
        };
        // Neither may be taken for an option of ssh.
        if host.is_empty() || [Some(host), user].into_iter().flatten().any(|word| word.starts_with('-')) {
            return Err("it is not ssh://[USER@]HOST[:PORT]");
        }
        // The shell over there reads it.
        if !path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) {
            return Err("the path of its socket has other characters than letters, digits and / . _ -");
        }
        Ok(Self {
            user: user.filter(|user| !user.is_empty()).map(Into::into),
            host: host.into(),
            port,
            socket: Some(path).filter(|path| !path.is_empty()).map(|path| format!("/{path}")),
            login: None,
        })
    }

    fn run(&self, there: &[&str]) -> Command {
        self.ssh(&["-o", "ControlMaster=no"], there)
    }

    /// `ssh` with what is to be run there.
    fn ssh(&self, options: &[&str], there: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command.args(options);
        // Nobody is there to be asked for anything; what is wrong is told at once.
        command.args(["-T", "-o", "BatchMode=yes", "-o", CONNECT]);
        if let Some(login) = &self.login {
            // Where it is not there, or serves too many already, ssh logs in by itself.
            command.arg("-S").arg(login);
        }
        if let Some(user) = &self.user {
            command.args(["-l", user]);
        }
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        // Ctrl-C is this program's own affair: it still needs the engine.
        command.arg("--").arg(&self.host).args(there).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn dial(&self) -> Command {
        let socket = self.socket.as_ref().map(|socket| format!("unix://{socket}"));
        let host = socket.iter().flat_map(|socket| ["--host", socket]);
        let there: Vec<&str> = ["docker"].into_iter().chain(host).chain(["system", "dial-stdio"]).collect();
        self.run(&there)
    }

    /// Logs in, for all that comes after; ends with its standard input.
    fn log_in(&self) -> Command {
        let mut command = self.ssh(&["-M"], &["cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        command
    }

    /// Whether its loopback interface is this machine's: it runs the same kernel since the same start, in
    /// the same network namespace. A name tells nothing: `localhost:2222` may be a tunnel.
    async fn is_here(&self) -> bool {
        const BOOT: &str = "/proc/sys/kernel/random/boot_id";
        const NETWORK: &str = "/proc/self/ns/net";
        let (Ok(boot), Ok(network)) = (std::fs::read_to_string(BOOT), std::fs::read_link(NETWORK)) else {
            return false;
        };
        let Ok(output) = self.run(&["cat", BOOT, "&&", "readlink", NETWORK]).output().await else {
            return false;
        };
        let told = String::from_utf8_lossy(&output.stdout);
        output.status.success()
            && told.split_whitespace().eq([boot.trim(), network.to_string_lossy().as_ref()])
    }
}

/// A socket of this program's own, behind which ssh leads to the engine.
#[derive(Debug)]
pub(super) struct Gate {
    /// Nobody else can get at what is in it.
    folder: tempfile::TempDir,
    target: SshTarget,
    /// The login that all connections share, and its words, which it must be able to say.
    _login: (Child, ChildStderr),
    accepting: JoinHandle<()>,
    said: Arc<Mutex<String>>,
}

impl Gate {
    /// Logs in. The error is why that cannot be done.
    pub async fn open(mut target: SshTarget) -> Result<Self, String> {
        let here = |error: std::io::Error| format!("a socket of its own for ssh: {error}");
        let private = std::fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("vaultlab-").permissions(private).tempdir();
        let folder = folder.map_err(here)?;
        let listener = UnixListener::bind(folder.path().join("engine.sock")).map_err(here)?;
        let socket = folder.path().join("login");
        target.login = Some(socket.clone());
        let no_ssh = |error: std::io::Error| format!("cannot run ssh: {error}");
        let mut login = target.log_in().spawn().map_err(no_ssh)?;
        let mut words = login.stderr.take().ok_or("ssh has no words")?;
        let mut said = String::new();
        let logged_in = async {
            while !socket.exists() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = logged_in => {}
            // It has ended.
            _ = words.read_to_string(&mut said) => {
                return Err(last_line(&said).unwrap_or("ssh ended without a word").to_owned());
            }
        }
        let said = Arc::<Mutex<String>>::default();
        let (dialled, saying) = (target.clone(), said.clone());
        let accepting = tokio::spawn(async move {
            // They end with this task.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(pass(client, dialled.dial(), saying.clone()));
            }
        });
        Ok(Self { folder, target, _login: (login, words), accepting, said })
    }

    /// Whether the engine's loopback interface is this machine's.
    pub async fn is_here(&self) -> bool {
        self.target.is_here().await
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    /// What ssh, or the client over there, said last; empty when that was nothing.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One connection, until the engine ends it.
async fn pass(client: UnixStream, mut dial: Command, said: Arc<Mutex<String>>) {
    let say = |text: String| *said.lock().unwrap_or_else(PoisonError::into_inner) = text;
    let mut child = match dial.stdin(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return say(format!("cannot run ssh: {error}")),
    };
    let (Some(mut to_engine), Some(mut from_engine)) = (child.stdin.take(), child.stdout.take()) else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let asking = async {
        // Whichever side fails ends the connection; the library tells of it.
        drop(tokio::io::copy(&mut from_client, &mut to_engine).await);
        drop(to_engine);
        std::future::pending::<()>().await;
    };
    let answering = async {
        drop(tokio::io::copy(&mut from_engine, &mut to_client).await);
        // Before the client sees its connection end, which it asks about.
        if let Ok(Ok(output)) = tokio::time::timeout(LAST_WORDS, child.wait_with_output()).await
            && let Some(line) = last_line(&String::from_utf8_lossy(&output.stderr))
        {
            say(line.to_owned());
        }
    };
    tokio::select! {
        () = asking => {}
        () = answering => {}
    }
}

fn last_line(text: &str) -> Option<&str> {
    text.trim().lines().last().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(user: Option<&str>, host: &str, port: Option<u16>, socket: Option<&str>) -> SshTarget {
        SshTarget {
            user: user.map(Into::into),
            host: host.into(),
            port,
            socket: socket.map(Into::into),
            login: None,
        }
    }

    #[test]
    fn addresses_are_those_of_the_docker_cli() {
        for (text, wanted) in [
            ("far", target(None, "far", None, None)),
            ("me@far:2222", target(Some("me"), "far", Some(2222), None)),
            ("me@[fe80::1]:22", target(Some("me"), "fe80::1", Some(22), None)),
            ("[::1]", target(None, "::1", None, None)),
            ("a@b@far/run/x.sock", target(Some("a@b"), "far", None, Some("/run/x.sock"))),
            ("far/", target(None, "far", None, None)),
        ] {
            assert_eq!(SshTarget::parse(text).as_ref(), Ok(&wanted), "{text}");
        }
        for wrong in [
            "",
            "me@",
            "far:",
            "far:x",
            "far:0x1",
            "far:99999",
            "me:secret@far",
            "-oProxyCommand=x",
            "-l@far",
            "far/a;b",
            "far/$(x)",
            "[::1",
            "[::1]x",
        ] {
            assert!(SshTarget::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_of_an_address_is_an_option_and_nobody_is_asked() {
        let dial = target(Some("me"), "far", Some(2222), Some("/run/x.sock")).dial();
        let line: Vec<_> = dial.as_std().get_args().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(
            line.join(" "),
            "-o ControlMaster=no -T -o BatchMode=yes -o ConnectTimeout=9 -l me -p 2222 -- far \
             docker --host unix:///run/x.sock system dial-stdio"
        );
    }
}
