//! Making a database's data, and keeping it as a template for the labs to come.
//!
//! The data is made where the lab needs it, by the server the lab goes on to use: nothing is copied and
//! no server started that would only be stopped again. Until it is complete a file beside it says so;
//! whoever finds that file after a crash begins anew.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::backup::blocking;
use super::database::Started;
use super::engine::{DatabaseProgram, Initialise};
use super::spawn::RunAs;
use super::start::{LOG_LINES, Start};
use super::stop::clear_leftovers;
use super::template::{Build, Pack};
use super::{Places, ProcessRuntime};
use crate::database::{self, Database, Target};
use crate::runtime::ledger::{self, fresh, superuser};
use crate::runtime::origin::Origin;
use crate::runtime::{RuntimeError, folder};
use crate::service::{Endpoint, mysql};
use crate::spec::model::DatabaseSpec;
use crate::state::Credentials;

/// Says, beside the data, that schema and seed are not in it yet.
const UNFILLED: &str = "unfilled";

/// How long a server whose data is not complete may take to end by itself.
const GRACE: std::time::Duration = std::time::Duration::from_millis(500);

impl ProcessRuntime {
    /// Removes what a killed `up` left unfinished.
    pub(super) async fn discard_unfilled(&self, service: &str) -> Result<(), RuntimeError> {
        let places = self.places(service);
        let (partial, unfilled) = (places.partial(), places.root.join(UNFILLED));
        if partial.is_dir() {
            self.copies_end().await;
        }
        if partial.is_dir() {
            clear_leftovers(service, &partial).await?;
            remove_folder(service, &partial)?;
        }
        if unfilled.exists() {
            self.stop_service(service, GRACE).await?;
            clear_leftovers(service, &places.data).await?;
            remove_folder(service, &places.data)?;
            fs::remove_file(&unfilled).map_err(folder(service, "remove", &unfilled))?;
        }
        Ok(())
    }

    /// Makes the data of an empty server for the lab.
    pub(super) async fn initialise(
        &self,
        spec: &DatabaseSpec,
        program: &DatabaseProgram,
        user: &RunAs,
        key: &str,
        deadline: Instant,
    ) -> Result<(), RuntimeError> {
        let name = spec.name.as_str();
        let places = self.places(name);
        let (data, log) = (places.partial(), places.root.join("initialise.log"));
        user.make_folder(&data).map_err(folder(name, "create the folder", &data))?;
        let superuser = fresh(superuser(spec.engine));
        let initialise = Initialise {
            service: name,
            data: &data,
            scratch: &places.root,
            log: &log,
            user,
            superuser: &superuser,
        };
        let began = Instant::now();
        let (initialised, planned) = tokio::join!(
            tokio::time::timeout_at(deadline, program.initialise(&initialise)),
            // The passwords that are to be set are on disk before the data is in its place.
            async { self.ledger.plan_accounts(spec) },
        );
        let result = initialised.unwrap_or_else(|_| {
            Err(RuntimeError::Timeout {
                service: name.into(),
                waited: began.elapsed(),
                last: "its data was still being initialised".into(),
                log: super::log::since(&log, 0, LOG_LINES),
            })
        });
        if let Err(error) = result.and_then(|()| Ok(planned?)) {
            // That the rest stays behind is less than what went wrong: the next `up` removes it.
            drop((remove_folder(name, &data), fs::remove_file(&log)));
            return Err(error);
        }
        match fs::remove_file(&log) {
            // MariaDB's data is made by its first start.
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(folder(name, "remove", &log)(e))?,
            _ => {}
        }
        Origin::new(key, superuser).save(&places.root)?;
        let unfilled = places.root.join(UNFILLED);
        fs::write(&unfilled, "").map_err(folder(name, "write", &unfilled))?;
        fs::rename(&data, &places.data).map_err(folder(name, "rename", &data))
    }

    /// Starts the server on the new data. On failure nothing of it is left.
    pub(super) async fn start_fresh(
        &self,
        spec: &DatabaseSpec,
        program: &DatabaseProgram,
        start: Start<'_>,
        user: &RunAs,
    ) -> Result<Started, RuntimeError> {
        let name = spec.name.as_str();
        let places = self.places(name);
        let superuser = &self
            .template_superuser(name)?
            .ok_or_else(|| RuntimeError::AccountsLost { service: name.into() })?;
        let first = program.first(name, &places.root, superuser, user)?;
        let launch = |port| self.launch_database(name, program, port, user, first.as_slice());
        let database = program.first_database();
        let started = self.start_database(spec, &[superuser], database, start, launch).await;
        if let Some(first) = &first {
            fs::remove_file(first).map_err(folder(name, "remove", first))?;
        }
        if started.is_err() {
            self.discard_unfilled(name).await?;
        }
        started
    }

    /// Gives the new server everything the lab file says, and keeps its data as a template.
    /// On failure nothing of it is left.
    pub(super) async fn fill(
        &self,
        spec: &DatabaseSpec,
        program: &DatabaseProgram,
        key: &str,
        started: Started,
        restart: Start<'_>,
        user: &RunAs,
    ) -> Result<Started, RuntimeError> {
        let name = spec.name.as_str();
        let filled = self.fill_and_keep(spec, program, key, started, restart, user).await;
        match filled {
            Ok(started) => {
                let unfilled = self.places(name).root.join(UNFILLED);
                fs::remove_file(&unfilled).map_err(folder(name, "remove", &unfilled))?;
                Ok(started)
            }
            Err(error) => {
                self.discard_unfilled(name).await?;
                Err(error)
            }
        }
    }

    async fn fill_and_keep(
        &self,
        spec: &DatabaseSpec,
        program: &DatabaseProgram,
        key: &str,
        mut started: Started,
        restart: Start<'_>,
        user: &RunAs,
    ) -> Result<Started, RuntimeError> {
        let name = spec.name.as_str();
        let (places, templates) = (self.places(name), self.home.templates());
        let origin =
            Origin::load(&places.root)?.ok_or_else(|| RuntimeError::AccountsLost { service: name.into() })?;
        let build = Build::begin(&templates).map_err(folder(name, "create a folder in", &templates))?;
        origin.save(build.path())?;
        let archive = build.archive();
        let port = started.record.port;
        let fill = fill(spec, program, started.connection.as_mut(), port, &origin.superuser);
        let filled = match program {
            DatabaseProgram::Postgres(postgres) => {
                let target = Target {
                    engine: spec.engine,
                    endpoint: Endpoint::loopback(port),
                    database: program.first_database().into(),
                };
                let copy = async {
                    let connection = database::connect(&target, &origin.superuser)
                        .await
                        .map_err(RuntimeError::database(name))?;
                    postgres.begin_backup(name, connection, &places.data, &archive).await
                };
                // Most of the copy is there when the last row is.
                match tokio::try_join!(fill, copy) {
                    Ok(((), backup)) => backup.finish(name, &archive).await,
                    Err(error) => Err(error),
                }
            }
            DatabaseProgram::Mysql(_) => fill.await,
        };
        // A server that died meanwhile says more than the connection that broke.
        filled.map_err(|error| {
            self.ended(&started.wait(name, &places.log, restart.deadline)).unwrap_or(error)
        })?;
        if let DatabaseProgram::Mysql(_) = program {
            // Its files are only good when it has ended.
            started.connection.close().await;
            self.stop_service(name, restart.deadline - Instant::now()).await?;
            let (from, to) = (places.data.clone(), archive.clone());
            blocking(move || pack_all(&from, &to)).await.map_err(folder(name, "write", &archive))?;
            let launch = |port| self.launch_database(name, program, port, user, &[]);
            started =
                self.start_database(spec, &[&origin.superuser], &spec.database, restart, launch).await?;
        }
        build.keep(key).map_err(folder(name, "rename the new template to", &templates.join(key)))?;
        Ok(started)
    }
}

impl Places {
    /// Where data is while it is being made or copied.
    pub(super) fn partial(&self) -> PathBuf {
        self.root.join("data.partial")
    }
}

/// For MySQL and MariaDB.
fn pack_all(data: &Path, archive: &Path) -> std::io::Result<()> {
    let mut pack = Pack::begin(archive, data)?;
    pack.add(&|path| !mysql::is_made_anew(path))?;
    pack.finish()
}

pub(super) fn remove_folder(service: &str, path: &Path) -> Result<(), RuntimeError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(folder(service, "remove", path)(e)),
        _ => Ok(()),
    }
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
