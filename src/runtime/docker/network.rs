//! The network of a lab, on which its services know each other by name.

use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::ListNetworksOptionsBuilder;

use super::engine::Engine;
use super::error::{DockerError, unless_absent};
use super::names::{Labels, Names, has_all};
use crate::runtime::HostNetwork;

impl Engine {
    /// Makes the lab's network unless it is there. Names of networks are not unique in an engine:
    /// the caller lets only one at a time do this for a lab.
    pub(super) async fn ensure_network(&self, names: &Names) -> Result<(), DockerError> {
        if !self.networks(names).await?.is_empty() {
            return Ok(());
        }
        let request = NetworkCreateRequest {
            name: names.network(),
            driver: Some("bridge".into()),
            labels: Some(names.labels(None)),
            ..NetworkCreateRequest::default()
        };
        let made = self.docker.create_network(request).await;
        match made.map_err(DockerError::operation(format!("create the network {}", names.network()))) {
            // Podman lets no two have one name: a program that is dead by now had asked for it too.
            Err(_) if !self.networks(names).await?.is_empty() => Ok(()),
            made => made.map(drop),
        }
    }

    /// Gateway and addresses of the lab's network.
    pub(super) async fn host_network(&self, names: &Names) -> Result<HostNetwork, DockerError> {
        let operation = format!("look at the network {}", names.network());
        let network = self.docker.inspect_network(&names.network(), None).await;
        let network = network.map_err(DockerError::operation(operation.clone()))?;
        let configs = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let found = configs.into_iter().find_map(|config| {
            Some(HostNetwork { gateway: config.gateway?.parse().ok()?, subnet: config.subnet? })
        });
        found.ok_or_else(|| DockerError::Operation {
            operation,
            cause: "it tells no IPv4 gateway".into(),
            status: None,
        })
    }

    /// Removes the lab's network. One that still has containers stays; gives whether it is gone.
    pub(super) async fn remove_network(&self, names: &Names) -> Result<bool, DockerError> {
        for id in self.networks(names).await? {
            if !self.remove_network_of(names, &id).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Leaves one network of the lab: the engine lets several have one name.
    pub(super) async fn remove_double_networks(&self, names: &Names) -> Result<(), DockerError> {
        let found = self.networks(names).await?;
        let mut left = found.len();
        for id in found {
            if left > 1 && self.remove_network_of(names, &id).await? {
                left -= 1;
            }
        }
        Ok(())
    }

    /// Gives whether it is gone: one that still has containers stays.
    async fn remove_network_of(&self, names: &Names, id: &str) -> Result<bool, DockerError> {
        let removed = self.docker.remove_network(id).await;
        let operation = format!("remove the network {}", names.network());
        match unless_absent(removed.map_err(DockerError::operation(operation))) {
            Ok(_) => Ok(true),
            Err(error) if error.is_in_use() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What each network of the lab goes by. With Docker that is an id, as several may have one name. Podman
    /// looks for containers on the name it is given only: by its id it removes a network from under them,
    /// and then cannot take down the bridge or the rules of the firewall.
    async fn networks(&self, names: &Names) -> Result<Vec<String>, DockerError> {
        let filters = names.filters(None);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let found = self.docker.list_networks(Some(options)).await;
        let found =
            found.map_err(DockerError::operation(format!("look for the network {}", names.network())))?;
        let ours = |labels: Option<&Labels>| labels.is_some_and(|labels| has_all(labels, &filters));
        let found = found.into_iter().filter(|network| ours(network.labels.as_ref()));
        let by_name = self.is_podman().await;
        Ok(found.filter_map(|network| if by_name { network.name } else { network.id }).collect())
    }
}
