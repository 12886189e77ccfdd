//! The lab's keeper: started detached by `up`, in the foreground by `supervise`, or as a task of a
//! test-suite; ended by `down`.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Lab, LabError, RunningLab};
use crate::keeper::{self, Keeper, KeeperError, SUPERVISE};
use crate::report::Outcome;
use crate::runtime::RuntimeError;
use crate::runtime::docker::DockerError;
use crate::state::{FileLock, KeeperRecord, LockHolder, is_kept};

/// Pause between two questions whether an engine is back.
const ENGINE_INTERVAL: Duration = Duration::from_secs(2);

/// Whether `up` leaves a keeper behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeeperChoice {
    /// None: the program that brings the lab up keeps it itself, if it wants to
    /// ([`RunningLab::keep`]).
    #[default]
    None,
    /// A process of its own, unless the lab file says `keeper: off`.
    Detached,
}

/// A keeper that is a task of this program. Dropped, it ends without finishing what it has begun.
#[derive(Debug)]
pub struct KeeperTask {
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), KeeperError>>,
}

impl KeeperTask {
    /// Ends it and waits until it has ended.
    pub async fn stop(mut self) -> Result<(), LabError> {
        drop(self.end.take());
        match (&mut self.task).await {
            Ok(result) => Ok(result?),
            // It panicked, or the runtime is shutting down.
            Err(_) => Ok(()),
        }
    }
}

impl Drop for KeeperTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RunningLab {
    /// Keeps the lab for as long as the task runs: secret_ids are replaced before they end, Vault is
    /// unsealed, services that die are started again. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`KeeperError::Kept`] when the lab has a keeper.
    pub async fn keep(&self) -> Result<KeeperTask, LabError> {
        let lab = self.lab();
        lab.keep_events()?;
        let keeper = lab.keeper("a program that uses vaultlab").await?;
        let (end, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(keeper.run(async {
            // Either way: told to, or nobody can tell it any more.
            let _ = ended.await;
        }));
        Ok(KeeperTask { end: Some(end), task })
    }
}

impl Lab {
    async fn keeper(&self, holder: &str) -> Result<Keeper, LabError> {
        if !self.dir.manifest().exists() {
            return Err(LabError::NotRunning { lab: self.name().into(), detail: String::new() });
        }
        let runtime = self.runtime().await?;
        Ok(Keeper::new(self.spec.clone(), &self.dir, runtime, self.report.clone(), holder).await?)
    }

    /// Keeps the lab until `interrupt` comes or `down` ends it.
    ///
    /// # Errors
    /// [`LabError::NotRunning`] when it was never up, [`KeeperError::Kept`] when it has a keeper.
    pub async fn supervise(&self, interrupt: impl Future<Output = ()>) -> Result<(), LabError> {
        let mut interrupt = std::pin::pin!(interrupt);
        let mut told = false;
        // One that is started while its engine is being started anew is needed as soon as that is back.
        let keeper = loop {
            match self.keeper(SUPERVISE).await {
                Err(LabError::Runtime(RuntimeError::Docker(error @ DockerError::Unreachable { .. }))) => {
                    if !std::mem::replace(&mut told, true) {
                        self.report.warn(format!("{error}; it is asked again until it does"));
                    }
                    tokio::select! {
                        () = tokio::time::sleep(ENGINE_INTERVAL) => {}
                        () = &mut interrupt => return Ok(()),
                    }
                    if self.dir.keeper_stop().exists() || !self.dir.try_exists()? {
                        return Ok(());
                    }
                }
                other => break other?,
            }
        };
        self.keep_events()?;
        Ok(keeper.run(interrupt).await?)
    }

    /// Whether the lab has a keeper, or gets one when it is up: some work is left to it then.
    pub(super) fn wants_keeper(&self) -> Result<bool, LabError> {
        let wanted = self.spec.keeper && self.options.keeper == KeeperChoice::Detached;
        Ok(wanted || is_kept(&self.dir)?)
    }

    /// Sees to it that the lab has a keeper that knows the lab as it is now. Called when all is proven;
    /// the keeper's own start is not waited for.
    pub(super) async fn ensure_keeper(&self) -> Result<(), LabError> {
        if !self.spec.keeper {
            return self.end_keeper().await.map(drop);
        }
        if self.options.keeper == KeeperChoice::None {
            return Ok(());
        }
        if self.is_kept_as_it_is()? {
            return Ok(());
        }
        let lock = self.end_keeper().await?;
        self.spawn_keeper(lock)
    }

    /// Whether a keeper runs and keeps this very description of the lab.
    fn is_kept_as_it_is(&self) -> Result<bool, LabError> {
        let record = KeeperRecord::load(&self.dir)?;
        Ok(record.is_some_and(|record| record.running && record.keeps == keeper::digest(&self.spec)))
    }

    /// Ends the keeper, if there is one. No other begins while the lock is held.
    pub(super) async fn end_keeper(&self) -> Result<FileLock, LabError> {
        let path = self.dir.keeper_lock();
        if let Ok(lock) = FileLock::try_lock(&path)? {
            return Ok(lock);
        }
        let work = async {
            let (lock, there_was_one) = keeper::stop(&self.dir).await?;
            let outcome = if there_was_one { Outcome::changed("") } else { Outcome::Unchanged };
            Ok::<_, KeeperError>((outcome, lock))
        };
        Ok(self.report.step("stop keeper", "Stop the keeper", &[], work).await?)
    }

    /// Ends a keeper that was left when the lab's folder was removed.
    pub(super) async fn end_lost_keeper(&self) -> Result<(), LabError> {
        let failed =
            |source| LabError::File { operation: "end the keeper of", path: self.dir.path().into(), source };
        keeper::stop_lost(&self.dir).await.map_err(failed)
    }

    /// Asks a keeper to end, so that it lets go of the lab's lock.
    pub(super) fn ask_keeper_to_end(&self) -> Result<Option<LockHolder>, LabError> {
        Ok(keeper::request_stop(&self.dir)?)
    }

    /// Starts a keeper that outlives this program. The lock goes along as its standard input, so that
    /// there is no moment in which the lab seems to have none.
    fn spawn_keeper(&self, mut lock: FileLock) -> Result<(), LabError> {
        let Some(program) = self.options.program.clone().or_else(program_of_environment) else {
            self.report.warn(
                "the lab has no keeper: this program does not know where `vaultlab` is (VAULTLAB_BIN names it)",
            );
            return Ok(());
        };
        let failed = |source| KeeperError::Program { program: program.display().to_string(), source };
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(self.dir.keeper_log());
        let mut command = Command::new(&program);
        command
            .args(["supervise", "--name", self.name(), "--progress", "quiet"])
            .env("VAULTLAB_HOME", self.home.root())
            .current_dir(self.home.root())
            .stdin(lock.to_hand_on()?)
            .stdout(Stdio::null())
            .stderr(log.map_err(failed)?);
        let child = crate::detached::spawn(command).map_err(failed)?;
        lock.sign(SUPERVISE, child.id())?;
        // Known from the first moment on; the keeper itself says more as soon as it has begun.
        KeeperRecord::begun(&self.dir, keeper::digest(&self.spec), child.id()).save(&self.dir)?;
        Ok(())
    }
}

fn program_of_environment() -> Option<PathBuf> {
    std::env::var_os("VAULTLAB_BIN").filter(|path| !path.is_empty()).map(PathBuf::from)
}
