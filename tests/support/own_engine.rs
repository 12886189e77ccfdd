//! A container engine of a test's own, on a disk of its own, which can be full.
//!
//! Beside the machine's engine it is started once: an engine that finds networks it had before removes the
//! bridge `docker0`, though it has another, and takes it from that one. One that is to be restarted has a
//! network of its own, and all that is to reach it is started there.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::containers::{docker, has};
use super::text;

/// How long it may take to answer after its start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Megabytes of its disk: the images, and a few labs.
const DISK: u32 = 1500;

/// The addresses its networks have.
const POOL: &str = "10.231.0.0/16";
const PASSING: &[&str] = &["FORWARD", "-s", POOL, "-d", POOL, "-j", "ACCEPT"];

/// Ends with the test, also when that is killed.
pub struct OwnEngine {
    folder: tempfile::TempDir,
    child: Option<Child>,
    /// Whether this thread, and what it starts, has a network of its own.
    apart: bool,
}

impl OwnEngine {
    /// With these images of the machine's engine. `None`, with a word, where there cannot be one; where
    /// `VAULTLAB_REQUIRE_DOCKER` is set there must.
    pub fn start(images: &[&str]) -> Option<Self> {
        Self::start_in(images, false)
    }

    /// The same with a network of its own, which this thread enters for good: only programs that it starts
    /// reach what this engine publishes.
    pub fn start_apart(images: &[&str]) -> Option<Self> {
        Self::start_in(images, true)
    }

    fn start_in(images: &[&str], apart: bool) -> Option<Self> {
        if !has(images) {
            return None;
        }
        let mut engine = Self { folder: tempfile::tempdir().expect("a folder"), child: None, apart };
        if let Err(cause) = engine.prepare().and_then(|()| engine.begin()) {
            let required = std::env::var_os("VAULTLAB_REQUIRE_DOCKER").is_some();
            assert!(!required, "VAULTLAB_REQUIRE_DOCKER is set, but there is no second engine: {cause}");
            eprintln!("skipped: no second engine: {cause}");
            return None;
        }
        if !images.is_empty() {
            let mut save = Command::new("docker")
                .arg("save")
                .args(images)
                .stdout(Stdio::piped())
                .spawn()
                .expect("docker");
            let saved = save.stdout.take().expect("an output");
            let load = engine.client(&["load", "-q"]).stdin(saved).output().expect("docker");
            assert!(load.status.success(), "docker load: {}", text(&load.stderr));
            assert!(save.wait().expect("docker").success(), "docker save");
        }
        Some(engine)
    }

    /// Ends it; what it ran ends with it, or when it is back.
    pub fn end(&mut self, signal: Signal) {
        let mut child = self.child.take().expect("it runs");
        kill(Pid::from_raw(child.id().try_into().expect("a pid")), signal).expect("a signal");
        child.wait().expect("an end");
        // What it ran its containers with dies too. One that nobody has buried yet would be taken for alive.
        let path = self.path("exec/containerd/containerd.pid");
        let Ok(pid) = std::fs::read_to_string(&path) else { return };
        let process = PathBuf::from("/proc").join(pid.trim());
        let end = Instant::now() + Duration::from_secs(10);
        while process.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        if process.exists() {
            std::fs::remove_file(path).expect("a file");
        }
    }

    /// Starts it again.
    pub fn back(&mut self) {
        assert!(self.apart, "its neighbour would lose its bridge");
        self.begin().expect("it starts again");
    }

    /// For `DOCKER_HOST`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.path("socket").display())
    }

    /// What `docker` prints of it; `None` when it fails.
    pub fn docker(&self, arguments: &[&str]) -> Option<String> {
        let output = self.client(arguments).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| text(&output.stdout).trim().to_owned())
    }

    /// Takes all the room but these megabytes.
    pub fn fill_disk(&self, but: usize) {
        let mut filler = std::fs::File::create(self.filler()).expect("a file");
        let megabyte = vec![0; 1 << 20];
        while filler.write_all(&megabyte).is_ok() {}
        let full = filler.metadata().expect("a size").len();
        filler.set_len(full - ((but as u64) << 20)).expect("some room");
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.filler()).expect("room");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn filler(&self) -> PathBuf {
        self.path("data/filler")
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(arguments).env("DOCKER_HOST", self.address());
        command
    }

    fn bridge(&self) -> String {
        // At most 15 characters; the folder's name ends with six of chance.
        let folder = self.folder.path().to_string_lossy().into_owned();
        format!("vltest{}", &folder[folder.len() - 6..])
    }

    /// Its disk and its default network.
    fn prepare(&self) -> Result<(), String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("this is not root".into());
        }
        let data = self.path("data");
        std::fs::create_dir(&data).expect("a folder");
        let size = format!("size={DISK}m");
        let data = data.to_str().expect("text");
        succeeds("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", data])?;
        if self.apart {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("a network of its own: {error}"))?;
            return succeeds("ip", &["link", "set", "lo", "up"]);
        }
        succeeds("ip", &["link", "add", &self.bridge(), "type", "bridge"])?;
        // The machine's engine lets nothing pass between containers that are not its own.
        succeeds("iptables", &[&["-I"][..], PASSING].concat())
    }

    fn begin(&mut self) -> Result<(), String> {
        // Nothing of the machine's own engine: not its settings, networks, or rules of the firewall. With
        // `--bridge=none` it would remove the other's default bridge.
        std::fs::write(self.path("daemon.json"), "{}").expect("a file");
        let driver = docker(&["info", "-f", "{{.Driver}}"]).expect("the machine's engine answers");
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "dockerd", "--storage-driver", &driver]);
        for (option, name) in [
            ("--config-file", "daemon.json"),
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
        ] {
            command.arg(option).arg(self.path(name));
        }
        if !self.apart {
            command.args(["--iptables=false", "--ip6tables=false", "--bridge", &self.bridge()]);
        }
        let child = command
            .args(["--host", &self.address()])
            .args(["--default-address-pool", &format!("base={POOL},size=24")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        let mut client = self.client(&["version"]);
        let child = self.child.insert(child.map_err(|error| error.to_string())?);
        let end = Instant::now() + PATIENCE;
        while child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < end {
            if client.output().is_ok_and(|output| output.status.success()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(20).collect();
        Err(format!("dockerd does not answer:\n{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n")))
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        let ids = self.docker(&["ps", "-aq"]).unwrap_or_default();
        for id in ids.lines() {
            self.docker(&["rm", "-fv", id]);
        }
        self.docker(&["network", "prune", "-f"]);
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(child.id().try_into().expect("a pid")), Signal::SIGTERM);
            drop(child.wait());
        }
        // What was never made cannot be removed.
        drop(succeeds("umount", &["-l", self.path("data").to_str().expect("text")]));
        if self.apart {
            return;
        }
        drop(succeeds("ip", &["link", "delete", &self.bridge()]));
        drop(succeeds("iptables", &[&["-D"][..], PASSING].concat()));
    }
}

fn succeeds(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", text(&output.stderr))) }
}
