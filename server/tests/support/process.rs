//! A server as a process of its own, started by a configuration file.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

const CONFIG: &str = "VAULTLAB_TEST_CONFIG";

/// Not a test of its own: what `vaultlab server -config=FILE` does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run as a child process by the tests here"]
async fn child_run() {
    let Some(config) = std::env::var_os(CONFIG).map(PathBuf::from) else { return };
    vaultlab_server::server::run(&[config]).await.unwrap();
}

/// A running server, killed when dropped.
pub struct Process {
    child: Child,
    /// Host and port of its first listener.
    pub address: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// A server without TLS, with its configuration and store in `dir`, once it accepts connections;
    /// `listener` is more of its listener's stanza.
    pub async fn start(dir: &Path, listener: &str) -> Self {
        Self::limited(dir, &format!("tls_disable = true\n  {listener}"), "").await
    }

    /// The same after shell commands that limit it, with all of its first listener but the address.
    pub async fn limited(dir: &Path, listener: &str, limits: &str) -> Self {
        let address = free_address();
        let text = format!(
            "storage \"file\" {{ path = \"{}\" }}\nlistener \"tcp\" {{\n  address = \"{address}\"\n  {listener}\n}}\n",
            dir.join("store").display()
        );
        let config = dir.join("server.hcl");
        fs::write(&config, text).unwrap();
        let child_run = format!("{}::child_run", module_path!().split_once("::").unwrap().1);
        let child = Command::new("sh")
            .args(["-c", &format!(r#"{limits} exec "$@""#), "sh"])
            .arg(std::env::current_exe().unwrap())
            .args([&child_run, "--exact", "--ignored", "--nocapture"])
            .env(CONFIG, &config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self { child, address };
        wait_for("the server", async || TcpStream::connect(&process.address).await.is_ok()).await;
        process
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `-HUP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end, after what asked it to end.
    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends it without a chance to say anything.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.ended();
    }
}

/// An address nobody listens on.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Waits until something is so.
pub async fn wait_for(what: &str, check: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !check().await {
        assert!(Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
