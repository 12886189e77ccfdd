//! `down`: the lab's services stop; its data stays unless told otherwise.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::sync::oneshot;

use super::up::GRACE;
use super::{Lab, LabError};
use crate::report::Outcome;
use crate::runtime::{Runtime, RuntimeError, RuntimeKind, ServiceState};
use crate::service::VAULT;
use crate::state::{DeliveredFiles, Manifest, StateError};

/// How long an engine may take to make what a program asked it for that was killed.
const AFTERMATH: Duration = Duration::from_secs(1);

/// What becomes of a lab's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// It stays, and the next `up` goes on with it.
    Keep,
    /// It is removed, with the keys and everything else the lab keeps on disk.
    Remove,
}

/// What `down` did.
#[derive(Debug, Clone, Serialize)]
pub struct Down {
    /// The lab.
    pub lab: String,
    /// The services that were stopped.
    pub stopped: Vec<String>,
    /// Where the data is: a folder, or volumes of the container engine; `None` when there is none (any
    /// more).
    pub data: Option<String>,
    /// The folder with the keys and passwords that belong to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<PathBuf>,
    /// Why the container engine was not asked what it has of a lab without a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_skipped: Option<String>,
}

impl Lab {
    /// Stops the lab. A lab that is not there is no error.
    pub async fn down(&self, data: Data) -> Result<Down, LabError> {
        let nothing = Down {
            lab: self.name().into(),
            stopped: Vec::new(),
            data: None,
            keys: None,
            engine_skipped: None,
        };
        if !self.dir.try_exists()? {
            match super::runtimes::labs_of_engine(&self.home).await {
                Ok(found) if found.contains_key(self.name()) => {}
                Ok(_) => return Ok(nothing),
                Err(error) => return Ok(Down { engine_skipped: Some(error.unasked()), ..nothing }),
            }
        }
        // One that is starting a service holds the lab's lock.
        self.ask_keeper_to_end()?;
        let lock = self.lock("down").await?;
        self.dir.finish_removals()?;
        let _keeper = self.end_keeper().await?;
        self.end_lost_keeper().await?;
        if data == Data::Remove {
            self.set_damaged_manifest_aside()?;
        }
        let runtime = self.runtime().await?;
        // What the lab file names now and what ran when it was last brought up may differ.
        let mut names: BTreeSet<String> = self.services().iter().map(|s| s.name().to_owned()).collect();
        names.extend(Manifest::load(&self.dir)?.into_iter().flat_map(|m| m.services.into_keys()));
        names.extend(self.dir.service_names()?);
        names.extend(runtime.found().await?.into_keys());
        // MySQL waits two seconds for connections that are still open when it is stopped, and Vault keeps some.
        let (first, rest): (Vec<_>, Vec<_>) =
            names.iter().cloned().partition(|name| data == Data::Remove || name == VAULT);
        let (done, vault_is_stopped) = oneshot::channel::<()>();
        let first = async {
            let stopped = self.stop_together(runtime.as_ref(), first, data).await;
            drop(done);
            stopped
        };
        let rest = async {
            if rest.is_empty() {
                return Ok(Vec::new());
            }
            tokio::select! {
                _ = vault_is_stopped => {}
                () = runtime.gone(VAULT) => {}
            }
            self.stop_together(runtime.as_ref(), rest, data).await
        };
        let (mut stopped, others) = tokio::try_join!(first, rest)?;
        stopped.extend(others);
        if data == Data::Remove {
            if lock.predecessor_was_killed() {
                // An engine goes on with what it was asked for, and tells nobody of it before it is done.
                tokio::time::sleep(AFTERMATH).await;
                names.extend(runtime.found().await?.into_keys());
                try_join_all(names.iter().map(|name| runtime.remove(name))).await?;
            }
            self.remove_files()?;
        }
        let kept = data == Data::Keep;
        Ok(Down {
            data: kept.then(|| self.data_place(runtime.kind())),
            keys: kept.then(|| self.dir.path().to_path_buf()),
            stopped,
            ..nothing
        })
    }

    /// Stops or removes services side by side; gives those that ran.
    async fn stop_together(
        &self,
        runtime: &dyn Runtime,
        names: Vec<String>,
        data: Data,
    ) -> Result<Vec<String>, LabError> {
        let stopped = try_join_all(names.into_iter().map(|name| async move {
            let work = async {
                let stopped = if data == Data::Remove {
                    // Data that goes needs no orderly end.
                    let state = runtime.state(&name).await?;
                    runtime.remove(&name).await?;
                    matches!(state, ServiceState::Running { .. })
                } else {
                    runtime.stop(&name, GRACE).await?
                };
                let outcome = if stopped { Outcome::changed("") } else { Outcome::Unchanged };
                Ok::<_, RuntimeError>((outcome, stopped))
            };
            let step = (format!("stop {name}"), format!("Stop {name}"));
            let stopped = self.report.step(&step.0, &step.1, &[], work).await?;
            Ok::<_, LabError>(stopped.then_some(name))
        }))
        .await?;
        Ok(stopped.into_iter().flatten().collect())
    }

    /// Where services that are in this runtime have their data.
    pub(super) fn data_place(&self, runtime: RuntimeKind) -> String {
        const VOLUMES: &str = "volumes of the container engine";
        let folder = self.dir.services().display();
        match runtime {
            RuntimeKind::Process => folder.to_string(),
            RuntimeKind::Docker => VOLUMES.into(),
            RuntimeKind::Mixed => format!("{folder} and {VOLUMES}"),
        }
    }

    /// Removes everything the lab has on this host, what it delivered to other places included.
    pub(super) fn remove_files(&self) -> Result<(), StateError> {
        for error in DeliveredFiles::remove_all(&self.dir) {
            self.report.warn(format!("what was delivered outside the lab's folder may stay: {error}"));
        }
        self.dir.remove()
    }

    /// Nothing in a manifest is needed to remove a lab: its services have folders of their own.
    fn set_damaged_manifest_aside(&self) -> Result<(), LabError> {
        let Err(error @ StateError::Damaged { .. }) = Manifest::load(&self.dir) else { return Ok(()) };
        self.report.warn(format!("{error}; going by the folders of the services"));
        let path = self.dir.manifest();
        let aside = path.with_extension("json.damaged");
        std::fs::rename(&path, aside).map_err(|source| LabError::File { operation: "rename", path, source })
    }
}
