//! The connection to a container engine.

use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

use super::context::{DockerEnvironment, EngineAddress};
use super::error::{DockerError, explain};

/// How long an engine may take to answer its first question.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// How long it may take to answer any other, in seconds.
const ANSWER: u64 = 120;

/// A container engine that answered, spoken to in a version both sides know.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) docker: Docker,
    address: EngineAddress,
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
            host: format!("{} ({})", address.host, address.origin),
            hint: hint(&address.host, &cause),
            cause,
        };
        if has_ssh_port(&address.host) {
            return Err(DockerError::Unreachable {
                host: format!("{} ({})", address.host, address.origin),
                cause: "a port in an ssh address is not understood".into(),
                hint: "write `Host NAME` with HostName, User and Port into ~/.ssh/config and use ssh://NAME, or choose `--runtime process`",
            });
        }
        let docker = open(&address).map_err(|e| unreachable(explain(&e)))?;
        // Older engines refuse a client that asks for a newer version of the API.
        let docker = match tokio::time::timeout(FIRST_ANSWER, docker.negotiate_version()).await {
            Ok(answer) => answer.map_err(|e| unreachable(explain(&e)))?,
            Err(_) => {
                return Err(unreachable(format!("no answer within {} s", FIRST_ANSWER.as_secs())));
            }
        };
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
        Ok(Self { docker, address })
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

    /// Whether its loopback interface is this machine's, as far as the address tells.
    pub fn is_local(&self) -> bool {
        let host = &self.address.host;
        if host.starts_with("unix://") {
            return true;
        }
        let authority = host.split("://").nth(1).unwrap_or_default();
        let name = authority.rsplit('@').next().unwrap_or_default();
        !host.starts_with("ssh://")
            && ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| {
                name.strip_prefix(local).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
            })
    }
}

fn open(address: &EngineAddress) -> Result<Docker, bollard::errors::Error> {
    let host = address.host.as_str();
    match &address.tls {
        Some(tls) => {
            Docker::connect_with_ssl(host, &tls.key, &tls.cert, &tls.ca, ANSWER, API_DEFAULT_VERSION)
        }
        None if host.starts_with("ssh://") => {
            Docker::connect_with_ssh(host, ANSWER, API_DEFAULT_VERSION, None)
        }
        None if host.starts_with("unix://") => Docker::connect_with_unix(host, ANSWER, API_DEFAULT_VERSION),
        None if host.starts_with("tcp://") || host.starts_with("http://") => {
            Docker::connect_with_http(host, ANSWER, API_DEFAULT_VERSION)
        }
        None => Err(bollard::errors::Error::UnsupportedURISchemeError { uri: host.into() }),
    }
}

/// Whether an address is `ssh://…:PORT`. The library hands it to `ssh` as a host name.
fn has_ssh_port(host: &str) -> bool {
    let authority = host.strip_prefix("ssh://").unwrap_or_default().split('/').next().unwrap_or_default();
    let name = authority.rsplit('@').next().unwrap_or_default();
    // Behind the bracket of an IPv6 address, or anywhere.
    name.rsplit(']').next().is_some_and(|rest| rest.contains(':'))
}

fn hint(host: &str, cause: &str) -> &'static str {
    let cause = cause.to_ascii_lowercase();
    if cause.contains("permission denied") {
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
        for host in [socket.as_str(), closed.as_str(), "gopher://x", "ssh://me@127.0.0.1:2222"] {
            let error = Engine::at(address(host)).await.unwrap_err();
            let DockerError::Unreachable { host: named, .. } = &error else { panic!("{error}") };
            assert!(named.starts_with(host) && error.to_string().contains("--runtime process"), "{error}");
        }
    }

    #[test]
    fn only_loopback_addresses_are_local() {
        let local = |host: &str| {
            let docker = Docker::connect_with_http("tcp://127.0.0.1:1", 1, API_DEFAULT_VERSION).unwrap();
            Engine { docker, address: address(host) }.is_local()
        };
        assert!(
            local("unix:///var/run/docker.sock") && local("tcp://127.0.0.1:2375") && local("tcp://localhost")
        );
        assert!(
            has_ssh_port("ssh://me@[::1]:22") && !has_ssh_port("ssh://me@host") && !has_ssh_port("tcp://a:1")
        );
        assert!(
            !local("tcp://localhost.example:1") && !local("tcp://docker:2375") && !local("ssh://127.0.0.1")
        );
    }
}
