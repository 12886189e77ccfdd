//! The server the cases are played against.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vaultlab_server::Server;
use vaultlab_server::config::Config;

use super::play::Variables;
use super::script::Flavour;
use super::shared::{self, Held};
use super::support::Client;

/// A server and how to reach it.
pub struct Target {
    /// Who answers.
    pub flavour: Flavour,
    /// A client without a token.
    pub client: Client,
    /// `$ROOT`, `$KEY` and `$DIR`, a folder the server may write to.
    pub variables: Variables,
    running: Running,
    /// Removed with the target.
    _folder: tempfile::TempDir,
    /// A server that runs already, held against the other tests.
    _held: Option<Held>,
}

/// What is to be stopped.
enum Running {
    Embedded(Box<Server>),
    Program(Child, Product),
    Elsewhere,
}

/// Whose program it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Product {
    OpenBao,
    Other,
}

impl Target {
    /// An initialised, unsealed server.
    pub async fn start() -> Self {
        if let Ok(address) = std::env::var("VAULTLAB_CONFORMANCE_ADDR") {
            let token =
                std::env::var("VAULTLAB_CONFORMANCE_TOKEN").expect("VAULTLAB_CONFORMANCE_TOKEN is not set");
            let client = Client::new(address.trim_end_matches('/'), "");
            let held = shared::take(&client.with_token(&token)).await;
            let variables = Variables::from([("ROOT".to_owned(), token)]);
            return Self::of(client, Running::Elsewhere, variables, folder(), Some(held)).await;
        }
        Self::start_blank(INMEM).await.expect("a server can be started").initialised().await
    }

    /// The same for a server that [`Target::start_blank`] gave.
    pub async fn initialised(self) -> Self {
        let mut target = self;
        let init = json!({"secret_shares": 1, "secret_threshold": 1});
        let init = target.client.post("sys/init", init).await.expect(200).body;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let key = text(&init["keys"][0]);
        target.client.post("sys/unseal", json!({ "key": key })).await.expect(200);
        target.variables.insert("ROOT".to_owned(), text(&init["root_token"]));
        target.variables.insert("KEY".to_owned(), key);
        let root = target.client.with_token(&target.variables["ROOT"]);
        let deadline = Instant::now() + Duration::from_secs(30);
        // Only an active node says 200 there; an OpenBao that is none answers reads.
        while root.get("sys/health").await.status != 200 {
            assert!(Instant::now() < deadline, "the server does not become active");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        target
    }

    /// A server nobody has initialised, with this storage; none where one that runs already was given.
    pub async fn start_blank(storage: &str) -> Option<Self> {
        if std::env::var_os("VAULTLAB_CONFORMANCE_ADDR").is_some() {
            return None;
        }
        let folder = folder();
        let (address, running) = match std::env::var("VAULTLAB_VAULT_BIN") {
            Ok(program) if !program.is_empty() => program_at(Path::new(&program), folder.path(), storage),
            _ => embedded(folder.path(), storage).await,
        };
        Some(Self::of(Client::new(&address, ""), running, Variables::new(), folder, None).await)
    }

    async fn of(
        client: Client,
        running: Running,
        mut variables: Variables,
        folder: tempfile::TempDir,
        held: Option<Held>,
    ) -> Self {
        let deadline = Instant::now() + Duration::from_secs(60);
        let request = || client.request("GET", "sys/seal-status").send();
        let health = loop {
            match request().await {
                Ok(answer) => break answer.bytes().await.unwrap(),
                Err(error) => assert!(Instant::now() < deadline, "the server does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let health: Value = serde_json::from_slice(&health).unwrap();
        let flavour = match &running {
            Running::Embedded(_) => Flavour::Embedded,
            _ if is_embedded(&health) => Flavour::Embedded,
            Running::Program(_, Product::OpenBao) => Flavour::Bao,
            Running::Elsewhere if is_openbao(&client, &variables).await => Flavour::Bao,
            _ => Flavour::Vault(minor(health["version"].as_str().unwrap_or_default())),
        };
        variables.insert("DIR".to_owned(), folder.path().display().to_string());
        Self { flavour, client, variables, running, _folder: folder, _held: held }
    }

    /// Stops what was started.
    pub async fn stop(mut self) {
        if matches!(self.running, Running::Embedded(_))
            && let Running::Embedded(server) = std::mem::replace(&mut self.running, Running::Elsewhere)
        {
            server.stop().await;
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Running::Program(child, _) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// The embedded server says so in the date of its build, which no released Vault shares.
fn is_embedded(status: &Value) -> bool {
    status["build_date"] == "2026-01-01T00:00:00Z"
}

/// The minor number of Vault 1.x; later ones are newer than any.
fn minor(version: &str) -> u32 {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    if numbers.next() == Some(1) { numbers.next().unwrap_or_default() } else { u32::MAX }
}

/// What its plugins are built into tells; Vault and OpenBao both count from 2.
async fn is_openbao(client: &Client, variables: &Variables) -> bool {
    let mounts = client.with_token(&variables["ROOT"]).get("sys/mounts").await;
    mounts.body.to_string().contains("+builtin.bao")
}

/// Storage in memory.
pub const INMEM: &str = "storage \"inmem\" {}";

/// Raft storage of one node.
pub const RAFT: &str = "storage \"raft\" {\n  path = \"DIR\"\n  node_id = \"n1\"\n}\n\
                        cluster_addr = \"http://127.0.0.1:CLUSTER\"";

/// A configuration every flavour reads. OpenBao has to be told to allow what the others do anyway.
fn configuration(address: &str, folder: &Path, storage: &str, product: Product) -> String {
    let storage =
        storage.replace("DIR", &folder.display().to_string()).replace("CLUSTER", &free_port().to_string());
    let (listener, server) = match product {
        Product::OpenBao => (
            "  disable_unauthed_generate_root_endpoints = false\n  disable_unauthed_rekey_endpoints = false\n",
            "unsafe_allow_api_audit_creation = true\n",
        ),
        Product::Other => ("", ""),
    };
    format!(
        "{storage}\nlistener \"tcp\" {{\n  address = \"{address}\"\n  tls_disable = true\n{listener}}}\n\
         disable_mlock = true\napi_addr = \"http://{address}\"\n{server}"
    )
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn embedded(folder: &Path, storage: &str) -> (String, Running) {
    let text = configuration("127.0.0.1:0", folder, storage, Product::Other);
    let (config, _) = Config::parse(&folder.join("server.hcl"), &text).unwrap();
    let server = vaultlab_server::Builder::from_config(&config).start().await.unwrap();
    (format!("http://{}", server.addresses()[0]), Running::Embedded(Box::new(server)))
}

fn program_at(program: &Path, folder: &Path, storage: &str) -> (String, Running) {
    let address = format!("127.0.0.1:{}", free_port());
    let told = Command::new(program).arg("version").output();
    let told = told.unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display())).stdout;
    let told = String::from_utf8_lossy(&told).into_owned();
    let product = if told.contains("OpenBao") { Product::OpenBao } else { Product::Other };
    let file = folder.join("server.hcl");
    std::fs::write(&file, configuration(&address, folder, storage, product)).unwrap();
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let child = Command::new(program)
        .arg("server")
        .arg(format!("-config={}", file.display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
    (format!("http://{address}"), Running::Program(child, product))
}
