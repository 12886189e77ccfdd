//! Bringing up a Vault of any flavour, in production mode: configured by file, on storage that
//! outlives its container.

use tokio::time::Instant;

use super::DockerRuntime;
use super::container::{First, Plan};
use super::images::Image;
use super::names::MADE_FROM;
use crate::report::{Outcome, Report};
use crate::runtime::probe::AskHttp;
use crate::runtime::{DataOrigin, Running, RuntimeError};
use crate::service::vault::{Places, config, remark};
use crate::service::{Endpoint, Probe, Service, ServiceKind};
use crate::spec::model::{Flavour, Storage, VaultSpec};
use crate::state::ServiceRecord;

impl DockerRuntime {
    pub(super) async fn ensure_vault(
        &self,
        service: &Service,
        spec: &VaultSpec,
        report: &Report,
        deadline: Instant,
    ) -> Result<Running, RuntimeError> {
        let name = service.name();
        let image = self.image(service, report).await?;
        let work = async {
            let flavour = image.flavour(spec.flavour);
            let kept = self.refuse_foreign_data(name, flavour).await? && spec.storage != Storage::Inmem;
            for what in ["data", "logs"] {
                self.engine.create_volume(&self.names, name, what, product(flavour)).await?;
            }
            let plan = self.vault_plan(service, spec, &image, flavour);
            let mut record = ServiceRecord {
                kind: ServiceKind::Vault.as_str().into(),
                program: image.name.clone().into(),
                program_version: format!("{} {}", product(flavour), image.version()),
                port: self.ledger.record(name)?.map_or(0, |earlier| earlier.port),
                pid: None,
                started: None,
                template: None,
                data: None,
            };
            let started = self.run(&plan, spec.port, &mut record).await?;
            let Probe::Http { path } = service.probe() else {
                return Err(RuntimeError::Unsupported {
                    service: name.into(),
                    cause: "it has no HTTP probe".into(),
                });
            };
            self.wait_ready(&plan, &started, deadline, &AskHttp { path }).await?;
            let running = Running {
                name: name.into(),
                kind: ServiceKind::Vault,
                endpoint: Endpoint::loopback(started.port),
                from_services: Endpoint::new(name, plan.inner_port),
                reused: started.reused,
                data: if kept { DataOrigin::Kept } else { DataOrigin::Fresh },
                version: record.program_version,
                flavour: Some(flavour),
                accounts: None,
                log_folder: folder(flavour, "logs"),
            };
            let outcome = if started.reused {
                Outcome::Unchanged
            } else {
                if let Some(remark) = remark(spec, flavour) {
                    report.note(remark);
                }
                Outcome::changed(format!("{} at {}", running.version, running.endpoint))
            };
            Ok((outcome, running))
        };
        report.step(&format!("start {name}"), &format!("Starting {name}"), &[], work).await
    }

    /// Whether there is data; one flavour's data means nothing to another.
    async fn refuse_foreign_data(&self, name: &str, flavour: Flavour) -> Result<bool, RuntimeError> {
        let Some(labels) = self.engine.volume_labels(&self.names.volume(name, "data")).await? else {
            return Ok(false);
        };
        match labels.get(MADE_FROM) {
            Some(made_by) if made_by != product(flavour) => Err(RuntimeError::DataMismatch {
                service: name.into(),
                made_by: made_by.clone(),
                found: product(flavour).into(),
            }),
            _ => Ok(true),
        }
    }

    fn vault_plan(&self, service: &Service, spec: &VaultSpec, image: &Image, flavour: Flavour) -> Plan {
        let name = service.name();
        let port = ServiceKind::Vault.usual_port();
        let reachable_at = Endpoint::new(name, port).to_string();
        let cluster = Endpoint::new(name, port + 1).to_string();
        let data = folder(flavour, "file");
        let listen = Endpoint::new("0.0.0.0", port).to_string();
        let places = Places { listen: &listen, reachable_at: &reachable_at, cluster: &cluster, data: &data };
        let text = config(spec, flavour, image.version(), &places);
        Plan {
            service: name.into(),
            kind: ServiceKind::Vault,
            image: image.id.clone(),
            // Memory is not locked (the configuration says so), so the program needs no capability
            // for it, which some engines would refuse.
            env: vec!["SKIP_SETCAP=true".into()],
            cmd: vec!["server".into()],
            mounts: vec![
                (self.names.volume(name, "data"), data.clone()),
                (self.names.volume(name, "logs"), folder(flavour, "logs")),
            ],
            files: vec![(format!("{}/vaultlab.hcl", folder(flavour, "config")), text)],
            declared: image.volumes.clone(),
            first: First::default(),
            inner_port: port,
        }
    }
}

/// A folder of the images: `/vault/…`, or `/openbao/…` in OpenBao's.
fn folder(flavour: Flavour, name: &str) -> String {
    let root = if flavour == Flavour::OpenBao { "/openbao" } else { "/vault" };
    format!("{root}/{name}")
}

fn product(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Vault => "Vault",
        Flavour::OpenBao => "OpenBao",
        Flavour::Embedded | Flavour::Auto => "embedded server",
    }
}
