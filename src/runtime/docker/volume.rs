//! Volumes: what outlives a service's container.

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};

use super::engine::Engine;
use super::error::{DockerError, unless_absent};
use super::names::{Labels, MADE_FROM, Names, has_all};

impl Engine {
    /// Makes a volume; `made_from` says what its data will be made from.
    pub(super) async fn create_volume(
        &self,
        names: &Names,
        service: &str,
        what: &str,
        made_from: &str,
    ) -> Result<String, DockerError> {
        let name = names.volume(service, what);
        let mut labels = names.labels(Some(service));
        labels.insert(MADE_FROM.into(), made_from.into());
        let request = VolumeCreateRequest {
            name: Some(name.clone()),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        let made = self.docker.create_volume(request).await;
        made.map_err(DockerError::operation(format!("create the volume {name}")))?;
        Ok(name)
    }

    /// The labels of a volume; `None` when it is not there.
    pub(super) async fn volume_labels(&self, name: &str) -> Result<Option<Labels>, DockerError> {
        let found = self.docker.inspect_volume(name).await;
        let found =
            unless_absent(found.map_err(DockerError::operation(format!("look at the volume {name}"))))?;
        Ok(found.map(|volume| volume.labels))
    }

    /// Whether a service has any volume.
    pub(super) async fn has_volumes(&self, names: &Names, service: &str) -> Result<bool, DockerError> {
        Ok(!self.volumes(names, service).await?.is_empty())
    }

    /// Removes all volumes of a service; its container must be gone.
    pub(super) async fn remove_volumes(&self, names: &Names, service: &str) -> Result<(), DockerError> {
        for name in self.volumes(names, service).await? {
            let removed = self.docker.remove_volume(&name, None::<RemoveVolumeOptions>).await;
            unless_absent(removed.map_err(DockerError::operation(format!("remove the volume {name}"))))?;
        }
        Ok(())
    }

    async fn volumes(&self, names: &Names, service: &str) -> Result<Vec<String>, DockerError> {
        let filters = names.filters(Some(service));
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let found = self.docker.list_volumes(Some(options)).await;
        let found = found.map_err(DockerError::operation(format!("look for the volumes of {service}")))?;
        let found = found.volumes.unwrap_or_default().into_iter();
        Ok(found.filter(|volume| has_all(&volume.labels, &filters)).map(|volume| volume.name).collect())
    }
}
