//! Podman's compatible socket, with a storage and networks of a test's own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::containers::has;
use super::text;

/// How long it may take to answer after its start.
const PATIENCE: Duration = Duration::from_secs(60);

/// The addresses its networks have.
const POOL: &str = "10.232.0.0/16";

/// Ends with the test.
pub struct OwnPodman {
    folder: tempfile::TempDir,
    child: Option<Child>,
    /// One at a time: all of a machine use the same addresses and the same folder for its networks' names.
    _turn: File,
}

impl OwnPodman {
    /// With these images of the machine's Docker engine. `None`, with a word, where there is no Podman;
    /// where `VAULTLAB_REQUIRE_DOCKER` is set there must be one.
    pub fn start(images: &[&str]) -> Option<Self> {
        if !has(images) {
            return None;
        }
        let turn = File::create(std::env::temp_dir().join("vaultlab-own-podman.lock")).expect("a file");
        turn.lock().expect("a lock");
        let mut podman = Self { folder: tempfile::tempdir().expect("a folder"), child: None, _turn: turn };
        if let Err(cause) = podman.begin() {
            let required = std::env::var_os("VAULTLAB_REQUIRE_DOCKER").is_some();
            assert!(!required, "VAULTLAB_REQUIRE_DOCKER is set, but there is no Podman: {cause}");
            eprintln!("skipped: no Podman: {cause}");
            return None;
        }
        let mut save =
            Command::new("docker").arg("save").args(images).stdout(Stdio::piped()).spawn().expect("docker");
        let load =
            podman.program().args(["load", "-q"]).stdin(save.stdout.take().expect("an output")).output();
        let load = load.expect("podman");
        assert!(load.status.success(), "podman load: {}", text(&load.stderr));
        assert!(save.wait().expect("docker").success(), "docker save");
        Some(podman)
    }

    /// For `DOCKER_HOST`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.path("socket").display())
    }

    /// What `podman` prints about its own storage; `None` when it fails.
    pub fn podman(&self, arguments: &[&str]) -> Option<String> {
        let output = self.program().args(arguments).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| text(&output.stdout).trim().to_owned())
    }

    /// Whether this machine has an address in one of its networks.
    pub fn has_bridge() -> bool {
        !bridges().is_empty()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self) -> Command {
        let mut command = Command::new("podman");
        for (option, name) in [("--root", "root"), ("--runroot", "run"), ("--network-config-dir", "networks")]
        {
            command.arg(option).arg(self.path(name));
        }
        command.env("CONTAINERS_CONF", self.path("containers.conf")).stdin(Stdio::null());
        command
    }

    fn begin(&mut self) -> Result<(), String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("this is not root".into());
        }
        which::which("podman").map_err(|_| "apt-get install podman".to_owned())?;
        // Limits that need no right to be raised, and the runtime that Docker uses: the other one does not
        // know every arrangement of cgroups.
        let runtime = if which::which("runc").is_ok() { "runtime = \"runc\"\n" } else { "" };
        let configuration = format!(
            "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n\
             [network]\ndefault_subnet_pools = [{{\"base\" = \"{POOL}\", \"size\" = 24}}]\n\
             [engine]\nevents_logger = \"file\"\ncgroup_manager = \"cgroupfs\"\n{runtime}"
        );
        std::fs::write(self.path("containers.conf"), configuration).expect("a file");
        let log = File::create(self.path("log")).expect("a log");
        let child = self
            .program()
            .args(["system", "service", "--time=0", &self.address()])
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        let child = self.child.insert(child.map_err(|error| error.to_string())?);
        let end = Instant::now() + PATIENCE;
        while child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < end {
            let version =
                Command::new("docker").arg("version").env("DOCKER_HOST", address(&self.folder)).output();
            if version.is_ok_and(|output| output.status.success()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        Err(log.lines().last().unwrap_or("podman does not answer").to_owned())
    }
}

fn bridges() -> Vec<String> {
    let listed = Command::new("ip").args(["-o", "-4", "address", "show", "to", POOL]).output();
    let listed = listed.map(|output| text(&output.stdout)).unwrap_or_default();
    listed.lines().filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
}

/// Takes away what forwards ports of this machine into its networks: what is sent there would get no answer.
fn stop_forwarding() {
    let Ok(listed) = Command::new("iptables").args(["-t", "nat", "-S"]).output() else { return };
    let prefix = format!("--to-destination {}", POOL.trim_end_matches("0.0/16"));
    for rule in text(&listed.stdout).lines().filter(|rule| rule.contains(&prefix)) {
        if let Some(rule) = rule.strip_prefix("-A ") {
            let mut delete = Command::new("iptables");
            drop(delete.args(["-t", "nat", "-D"]).args(rule.split_whitespace()).output());
        }
    }
}

fn address(folder: &tempfile::TempDir) -> String {
    format!("unix://{}", folder.path().join("socket").display())
}

impl Drop for OwnPodman {
    fn drop(&mut self) {
        if self.child.is_some() {
            for arguments in [&["rm", "-fa", "-t", "0"][..], &["network", "prune", "-f"]] {
                self.podman(arguments);
            }
        }
        // What a failed test left of its networks.
        stop_forwarding();
        for bridge in bridges() {
            drop(Command::new("ip").args(["link", "delete", &bridge]).status());
        }
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(child.id().try_into().expect("a pid")), Signal::SIGTERM);
            drop(child.wait());
        }
        // Its storage is mounted on itself.
        let root = self.path("root/overlay");
        drop(Command::new("umount").arg("-l").arg(root).stderr(Stdio::null()).status());
    }
}
