//! Credentials for registries: from Docker's `config.json` and the helpers it names.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;

use super::context::read;
use super::error::DockerError;

/// The part of `config.json` that concerns credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    auths: HashMap<String, Auth>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
    #[serde(rename = "credHelpers")]
    helpers: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    #[serde(rename = "auth")]
    encoded: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(redacted)")
    }
}

/// What a credential helper prints for `get`.
#[derive(Deserialize)]
struct Helped {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// Looks up the credentials for `registry`; `None` when Docker's configuration has none. A helper is
/// a program and may take its time: call this where blocking is allowed.
pub(super) fn lookup(config: &Path, registry: &str) -> Result<Option<DockerCredentials>, DockerError> {
    let failed = |cause: String| DockerError::Credentials { registry: registry.into(), cause };
    let file = config.join("config.json");
    let Some(config) = read::<Config>(&file).map_err(|e| failed(e.to_string()))? else { return Ok(None) };
    if let Some(helper) = config.helpers.get(registry).or(config.store.as_ref())
        && let Some(helped) = ask_helper(helper, registry).map_err(failed)?
    {
        return Ok(Some(helped.credentials(registry)));
    }
    let same = |key: &str| key == registry || host_of(key) == registry;
    let Some((_, auth)) = config.auths.iter().find(|(key, _)| same(key)) else { return Ok(None) };
    auth.credentials(registry).map_err(failed)
}

/// `https://registry.example/v2/` as `registry.example`.
fn host_of(key: &str) -> &str {
    let rest = key.split("://").last().unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

impl Auth {
    fn credentials(&self, registry: &str) -> Result<Option<DockerCredentials>, String> {
        let (mut username, mut password) = (self.username.clone(), self.password.clone());
        if let Some(auth) = self.encoded.as_deref().filter(|auth| !auth.is_empty()) {
            let decoded = STANDARD.decode(auth.trim()).map_err(|_| "its `auth` is not base64")?;
            let decoded = String::from_utf8(decoded).map_err(|_| "its `auth` is not text")?;
            let (user, secret) = decoded
                .split_once(':')
                .ok_or("its `auth` is not a name and a password with a colon between")?;
            (username, password) = (Some(user.to_owned()), Some(secret.trim_end_matches('\0').to_owned()));
        }
        if username.is_none() && self.identitytoken.is_none() {
            return Ok(None);
        }
        Ok(Some(DockerCredentials {
            username,
            password,
            identitytoken: self.identitytoken.clone(),
            serveraddress: Some(registry.to_owned()),
            ..DockerCredentials::default()
        }))
    }
}

impl Helped {
    fn credentials(self, registry: &str) -> DockerCredentials {
        let serveraddress = Some(registry.to_owned());
        // By convention this name says that the secret is a token.
        if self.username == "<token>" {
            return DockerCredentials {
                identitytoken: Some(self.secret),
                serveraddress,
                ..DockerCredentials::default()
            };
        }
        DockerCredentials {
            username: Some(self.username),
            password: Some(self.secret),
            serveraddress,
            ..DockerCredentials::default()
        }
    }
}

/// `docker-credential-NAME get`, the registry on standard input. `None` when it knows none.
fn ask_helper(name: &str, registry: &str) -> Result<Option<Helped>, String> {
    let program = format!("docker-credential-{name}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot run {program}: {e}"))?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that ends without reading is judged by how it ends.
        drop(input.write_all(registry.as_bytes()));
    }
    let output = child.wait_with_output().map_err(|e| format!("cannot run {program}: {e}"))?;
    if output.status.success() {
        let helped = serde_json::from_slice(&output.stdout);
        return helped.map(Some).map_err(|_| format!("{program} answered something that is not understood"));
    }
    // Helpers explain themselves on standard output, without secrets when they fail.
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if said.contains("credentials not found") { Ok(None) } else { Err(format!("{program} failed: {said}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::docker::reference::DOCKER_HUB;

    fn config(text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), text).unwrap();
        dir
    }

    #[test]
    fn names_and_passwords_come_out_of_the_file() {
        let auth = STANDARD.encode("me:a:b/c+");
        let dir = config(&format!(
            r#"{{"auths": {{"https://r.example/v2/": {{"auth": "{auth}"}}, "{DOCKER_HUB}": {{"identitytoken": "t"}},
                "empty.example": {{}}}}}}"#
        ));
        let found = lookup(dir.path(), "r.example").unwrap().unwrap();
        assert_eq!((found.username.as_deref(), found.password.as_deref()), (Some("me"), Some("a:b/c+")));
        let hub = lookup(dir.path(), DOCKER_HUB).unwrap().unwrap();
        assert_eq!(hub.identitytoken.as_deref(), Some("t"));
        assert!(lookup(dir.path(), "empty.example").unwrap().is_none());
        assert!(lookup(dir.path(), "other.example").unwrap().is_none());
        assert!(lookup(&dir.path().join("none"), "r.example").unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        let dir = config(r#"{"auths": {"r.example": {"auth": "c2VjcmV0"}}}"#);
        let error = lookup(dir.path(), "r.example").unwrap_err().to_string();
        assert!(
            error.contains("r.example") && !error.contains("secret") && !error.contains("c2VjcmV0"),
            "{error}"
        );
        let dir = config(r#"{"credsStore": "vaultlab-none"}"#);
        let error = lookup(dir.path(), "r.example").unwrap_err().to_string();
        assert!(error.contains("docker-credential-vaultlab-none"), "{error}");
    }
}
