//! Containers without vaultlab: what the engine and the programs in the images take by themselves.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use vaultlab::database::{Target, connect};
use vaultlab::service::Endpoint;
use vaultlab::spec::model::{Engine, MysqlFlavour};
use vaultlab::state::Credentials;

pub const POSTGRES: &str = "vaultlab/postgres:15";
pub const MYSQL: &str = "vaultlab/mysql:9";
const SERVER: &str = "vaultlab/server:latest";

/// For containers that nobody but this run can reach, for seconds.
const PASSWORD: &str = "bench-password";

/// How long a container may take to answer.
const PATIENCE: Duration = Duration::from_secs(180);

const VAULT_CONFIG: &str = r#"VAULT_LOCAL_CONFIG={"storage": {"file": {"path": "/vault/file"}},
    "disable_mlock": true, "listener": [{"tcp": {"address": "0.0.0.0:8200", "tls_disable": true}}]}"#;

/// Why nothing can be measured; `None` when everything is there.
pub fn missing() -> Option<String> {
    if docker_output(&["version"]).is_none_or(|output| !output.status.success()) {
        return Some("no engine answers `docker version`".into());
    }
    let is_here = |image: &&&str| {
        !docker_output(&["image", "inspect", image]).is_some_and(|output| output.status.success())
    };
    if let Some(image) = [POSTGRES, MYSQL, SERVER].iter().find(is_here) {
        return Some(format!("the engine has no image {image} (`make images`)"));
    }
    let program = ["curl", "jq"].into_iter().find(|program| which::which(program).is_err());
    program.map(|program| format!("there is no {program}, which the steps by hand need"))
}

/// What a container runs, without data of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Vault,
    Postgres,
    Mysql,
}

pub const KINDS: [Kind; 3] = [Kind::Vault, Kind::Postgres, Kind::Mysql];

impl Kind {
    fn port(self) -> u16 {
        match self {
            Self::Vault => 8200,
            Self::Postgres => 5432,
            Self::Mysql => 3306,
        }
    }

    /// What its image needs to be told.
    fn variable(self) -> String {
        match self {
            Self::Vault => VAULT_CONFIG.into(),
            Self::Postgres => format!("POSTGRES_PASSWORD={PASSWORD}"),
            Self::Mysql => format!("MYSQL_ROOT_PASSWORD={PASSWORD}"),
        }
    }
}

/// Everything this run makes beside its labs; removed at the end.
pub struct Plain {
    label: String,
    /// The server's image, with the very program that is measured.
    pub server: String,
    runtime: tokio::runtime::Runtime,
}

impl Plain {
    pub fn new() -> Self {
        let id = std::process::id();
        let plain = Self {
            label: format!("dev.vaultlab.bench={id}"),
            server: format!("vaultlab/bench:server-{id}"),
            runtime: tokio::runtime::Runtime::new().expect("a runtime"),
        };
        let context = tempfile::tempdir().expect("a temp folder");
        std::fs::copy(env!("CARGO_BIN_EXE_vaultlab"), context.path().join("vaultlab")).expect("a copy");
        let recipe = format!("FROM {SERVER}\nCOPY vaultlab /usr/local/bin/vaultlab\n");
        std::fs::write(context.path().join("Dockerfile"), recipe).expect("a file");
        docker(&["build", "-q", "-t", &plain.server, &context.path().display().to_string()]);
        plain
    }

    fn image(&self, kind: Kind) -> &str {
        match kind {
            Kind::Vault => &self.server,
            Kind::Postgres => POSTGRES,
            Kind::Mysql => MYSQL,
        }
    }

    /// From `docker run` of an image until it answers: a Vault its health, a database a login over TCP
    /// with its password.
    pub fn first_start(&self, kind: Kind) -> Duration {
        let began = Instant::now();
        let id = self.start(kind, &["-e", &kind.variable(), self.image(kind)]);
        let took = began.elapsed();
        docker(&["rm", "-fv", &id]);
        took
    }

    /// What the engine takes for as many labs at once: networks, and containers of the same images that do
    /// nothing.
    pub fn engine_alone(&self, labs: usize) -> Duration {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for lab in 0..labs {
                scope.spawn(move || self.idle_lab(lab));
            }
        });
        let took = began.elapsed();
        self.clear();
        took
    }

    fn idle_lab(&self, number: usize) {
        let network = &format!("vaultlab-bench-{}-idle-{number}", std::process::id());
        let label = ["--label", &self.label];
        docker(&[&["network", "create"], &label[..], &[network]].concat());
        std::thread::scope(|scope| {
            for kind in KINDS {
                scope.spawn(move || {
                    let publish = format!("127.0.0.1:0:{}", kind.port());
                    let idle = ["--entrypoint", "sleep", self.image(kind), "600"];
                    let run = ["run", "-d", "--network", network, "-p", &publish];
                    docker(&[&run, &label[..], &idle].concat());
                });
            }
        });
    }

    /// The steps of the well-known example.
    pub fn by_hand(&self, run: usize) -> Duration {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/docker/example.sh");
        let name = format!("vaultlab-bench-{}-{run}", std::process::id());
        let began = Instant::now();
        let status = Command::new("bash")
            .arg(script)
            .args([&name, &self.label, &self.server, MYSQL])
            .stdin(Stdio::null())
            .status();
        let took = began.elapsed();
        assert!(status.expect("bash").success(), "the steps by hand failed");
        self.clear();
        took
    }

    fn start(&self, kind: Kind, run: &[&str]) -> String {
        let publish = format!("127.0.0.1:0:{}", kind.port());
        let id = docker(&[&["run", "-d", "--label", &self.label, "-p", &publish], run].concat());
        let port = docker(&["port", &id, &format!("{}/tcp", kind.port())]);
        let port = port.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let end = Instant::now() + PATIENCE;
        while !self.answers(kind, port) {
            assert!(Instant::now() < end, "no answer: {}", docker(&["logs", &id]));
            std::thread::sleep(Duration::from_millis(20));
        }
        id
    }

    fn answers(&self, kind: Kind, port: u16) -> bool {
        let (engine, user, database) = match kind {
            Kind::Vault => return is_healthy(port).unwrap_or(false),
            Kind::Postgres => (Engine::Postgres, "postgres", "postgres"),
            Kind::Mysql => (Engine::Mysql(MysqlFlavour::Mysql), "root", "mysql"),
        };
        let target = Target { engine, endpoint: Endpoint::loopback(port), database: database.into() };
        let account = Credentials::new(user, PASSWORD);
        self.runtime.block_on(async { connect(&target, &account).await.is_ok() })
    }

    /// Containers, networks and volumes of this run's.
    fn clear(&self) {
        let label = format!("label={}", self.label);
        for (list, remove) in
            [(&["ps", "-aq"][..], &["rm", "-fv"][..]), (&["network", "ls", "-q"], &["network", "rm"])]
        {
            let found = docker(&[list, &["--filter", &label]].concat());
            if !found.is_empty() {
                docker(&[remove, &found.lines().collect::<Vec<_>>()].concat());
            }
        }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.clear();
        let id = format!("-{}", std::process::id());
        let images = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "vaultlab/bench"]);
        for image in images.lines().filter(|image| image.ends_with(&id)) {
            docker(&["rmi", "-f", image]);
        }
    }
}

fn is_healthy(port: u16) -> std::io::Result<bool> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    let path = "/v1/sys/health?sealedcode=200&uninitcode=200";
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(&head == b"HTTP/1.1 200")
}

fn docker_output(arguments: &[&str]) -> Option<Output> {
    Command::new("docker").args(arguments).stdin(Stdio::null()).output().ok()
}

fn docker(arguments: &[&str]) -> String {
    let output = docker_output(arguments).expect("docker runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
