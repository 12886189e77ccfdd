//! The container engine, for tests that need one.

use std::process::{Command, Stdio};

use super::TestLab;

/// The stand-in images of `make images`.
pub const POSTGRES: &str = "vaultlab/postgres:15";
pub const MYSQL: &str = "vaultlab/mysql:9";
pub const SERVER: &str = "vaultlab/server:latest";

/// What `docker` prints; `None` when it fails.
pub fn docker(arguments: &[&str]) -> Option<String> {
    let output = Command::new("docker").args(arguments).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether the engine has these images. Without them tests pass with a word, unless
/// `VAULTLAB_REQUIRE_DOCKER` is set, as in CI.
pub fn has(images: &[&str]) -> bool {
    let missing = if docker(&["version"]).is_none() {
        Some("no engine answers `docker version`".to_owned())
    } else {
        let missing = images.iter().find(|image| docker(&["image", "inspect", image]).is_none());
        missing.map(|image| format!("the engine has no image {image} (`make images`)"))
    };
    let Some(missing) = missing else { return true };
    assert!(
        std::env::var_os("VAULTLAB_REQUIRE_DOCKER").is_none(),
        "VAULTLAB_REQUIRE_DOCKER is set, but {missing}"
    );
    eprintln!("skipped: {missing}");
    false
}

/// Containers, volumes and networks of a lab.
pub fn things_of(lab: &str) -> Vec<String> {
    let label = format!("label=dev.vaultlab.lab={lab}");
    [
        &["ps", "-aq", "--filter", label.as_str()][..],
        &["volume", "ls", "-q", "--filter", label.as_str()],
        &["network", "ls", "-q", "--filter", label.as_str()],
    ]
    .iter()
    .flat_map(|arguments| {
        docker(arguments).expect("the engine answers").lines().map(str::to_owned).collect::<Vec<_>>()
    })
    .collect()
}

/// The container of a service, running or not.
pub fn container(lab: &TestLab, service: &str) -> String {
    let of_lab = format!("label=dev.vaultlab.lab={}", lab.name);
    let of_service = format!("label=dev.vaultlab.service={service}");
    docker(&["ps", "-aq", "--filter", &of_lab, "--filter", &of_service]).expect("the engine answers")
}

/// A home of its own, in which databases have to be initialised.
pub struct ColdHome(tempfile::TempDir);

impl ColdHome {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub fn lab(&self, name: &str) -> TestLab {
        let mut lab = TestLab::in_home(name, self.0.path());
        lab.runtime = "docker";
        lab
    }

    /// The templates of this home; another home's have the same key.
    fn forget_templates(&self) {
        let output = self.lab("forget").command(&["prune", "--yes", "--progress", "quiet"]).output();
        assert!(output.expect("prune").status.success() || std::thread::panicking());
    }
}

impl Drop for ColdHome {
    fn drop(&mut self) {
        self.forget_templates();
    }
}
