//! `doctor`: whether this machine has what a lab needs, and what to do where it does not.

mod containers;
mod host;

use serde::Serialize;

use super::open::{file, services};
use super::{Lab, LabError, LabOptions};
use crate::report::Report;
use crate::runtime::RuntimeKind;
use crate::spec::LabSpec;
use crate::spec::model::RuntimeChoice;
use crate::state::{Home, Manifest};

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
    /// Where `up` would run them: `docker` or `process`; `None` when it could not.
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
    /// Whether it works as things are.
    now: bool,
    /// Whether it works once images are pulled; programs are there or not.
    later: bool,
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
        Ok(lab) => (LabSpec::clone(lab.spec()), recorded(lab)),
        Err(spec) => (LabSpec::clone(spec), None),
    };
    let services = services(&spec);
    let (containers, programs, ports) = futures_util::future::join3(
        containers::look(&services),
        host::programs(&services, options.program.as_ref()),
        host::ports(&services, lab.as_ref().ok()),
    )
    .await;

    let allowed = |way: RuntimeKind| match (kept, spec.runtime) {
        (Some(kept), _) => kept == way,
        (None, RuntimeChoice::Auto) => true,
        (None, RuntimeChoice::Docker) => way == RuntimeKind::Docker,
        (None, RuntimeChoice::Process) => way == RuntimeKind::Process,
    };
    let (docker, process) = (allowed(RuntimeKind::Docker), allowed(RuntimeKind::Process));
    // `up` pulls images only for a lab that is to be in containers.
    let insists = kept.is_some() || spec.runtime == RuntimeChoice::Docker;
    let would_use = if docker && (containers.now || insists && containers.later) {
        Some(RuntimeKind::Docker)
    } else if process && programs.now {
        Some(RuntimeKind::Process)
    } else {
        None
    };
    let possible = docker && containers.later || process && programs.later;
    let common: Vec<Check> = state.into_iter().chain(ports).chain([host::memory()]).collect();
    let can_come_up = possible && common.iter().all(|check| check.level < Level::Fail);

    // What another way makes up for keeps nobody from anything.
    let soften = |checks: Vec<Check>| {
        checks.into_iter().map(move |check| {
            let level = if possible { check.level.min(Level::Warn) } else { check.level };
            Check { level, ..check }
        })
    };
    let described = Check::ok("lab", describe(&spec, kept));
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
        docker: containers.later,
        process: programs.later,
        would_use: would_use.filter(|_| can_come_up).map(RuntimeKind::as_str),
    })
}

/// The lab, or only what its file says when there is no folder for its state.
fn lab_of(options: &LabOptions, home: Option<&Home>) -> Result<Result<Lab, Box<LabSpec>>, LabError> {
    let Some(home) = home else {
        let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
        let mut spec = LabSpec::discover(options.file.as_deref(), &here)?;
        spec.runtime = options.runtime.unwrap_or(spec.runtime);
        return Ok(Err(Box::new(spec)));
    };
    let options = LabOptions { home: Some(home.root().into()), ..options.clone() };
    Lab::with(options, Report::silent()).map(Ok)
}

/// Where the lab's services are already.
fn recorded(lab: &Lab) -> Option<RuntimeKind> {
    let manifest = Manifest::load(lab.dir()).ok().flatten()?;
    RuntimeKind::parse(&manifest.runtime).filter(|_| !manifest.services.is_empty())
}

fn describe(spec: &LabSpec, kept: Option<RuntimeKind>) -> String {
    let names: Vec<String> = services(spec).iter().map(|service| service.name().to_owned()).collect();
    let kept = kept.map(|kind| format!("; it exists, in the runtime {kind}")).unwrap_or_default();
    format!("{} ({}): {}{kept}", spec.name, spec.origin, names.join(", "))
}
