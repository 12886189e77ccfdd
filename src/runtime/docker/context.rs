//! Which engine is meant: `DOCKER_HOST`, a Docker context, or the socket that is there.
//!
//! The order and the files are those of the Docker CLI (docs.docker.com, "Docker contexts" and
//! "Environment variables"): `DOCKER_HOST`, then `DOCKER_CONTEXT`, then `currentContext` in
//! `config.json`, then the default sockets.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Why it cannot be told which engine is meant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// A Docker file does not parse or cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// There is no such context.
    #[error("there is no Docker context {name:?} ({} is not there): see `docker context ls`", path.display())]
    Missing {
        /// The context.
        name: String,
        /// Where it would be.
        path: PathBuf,
    },
    /// The context has no Docker endpoint.
    #[error("the Docker context {name:?} names no Docker host")]
    NoHost {
        /// The context.
        name: String,
    },
    /// TLS is asked for without certificates.
    #[error("TLS is asked for, but {} is not there: set DOCKER_CERT_PATH", path.display())]
    NoCertificates {
        /// The first missing file.
        path: PathBuf,
    },
}

/// An engine's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EngineAddress {
    /// `unix://…`, `tcp://…` or `ssh://…`.
    pub host: String,
    /// Client certificates, for `tcp://` with TLS.
    pub tls: Option<TlsFiles>,
    /// Where the address comes from, for messages.
    pub origin: String,
}

/// The files Docker calls `ca.pem`, `cert.pem` and `key.pem`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TlsFiles {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl TlsFiles {
    fn in_folder(folder: &Path) -> Result<Self, ContextError> {
        let file = |name: &str| {
            let path = folder.join(name);
            if path.is_file() { Ok(path) } else { Err(ContextError::NoCertificates { path }) }
        };
        Ok(Self { ca: file("ca.pem")?, cert: file("cert.pem")?, key: file("key.pem")? })
    }
}

/// What the environment says about Docker. Plain values, so that it can be tested.
#[derive(Debug, Clone, Default)]
pub(super) struct DockerEnvironment {
    pub host: Option<String>,
    pub context: Option<String>,
    pub tls_verify: bool,
    pub cert_path: Option<PathBuf>,
    /// Docker's configuration folder, usually `~/.docker`.
    pub config: Option<PathBuf>,
    /// Sockets to try when nothing else is said, best first.
    pub sockets: Vec<PathBuf>,
}

impl DockerEnvironment {
    pub fn of_this_process() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = text("HOME").map(PathBuf::from);
        let runtime = text("XDG_RUNTIME_DIR").map(PathBuf::from);
        let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
        sockets.extend(runtime.iter().map(|folder| folder.join("docker.sock")));
        sockets.extend(home.iter().map(|folder| folder.join(".docker/run/docker.sock")));
        sockets.extend(runtime.iter().map(|folder| folder.join("podman/podman.sock")));
        sockets.push("/run/podman/podman.sock".into());
        Self {
            host: text("DOCKER_HOST"),
            context: text("DOCKER_CONTEXT"),
            tls_verify: text("DOCKER_TLS_VERIFY").is_some() || text("DOCKER_TLS").is_some(),
            cert_path: text("DOCKER_CERT_PATH").map(PathBuf::from),
            config: text("DOCKER_CONFIG").map(PathBuf::from).or(home.map(|home| home.join(".docker"))),
            sockets,
        }
    }

    /// The engine that is meant.
    pub fn engine(&self) -> Result<EngineAddress, ContextError> {
        if let Some(host) = &self.host {
            let certificates = || {
                let folder = self.cert_path.as_ref().or(self.config.as_ref());
                TlsFiles::in_folder(folder.map_or(Path::new("."), PathBuf::as_path))
            };
            let over_tcp = host.starts_with("tcp://") || host.starts_with("https://");
            let tls = if over_tcp && self.tls_verify { Some(certificates()?) } else { None };
            return Ok(EngineAddress { host: host.clone(), tls, origin: "DOCKER_HOST".into() });
        }
        let chosen = match &self.context {
            Some(name) => Some(name.clone()),
            None => self.current_context()?,
        };
        if let Some(name) = chosen.filter(|name| name != "default") {
            return self.read_context(&name);
        }
        let found = self.sockets.iter().find(|socket| socket.exists()).or(self.sockets.first());
        let socket = found.map_or(Path::new("/var/run/docker.sock"), PathBuf::as_path);
        Ok(EngineAddress {
            host: format!("unix://{}", socket.display()),
            tls: None,
            origin: "the default socket".into(),
        })
    }

    fn current_context(&self) -> Result<Option<String>, ContextError> {
        #[derive(Deserialize)]
        struct Config {
            #[serde(rename = "currentContext")]
            current_context: Option<String>,
        }
        let Some(folder) = &self.config else { return Ok(None) };
        let config: Option<Config> = read(&folder.join("config.json"))?;
        Ok(config.and_then(|config| config.current_context).filter(|name| !name.is_empty()))
    }

    fn read_context(&self, name: &str) -> Result<EngineAddress, ContextError> {
        #[derive(Deserialize)]
        struct Meta {
            #[serde(rename = "Endpoints", default)]
            endpoints: Endpoints,
        }
        #[derive(Deserialize, Default)]
        struct Endpoints {
            docker: Option<Docker>,
        }
        #[derive(Deserialize)]
        struct Docker {
            #[serde(rename = "Host", default)]
            host: String,
        }
        let store = self.config.clone().unwrap_or_default().join("contexts");
        let id: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let path = store.join("meta").join(&id).join("meta.json");
        let Some(meta) = read::<Meta>(&path)? else {
            return Err(ContextError::Missing { name: name.into(), path });
        };
        let host = meta.endpoints.docker.map(|docker| docker.host).filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| ContextError::NoHost { name: name.into() })?;
        let certificates = store.join("tls").join(&id).join("docker");
        let tls = if certificates.is_dir() { Some(TlsFiles::in_folder(&certificates)?) } else { None };
        Ok(EngineAddress { host, tls, origin: format!("the Docker context {name}") })
    }
}

/// A JSON file; `None` when it is not there.
pub(super) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, ContextError> {
    let failed = |cause: String| ContextError::File { path: path.into(), cause };
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| failed(e.to_string())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(config: &Path) -> DockerEnvironment {
        DockerEnvironment { config: Some(config.into()), ..DockerEnvironment::default() }
    }

    /// Written as the Docker CLI does; the digest is that of `remote`.
    fn write_context(config: &Path, host: &str) -> PathBuf {
        let id = "b71199ebd070b36beab7317920c2c2f1d777df8d05e5527d8458fda57cb17a7a";
        let folder = config.join("contexts/meta").join(id);
        fs::create_dir_all(&folder).unwrap();
        let meta = serde_json::json!({
            "Name": "remote", "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": false}}
        });
        fs::write(folder.join("meta.json"), meta.to_string()).unwrap();
        config.join("contexts/tls").join(id).join("docker")
    }

    #[test]
    fn docker_host_wins_over_every_context() {
        let dir = tempfile::tempdir().unwrap();
        write_context(dir.path(), "ssh://far");
        let environment = DockerEnvironment {
            host: Some("tcp://127.0.0.1:2375".into()),
            context: Some("remote".into()),
            ..with(dir.path())
        };
        let engine = environment.engine().unwrap();
        assert_eq!((engine.host.as_str(), engine.tls), ("tcp://127.0.0.1:2375", None));
    }

    #[test]
    fn contexts_are_found_by_name_with_their_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let certificates = write_context(dir.path(), "tcp://far:2376");
        fs::write(dir.path().join("config.json"), r#"{"currentContext":"remote","auths":{}}"#).unwrap();
        let engine = with(dir.path()).engine().unwrap();
        assert_eq!((engine.host.as_str(), &engine.tls), ("tcp://far:2376", &None));
        assert_eq!(engine.origin, "the Docker context remote");

        fs::create_dir_all(&certificates).unwrap();
        let error = with(dir.path()).engine().unwrap_err();
        assert!(matches!(error, ContextError::NoCertificates { .. }), "{error}");
        for name in ["ca.pem", "cert.pem", "key.pem"] {
            fs::write(certificates.join(name), "x").unwrap();
        }
        assert_eq!(with(dir.path()).engine().unwrap().tls.unwrap().key, certificates.join("key.pem"));

        let unknown = DockerEnvironment { context: Some("nowhere".into()), ..with(dir.path()) };
        assert!(matches!(unknown.engine().unwrap_err(), ContextError::Missing { .. }));
        let default = DockerEnvironment { context: Some("default".into()), ..with(dir.path()) };
        assert_eq!(default.engine().unwrap().host, "unix:///var/run/docker.sock");
    }

    #[test]
    fn a_damaged_file_is_named_and_without_any_the_first_socket_that_exists_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("podman.sock");
        let mut environment = with(dir.path());
        environment.sockets = vec![dir.path().join("docker.sock"), socket.clone()];
        assert!(environment.engine().unwrap().host.ends_with("/docker.sock"));
        fs::write(&socket, "").unwrap();
        assert!(environment.engine().unwrap().host.ends_with("/podman.sock"));
        fs::write(dir.path().join("config.json"), "{").unwrap();
        assert!(environment.engine().unwrap_err().to_string().contains("config.json"));
    }

    #[test]
    fn tls_needs_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let environment = DockerEnvironment {
            host: Some("tcp://far:2376".into()),
            tls_verify: true,
            cert_path: Some(dir.path().into()),
            ..DockerEnvironment::default()
        };
        assert!(environment.engine().unwrap_err().to_string().contains("ca.pem"));
    }
}
