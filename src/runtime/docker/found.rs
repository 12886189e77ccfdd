//! What an engine has of labs, found by its labels alone: the folder of a lab may be lost.

use std::collections::BTreeMap;

use bollard::models::ContainerSummaryStateEnum;
use bollard::query_parameters::{ListContainersOptionsBuilder, ListVolumesOptionsBuilder};

use super::engine::Engine;
use super::error::DockerError;
use super::names::{Filters, HOME, KIND, LAB, Labels, Names, SERVICE, has_all, home_id};
use crate::state::Home;

/// A lab as an engine has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundLab {
    /// Its services that have a container or a volume, with whether they run.
    pub services: BTreeMap<String, bool>,
}

impl FoundLab {
    /// `up`, `partly up` or `down`.
    pub fn state(&self) -> &'static str {
        let running = self.services.values().filter(|running| **running).count();
        match running {
            0 => "down",
            n if n == self.services.len() => "up",
            _ => "partly up",
        }
    }
}

/// What there is of one service.
struct Thing {
    labels: Labels,
    running: bool,
}

impl Engine {
    /// Every lab of this home that the engine has a container or a volume of, by name.
    ///
    /// # Errors
    /// When the engine does not tell.
    pub async fn labs(&self, home: &Home) -> Result<BTreeMap<String, FoundLab>, DockerError> {
        let filters = Filters::from([("label", vec![LAB.to_owned(), format!("{HOME}={}", home_id(home))])]);
        let mut labs: BTreeMap<String, FoundLab> = BTreeMap::new();
        for Thing { mut labels, running } in self.things(&filters).await? {
            if let (Some(lab), Some(service)) = (labels.remove(LAB), labels.remove(SERVICE)) {
                *labs.entry(lab).or_default().services.entry(service).or_default() |= running;
            }
        }
        Ok(labs)
    }

    /// The services of a lab that the engine has anything of, with their kind (empty where only a
    /// volume is left).
    pub(super) async fn services(&self, names: &Names) -> Result<BTreeMap<String, String>, DockerError> {
        let mut services: BTreeMap<String, String> = BTreeMap::new();
        for Thing { mut labels, .. } in self.things(&names.filters(None)).await? {
            let kind = labels.remove(KIND);
            if let Some(service) = labels.remove(SERVICE) {
                let known = services.entry(service).or_default();
                if let Some(kind) = kind {
                    *known = kind;
                }
            }
        }
        Ok(services)
    }

    async fn things(&self, filters: &Filters) -> Result<Vec<Thing>, DockerError> {
        let containers = ListContainersOptionsBuilder::new().all(true).filters(filters).build();
        let volumes = ListVolumesOptionsBuilder::new().filters(filters).build();
        let (containers, volumes) = tokio::join!(
            self.docker.list_containers(Some(containers)),
            self.docker.list_volumes(Some(volumes))
        );
        let containers = containers.map_err(DockerError::operation("list the containers of labs"))?;
        let volumes = volumes.map_err(DockerError::operation("list the volumes of labs"))?.volumes;
        let containers = containers.into_iter().map(|container| Thing {
            running: container.state.is_some_and(|state| state == ContainerSummaryStateEnum::RUNNING),
            labels: container.labels.unwrap_or_default(),
        });
        let volumes =
            volumes.into_iter().flatten().map(|volume| Thing { labels: volume.labels, running: false });
        Ok(containers.chain(volumes).filter(|thing| has_all(&thing.labels, filters)).collect())
    }
}
