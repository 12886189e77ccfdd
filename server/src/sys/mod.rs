//! `sys/`: the endpoints of the server itself that need it unsealed.

pub mod audit;
pub mod audited_headers;
mod capabilities;
pub mod cors;
pub mod host;
mod leases;
mod metrics;
mod misc;
mod mounts;
pub mod passwords;
mod policies;
mod table;
mod tools;

pub(crate) use table::reference;
pub use table::{Endpoint, special_paths};

use std::sync::Arc;

use crate::core::active::Active;
use crate::core::mounts::Table;
use crate::core::{Core, raft};
use crate::framework::Call;
use crate::logical::{Error, Request, Response};
use crate::wrapping;

/// Serves a request below `sys/`.
///
/// # Errors
/// As each endpoint says, with Vault's texts.
pub async fn handle(
    core: &Arc<Core>,
    active: &Arc<Active>,
    request: &Request,
) -> Result<Option<Response>, Error> {
    // Vault's patterns want the path of a mount there.
    if matches!(request.path.as_str(), "mounts/" | "auth/") {
        return Err(Error::UnsupportedPath);
    }
    let call = table::ROUTER.resolve(request)?;
    let response = answer(core, active, &call).await?;
    Ok(call.finish(response))
}

async fn answer(
    core: &Arc<Core>,
    active: &Arc<Active>,
    call: &Call<'_, Endpoint>,
) -> Result<Option<Response>, Error> {
    let registry = &core.registry;
    match call.endpoint {
        Endpoint::Mounts => Ok(Some(mounts::list(active, Table::Secret))),
        Endpoint::Mount => mounts::mount(active, registry, call, Table::Secret).await,
        Endpoint::Remount => mounts::remount(active, registry, call).await,
        Endpoint::RemountStatus => mounts::remount_status(active, call),
        Endpoint::AuthMounts => Ok(Some(mounts::list(active, Table::Auth))),
        Endpoint::AuthMount => mounts::mount(active, registry, call, Table::Auth).await,
        Endpoint::AclPolicies | Endpoint::LegacyPolicies => Ok(policies::list(active, call)),
        Endpoint::AclPolicy | Endpoint::LegacyPolicy => policies::policy(active, call).await,
        Endpoint::Capabilities | Endpoint::CapabilitiesSelf | Endpoint::CapabilitiesAccessor => {
            capabilities::handle(active, call)
        }
        Endpoint::Leases
        | Endpoint::LeaseCount
        | Endpoint::LeaseTidy
        | Endpoint::LeaseLookup
        | Endpoint::LeaseList
        | Endpoint::LeaseRenew
        | Endpoint::LeaseRevoke
        | Endpoint::RevokePrefix
        | Endpoint::RevokeForce => leases::handle(active, call).await,
        Endpoint::AuditDevices => Ok(Some(audit::list(active)?)),
        Endpoint::AuditDevice => audit::device(active, call).await,
        Endpoint::AuditHash => audit::hash(active, call),
        Endpoint::AuditedHeaders | Endpoint::AuditedHeader => audited_headers::handle(active, call).await,
        Endpoint::WrapData => wrapping::wrap_data(call.request).map(Some),
        Endpoint::Rewrap => wrapping::rewrap(active, call.request).await.map(Some),
        Endpoint::Seal => {
            // In a task of its own: sealing must not stop half-way.
            let core = Arc::clone(core);
            tokio::spawn(async move { core.seal_by_request().await })
                .await
                .map_err(|error| Error::internal(error.to_string()))?;
            Ok(None)
        }
        Endpoint::Metrics => metrics::handle(active, call).map(Some),
        Endpoint::Random | Endpoint::Hash => tools::handle(call).map(Some),
        Endpoint::Cors => cors::handle(active, call).await,
        Endpoint::HostInfo => Ok(Some(host::info())),
        Endpoint::PasswordPolicies | Endpoint::PasswordPolicy | Endpoint::GeneratePassword => {
            passwords::handle(active, call).await
        }
        Endpoint::RaftConfiguration
        | Endpoint::RaftAutopilotState
        | Endpoint::RaftAutopilot
        | Endpoint::RaftSnapshot
        | Endpoint::RaftPeers => raft::handle(core, active, call).await,
        Endpoint::KeyBackup
        | Endpoint::KeyStatus
        | Endpoint::Rotate
        | Endpoint::UiMounts
        | Endpoint::UiMount
        | Endpoint::ConfigState
        | Endpoint::HaStatus
        | Endpoint::Version
        | Endpoint::PluginCatalog
        | Endpoint::PluginCatalogType
        | Endpoint::Plugin
        | Endpoint::ResultantAcl
        | Endpoint::OpenApi
        | Endpoint::StepDown
        | Endpoint::InFlight => misc::handle(core, active, call).await,
    }
}
