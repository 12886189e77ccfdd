//! Building the data folder that labs of one kind start from.

use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;

use tokio::time::Instant;

use super::ProcessRuntime;
use super::engine::{DatabaseProgram, Initialise, stop_signal};
use super::identity::Identity;
use super::programs::MysqlProgram;
use super::spawn::{KillOnDrop, POLL, RunAs, describe};
use super::start::{LOG_LINES, PORT_ATTEMPTS, Wait};
use super::template::Build;
use crate::database::{Database, Target};
use crate::runtime::ledger::{self, fresh, superuser};
use crate::runtime::origin::Origin;
use crate::runtime::ports::is_taken;
use crate::runtime::probe::AskSql;
use crate::runtime::{RuntimeError, folder};
use crate::service::{Endpoint, Service};
use crate::spec::model::DatabaseSpec;
use crate::state::Credentials;

impl ProcessRuntime {
    /// Initialises a server, gives it accounts, schema and seed, and keeps its data as a template.
    pub(super) async fn build_template(
        &self,
        spec: &DatabaseSpec,
        program: &DatabaseProgram,
        user: &RunAs,
        key: &str,
        deadline: Instant,
    ) -> Result<PathBuf, RuntimeError> {
        let name = spec.name.as_str();
        let templates = self.home.templates();
        let build = Build::begin(&templates, user).map_err(folder(name, "create a folder in", &templates))?;
        let log = build.path().join("build.log");
        let (data, scratch) = (build.data(), build.path());
        let superuser = fresh(superuser(spec.engine));
        let initialise =
            Initialise { service: name, data: &data, scratch, log: &log, user, superuser: &superuser };
        let began = Instant::now();
        tokio::time::timeout_at(deadline, program.initialise(&initialise)).await.map_err(|_| {
            RuntimeError::Timeout {
                service: name.into(),
                waited: began.elapsed(),
                last: "its data was still being initialised".into(),
                log: super::log::since(&log, 0, LOG_LINES),
            }
        })??;
        self.fill_template(spec, program, &initialise, deadline).await?;
        Origin::new(key, superuser).save(scratch)?;
        fs::remove_file(&log).map_err(folder(name, "remove", &log))?;
        build.keep(key).map_err(folder(name, "rename the new template to", &templates.join(key)))
    }

    /// Starts the new server, gives it everything the lab file says, and stops it.
    async fn fill_template(
        &self,
        spec: &DatabaseSpec,
        program: &DatabaseProgram,
        at: &Initialise<'_>,
        deadline: Instant,
    ) -> Result<(), RuntimeError> {
        let name = spec.name.as_str();
        let first = first_sql(program, at)?;
        let child = format!("{name} template");
        // It must not outlive this build, however the build ends.
        let _server = BuildServer { runtime: self, child: &child };
        let database = program.first_database();
        let probe = AskSql { service: name, engine: spec.engine, database, accounts: vec![at.superuser] };
        let mut attempt = 1;
        let (wait, mut connection) = loop {
            let hold = self.ports.pick([]).map_err(folder(name, "find a port of 127.0.0.1 for", at.data))?;
            let port = hold.port;
            let launch = program.launch(at.data, port, at.user, first.as_deref());
            let from = super::log::length(at.log);
            drop(hold);
            let process = launch.spawn(at.log).map_err(|source| RuntimeError::Process {
                service: name.into(),
                operation: "start",
                program: launch.program.display().to_string(),
                source,
            })?;
            let identity = Identity::of(process.id());
            self.children().insert(child.clone(), process);
            let wait = Wait { service: name, child: &child, identity, log: at.log, from, port, deadline };
            let ready = self.wait_ready(&wait, &probe).await;
            self.ports.release(port);
            match ready {
                Ok((connection, _)) => break (wait, connection),
                // Another program took the port after we had let go of it.
                Err(RuntimeError::Exited { .. }) if attempt < PORT_ATTEMPTS && is_taken(port) => attempt += 1,
                Err(e) => return Err(e),
            }
        };
        if let Some(first) = &first {
            fs::remove_file(first).map_err(folder(name, "remove", first))?;
        }
        let filled = fill(spec, program, connection.as_mut(), wait.port, at.superuser).await;
        connection.close().await;
        // A server that died meanwhile says more than the connection that broke.
        filled.map_err(|error| self.ended(&wait).unwrap_or(error))?;

        if let Some(identity) = wait.identity {
            let kind = Service::Database(spec.clone()).kind();
            identity.signal(stop_signal(kind)).map_err(folder(name, "stop the server on", at.data))?;
        }
        loop {
            match self.ended(&wait) {
                // Only an orderly end leaves data that the next server starts on without a repair.
                Some(RuntimeError::Exited { status, .. }) if status == describe(ExitStatus::default()) => {
                    return Ok(());
                }
                Some(error) => return Err(error),
                None if Instant::now() >= deadline => {
                    let pid = wait.identity.map_or(0, |identity| identity.pid);
                    return Err(RuntimeError::WillNotStop { service: name.into(), pid });
                }
                None => tokio::time::sleep(POLL).await,
            }
        }
    }
}

/// Ends the server of a build when dropped.
struct BuildServer<'a> {
    runtime: &'a ProcessRuntime,
    child: &'a str,
}

impl Drop for BuildServer<'_> {
    fn drop(&mut self) {
        drop(self.runtime.children().remove(self.child).map(KillOnDrop));
    }
}

/// Writes the SQL that a new MySQL or MariaDB runs before it answers anyone.
fn first_sql(program: &DatabaseProgram, at: &Initialise<'_>) -> Result<Option<PathBuf>, RuntimeError> {
    let DatabaseProgram::Mysql(_) = program else { return Ok(None) };
    let path = at.scratch.join("first.sql");
    let sql = MysqlProgram::first_sql(at.superuser);
    at.user.write_file(&path, sql.as_bytes()).map_err(folder(at.service, "write", &path))?;
    Ok(Some(path))
}

/// [`ledger::fill`], once nobody else can get in.
async fn fill(
    spec: &DatabaseSpec,
    program: &DatabaseProgram,
    server: &mut dyn Database,
    port: u16,
    superuser: &Credentials,
) -> Result<(), RuntimeError> {
    let name = spec.name.as_str();
    let failed = || RuntimeError::database(name);
    program.close_back_doors(server).await.map_err(failed())?;
    program.make_database(server, &spec.database).await.map_err(failed())?;
    let endpoint = Endpoint::loopback(port);
    let target = Target { engine: spec.engine, endpoint, database: spec.database.clone() };
    ledger::fill(spec, server, &target, superuser).await
}
