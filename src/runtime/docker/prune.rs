//! What the engine has of labs that are gone, and templates that no lab was made from.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder,
    ListVolumesOptionsBuilder, RemoveImageOptions, RemoveVolumeOptions,
};

use super::engine::Engine;
use super::error::{DockerError, unless_absent};
use super::names::{Filters, HOME, LAB, Labels, TEMPLATE, has_all, home_id};
use super::template::REPOSITORY;
use crate::runtime::RuntimeError;
use crate::runtime::leftover::{Leftover, LeftoverKind, Place, bytes_below};
use crate::state::Home;

impl Engine {
    /// What the engine has that nobody misses: everything of labs of this home that `is_gone`, and
    /// templates whose key is not in `used`.
    pub async fn leftovers(
        &self,
        home: &Home,
        used: &BTreeSet<String>,
        is_gone: impl Fn(&str) -> bool + Sync,
    ) -> Result<Vec<Leftover>, RuntimeError> {
        let mut found = self.templates(home, used).await?;
        let filters = Filters::from([("label", vec![LAB.to_owned(), format!("{HOME}={}", home_id(home))])]);
        let gone = |labels: &Labels| has_all(labels, &filters) && is_gone(&labels[LAB]);
        // In the order in which they can be removed: a volume is held by its container.
        let options = ListContainersOptionsBuilder::new().all(true).size(true).filters(&filters).build();
        let containers = self.docker.list_containers(Some(options)).await;
        for container in containers.map_err(DockerError::operation("list containers"))? {
            let (Some(id), Some(labels)) = (container.id, container.labels) else { continue };
            let name = container.names.into_iter().flatten().next().unwrap_or_else(|| id.clone());
            if gone(&labels) {
                found.push(Leftover {
                    kind: LeftoverKind::Container,
                    name: name.trim_start_matches('/').into(),
                    bytes: container.size_rw.and_then(|bytes| u64::try_from(bytes).ok()),
                    place: Place::Engine(id),
                });
            }
        }
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let volumes = self.docker.list_volumes(Some(options)).await;
        let volumes = volumes.map_err(DockerError::operation("list volumes"))?.volumes;
        for volume in volumes.into_iter().flatten().filter(|volume| gone(&volume.labels)) {
            found.push(Leftover {
                kind: LeftoverKind::Volume,
                name: volume.name.clone(),
                bytes: if self.is_local() { bytes_below(Path::new(&volume.mountpoint)).ok() } else { None },
                place: Place::Engine(volume.name),
            });
        }
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let networks = self.docker.list_networks(Some(options)).await;
        for network in networks.map_err(DockerError::operation("list networks"))? {
            let (Some(id), Some(labels)) = (network.id, network.labels) else { continue };
            if gone(&labels) {
                let name = network.name.unwrap_or_else(|| id.clone());
                let kind = LeftoverKind::Network;
                found.push(Leftover { kind, name, bytes: Some(0), place: Place::Engine(id) });
            }
        }
        Ok(found)
    }

    async fn templates(&self, home: &Home, used: &BTreeSet<String>) -> Result<Vec<Leftover>, RuntimeError> {
        let filters = Filters::from([("label", vec![TEMPLATE.to_owned()])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let images = self.docker.list_images(Some(options)).await;
        let mut found = Vec::new();
        for image in images.map_err(DockerError::operation("list templates"))? {
            let Some(key) = image.labels.get(TEMPLATE).filter(|key| !used.contains(*key)) else { continue };
            // Podman writes the registry before it.
            let tag = format!("{REPOSITORY}:{}", super::template::tag(key, &home_id(home)));
            if !image.repo_tags.iter().any(|name| name.ends_with(&tag)) {
                continue;
            }
            found.push(Leftover {
                kind: LeftoverKind::Template,
                name: key.clone(),
                bytes: u64::try_from(image.size).ok(),
                place: Place::Image {
                    folder: super::template::origin_folder(home, key),
                    image: Some(image.id),
                },
            });
        }
        // Passwords of templates that are gone.
        let folders = fs::read_dir(super::template::origins(home)).into_iter().flatten().flatten();
        for key in folders.filter_map(|entry| entry.file_name().into_string().ok()) {
            if !used.contains(&key) && !found.iter().any(|leftover| leftover.name == key) {
                let folder = super::template::origin_folder(home, &key);
                found.push(Leftover {
                    kind: LeftoverKind::Template,
                    name: key,
                    bytes: bytes_below(&folder).ok(),
                    place: Place::Image { image: None, folder },
                });
            }
        }
        Ok(found)
    }

    /// Removes one. One that is gone is no error.
    pub async fn remove_leftover(&self, leftover: &Leftover) -> Result<(), RuntimeError> {
        let failed =
            DockerError::operation(format!("remove the {} {}", leftover.kind.as_str(), leftover.name));
        let removed = match (&leftover.place, leftover.kind) {
            (Place::Image { image, folder }, _) => {
                if let Some(image) = image {
                    let removed = self.docker.remove_image(image, None::<RemoveImageOptions>, None).await;
                    unless_absent(removed.map_err(failed))?;
                }
                return match fs::remove_dir_all(folder) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        Err(crate::runtime::folder(&leftover.name, "remove", folder)(e))
                    }
                    _ => Ok(()),
                };
            }
            (Place::Engine(id), LeftoverKind::Container) => return Ok(self.remove_container(id).await?),
            (Place::Engine(name), LeftoverKind::Volume) => {
                self.docker.remove_volume(name, None::<RemoveVolumeOptions>).await
            }
            (Place::Engine(id), _) => self.docker.remove_network(id).await,
            (Place::Folder(_), _) => return Ok(()),
        };
        unless_absent(removed.map_err(failed))?;
        Ok(())
    }
}
