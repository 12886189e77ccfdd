//! Leaving things as they were when `up` fails.

use super::up::GRACE;
use super::{Lab, LabError};
use crate::runtime::{Runtime, ServiceState};

/// What there was of a lab before `up` began.
pub(super) struct Before {
    existed: bool,
    running: Vec<String>,
}

impl Before {
    pub(super) async fn look(lab: &Lab, runtime: &dyn Runtime) -> Result<Self, LabError> {
        let existed = lab.dir.manifest().exists() || !lab.dir.service_names()?.is_empty();
        let mut running = Vec::new();
        for service in lab.services() {
            if matches!(runtime.state(service.name()).await?, ServiceState::Running { .. }) {
                running.push(service.name().to_owned());
            }
        }
        Ok(Self { existed, running })
    }

    /// Stops what was not running; of a lab that did not exist, nothing is left.
    pub(super) async fn restore(&self, lab: &Lab, runtime: &dyn Runtime) {
        let undo = lab.services().into_iter().map(|service| async move {
            let name = service.name();
            if self.running.iter().any(|running| running == name) {
                return;
            }
            let result = if self.existed {
                runtime.stop(name, GRACE).await.map(drop)
            } else {
                runtime.remove(name).await
            };
            if let Err(error) = result {
                lab.report.warn(format!("could not undo the start of {name}: {error}"));
            }
        });
        futures_util::future::join_all(undo).await;
        if !self.existed
            && let Err(error) = lab.dir.remove()
        {
            lab.report.warn(error.to_string());
        }
    }
}
