//! What an engine says of itself, and how it stands with the images a lab needs.

use std::path::PathBuf;
use std::time::Duration;

use bollard::models::{SystemInfo, SystemVersion};

use super::engine::{Engine, podman};
use super::error::{DockerError, explain};
use super::images::{self, Image};
use super::reference::ImageRef;
use crate::service::Service;

/// The oldest API that has everything a lab uses: that of Docker Engine 20.10.
pub const OLDEST_API: (u32, u32) = (1, 41);

/// How long a registry may take to say whether it has an image.
const REGISTRY_ANSWER: Duration = Duration::from_secs(10);

/// An engine, in its own words.
#[derive(Debug, Clone)]
pub struct EngineFacts {
    /// As in `Docker Engine 20.10.24` or `Podman 4.3.1`.
    pub product: String,
    /// Whether it is Podman.
    pub is_podman: bool,
    /// The newest API it speaks, as in `1.41`.
    pub api_version: String,
    /// Whether that is at least [`OLDEST_API`].
    pub new_enough: bool,
    /// As in `linux/amd64`.
    pub platform: String,
    /// How it stores images and containers, as in `overlay2`.
    pub storage_driver: String,
    /// As in `cgroup v2 (systemd)`.
    pub cgroups: String,
    /// Whether it runs without root.
    pub rootless: bool,
    /// Memory of its machine, in bytes.
    pub memory: Option<u64>,
    /// Where it keeps its data, as its machine sees it.
    pub data_folder: Option<PathBuf>,
}

/// How an engine stands with the image of a service.
#[derive(Debug, Clone)]
pub enum ImageState {
    /// It has one.
    Present {
        /// Its name.
        image: String,
        /// The version its labels or its tag tell; may be empty.
        version: String,
        /// Bytes.
        size: u64,
    },
    /// It has none, but a registry does.
    Pullable {
        /// The image that would be pulled.
        image: String,
    },
    /// It has none, and cannot ask a registry without pulling.
    Unasked {
        /// The image that would be pulled.
        image: String,
    },
    /// It has none and cannot get one.
    Missing {
        /// The image that would be pulled.
        image: String,
        /// Why it cannot be; empty when it is in no registry.
        cause: String,
        /// What to do.
        hint: String,
    },
}

impl Engine {
    /// What the engine says of itself.
    ///
    /// # Errors
    /// When it does not answer any more.
    pub async fn facts(&self) -> Result<EngineFacts, DockerError> {
        let asked = DockerError::operation("say what it is");
        let (version, info) =
            futures_util::future::try_join(self.docker.version(), self.docker.info()).await.map_err(asked)?;
        Ok(facts(version, info))
    }

    /// How the engine stands with the image of a service. A registry is asked whether it has the
    /// image, by the engine itself, and nothing is pulled.
    ///
    /// # Errors
    /// When the engine fails, or the name is no image's.
    pub async fn image_state(&self, service: &Service) -> Result<ImageState, DockerError> {
        if let Some(image) = images::present(self, service).await? {
            let version = image.version().to_owned();
            let Image { name: image, size, .. } = image;
            return Ok(ImageState::Present { image, version, size });
        }
        let Some(wanted) = images::pullable(service)? else {
            let image = images::first_choice(service);
            let hint = images::hint(service, images::PullPolicy::Missing, "");
            return Ok(ImageState::Missing { image, cause: String::new(), hint });
        };
        let image = wanted.to_string();
        if self.is_podman().await {
            return Ok(ImageState::Unasked { image });
        }
        Ok(match self.ask_registry(&wanted).await {
            Ok(()) => ImageState::Pullable { image },
            Err(cause) => {
                let hint = images::hint(service, images::PullPolicy::Missing, &cause);
                ImageState::Missing { image, cause, hint }
            }
        })
    }

    /// Whether the image's registry has it; the error is why not.
    async fn ask_registry(&self, image: &ImageRef) -> Result<(), String> {
        let credentials =
            images::find_credentials(image.registry()).await.map_err(|error| error.to_string())?;
        let name = image.to_string();
        let asked = self.docker.inspect_registry_image(&name, credentials);
        match tokio::time::timeout(REGISTRY_ANSWER, asked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(explain(&error)),
            Err(_) => Err(format!("its registry did not answer within {} s", REGISTRY_ANSWER.as_secs())),
        }
    }
}

fn facts(version: SystemVersion, info: SystemInfo) -> EngineFacts {
    let is_podman = podman(&version).is_some();
    let product = match podman(&version) {
        Some(version) => format!("Podman {version}"),
        None => format!("Docker Engine {}", version.version.as_deref().unwrap_or_default()),
    };
    let api_version = version.api_version.unwrap_or_default();
    let cgroup_version = info.cgroup_version.map(|version| format!(" v{version}")).unwrap_or_default();
    let cgroup_driver = info.cgroup_driver.map(|driver| format!(" ({driver})")).unwrap_or_default();
    let rootless = info.security_options.iter().flatten().any(|option| option.contains("rootless"));
    EngineFacts {
        product,
        is_podman,
        new_enough: numbers(&api_version).is_some_and(|found| found >= OLDEST_API),
        api_version,
        platform: format!("{}/{}", version.os.unwrap_or_default(), version.arch.unwrap_or_default()),
        storage_driver: info.driver.unwrap_or_default(),
        cgroups: format!("cgroup{cgroup_version}{cgroup_driver}"),
        rootless,
        memory: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0),
        data_folder: info.docker_root_dir.filter(|folder| !folder.is_empty()).map(Into::into),
    }
}

/// `1.41` as numbers: as text, 1.9 would be newer.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use bollard::models::SystemVersionComponents;

    use super::*;

    fn version(api: &str, component: &str) -> SystemVersion {
        SystemVersion {
            version: Some("4.3.1".into()),
            api_version: Some(api.into()),
            components: Some(vec![SystemVersionComponents {
                name: component.into(),
                version: "4.3.1".into(),
                ..SystemVersionComponents::default()
            }]),
            ..SystemVersion::default()
        }
    }

    #[test]
    fn versions_are_compared_as_numbers_and_podman_is_told_from_docker() {
        for (api, new_enough) in [("1.41", true), ("1.50", true), ("2.0", true), ("1.9", false), ("", false)]
        {
            let facts = facts(version(api, "Engine"), SystemInfo::default());
            assert_eq!(facts.new_enough, new_enough, "{api}");
            assert_eq!(facts.product, "Docker Engine 4.3.1");
        }
        assert_eq!(facts(version("1.41", "Podman Engine"), SystemInfo::default()).product, "Podman 4.3.1");
    }
}
