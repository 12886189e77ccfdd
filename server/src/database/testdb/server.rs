//! A database process that dies with the tests.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Unavailable;

const START_LIMIT: Duration = Duration::from_secs(30);

/// Runs the program given as arguments and kills it at the next line of standard input. When the input ends
/// instead, the test process is gone, and the server's folder (`$0`) goes too.
const GUARD: &str = r#"
"$@" </dev/null & pid=$!
echo $pid
read line && keep=1
kill -9 $pid
wait $pid
[ "$keep" ] || rm -rf "$0""#;

/// A running (or killed) database server.
pub struct Server {
    /// Its TCP port on 127.0.0.1.
    pub port: u16,
    program: PathBuf,
    arguments: Vec<String>,
    account: Option<(u32, u32)>,
    guard: Mutex<Option<Child>>,
    dir: TempDir,
}

impl Server {
    /// Starts `program`; `arguments` are made from the server's folder and port.
    pub(super) fn start(
        program: PathBuf,
        account: Option<(u32, u32)>,
        dir: TempDir,
        arguments: impl Fn(&Path, u16) -> Vec<String>,
    ) -> Result<Self, Unavailable> {
        let port = free_port();
        let arguments = arguments(dir.path(), port);
        let server = Self { port, program, arguments, account, guard: Mutex::new(None), dir };
        server.launch().map_err(Unavailable::Failed)?;
        Ok(server)
    }

    /// The server's folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Kills the server the hard way and waits until it is gone.
    pub fn kill(&self) {
        if let Some(mut guard) = self.guard.lock().unwrap().take() {
            // A guard that is gone already has done its work.
            let _ = guard.stdin.take().map(|mut input| input.write_all(b"\n"));
            guard.wait().unwrap();
            // Children of PostgreSQL end a moment after their parent, on a busy machine a long one, and
            // hold its shared memory until then.
            let deadline = Instant::now() + START_LIMIT;
            loop {
                let children = working_in(&self.dir().join("data"));
                if children.is_empty() || Instant::now() > deadline {
                    break;
                }
                let _ = Command::new("kill").arg("-9").args(children).stderr(Stdio::null()).status();
                sleep(Duration::from_millis(10));
            }
        }
    }

    /// Starts a killed server again, on the same port and data.
    pub fn restart(&self) {
        self.kill();
        let _ = fs::remove_file(self.dir().join("data/postmaster.pid"));
        let deadline = Instant::now() + START_LIMIT;
        while let Err(reason) = self.launch() {
            assert!(Instant::now() < deadline, "restart: {reason}");
            sleep(Duration::from_millis(50));
        }
    }

    fn launch(&self) -> Result<(), String> {
        let log = fs::File::create(self.dir().join("log")).map_err(|e| e.to_string())?;
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(GUARD).arg(self.dir()).arg(&self.program).args(&self.arguments);
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        let mut guard = command
            // A signal to the tests' whole group (Ctrl-C) must not end the guard before its server.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log.try_clone().map_err(|e| e.to_string())?))
            .stderr(Stdio::from(log))
            .spawn()
            .map_err(|e| e.to_string())?;
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let log = self.log();
            // The first line is the process id; a server that ended has left its reason below.
            let running = log.lines().next().is_some_and(|pid| Path::new("/proc").join(pid).exists());
            if running
                && log.contains("ready")
                && TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            {
                break;
            }
            if Instant::now() > deadline || (log.lines().count() > 0 && !running) {
                let _ = guard.stdin.take().map(|mut input| input.write_all(b"\n"));
                let _ = guard.wait();
                return Err(log);
            }
            sleep(Duration::from_millis(10));
        }
        *self.guard.lock().unwrap() = Some(guard);
        Ok(())
    }

    fn log(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = fs::File::open(self.dir().join("log")) {
            let _ = file.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The processes whose working folder this is.
fn working_in(folder: &Path) -> Vec<String> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let works_there =
        |process: &fs::DirEntry| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder);
    let names =
        processes.flatten().filter(works_there).filter_map(|process| process.file_name().into_string().ok());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).collect()
}

/// User and group id of `name` when the tests run as root; `None` when they don't.
pub(super) fn account(name: &str) -> Option<(u32, u32)> {
    let is_root = fs::read_to_string("/proc/self/status")
        .is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(1) == Some("0")));
    if !is_root {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let fields: Vec<&str> = users.lines().find(|l| l.starts_with(&format!("{name}:")))?.split(':').collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// A folder of the account's own, with a copy of the data folder `template`, which `initialise` makes when it is
/// not there yet.
pub(super) fn prepared_dir(
    template: &str,
    account: Option<(u32, u32)>,
    initialise: impl FnOnce(&Path) -> Result<(), Unavailable>,
) -> Result<TempDir, Unavailable> {
    let failed = |e: std::io::Error| Unavailable::Failed(e.to_string());
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/testdb");
    let template = templates.join(template);
    let dir = tempfile::Builder::new().prefix("vaultlab-testdb-").tempdir().map_err(failed)?;
    own(dir.path(), account)?;
    let data = dir.path().join("data");
    fs::create_dir_all(&templates).map_err(failed)?;
    // One at a time: the installers of one machine get in each other's way.
    let lock = fs::File::create(templates.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    if template.exists() {
        copy(&template, &data)?;
        return Ok(dir);
    }
    initialise(dir.path())?;
    let fresh = tempfile::Builder::new().tempdir_in(&templates).map_err(failed)?;
    copy(&data, &fresh.path().join("data"))?;
    fs::rename(fresh.path().join("data"), &template).map_err(failed)?;
    Ok(dir)
}

fn own(dir: &Path, account: Option<(u32, u32)>) -> Result<(), Unavailable> {
    if let Some((uid, gid)) = account {
        std::os::unix::fs::chown(dir, Some(uid), Some(gid))
            .map_err(|e| Unavailable::Failed(e.to_string()))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Unavailable> {
    run(Command::new("cp").arg("-a").arg(from).arg(to))
}

/// Runs a command to its end.
pub(super) fn run(command: &mut Command) -> Result<(), Unavailable> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Unavailable::Failed(format!("{command:?}: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Unavailable::Failed(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))))
}

/// The first of `candidates` that exists; names without a slash are looked for on the PATH.
pub(super) fn find(candidates: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    candidates.iter().find_map(|candidate| {
        if candidate.contains('/') {
            return Some(PathBuf::from(candidate)).filter(|p| p.exists());
        }
        std::env::split_paths(&path).map(|dir| dir.join(candidate)).find(|p| p.exists())
    })
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
