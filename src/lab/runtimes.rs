//! Which runtime a lab's services are in.

use std::sync::Arc;

use super::{Lab, LabError, LabOptions};
use crate::report::Report;
use crate::runtime::docker::{DockerError, DockerRuntime, Engine, PullPolicy};
use crate::runtime::process::{ProcessRuntime, Programs};
use crate::runtime::{Runtime, RuntimeError, RuntimeKind, ServiceState};
use crate::spec::model::RuntimeChoice;
use crate::state::{Home, LabDir, Manifest};

/// The runtime that a lab's services are in; for a lab that has none yet, the one asked for.
pub(super) async fn existing(
    home: &Home,
    dir: &LabDir,
    choice: RuntimeChoice,
    options: &LabOptions,
) -> Result<Arc<dyn Runtime>, LabError> {
    let kind = match (recorded(dir)?, choice) {
        (Some(kind), _) => kind,
        (None, RuntimeChoice::Docker) => RuntimeKind::Docker,
        (None, RuntimeChoice::Auto | RuntimeChoice::Process) => RuntimeKind::Process,
    };
    open(home, dir, kind, options).await
}

/// The runtime for `up`, with everything there that services need to be started.
///
/// # Errors
/// When the lab exists in another runtime than the one asked for, and when containers are asked for
/// that cannot be had.
pub(super) async fn choose(lab: &Lab) -> Result<Arc<dyn Runtime>, LabError> {
    let Lab { home, dir, options, report, spec } = lab;
    let wanted = match spec.runtime {
        RuntimeChoice::Auto => None,
        RuntimeChoice::Docker => Some(RuntimeKind::Docker),
        RuntimeChoice::Process => Some(RuntimeKind::Process),
    };
    let kind = match (recorded(dir)?, wanted) {
        (Some(kind), Some(wanted)) if kind != wanted => {
            return Err(RuntimeError::Unsupported {
                service: lab.name().into(),
                cause: format!(
                    "its services and data are in the runtime {kind}: `vaultlab down --volumes` removes them, \
                     then `vaultlab up --runtime {wanted}` makes them anew"
                ),
            }
            .into());
        }
        (recorded, wanted) => recorded.or(wanted),
    };
    if let Some(kind) = kind {
        let runtime = open(home, dir, kind, options).await?;
        runtime.prepare(&lab.services(), report).await?;
        return Ok(runtime);
    }
    match containers(lab, report).await {
        Ok(runtime) => Ok(runtime),
        Err(error) => {
            report.note(format!("services run as programs of this host: {}", reason(&error)));
            open(home, dir, RuntimeKind::Process, options).await
        }
    }
}

async fn containers(lab: &Lab, report: &Report) -> Result<Arc<dyn Runtime>, LabError> {
    // Nobody asked for containers: no gigabytes are fetched, and no registry is waited for.
    let pull = lab.options.pull.or(Some(PullPolicy::Never));
    let options = LabOptions { pull, ..lab.options.clone() };
    let runtime = open(&lab.home, &lab.dir, RuntimeKind::Docker, &options).await?;
    runtime.prepare(&lab.services(), report).await?;
    Ok(runtime)
}

/// Why there are no containers, without the advice for those who want them.
fn reason(error: &LabError) -> String {
    match error {
        LabError::Runtime(RuntimeError::Docker(DockerError::Unreachable { host, .. })) => {
            format!("no container engine answers at {host}")
        }
        LabError::Runtime(RuntimeError::Docker(DockerError::ImageMissing { image, .. })) => {
            format!("the container engine has no image {image} (`--runtime docker` pulls it)")
        }
        other => other.to_string(),
    }
}

/// Where the services of a lab are; `None` when it has none.
fn recorded(dir: &LabDir) -> Result<Option<RuntimeKind>, LabError> {
    let manifest = Manifest::load(dir)?.filter(|manifest| !manifest.services.is_empty());
    Ok(manifest.and_then(|manifest| RuntimeKind::parse(&manifest.runtime)))
}

async fn open(
    home: &Home,
    dir: &LabDir,
    kind: RuntimeKind,
    options: &LabOptions,
) -> Result<Arc<dyn Runtime>, LabError> {
    match kind {
        RuntimeKind::Docker => {
            let engine = Engine::connect().await.map_err(RuntimeError::from)?;
            Ok(Arc::new(DockerRuntime::new(engine, home, dir, options.pull.unwrap_or_default())?))
        }
        RuntimeKind::Process => {
            let mut programs = Programs::from_env();
            if let Some(program) = &options.program {
                programs.vaultlab = Some(program.clone());
            }
            Ok(Arc::new(ProcessRuntime::with_programs(home, dir, programs)))
        }
    }
}

/// `up`, `partly up` or `down`, by the services in the manifest.
pub(super) async fn state_of(home: &Home, dir: &LabDir, manifest: &Manifest) -> String {
    let runtime = match existing(home, dir, RuntimeChoice::Auto, &LabOptions::default()).await {
        Ok(runtime) => runtime,
        Err(error) => return error.to_string(),
    };
    let mut running = 0;
    for name in manifest.services.keys() {
        if matches!(runtime.state(name).await, Ok(ServiceState::Running { .. })) {
            running += 1;
        }
    }
    match running {
        0 => "down".into(),
        n if n == manifest.services.len() => "up".into(),
        _ => "partly up".into(),
    }
}
