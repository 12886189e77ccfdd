//! A registry of a test's own with an image that nobody has yet, and `up` of a lab that wants it.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::containers::{docker, has};
use super::{TestLab, eventually, text};

/// `tester` with the password `right-password`, as `htpasswd -B` writes it.
const HTPASSWD: &str = "tester:$2b$05$abcdefghijklmnopqrstuuBO.kmgTJhdt40M5ZyHgFmcpBdUb9aS.\n";

/// Bytes of each of the image's two layers.
pub const LAYER: usize = 3_000_000;

/// A registry (`docker-registry`, of the Debian package of that name) with one image that is in no
/// engine; `None` where it cannot run.
pub struct Registry {
    child: Child,
    folder: tempfile::TempDir,
    pub port: u16,
}

impl Registry {
    pub fn start(with_login: bool) -> Option<Self> {
        if !has(&[]) {
            return None;
        }
        let Ok(program) = which::which("docker-registry") else {
            let required = std::env::var_os("VAULTLAB_REQUIRE_DOCKER").is_some();
            assert!(!required, "VAULTLAB_REQUIRE_DOCKER is set, but there is no docker-registry");
            eprintln!("skipped: there is no docker-registry (Debian: apt-get install docker-registry)");
            return None;
        };
        let folder = tempfile::tempdir().expect("as a test expects it");
        let port = TcpListener::bind("127.0.0.1:0")
            .expect("as a test expects it")
            .local_addr()
            .expect("as a test expects it")
            .port();
        let data = folder.path().join("data");
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: 127.0.0.1:{port}}}\n",
            data.display()
        );
        if with_login {
            let users = folder.path().join("users");
            std::fs::write(&users, HTPASSWD).expect("as a test expects it");
            config += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", users.display());
        }
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).expect("as a test expects it");
        let child = Command::new(program)
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("as a test expects it");
        eventually("the registry answers", Duration::from_secs(30), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let registry = Self { child, folder, port };
        registry.push();
        Some(registry)
    }

    /// Makes an image that nobody has yet and pushes it; the engine keeps nothing of it.
    fn push(&self) {
        let context = self.folder.path().join("context");
        std::fs::create_dir(&context).expect("as a test expects it");
        for layer in ["one", "two"] {
            let mut random = vec![0; LAYER];
            std::fs::File::open("/dev/urandom")
                .expect("as a test expects it")
                .read_exact(&mut random)
                .expect("as a test expects it");
            std::fs::write(context.join(layer), random).expect("as a test expects it");
        }
        std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY one /\nCOPY two /\nCMD [\"/one\"]\n")
            .expect("as a test expects it");
        let image = image_at(self.port);
        // The client's own configuration: a login there would be everybody's.
        let login = self.docker_config("tester", "right-password");
        for arguments in [
            &["build", "-q", "-t", &image, context.to_str().expect("as a test expects it")][..],
            &["push", "-q", &image],
            &["rmi", &image],
        ] {
            let output = Command::new("docker")
                .args(arguments)
                .env("DOCKER_CONFIG", &login)
                .output()
                .expect("as a test expects it");
            assert!(output.status.success(), "docker {arguments:?}: {}", text(&output.stderr));
        }
    }

    /// A Docker configuration with a login for every port the registry is reached at.
    pub fn docker_config(&self, user: &str, password: &str) -> PathBuf {
        use base64::Engine as _;
        let folder = self.folder.path().join(format!("config-{password}"));
        std::fs::create_dir_all(&folder).expect("as a test expects it");
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let config = serde_json::json!({"auths": {format!("127.0.0.1:{}", self.port): {"auth": auth}}});
        std::fs::write(folder.join("config.json"), config.to_string()).expect("as a test expects it");
        folder
    }
}

/// The image, from the registry behind this port.
pub fn image_at(port: u16) -> String {
    format!("127.0.0.1:{port}/vaultlab-test/image:1")
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `up` of a lab whose Vault is this image, and what it told. The image holds no program, so the lab
/// never comes up: what happens until then is what is looked at.
pub fn up(lab: &TestLab, image: &str, arguments: &[&str], config: Option<&Path>) -> (Vec<Value>, String) {
    lab.write("vaultlab.yaml", &format!("apiVersion: vaultlab/v1\nvault:\n  image: {image}\n"));
    let all = [&["up", "--runtime", "docker", "--progress", "json"], arguments].concat();
    let mut command = lab.command(&all);
    command.env("DOCKER_CONFIG", config.unwrap_or(lab.folder.path()));
    let output = command.output().expect("as a test expects it");
    assert!(!output.status.success());
    let told = text(&output.stderr);
    let events = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    (events, told)
}

/// How the pull ended; `None` when nothing was pulled.
pub fn pulled(events: &[Value]) -> Option<&str> {
    let pull = |event: &&Value| {
        event["event"] == "step_finished"
            && event["step"].as_str().expect("as a test expects it").starts_with("pull ")
    };
    events.iter().find(pull).map(|event| event["outcome"].as_str().expect("as a test expects it"))
}

pub fn is_here(image: &str) -> bool {
    docker(&["image", "inspect", image]).is_some()
}
