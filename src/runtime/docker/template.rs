//! Initialised data, kept as local images that labs start from.
//!
//! A template is an image that holds nothing but a data folder, taken from a database that was just
//! filled, with all its processes frozen: what a crash at that moment would leave, which both
//! database systems recover from. The password of the superuser in it is kept beside the lab's
//! other secrets; every lab replaces it with one of its own.

use std::collections::HashMap;
use std::path::PathBuf;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, DownloadFromContainerOptionsBuilder,
};
use futures_util::StreamExt as _;

use super::DockerRuntime;
use super::error::{DockerError, unless_absent};
use super::names::{HOME, TEMPLATE};
use crate::runtime::RuntimeError;
use crate::runtime::origin::Origin;
use crate::state::Credentials;

/// Repository of all templates.
pub(super) const REPOSITORY: &str = "vaultlab/template";

/// The folder of the data inside a template; the last part of the path it had in its container.
const FOLDER: &str = "/data";

impl DockerRuntime {
    fn template_tag(&self, key: &str) -> String {
        format!("{key}-{}", self.home_id)
    }

    fn origin_folder(&self, key: &str) -> PathBuf {
        self.home.root().join("templates-docker").join(key)
    }

    /// The superuser of a template that is there; `None` when there is none to use.
    pub(super) async fn template(&self, key: &str) -> Result<Option<Credentials>, RuntimeError> {
        let Some(origin) = Origin::load(&self.origin_folder(key))? else { return Ok(None) };
        let name = format!("{REPOSITORY}:{}", self.template_tag(key));
        let found = self.engine.docker.inspect_image(&name).await;
        let found =
            unless_absent(found.map_err(DockerError::operation(format!("look for the image {name}"))))?;
        Ok(found.map(|_| origin.superuser))
    }

    /// Copies a template into an empty volume: the engine does so when a container is made that
    /// mounts the volume where the image has data.
    pub(super) async fn restore_template(
        &self,
        key: &str,
        service: &str,
        volume: &str,
    ) -> Result<(), RuntimeError> {
        let name = format!("{}-restore", self.names.container(service));
        let labels = self.names.labels(Some(service));
        let mount = Mount {
            typ: Some(MountType::VOLUME),
            source: Some(volume.into()),
            target: Some(FOLDER.into()),
            ..Mount::default()
        };
        let body = ContainerCreateBody {
            image: Some(format!("{REPOSITORY}:{}", self.template_tag(key))),
            cmd: Some(vec!["none".into()]),
            labels: Some(labels),
            host_config: Some(HostConfig { mounts: Some(vec![mount]), ..HostConfig::default() }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let made = self.engine.docker.create_container(Some(options), body).await;
        let made = made
            .map_err(DockerError::operation(format!("copy the template {key} into the volume {volume}")))?;
        Ok(self.engine.remove_container(&made.id).await?)
    }

    /// Keeps the data of a running container as a template. Nothing is kept on failure.
    pub(super) async fn keep_template(
        &self,
        key: &str,
        container: &str,
        folder: &str,
        superuser: &Credentials,
    ) -> Result<(), DockerError> {
        let paused = self.engine.docker.pause_container(container).await;
        paused.map_err(DockerError::operation(format!("pause the container {container}")))?;
        let imported = self.import(key, container, folder).await;
        let unpaused = self.engine.docker.unpause_container(container).await;
        unpaused.map_err(DockerError::operation(format!("resume the container {container}")))?;
        imported?;
        Origin::new(key, superuser.clone()).save(&self.origin_folder(key)).map_err(|e| {
            DockerError::Operation {
                operation: format!("keep the template {key}"),
                cause: e.to_string(),
                status: None,
            }
        })
    }

    async fn import(&self, key: &str, container: &str, folder: &str) -> Result<(), DockerError> {
        let options = DownloadFromContainerOptionsBuilder::new().path(folder).build();
        let data = self.engine.docker.download_from_container(container, Some(options));
        let data = data.map(|chunk| chunk.map_err(std::io::Error::other));
        let labels: HashMap<&str, &str> = [(TEMPLATE, key), (HOME, self.home_id.as_str())].into();
        let changes = labels.iter().map(|(label, value)| format!("LABEL {label}={value}")).collect();
        let options = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo(REPOSITORY)
            .tag(&self.template_tag(key))
            .changes(changes)
            .build();
        let body = bollard::body_try_stream(Box::pin(data));
        let mut answers = self.engine.docker.create_image(Some(options), Some(body), None);
        while let Some(answer) = answers.next().await {
            answer.map_err(DockerError::operation(format!("keep the template {key}")))?;
        }
        Ok(())
    }
}
