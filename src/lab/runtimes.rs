//! Which runtime a lab's services are in.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::open::services;
use super::{Lab, LabError, LabOptions};
use crate::runtime::docker::{DockerError, DockerRuntime, Engine, FoundLab, PullPolicy};
use crate::runtime::process::{ProcessRuntime, Programs};
use crate::runtime::{MixedRuntime, Runtime, RuntimeError, RuntimeKind, ServiceState};
use crate::spec::LabSpec;
use crate::spec::model::RuntimeChoice;
use crate::state::{Home, LabDir, Manifest};

/// Where each service is, by name; never [`RuntimeKind::Mixed`].
pub(super) type Places = BTreeMap<String, RuntimeKind>;

/// The runtime that a lab's services are in; for those it does not have yet, the one asked for.
pub(super) async fn existing(
    home: &Home,
    dir: &LabDir,
    spec: &LabSpec,
    options: &LabOptions,
) -> Result<Arc<dyn Runtime>, LabError> {
    let mut places = recorded_or_found(home, dir).await?;
    let others = followed(&places, spec).or(chosen(dir)?).unwrap_or(RuntimeKind::Process);
    for service in services(spec) {
        let own = wanted(spec, service.name());
        places.entry(service.name().to_owned()).or_insert(own.unwrap_or(others));
    }
    open(home, dir, places, options).await
}

/// The runtime for `up`, with everything there that services need to be started.
///
/// # Errors
/// When the lab exists in another runtime than the one asked for, and when containers are asked for
/// that cannot be had.
pub(super) async fn choose(lab: &Lab) -> Result<Arc<dyn Runtime>, LabError> {
    let Lab { home, dir, options, report, spec, problem: _ } = lab;
    let recorded = recorded_or_found(home, dir).await?;
    let others = followed(&recorded, spec);
    let mut places = recorded.clone();
    let mut undecided = Vec::new();
    for service in lab.services() {
        let name = service.name();
        match (recorded.get(name), wanted(spec, name)) {
            (Some(kind), Some(wanted)) if *kind != wanted => return Err(moved(lab, name, *kind, wanted)),
            (Some(_), _) => {}
            (None, wanted) => match wanted.or(others) {
                Some(kind) => drop(places.insert(name.to_owned(), kind)),
                None => undecided.push(service),
            },
        }
    }
    if undecided.is_empty() {
        let runtime = open(home, dir, places, options).await?;
        runtime.prepare(&lab.services(), report).await?;
        return Ok(runtime);
    }
    let decide = |kind| {
        let undecided = undecided.iter().map(|service| (service.name().to_owned(), kind));
        places.iter().map(|(name, kind)| (name.clone(), *kind)).chain(undecided).collect::<Places>()
    };
    // Nobody asked for containers: no gigabytes are fetched, and no registry is waited for.
    let frugal = LabOptions { pull: options.pull.or(Some(PullPolicy::Never)), ..options.clone() };
    let contained = async {
        let runtime = open(home, dir, decide(RuntimeKind::Docker), &frugal).await?;
        runtime.prepare(&undecided, report).await?;
        Ok::<_, LabError>(runtime)
    };
    let kind = match contained.await {
        Ok(runtime) if places.is_empty() => return Ok(runtime),
        Ok(_) => RuntimeKind::Docker,
        Err(error) => {
            report.note(format!("services run as programs of this host: {}", reason(&error)));
            RuntimeKind::Process
        }
    };
    let runtime = open(home, dir, decide(kind), options).await?;
    runtime.prepare(&lab.services(), report).await?;
    Ok(runtime)
}

fn moved(lab: &Lab, service: &str, from: RuntimeKind, to: RuntimeKind) -> LabError {
    let cause = if lab.spec.runtimes.contains_key(service) {
        format!(
            "its data is in the runtime {from}, and the lab file says {to}: `vaultlab down --volumes` removes \
             all of the lab's, then `vaultlab up` makes it anew"
        )
    } else {
        format!(
            "its services and data are in the runtime {from}: `vaultlab down --volumes` removes them, then \
             `vaultlab up --runtime {to}` makes them anew"
        )
    };
    let service = if lab.spec.runtimes.contains_key(service) { service } else { lab.name() };
    RuntimeError::Unsupported { service: service.into(), cause }.into()
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

/// Where the lab file wants a service; `None` when it leaves that open.
pub(super) fn wanted(spec: &LabSpec, service: &str) -> Option<RuntimeKind> {
    kind_of(spec.runtimes.get(service).copied().unwrap_or(spec.runtime))
}

fn kind_of(choice: RuntimeChoice) -> Option<RuntimeKind> {
    match choice {
        RuntimeChoice::Auto => None,
        RuntimeChoice::Docker => Some(RuntimeKind::Docker),
        RuntimeChoice::Process => Some(RuntimeKind::Process),
    }
}

/// Where services go that the lab file says nothing about: to those that are there already.
fn followed(recorded: &Places, spec: &LabSpec) -> Option<RuntimeKind> {
    let mut without_word = recorded.iter().filter(|(name, _)| !spec.runtimes.contains_key(*name));
    without_word.next().map(|(_, kind)| *kind).or_else(|| kind_of(spec.runtime))
}

/// The runtime that an `up` chose, which may have ended before it had any service.
fn chosen(dir: &LabDir) -> Result<Option<RuntimeKind>, LabError> {
    let manifest = Manifest::load(dir)?;
    let kind = manifest.and_then(|manifest| RuntimeKind::parse(&manifest.runtime));
    Ok(kind.filter(|kind| *kind != RuntimeKind::Mixed))
}

/// Where the services are that a lab has. Without a manifest, by what the container engine has of it.
async fn recorded_or_found(home: &Home, dir: &LabDir) -> Result<Places, LabError> {
    if dir.manifest().exists() {
        return recorded(dir);
    }
    // An engine that does not answer is told by what needs it.
    let found = labs_of_engine(home).await.unwrap_or_default().remove(dir.name()).unwrap_or_default();
    Ok(found.services.into_keys().map(|name| (name, RuntimeKind::Docker)).collect())
}

/// The labs that the container engine has anything of; the error is why it was not asked.
pub(super) async fn labs_of_engine(home: &Home) -> Result<BTreeMap<String, FoundLab>, DockerError> {
    Engine::connect().await?.labs(home).await
}

/// Where the services are that a manifest names.
pub(super) fn recorded(dir: &LabDir) -> Result<Places, LabError> {
    let Some(manifest) = Manifest::load(dir)? else { return Ok(Places::new()) };
    let each = manifest.runtimes.into_iter();
    let mut places: Places =
        each.filter_map(|(name, kind)| Some((name, RuntimeKind::parse(&kind)?))).collect();
    let all = RuntimeKind::parse(&manifest.runtime).filter(|kind| *kind != RuntimeKind::Mixed);
    for (name, kind) in manifest.services.into_keys().filter_map(|name| Some((name, all?))) {
        places.entry(name).or_insert(kind);
    }
    Ok(places)
}

async fn open(
    home: &Home,
    dir: &LabDir,
    places: Places,
    options: &LabOptions,
) -> Result<Arc<dyn Runtime>, LabError> {
    let has = |kind| places.values().any(|place| *place == kind);
    let docker = async || {
        let engine = Engine::connect().await.map_err(RuntimeError::from)?;
        Ok::<_, LabError>(DockerRuntime::new(engine, home, dir, options.pull.unwrap_or_default())?)
    };
    let process = || {
        let mut programs = Programs::from_env();
        if let Some(program) = &options.program {
            programs.vaultlab = Some(program.clone());
        }
        ProcessRuntime::with_programs(home, dir, programs)
    };
    Ok(match (has(RuntimeKind::Docker), has(RuntimeKind::Process)) {
        (true, true) => Arc::new(MixedRuntime::new(docker().await?, process(), places)),
        (true, false) => Arc::new(docker().await?),
        (false, _) => Arc::new(process()),
    })
}

/// `up`, `partly up` or `down`, by the services in the manifest.
pub(super) async fn state_of(home: &Home, dir: &LabDir, manifest: &Manifest) -> String {
    let opened = async { open(home, dir, recorded(dir)?, &LabOptions::default()).await };
    let runtime = match opened.await {
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
