//! Bringing up a Vault of any flavour.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;
use tokio::time::Instant;

use super::identity::Identity;
use super::programs::{Programs, VaultProgram};
use super::spawn::{Launch, RunAs, make_way};
use super::start::{PortWish, Start, Wait};
use super::{Places, ProcessRuntime};
use crate::report::{Outcome, Report};
use crate::runtime::folder;
use crate::runtime::probe::AskHttp;
use crate::runtime::{DataOrigin, Running, RuntimeError};
use crate::service::vault::{Places as ConfigPlaces, config, remark};
use crate::service::{Endpoint, Probe, Service, ServiceKind};
use crate::spec::model::{Flavour, Storage, VaultSpec};
use crate::state::ServiceRecord;

/// Name of the server's configuration file in the service's folder.
pub(super) const CONFIG: &str = "config.hcl";

/// What [`product`] calls the embedded server.
const EMBEDDED: &str = "embedded server";

impl ProcessRuntime {
    pub(super) async fn ensure_vault(
        &self,
        service: &Service,
        spec: &VaultSpec,
        report: &Report,
        deadline: Instant,
    ) -> Result<Running, RuntimeError> {
        let name = service.name();
        let Probe::Http { path } = service.probe() else {
            return Err(RuntimeError::Unsupported {
                service: name.into(),
                cause: "it has no HTTP probe".into(),
            });
        };
        let work = async {
            let places = self.places(name);
            let earlier = self.ledger.record(name)?;
            if earlier.is_none() && self.stop_service(name, Duration::from_secs(10)).await? {
                report.note(format!("{name} ran without a record in the lab's manifest and was stopped"));
            }
            let program = self.vault_program(name, spec, earlier.as_ref()).await?;
            refuse_foreign_data(name, spec, &places, &program, earlier.as_ref())?;
            if let Some(record) = &earlier
                && let Some(process) = self.process_of(name, record)
            {
                let wanted = config_for(spec, &program, &places, record.port);
                let same = fs::read_to_string(places.root.join(CONFIG)).is_ok_and(|now| now == wanted);
                let same = same && flavour_of(&record.program_version) == flavour_of(&product(&program));
                if same && spec.port.is_none_or(|port| port == record.port) {
                    match self.reuse_vault(name, record, process, path, deadline).await {
                        Ok(record) => {
                            let running = running(name, &record, &program, &places, true, DataOrigin::Kept);
                            return Ok((Outcome::Unchanged, running));
                        }
                        // It was ending when it was found.
                        Err(RuntimeError::Exited { .. }) => {}
                        Err(other) => return Err(other),
                    }
                } else {
                    report.note(format!("{name} is started again, for its configuration has changed"));
                    self.stop_service(name, Duration::from_secs(10)).await?;
                }
            }
            if let Some(remark) = remark(spec, program.flavour) {
                report.note(remark);
            }
            let (record, data) = self.start_vault(name, spec, &program, earlier, path, deadline).await?;
            let running = running(name, &record, &program, &places, false, data);
            Ok((Outcome::changed(format!("{} at {}", running.version, running.endpoint)), running))
        };
        report.step(&format!("start {name}"), &format!("Starting {name}"), &[], work).await
    }

    /// The program to run. Where nothing says which, the one that the lab has run with so far, as long
    /// as it is there: its data is of no use to another flavour.
    async fn vault_program(
        &self,
        name: &str,
        spec: &VaultSpec,
        earlier: Option<&ServiceRecord>,
    ) -> Result<VaultProgram, RuntimeError> {
        let real = |record: &&ServiceRecord| flavour_of(&record.program_version) != EMBEDDED;
        if spec.flavour == Flavour::Auto
            && self.programs.vault.is_none()
            && let Some(record) = earlier.filter(real)
        {
            let recorded = Programs { vault: Some(record.program.clone()), ..self.programs.clone() };
            if let Ok(program) = recorded.vault(name, spec).await {
                return Ok(program);
            }
        }
        self.programs.vault(name, spec).await
    }

    /// A server that runs already: it still has to answer.
    async fn reuse_vault(
        &self,
        name: &str,
        record: &ServiceRecord,
        process: Identity,
        path: &'static str,
        deadline: Instant,
    ) -> Result<ServiceRecord, RuntimeError> {
        let mut record = record.clone();
        (record.pid, record.started) = (Some(process.pid), Some(process.started));
        self.ledger.save_record(name, &record)?;
        let log = self.places(name).log;
        let wait = Wait {
            service: name,
            child: name,
            identity: Some(process),
            log: &log,
            from: super::log::length(&log),
            port: record.port,
            deadline,
        };
        self.wait_ready(&wait, &AskHttp { path }).await?;
        Ok(record)
    }

    async fn start_vault(
        &self,
        name: &str,
        spec: &VaultSpec,
        program: &VaultProgram,
        earlier: Option<ServiceRecord>,
        path: &'static str,
        deadline: Instant,
    ) -> Result<(ServiceRecord, DataOrigin), RuntimeError> {
        let places = self.places(name);
        let user = RunAs::for_kind(ServiceKind::Vault);
        self.home.make_service_root()?;
        make_way(self.lab.services(), &places.root).map_err(folder(
            name,
            "create the folder",
            &places.root,
        ))?;
        let kept = places.data.is_dir() && spec.storage != Storage::Inmem;
        for own in [&places.data, &places.log_folder, &storage_folder(&places, spec)] {
            user.make_folder(own).map_err(folder(name, "create the folder", own))?;
        }
        let executable = executable_for(name, program, &user, &places)?;
        let config_file = places.root.join(CONFIG);
        let usual = [earlier.map_or(0, |record| record.port), ServiceKind::Vault.usual_port()];
        let start = Start {
            name,
            log: &places.log,
            port: spec.port.map_or_else(|| PortWish::Rather(usual.to_vec()), PortWish::Exactly),
            record: ServiceRecord {
                kind: ServiceKind::Vault.as_str().into(),
                program: executable.clone(),
                program_version: product(program),
                port: 0,
                pid: None,
                started: None,
                template: None,
                data: None,
            },
            deadline,
        };
        let launch = |port| {
            let text = config_for(spec, program, &places, port);
            user.write_file(&config_file, text.as_bytes()).map_err(folder(name, "write", &config_file))?;
            let mut option = std::ffi::OsString::from("-config=");
            option.push(&config_file);
            Ok(Launch {
                program: executable.clone(),
                args: vec!["server".into(), option],
                env: Vec::new(),
                folder: places.data.clone(),
                user: user.clone(),
                one_cpu: false,
            })
        };
        let ((), record) = self.start(start, launch, &AskHttp { path }).await?;
        Ok((record, if kept { DataOrigin::Kept } else { DataOrigin::Fresh }))
    }
}

/// The flavour in what [`product`] says.
fn flavour_of(product: &str) -> &str {
    product.rsplit_once(' ').map_or(product, |(name, _)| name)
}

/// One flavour's data means nothing to another. What was only in memory is lost anyway.
fn refuse_foreign_data(
    name: &str,
    spec: &VaultSpec,
    places: &Places,
    program: &VaultProgram,
    earlier: Option<&ServiceRecord>,
) -> Result<(), RuntimeError> {
    let was_inmem =
        || fs::read_to_string(places.root.join(CONFIG)).is_ok_and(|was| was.contains("storage \"inmem\""));
    match earlier {
        Some(record)
            if places.data.is_dir()
                && flavour_of(&record.program_version) != flavour_of(&product(program))
                && spec.storage != Storage::Inmem
                && !was_inmem() =>
        {
            let made_by = &record.program_version;
            Err(RuntimeError::DataMismatch {
                service: name.into(),
                made_by: match flavour_of(made_by) {
                    EMBEDDED => made_by.clone(),
                    _ => format!("{made_by} ({}; VAULTLAB_VAULT_BIN names it)", record.program.display()),
                },
                found: product(program),
            })
        }
        _ => Ok(()),
    }
}

/// The program, or a copy of it where the user it runs as cannot reach it: the embedded server is
/// this very program, which may lie in root's own folder.
fn executable_for(
    name: &str,
    program: &VaultProgram,
    user: &RunAs,
    places: &Places,
) -> Result<PathBuf, RuntimeError> {
    let source = &program.program;
    if !user.switches() || reachable(source) {
        return Ok(source.clone());
    }
    let copy = places.root.join(source.file_name().unwrap_or_default());
    let meta = |path: &Path| fs::metadata(path).map_err(folder(name, "read", path));
    let original = meta(source)?;
    if copy.is_file() {
        let copied = meta(&copy)?;
        if copied.len() == original.len() && copied.mtime() >= original.mtime() {
            return Ok(copy);
        }
    }
    let partial = copy.with_extension("partial");
    fs::copy(source, &partial)
        .and_then(|_| fs::set_permissions(&partial, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&partial, &copy))
        .map_err(folder(name, "copy the program to", &copy))?;
    Ok(copy)
}

/// Whether users other than root can run this program where it lies.
fn reachable(program: &Path) -> bool {
    let allows = |path: &Path, bits| fs::metadata(path).is_ok_and(|meta| meta.mode() & bits == bits);
    Uid::effective().is_root()
        && allows(program, 0o005)
        && program.ancestors().skip(1).all(|folder| allows(folder, 0o001))
}

/// Each kind of storage has a folder of its own, so that a change of storage mixes nothing up.
fn storage_folder(places: &Places, spec: &VaultSpec) -> PathBuf {
    places.data.join(match spec.storage {
        Storage::Raft => "raft",
        Storage::File | Storage::Inmem => "file",
    })
}

fn config_for(spec: &VaultSpec, program: &VaultProgram, places: &Places, port: u16) -> String {
    let here = Endpoint::loopback(port).to_string();
    // Integrated storage alone listens there; a single node is reached by nobody.
    let cluster = Endpoint::loopback(port.checked_add(1).unwrap_or(port - 1)).to_string();
    let data = storage_folder(places, spec);
    let places =
        ConfigPlaces { listen: &here, reachable_at: &here, cluster: &cluster, data: &data.to_string_lossy() };
    config(spec, program.flavour, &program.version, &places)
}

/// Name and version, as in `OpenBao 2.4.1`.
pub(super) fn product(program: &VaultProgram) -> String {
    let name = match program.flavour {
        Flavour::Vault => "Vault",
        Flavour::OpenBao => "OpenBao",
        Flavour::Embedded | Flavour::Auto => EMBEDDED,
    };
    format!("{name} {}", program.version)
}

fn running(
    name: &str,
    record: &ServiceRecord,
    program: &VaultProgram,
    places: &Places,
    reused: bool,
    data: DataOrigin,
) -> Running {
    Running {
        name: name.into(),
        kind: ServiceKind::Vault,
        endpoint: Endpoint::loopback(record.port),
        from_services: Endpoint::loopback(record.port),
        reused,
        data,
        version: record.program_version.clone(),
        flavour: Some(program.flavour),
        accounts: None,
        log_folder: places.log_folder.to_string_lossy().into_owned(),
    }
}
