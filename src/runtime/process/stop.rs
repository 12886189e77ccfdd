//! Ending services, and removing what they leave.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::ProcessRuntime;
use super::engine::stop_signal;
use super::identity::{Identity, working_in};
use super::spawn::POLL;
use crate::runtime::{RuntimeError, folder};
use crate::service::ServiceKind;
use crate::state::{ServiceRecord, unless_full};

/// How long a process may take to end once it was killed.
const KILLED: Duration = Duration::from_secs(5);

/// How long a process whose data is removed may take to end by itself.
const REMOVED: Duration = Duration::from_millis(200);

impl ProcessRuntime {
    pub(super) async fn stop_service(&self, service: &str, grace: Duration) -> Result<bool, RuntimeError> {
        let mut stopped = false;
        let Some(mut record) = self.ledger.record(service)? else {
            while let Some(stray) = self.stray(service)
                && let Some(process) = self.process_of(service, &stray)
            {
                self.end(service, &stray, process, grace).await?;
                stopped = true;
            }
            return Ok(stopped);
        };
        while let Some(process) = self.process_of(service, &record) {
            self.end(service, &record, process, grace).await?;
            stopped = true;
            (record.pid, record.started) = (None, None);
        }
        (record.pid, record.started) = (None, None);
        self.ports.release(record.port);
        // On a full disk it goes on naming a process, which the next one sees is gone.
        unless_full(self.ledger.save_record(service, &record))?;
        Ok(stopped)
    }

    /// Waits for the copies that an `up` began which nobody waits for any more: they go on by themselves.
    pub(super) async fn copies_end(&self) {
        drop(self.copying.write().await);
    }

    /// Ends one process: asks, waits for `grace`, kills.
    async fn end(
        &self,
        service: &str,
        record: &ServiceRecord,
        process: Identity,
        grace: Duration,
    ) -> Result<(), RuntimeError> {
        let failed = |source| RuntimeError::Process {
            service: service.into(),
            operation: "stop",
            program: format!("{} (pid {})", record.program.display(), process.pid),
            source,
        };
        let gentle = ServiceKind::parse(&record.kind).map_or(Signal::SIGTERM, stop_signal);
        for (signal, patience) in [(gentle, grace), (Signal::SIGKILL, KILLED)] {
            process.signal(signal).map_err(failed)?;
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                if self.has_ended(service, process) {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        }
        if self.has_ended(service, process) {
            return Ok(());
        }
        Err(RuntimeError::WillNotStop { service: service.into(), pid: process.pid })
    }

    fn has_ended(&self, service: &str, process: Identity) -> bool {
        let mut children = self.children();
        if let Some(child) = children.get_mut(service).filter(|child| child.id() == process.pid) {
            if !matches!(child.try_wait(), Ok(Some(_))) {
                return false;
            }
            children.remove(service);
            return true;
        }
        !process.is_alive()
    }

    pub(super) async fn remove_service(&self, service: &str) -> Result<(), RuntimeError> {
        // Its data goes anyway: nothing is gained by an orderly end.
        self.stop_service(service, REMOVED).await?;
        clear_leftovers(service, &self.places(service).data).await?;
        self.lab.remove_service(service)?;
        Ok(self.ledger.forget(service)?)
    }
}

/// Removes a PostgreSQL's `postmaster.pid` whose server is gone. A server that starts takes any
/// process with that pid for alive as long as it can be signalled: even a zombie, or a stranger that
/// has the pid now. To be called when nothing works in the folder any more.
pub(super) fn remove_stale_pid_file(service: &str, data: &Path) -> Result<(), RuntimeError> {
    let path = data.join("postmaster.pid");
    // The first line is the pid; whatever else it holds is for the server to judge.
    let Some(pid) = fs::read_to_string(&path).ok().and_then(|text| text.lines().next()?.trim().parse().ok())
    else {
        return Ok(());
    };
    let elsewhere = || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd != data);
    if Identity::of(pid).is_some() && !elsewhere() {
        return Ok(());
    }
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(folder(service, "remove", &path)(e)),
        _ => Ok(()),
    }
}

impl ProcessRuntime {
    /// Ends processes of the service that no record knows. Gives whether there were any.
    pub(super) async fn clear_strays(
        &self,
        service: &str,
        record: &ServiceRecord,
    ) -> Result<bool, RuntimeError> {
        let strays = self.orphans(service, record);
        for stray in &strays {
            drop(stray.signal(Signal::SIGKILL));
        }
        let data = self.places(service).data;
        clear_leftovers(service, &data).await?;
        remove_stale_pid_file(service, &data)?;
        Ok(!strays.is_empty())
    }
}

/// Ends the helper processes that a killed server left on its data. A new server on the same data
/// would refuse to start beside them, or worse.
pub(super) async fn clear_leftovers(service: &str, data: &Path) -> Result<(), RuntimeError> {
    let began = Instant::now();
    loop {
        let left = working_in(data);
        let Some(first) = left.first() else { return Ok(()) };
        // They see by themselves that their server is gone, mostly at once.
        if began.elapsed() > KILLED {
            return Err(RuntimeError::WillNotStop { service: service.into(), pid: first.pid });
        }
        if began.elapsed() > KILLED / 5 {
            for process in &left {
                drop(process.signal(Signal::SIGKILL));
            }
        }
        tokio::time::sleep(POLL).await;
    }
}
