//! Which image a service gets, and that it is there.

use std::collections::HashMap;

use super::context::DockerEnvironment;
use super::credentials;
use super::engine::Engine;
use super::error::{DockerError, says_full, unless_absent};
use super::pull::pull;
use super::reference::ImageRef;
use crate::report::{Outcome, Report};
use crate::service::Service;
use crate::spec::model::{Engine as DatabaseEngine, Flavour, MysqlFlavour, VaultSpec};

/// Whether images are pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// When the engine does not have them.
    #[default]
    Missing,
    /// Every time, for the newest one of that name.
    Always,
    /// Never: no registry is asked for anything.
    Never,
}

/// An image the engine has.
#[derive(Debug, Clone)]
pub(super) struct Image {
    /// Its name, as in `postgres:17`.
    pub name: String,
    /// Digest of its content.
    pub id: String,
    /// Its bytes on disk, with layers that it shares with others.
    pub size: u64,
    /// Folders it declares as volumes.
    pub volumes: Vec<String>,
    labels: HashMap<String, String>,
    env: Vec<String>,
}

impl Image {
    /// The version, as its labels or its tag tell; empty when they do not.
    pub fn version(&self) -> &str {
        let label = ["org.opencontainers.image.version", "version"].iter().find_map(|l| self.labels.get(*l));
        let tag = || self.name.rsplit_once(':').map_or("", |(_, tag)| tag);
        label.map_or_else(tag, String::as_str).trim_start_matches('v')
    }

    pub fn is_mariadb(&self) -> bool {
        self.env.iter().any(|variable| variable.starts_with("MARIADB_"))
    }

    /// Which Vault is in it.
    pub fn flavour(&self, wanted: Flavour) -> Flavour {
        let stand_in = self.labels.get("dev.vaultlab.image").is_some_and(|image| image == "server");
        match wanted {
            _ if stand_in => Flavour::Embedded,
            Flavour::Auto if self.name.contains("openbao") => Flavour::OpenBao,
            Flavour::Auto => Flavour::Vault,
            chosen => chosen,
        }
    }
}

/// The images that serve, best first; the first one is pulled when none is there.
fn candidates(service: &Service) -> Vec<String> {
    let written = match service {
        Service::Vault(vault) => &vault.image,
        Service::Database(database) => &database.image,
    };
    if let Some(image) = written {
        return vec![image.clone()];
    }
    let names: &[&str] = match service {
        Service::Vault(vault) => return vault_candidates(vault),
        Service::Database(database) => match database.engine {
            DatabaseEngine::Postgres => &["postgres:17", "vaultlab/postgres:15"],
            DatabaseEngine::Mysql(MysqlFlavour::Auto) => &["mysql:8.4", "vaultlab/mysql:9", "mariadb:11.4"],
            DatabaseEngine::Mysql(MysqlFlavour::Mysql) => &["mysql:8.4", "vaultlab/mysql:9"],
            DatabaseEngine::Mysql(MysqlFlavour::Mariadb) => &["mariadb:11.4"],
        },
    };
    names.iter().map(ToString::to_string).collect()
}

fn vault_candidates(spec: &VaultSpec) -> Vec<String> {
    let version = |usual: &str| spec.version.clone().unwrap_or_else(|| usual.into());
    let vault = || format!("hashicorp/vault:{}", version("1.20"));
    let openbao = || format!("openbao/openbao:{}", version("2.4"));
    let embedded = || "vaultlab/server:latest".to_owned();
    match spec.flavour {
        Flavour::Vault => vec![vault()],
        Flavour::OpenBao => vec![openbao()],
        Flavour::Embedded => vec![embedded()],
        Flavour::Auto => vec![vault(), openbao(), embedded()],
    }
}

/// The image a service would rather have than any other.
pub(super) fn first_choice(service: &Service) -> String {
    candidates(service).into_iter().next().unwrap_or_default()
}

/// The image that a service gets without anything being pulled.
pub(super) async fn present(engine: &Engine, service: &Service) -> Result<Option<Image>, DockerError> {
    for candidate in candidates(service) {
        if let Some(image) = inspect(engine, &ImageRef::parse(&candidate)?).await? {
            return Ok(Some(image));
        }
    }
    Ok(None)
}

/// The image that would be pulled for a service; `None` when a registry has none.
pub(super) fn pullable(service: &Service) -> Result<Option<ImageRef>, DockerError> {
    let in_no_registry = matches!(service, Service::Vault(vault) if vault.flavour == Flavour::Embedded && vault.image.is_none());
    match candidates(service).first() {
        Some(image) if !in_no_registry => ImageRef::parse(image).map(Some),
        _ => Ok(None),
    }
}

/// The image for a service, pulled when the policy says so.
pub(super) async fn ensure(
    engine: &Engine,
    service: &Service,
    policy: PullPolicy,
    report: &Report,
) -> Result<Image, DockerError> {
    let wanted = pullable(service)?;
    // With `always`, what is in no registry still has to be here.
    if (policy != PullPolicy::Always || wanted.is_none())
        && let Some(image) = present(engine, service).await?
    {
        return Ok(image);
    }
    let missing = |cause: String| DockerError::ImageMissing {
        image: first_choice(service),
        hint: hint(service, policy, &cause),
        cause,
    };
    let Some(wanted) = wanted.filter(|_| policy != PullPolicy::Never) else {
        return Err(missing(String::new()));
    };
    let step = format!("pull {wanted}");
    let work = async {
        let credentials = find_credentials(wanted.registry()).await?;
        if let Err(cause) = pull(engine, &wanted, credentials, report, &step).await {
            // With `always` the engine may have one that serves.
            return Err(match inspect(engine, &wanted).await {
                Ok(Some(image)) => {
                    let hint = "`--pull missing` takes the one that is here".into();
                    DockerError::ImageStale { image: image.name, cause, hint }
                }
                _ => missing(cause),
            });
        }
        Ok::<_, DockerError>((Outcome::changed(""), ()))
    };
    report.step(&step, &format!("Pulling {wanted}"), &[], work).await?;
    inspect(engine, &wanted)
        .await?
        .ok_or_else(|| missing("it was pulled, but the engine does not have it".into()))
}

/// What Docker's configuration has for a registry.
pub(super) async fn find_credentials(
    registry: &str,
) -> Result<Option<bollard::auth::DockerCredentials>, DockerError> {
    let Some(config) = DockerEnvironment::of_this_process().config else { return Ok(None) };
    let name = registry.to_owned();
    let looked = tokio::task::spawn_blocking(move || credentials::lookup(&config, &name)).await;
    looked.map_err(|e| DockerError::Credentials { registry: registry.into(), cause: e.to_string() })?
}

async fn inspect(engine: &Engine, image: &ImageRef) -> Result<Option<Image>, DockerError> {
    let name = image.to_string();
    let answer = engine.docker.inspect_image(&name).await;
    let found = unless_absent(answer.map_err(DockerError::operation(format!("look for the image {name}"))))?;
    Ok(found.map(|found| {
        let config = found.config.unwrap_or_default();
        Image {
            id: found.id.unwrap_or_else(|| name.clone()),
            name,
            size: found.size.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
            volumes: config.volumes.unwrap_or_default(),
            labels: config.labels.unwrap_or_default(),
            env: config.env.unwrap_or_default(),
        }
    }))
}

/// Whether a registry refuses because of who asks.
pub(super) fn wants_login(cause: &str) -> bool {
    ["denied", "unauthorized", "authentication", "no basic auth credentials"]
        .iter()
        .any(|word| cause.contains(word))
}

/// What to do when an image cannot be had.
pub(super) fn hint(service: &Service, policy: PullPolicy, cause: &str) -> String {
    if says_full(cause) {
        return "make room where the engine keeps its data: `vaultlab prune` removes what no lab uses, \
                `docker system df` shows what else is there"
            .into();
    }
    let stand_in = match service {
        Service::Vault(_) => "vaultlab/server:latest",
        Service::Database(database) => match database.engine {
            DatabaseEngine::Postgres => "vaultlab/postgres:15",
            DatabaseEngine::Mysql(_) => "vaultlab/mysql:9",
        },
    };
    let first = if policy == PullPolicy::Never {
        "allow it to be pulled with `--pull missing`"
    } else if wants_login(cause) {
        "log in with `docker login`"
    } else {
        "bring it over with `docker save` and `docker load`"
    };
    format!(
        "{first}, build a stand-in that needs no registry with `make images` and name it (`image: {stand_in}`), \
         or choose `--runtime process`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(flavour: Flavour, version: Option<&str>, image: Option<&str>) -> Service {
        Service::Vault(VaultSpec {
            flavour,
            version: version.map(Into::into),
            image: image.map(Into::into),
            storage: crate::spec::model::Storage::File,
            key_shares: 1,
            key_threshold: 1,
            audit: None,
            keep_root_token: false,
            key_store: crate::state::Protection::Plain,
            port: None,
        })
    }

    #[test]
    fn the_lab_file_decides_first() {
        assert_eq!(candidates(&vault(Flavour::Auto, None, Some("r.io/v:1"))), ["r.io/v:1"]);
        assert_eq!(candidates(&vault(Flavour::Vault, Some("1.18"), None)), ["hashicorp/vault:1.18"]);
        assert_eq!(candidates(&vault(Flavour::Auto, None, None)).len(), 3);
    }

    #[test]
    fn an_image_tells_version_and_flavour() {
        let mut image = Image {
            name: "r.io:1/openbao/openbao:2.4.1".into(),
            id: "sha256:0".into(),
            size: 0,
            volumes: Vec::new(),
            labels: HashMap::new(),
            env: vec!["PATH=/bin".into()],
        };
        assert_eq!((image.version(), image.flavour(Flavour::Auto)), ("2.4.1", Flavour::OpenBao));
        assert_eq!(image.flavour(Flavour::Vault), Flavour::Vault);
        image.labels.insert("version".into(), "v1.20.0".into());
        image.labels.insert("dev.vaultlab.image".into(), "server".into());
        assert_eq!((image.version(), image.flavour(Flavour::Auto)), ("1.20.0", Flavour::Embedded));
        assert!(!image.is_mariadb());
        image.env.push("MARIADB_VERSION=1:11".into());
        assert!(image.is_mariadb());
    }
}
