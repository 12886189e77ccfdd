//! Which runtime a lab's services are in.

use std::sync::Arc;

use super::{LabError, LabOptions};
use crate::runtime::process::{ProcessRuntime, Programs};
use crate::runtime::{Runtime, RuntimeError, ServiceState};
use crate::spec::model::RuntimeChoice;
use crate::state::{Home, LabDir, Manifest};

/// The runtime of a lab.
pub(super) fn select(
    home: &Home,
    dir: &LabDir,
    choice: RuntimeChoice,
    options: &LabOptions,
) -> Result<Arc<dyn Runtime>, LabError> {
    match choice {
        RuntimeChoice::Docker => Err(RuntimeError::Unsupported {
            service: "docker".into(),
            cause: "this version runs services as programs of this host only: leave `--runtime docker` out"
                .into(),
        }
        .into()),
        RuntimeChoice::Auto | RuntimeChoice::Process => {
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
    let runtime = match select(home, dir, RuntimeChoice::Auto, &LabOptions::default()) {
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
