//! What the integration tests share: a home of their own, the program, and its traces.
#![allow(dead_code, reason = "every test binary uses its own part")]
#![allow(clippy::expect_used, clippy::should_implement_trait, reason = "a failed expectation fails the test")]

pub mod containers;
pub mod engine_proxy;
pub mod own_engine;
pub mod own_podman;
pub mod own_sshd;
pub mod registry;
pub mod terminal;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Whether this host has the database servers. Without them tests pass with a word, unless
/// `VAULTLAB_REQUIRE_DATABASES` is set, as in CI.
pub fn databases() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let any = |patterns: &[&str]| {
            patterns.iter().any(|pattern| match pattern.split_once('*') {
                None => Path::new(pattern).exists(),
                Some((before, after)) => std::fs::read_dir(before)
                    .is_ok_and(|entries| entries.flatten().any(|e| e.path().join(after).exists())),
            })
        };
        let found = any(&["/usr/lib/postgresql/*bin/postgres", "/opt/homebrew/bin/postgres"])
            && any(&["/usr/sbin/mariadbd", "/usr/sbin/mysqld", "/opt/homebrew/bin/mariadbd"]);
        let required = std::env::var_os("VAULTLAB_REQUIRE_DATABASES").is_some();
        assert!(
            found || !required,
            "VAULTLAB_REQUIRE_DATABASES is set, but the database servers are missing"
        );
        if !found {
            eprintln!(
                "skipped: this host has no PostgreSQL or no MariaDB/MySQL server (`make prerequisites`)"
            );
        }
        found
    })
}

/// A lab of a test's own; its services are stopped and its folder removed at the end.
pub struct TestLab {
    pub name: String,
    pub home: PathBuf,
    pub folder: tempfile::TempDir,
    /// What `VAULTLAB_RUNTIME` says.
    pub runtime: &'static str,
    /// What `DOCKER_HOST` says; nothing by default.
    pub engine: Option<String>,
}

impl TestLab {
    /// A lab called `name` in a home that all tests of this process share, so that they share the
    /// initialised data folders.
    pub fn new(name: &str) -> Self {
        Self::in_home(name, &shared_home())
    }

    pub fn in_home(name: &str, home: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temp folder");
        let name = format!("{name}-{}", std::process::id());
        Self { name, home: home.into(), folder, runtime: "process", engine: None }
    }

    /// The same in a home of its own, in memory where the host has a file system there.
    pub fn in_memory(name: &str) -> Self {
        let place = Some(Path::new("/dev/shm")).filter(|path| path.is_dir()).map(Into::into);
        let folder = tempfile::tempdir_in(place.unwrap_or_else(std::env::temp_dir)).expect("a temp folder");
        let mut lab = Self::in_home(name, &folder.path().join("home"));
        lab.folder = folder;
        lab
    }

    /// The same with its services in containers.
    pub fn contained(name: &str) -> Self {
        let mut lab = Self::new(name);
        lab.runtime = "docker";
        lab
    }

    pub fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        std::fs::write(&path, text).expect("the file");
        path
    }

    pub fn state(&self) -> PathBuf {
        self.home.join("labs").join(&self.name)
    }

    pub fn services(&self) -> PathBuf {
        self.home.join("services").join(&self.name)
    }

    /// `vaultlab COMMAND --name … ARGUMENTS` in the lab's folder, everything after `--` untouched.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vaultlab"));
        let (first, rest) = arguments.split_first().expect("a command");
        command.args(["--name", &self.name, first]);
        command.args(rest);
        command
            .current_dir(self.folder.path())
            .env("VAULTLAB_HOME", &self.home)
            .env("VAULTLAB_RUNTIME", self.runtime)
            .env_remove("VAULTLAB_NAME")
            .stdin(Stdio::null());
        if let Some(engine) = &self.engine {
            command.env("DOCKER_HOST", engine);
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// Runs to success and gives standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}\n{}", output.status, text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs to success and gives standard output as JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let all = [arguments, &["--output", "json", "--progress", "quiet"]].concat();
        serde_json::from_str(&self.ok(&all)).expect("JSON on standard output")
    }

    /// Runs to a failure with this exit code and gives standard error.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{}{error}", text(&output.stdout));
        error
    }

    /// Starts `up` and gives the events it tells.
    pub fn spawn_up(&self) -> Up {
        self.spawn_up_with(&[])
    }

    /// The same with more options.
    pub fn spawn_up_with(&self, options: &[&str]) -> Up {
        let mut child = self
            .command(&[&["up", "--progress", "json"], options].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let events = BufReader::new(child.stderr.take().expect("standard error"));
        Up { child, events }
    }

    /// Processes that have this lab's service folder in their command line, and its keeper.
    pub fn processes(&self) -> Vec<String> {
        let needle = self.services().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let keeps = line.contains(" supervise ") && line.contains(&format!(" {} ", self.name));
            if line.contains(&needle) || keeps {
                found.push(format!("{}: {line}", entry.file_name().to_string_lossy()));
            }
        }
        found
    }

    /// Asserts that neither a process nor a file of the lab is left.
    pub fn assert_gone(&self) {
        assert_eq!(self.processes(), Vec::<String>::new(), "processes are left");
        for folder in [self.state(), self.services()] {
            assert!(!folder.exists(), "{} is left: {:?}", folder.display(), tree(&folder));
        }
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        self.engine = None;
        let output = self.run(&["down", "--volumes", "--progress", "quiet"]);
        assert!(output.status.success() || std::thread::panicking(), "down: {}", text(&output.stderr));
    }
}

/// A running `up`.
pub struct Up {
    pub child: Child,
    events: BufReader<std::process::ChildStderr>,
}

impl Up {
    /// The next event; `None` when the program has ended.
    pub fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.events.read_line(&mut line).expect("standard error can be read");
        (!line.is_empty()).then(|| {
            serde_json::from_str(&line)
                .unwrap_or_else(|_| serde_json::json!({ "event": "text", "text": line }))
        })
    }

    /// Reads on until the event number `count` (from 1) of steps that ended; gives its step, or
    /// `None` when the program ended before.
    pub fn until_step(&mut self, count: usize) -> Option<String> {
        let mut seen = 0;
        while let Some(event) = self.next() {
            if event["event"] == "step_finished" {
                seen += 1;
                if seen == count {
                    return event["step"].as_str().map(Into::into);
                }
            }
        }
        None
    }

    /// Reads on until this event of this step; false when the program ended before.
    pub fn until(&mut self, event: &str, step: &str) -> bool {
        while let Some(told) = self.next() {
            if told["event"] == event && told["step"] == step {
                return true;
            }
        }
        false
    }

    /// Does something while the program stands still.
    pub fn frozen(&self, work: impl FnOnce()) {
        use nix::sys::signal::{Signal, kill};
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().expect("a pid"));
        kill(pid, Signal::SIGSTOP).expect("a signal");
        work();
        kill(pid, Signal::SIGCONT).expect("a signal");
    }

    /// Reads on to the end: the exit code, the events that were left, and what was no event.
    pub fn end(mut self) -> (Option<i32>, Vec<Value>, String) {
        let mut events = Vec::new();
        let mut text = String::new();
        while let Some(told) = self.next() {
            match told["text"].as_str() {
                Some(line) => text.push_str(line),
                None => events.push(told),
            }
        }
        (self.child.wait().expect("wait").code(), events, text)
    }

    pub fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Sends a signal and waits for the end.
    pub fn signal(mut self, signal: nix::sys::signal::Signal) -> (ExitStatus, String) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("a signal");
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.events, &mut rest).expect("standard error");
        (self.child.wait().expect("wait"), rest)
    }
}

/// A home for all tests of this process; removed when the machine's temp folder is cleaned.
fn shared_home() -> PathBuf {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        // Beside the target folder: tests of one checkout share templates from run to run.
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vaultlab-home");
        std::fs::create_dir_all(&home).expect("a home");
        home
    })
    .clone()
}

/// A lab file with one PostgreSQL and one role, and with this under `vault:`.
pub fn postgres_lab(name: &str, vault: &str) -> String {
    format!(
        "apiVersion: vaultlab/v1
name: {name}
vault:
  {vault}
databases:
  - name: db
    engine: postgres
    database: app
roles:
  - name: app
    database: db
    creation_statements:
      sql: |
        CREATE ROLE \"{{{{name}}}}\" WITH LOGIN PASSWORD '{{{{password}}}}' VALID UNTIL '{{{{expiration}}}}'
"
    )
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every file below a folder.
pub fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// Waits until `probe` holds.
pub fn eventually(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !probe() {
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
