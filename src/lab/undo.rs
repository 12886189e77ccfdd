//! Leaving things as they were when `up` fails.

use std::time::Duration;

use tokio::time::timeout;

use super::up::GRACE;
use super::{Lab, LabError};
use crate::runtime::{Runtime, ServiceState};

/// How long a runtime may take to say how a service is, before undoing anything.
const ANSWER: Duration = Duration::from_secs(5);

/// What there was of a lab before `up` began.
pub(super) struct Before {
    existed: bool,
    running: Vec<String>,
}

impl Before {
    pub(super) async fn look(lab: &Lab, runtime: &dyn Runtime) -> Result<Self, LabError> {
        let mut existed = lab.dir.manifest().exists() || !lab.dir.service_names()?.is_empty();
        let mut running = Vec::new();
        for service in lab.services() {
            let state = runtime.state(service.name()).await?;
            // Its data is there, though its folder be lost.
            existed |= state != ServiceState::Absent;
            if matches!(state, ServiceState::Running { .. }) {
                running.push(service.name().to_owned());
            }
        }
        Ok(Self { existed, running })
    }

    /// Stops what was not running; of a lab that did not exist, nothing is left. What cannot be undone,
    /// because the container engine is gone, stays for the next `up` or `down`, with the lab's folder.
    pub(super) async fn restore(&self, lab: &Lab, runtime: &dyn Runtime) {
        let undo = lab.services().into_iter().map(|service| async move {
            let name = service.name();
            if self.running.iter().any(|running| running == name) {
                return true;
            }
            let undone = async {
                // One that does not answer now would keep us waiting for every single thing.
                match timeout(ANSWER, runtime.state(name)).await {
                    Ok(state) => state.map_err(|error| error.to_string())?,
                    Err(_) => return Err(format!("no answer within {} s", ANSWER.as_secs())),
                };
                let done = if self.existed {
                    runtime.stop(name, GRACE).await.map(drop)
                } else {
                    runtime.remove(name).await
                };
                done.map_err(|error| error.to_string())
            };
            let result = undone.await;
            if let Err(error) = &result {
                lab.report.warn(format!("could not undo the start of {name}: {error}"));
            }
            result.is_ok()
        });
        let undone = futures_util::future::join_all(undo).await.into_iter().all(|undone| undone);
        if !self.existed
            && undone
            && let Err(error) = lab.remove_files()
        {
            lab.report.warn(error.to_string());
        }
    }
}
