//! `doctor`: whether this machine has what a lab needs, and what to do where it does not.

mod containers;
mod host;

use serde::Serialize;

use super::open::{file, services};
use super::runtimes::{Places, recorded, wanted};
use super::{Lab, LabError, LabOptions};
use crate::report::Report;
use crate::runtime::RuntimeKind;
use crate::spec::LabSpec;
use crate::state::Home;

/// What was found on this machine.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// The lab.
    pub lab: String,
    /// The lab file; `None` for the lab inside the program.
    pub file: Option<std::path::PathBuf>,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
    /// Whether `up` could bring the lab up, in whatever way the lab file allows.
    pub can_come_up: bool,
    /// Whether its services could run as containers.
    pub docker: bool,
    /// Whether its services could run as programs of this host.
    pub process: bool,
    /// Where `up` would run them: `docker`, `process` or `mixed`; `None` when it could not.
    pub would_use: Option<&'static str>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What, as in `engine` or `port of vault`.
    pub name: String,
    /// How it is.
    pub level: Level,
    /// What was found, in one line.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It may trouble the user, but the lab can come up.
    Warn,
    /// It keeps the lab from coming up.
    Fail,
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), level: Level::Ok, found: found.into(), advice: None }
    }

    fn warn(name: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Warn, ..Self::fail(name, found, advice) }
    }

    fn fail(name: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into()).filter(|advice| !advice.is_empty());
        Self { name: name.into(), level: Level::Fail, found: found.into(), advice }
    }
}

/// One way to run the services, and what stands in its way.
struct Way {
    checks: Vec<Check>,
    /// By service: whether it works as things are.
    now: Vec<bool>,
    /// By service: whether it works once images are pulled; programs are there or not.
    later: Vec<bool>,
}

/// Looks at everything that bringing up the lab of these options depends on. Nothing is changed,
/// except that the folder of the labs is made when it is missing.
///
/// # Errors
/// When the lab file is wrong; everything else that is wrong is in the diagnosis.
pub async fn diagnose(options: &LabOptions) -> Result<Diagnosis, LabError> {
    crate::install_crypto_provider();
    let home = match &options.home {
        Some(path) => Home::at(path),
        None => Home::discover(),
    };
    let (state, home) = host::state_folder(home);
    let lab = lab_of(options, home.as_ref())?;
    let (spec, kept) = match &lab {
        // A lab that cannot be read is told by every other command.
        Ok(lab) => (LabSpec::clone(lab.spec()), recorded(lab.dir()).unwrap_or_default()),
        Err(spec) => (LabSpec::clone(spec), Places::new()),
    };
    let services = services(&spec);
    let (containers, programs, ports) = futures_util::future::join3(
        containers::look(&services),
        host::programs(&services, options.program.as_ref()),
        host::ports(&services, lab.as_ref().ok()),
    )
    .await;

    // Where the lab file leaves it open, all such services go together.
    let chosen: Vec<Option<RuntimeKind>> = services
        .iter()
        .map(|service| kept.get(service.name()).copied().or_else(|| wanted(&spec, service.name())))
        .collect();
    let all_open = |way: &[bool]| chosen.iter().zip(way).all(|(kind, works)| kind.is_some() || *works);
    let left_open = if all_open(&containers.now) {
        Some(RuntimeKind::Docker)
    } else if all_open(&programs.now) {
        Some(RuntimeKind::Process)
    } else {
        None
    };
    let works = |index: usize, kind: Option<RuntimeKind>| match kind {
        // Containers that were asked for are pulled.
        Some(RuntimeKind::Docker) => containers.later[index],
        Some(_) => programs.now[index],
        None => false,
    };
    let would_use = (0..services.len())
        .map(|index| chosen[index].or(left_open).filter(|kind| works(index, Some(*kind))))
        .collect::<Option<Vec<_>>>()
        .map(|kinds| match kinds.as_slice() {
            [first, rest @ ..] if rest.iter().any(|kind| kind != first) => RuntimeKind::Mixed,
            [first, ..] => *first,
            [] => RuntimeKind::Process,
        });
    let pulled = all_open(&containers.later).then_some(RuntimeKind::Docker);
    let possible = would_use.is_some()
        || (0..services.len()).all(|index| works(index, chosen[index].or(left_open).or(pulled)));
    let common: Vec<Check> = state.into_iter().chain(ports).chain([host::memory()]).collect();
    let can_come_up = possible && common.iter().all(|check| check.level < Level::Fail);

    // What another way makes up for keeps nobody from anything.
    let soften = |checks: Vec<Check>| {
        checks.into_iter().map(move |check| {
            let level = if possible { check.level.min(Level::Warn) } else { check.level };
            Check { level, ..check }
        })
    };
    let described = Check::ok("lab", describe(&spec, &kept));
    let checks = std::iter::once(described)
        .chain(common)
        .chain(soften(containers.checks))
        .chain(soften(programs.checks))
        .collect();
    Ok(Diagnosis {
        lab: spec.name.clone(),
        file: file(&spec).map(Into::into),
        checks,
        can_come_up,
        docker: containers.later.iter().all(|works| *works),
        process: programs.later.iter().all(|works| *works),
        would_use: would_use.filter(|_| can_come_up).map(RuntimeKind::as_str),
    })
}

/// The lab, or only what its file says when there is no folder for its state.
fn lab_of(options: &LabOptions, home: Option<&Home>) -> Result<Result<Lab, Box<LabSpec>>, LabError> {
    let Some(home) = home else {
        let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
        let mut spec = LabSpec::discover(options.file.as_deref(), &here)?;
        if let Some(runtime) = options.runtime {
            spec.runtime = runtime;
            spec.runtimes.clear();
        }
        return Ok(Err(Box::new(spec)));
    };
    let options = LabOptions { home: Some(home.root().into()), ..options.clone() };
    Lab::with(options, Report::silent()).map(Ok)
}

fn describe(spec: &LabSpec, kept: &Places) -> String {
    let described = services(spec)
        .iter()
        .map(|service| match kept.get(service.name()) {
            Some(kind) => format!("{} (exists, {kind})", service.name()),
            None => service.name().to_owned(),
        })
        .collect::<Vec<_>>();
    format!("{} ({}): {}", spec.name, spec.origin, described.join(", "))
}
