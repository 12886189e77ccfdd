//! The connection to a container engine.

use std::sync::Arc;
use std::time::Duration;

use bollard::models::SystemVersion;
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::sync::OnceCell;

use super::context::{DockerEnvironment, EngineAddress};
use super::error::{DockerError, explain};
use super::ssh::{Gate, SshTarget};

/// How long an engine may take to answer its first question.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// How long it may take to answer any other, in seconds.
const ANSWER: u64 = 120;

/// A container engine that answered, spoken to in a version both sides know.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) docker: Docker,
    address: EngineAddress,
    is_local: bool,
    /// Whether it is Podman, once that was asked.
    is_podman: Arc<OnceCell<bool>>,
    /// What leads to it over ssh, for as long as it is spoken to.
    _gate: Option<Arc<Gate>>,
}

impl Engine {
    /// The engine the environment names: `DOCKER_HOST`, a Docker context, or a local socket.
    ///
    /// # Errors
    /// When it cannot be told which engine is meant, or that one does not answer.
    pub async fn connect() -> Result<Self, DockerError> {
        Self::at(DockerEnvironment::of_this_process().engine()?).await
    }

    pub(super) async fn at(address: EngineAddress) -> Result<Self, DockerError> {
        let unreachable = |cause: String| DockerError::Unreachable {
            host: format!("{} ({})", shown(&address.host), address.origin),
            hint: hint(&address.host, &cause),
            cause,
        };
        let target = match address.host.strip_prefix("ssh://").map(SshTarget::parse) {
            Some(parsed) => Some(parsed.map_err(|cause| unreachable(cause.into()))?),
            None => None,
        };
        let late = || unreachable(format!("no answer within {} s", FIRST_ANSWER.as_secs()));
        let gate = match target {
            Some(target) => {
                let opened = tokio::time::timeout(FIRST_ANSWER, Gate::open(target)).await;
                Some(opened.map_err(|_| late())?.map_err(unreachable)?)
            }
            None => None,
        };
        let docker = open(&address, gate.as_ref()).map_err(|e| unreachable(explain(&e)))?;
        // Older engines refuse a client that asks for a newer version of the API.
        let docker = async {
            match tokio::time::timeout(FIRST_ANSWER, docker.negotiate_version()).await {
                Ok(answer) => answer.map_err(|e| match gate.as_ref().map(Gate::said) {
                    Some(said) if !said.is_empty() => unreachable(said),
                    _ => unreachable(explain(&e)),
                }),
                Err(_) => Err(late()),
            }
        };
        let is_local = async {
            Ok(match &gate {
                Some(gate) => gate.is_here().await,
                None => is_loopback(&address.host),
            })
        };
        let (docker, is_local) = tokio::try_join!(docker, is_local)?;
        // The engine reads this header as URL-safe base64; the library writes the other alphabet.
        let docker = docker.with_request_modifier(|mut request| {
            for name in ["x-registry-auth", "x-registry-config"] {
                let safe = request.headers().get(name).and_then(|value| {
                    let text = value.to_str().ok()?.replace('+', "-").replace('/', "_");
                    text.parse().ok()
                });
                if let Some(value) = safe
                    && let Some(header) = request.headers_mut().get_mut(name)
                {
                    *header = value;
                }
            }
            request
        });
        let gate = gate.map(Arc::new);
        Ok(Self { docker, address, is_local, is_podman: Arc::default(), _gate: gate })
    }

    /// Where it is, as in `unix:///var/run/docker.sock`.
    pub fn host(&self) -> &str {
        &self.address.host
    }

    /// Why this one: `DOCKER_HOST`, a Docker context, or the default socket.
    pub fn origin(&self) -> &str {
        &self.address.origin
    }

    /// The version of the API that is spoken, as in `1.41`.
    pub fn api_version(&self) -> String {
        self.docker.client_version().to_string()
    }

    /// Whether its loopback interface is this machine's, as far as can be told.
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// Whether it is Podman, whose socket is like Docker's in most respects.
    pub(super) async fn is_podman(&self) -> bool {
        let ask = || async { self.docker.version().await.map(|version| podman(&version).is_some()) };
        // What does not tell will fail in what it is asked next.
        self.is_podman.get_or_try_init(ask).await.copied().unwrap_or(false)
    }
}

/// Podman's version, if it is Podman that told this.
pub(super) fn podman(version: &SystemVersion) -> Option<&str> {
    let components = version.components.as_deref().unwrap_or_default();
    let podman = components.iter().find(|component| component.name.starts_with("Podman"));
    podman.map(|component| component.version.as_str())
}

/// An address without the password that somebody may have written into it.
fn shown(host: &str) -> String {
    let Some((scheme, rest)) = host.split_once("://") else { return host.into() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@').map(|(user, place)| (user.split_once(':'), place)) {
        Some((Some((user, _)), place)) => format!("{scheme}://{user}:…@{place}{path}"),
        _ => host.into(),
    }
}

/// Whether an address is one of this machine's; of what comes over ssh that is asked.
fn is_loopback(host: &str) -> bool {
    if host.starts_with("unix://") {
        return true;
    }
    let name = host.split("://").nth(1).unwrap_or_default();
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| {
        name.strip_prefix(local).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    })
}

fn open(address: &EngineAddress, gate: Option<&Gate>) -> Result<Docker, bollard::errors::Error> {
    let host = address.host.as_str();
    if let Some(gate) = gate {
        return Docker::connect_with_unix(&gate.socket().to_string_lossy(), ANSWER, API_DEFAULT_VERSION);
    }
    match &address.tls {
        Some(tls) => {
            Docker::connect_with_ssl(host, &tls.key, &tls.cert, &tls.ca, ANSWER, API_DEFAULT_VERSION)
        }
        None if host.starts_with("unix://") => Docker::connect_with_unix(host, ANSWER, API_DEFAULT_VERSION),
        None if host.starts_with("tcp://") || host.starts_with("http://") => {
            Docker::connect_with_http(host, ANSWER, API_DEFAULT_VERSION)
        }
        None => Err(bollard::errors::Error::UnsupportedURISchemeError { uri: host.into() }),
    }
}

fn hint(host: &str, cause: &str) -> &'static str {
    let cause = cause.to_ascii_lowercase();
    if host.starts_with("ssh://") {
        "see that `ssh HOST docker version` works without asking anything (a key, a known host, Docker's client there), or choose `--runtime process`"
    } else if cause.contains("permission denied") {
        "join the group docker (`sudo usermod -aG docker $USER`, then log in again), or choose `--runtime process`"
    } else if host.starts_with("unix://") {
        "start it (`sudo systemctl start docker`, or Docker Desktop), set DOCKER_HOST, or choose `--runtime process`"
    } else {
        "check DOCKER_HOST or `docker context ls`, or choose `--runtime process`"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str) -> EngineAddress {
        EngineAddress { host: host.into(), tls: None, origin: "DOCKER_HOST".into() }
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_named_with_what_to_do() {
        crate::install_crypto_provider();
        let dir = tempfile::tempdir().unwrap();
        let socket = format!("unix://{}/none.sock", dir.path().display());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = format!("tcp://{}", listener.local_addr().unwrap());
        drop(listener);
        for host in [socket.as_str(), closed.as_str(), "gopher://x", "ssh://me@far:x"] {
            let error = Engine::at(address(host)).await.unwrap_err();
            let DockerError::Unreachable { host: named, .. } = &error else { panic!("{error}") };
            assert!(named.starts_with(host) && error.to_string().contains("--runtime process"), "{error}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_not_shown() {
        assert_eq!(shown("ssh://me:a@b@far:22/x"), "ssh://me:…@far:22/x");
        for whole in ["unix:///a:b@c", "tcp://far:1", "ssh://me@[::1]:1", "far"] {
            assert_eq!(shown(whole), whole);
        }
    }

    #[test]
    fn only_loopback_addresses_are_local() {
        for local in
            ["unix:///var/run/docker.sock", "tcp://127.0.0.1:2375", "tcp://localhost", "tcp://[::1]:1"]
        {
            assert!(is_loopback(local), "{local}");
        }
        assert!(!is_loopback("tcp://localhost.example:1") && !is_loopback("tcp://docker:2375"));
    }
}
