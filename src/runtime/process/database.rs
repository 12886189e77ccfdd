//! Bringing up a database: from a template, or on the lab's own data.

use std::fs;
use std::path::PathBuf;

use tokio::time::Instant;

use super::accounts::fresh;
use super::engine::{DatabaseProgram, Initialise, folder, superuser};
use super::identity::Identity;
use super::programs::MysqlProgram;
use super::spawn::{KillOnDrop, RunAs, make_passable};
use super::start::{AskSql, PortWish, Start, ended_is_none};
use super::stop::clear_leftovers;
use super::template::{self, Build, Origin};
use super::{Places, ProcessRuntime};
use crate::database::{Database, Target};
use crate::report::{Outcome, Report};
use crate::runtime::{DataOrigin, Running, RuntimeError};
use crate::service::{Endpoint, Service};
use crate::spec::model::{ADMIN_USER, DatabaseSpec};
use crate::state::{Credentials, DatabaseAccounts, ServiceRecord};

impl ProcessRuntime {
    pub(super) async fn ensure_database(
        &self,
        spec: &DatabaseSpec,
        report: &Report,
        deadline: Instant,
    ) -> Result<Running, RuntimeError> {
        let name = spec.name.as_str();
        let (step, title) = (format!("start {name}"), format!("Starting {name}"));
        let record = self.record(name)?;
        if let Some(record) = &record
            && let Some(process) = self.process_of(name, record)
        {
            if spec.port.is_none_or(|port| port == record.port) {
                let reuse = self.reuse(spec, record, process, deadline);
                if let Some(running) = report.step(&step, &title, &[], ended_is_none(reuse)).await? {
                    return Ok(running);
                }
            } else {
                report.note(format!("{name} moves from port {} to the one now asked for", record.port));
                self.stop_service(name, std::time::Duration::from_secs(10)).await?;
            }
        }

        let program = DatabaseProgram::find(&self.programs, spec).await?;
        let user = RunAs::for_kind(Service::Database(spec.clone()).kind());
        let key = template::key(spec, &program.product(), &program.flags());
        let places = self.places(name);
        for passable in [self.lab.services(), &places.root] {
            make_passable(passable).map_err(folder(name, "create the folder", passable))?;
        }

        let mut after = Vec::new();
        let initialise = format!("initialise {name}");
        let (data, key) = if places.data.is_dir() {
            if let Some(made_by) = program.refuses(&places.data) {
                let found = program.product();
                return Err(RuntimeError::DataMismatch { service: name.into(), made_by, found });
            }
            let made_of = record.as_ref().and_then(|record| record.template.clone()).unwrap_or(key.clone());
            if template::content(&made_of) != template::content(&key) {
                report.warn(format!(
                    "{name}: its schema, seed or admin statements were changed after its data was made; \
                     the data is kept as it is (`vaultlab down --volumes` and `up` make it anew)"
                ));
            }
            (DataOrigin::Kept, made_of)
        } else {
            let template = self.home.templates().join(&key);
            let origin = if Origin::load(&template)?.is_some() {
                DataOrigin::Template
            } else {
                after.push(initialise.as_str());
                let title = format!("Initialising {name} with {}", program.product());
                let build = async {
                    self.build_template(spec, &program, &user, &key, deadline).await?;
                    Ok::<_, RuntimeError>((Outcome::changed(program.product()), ()))
                };
                report.step(&initialise, &title, &[], build).await?;
                DataOrigin::Fresh
            };
            (origin, key)
        };

        let start = async {
            if data != DataOrigin::Kept {
                self.take_template(spec, &key, &places, &user).await?;
            }
            let running = self.start_database(spec, &program, &user, key, data, record, deadline).await?;
            Ok((Outcome::changed(format!("{} at {}", running.version, running.endpoint)), running))
        };
        report.step(&step, &title, &after, start).await
    }

    /// A server that runs already: it still has to answer.
    async fn reuse(
        &self,
        spec: &DatabaseSpec,
        record: &ServiceRecord,
        process: Identity,
        deadline: Instant,
    ) -> Result<(Outcome, Running), RuntimeError> {
        let name = spec.name.as_str();
        let places = self.places(name);
        let mut record = record.clone();
        let adopted = record.pid != Some(process.pid);
        if adopted {
            (record.pid, record.started) = (Some(process.pid), Some(process.started));
            self.save_record(name, &record)?;
        }
        let mut accounts = self.accounts_of(spec)?;
        let template = self.template_superuser(name)?;
        let probe = ask(spec, &accounts, template.as_ref());
        let from = super::log::length(&places.log);
        let mut connection =
            self.wait_ready(name, &places.log, from, Some(process), record.port, deadline, &probe).await?;
        self.apply_accounts(name, &mut accounts, connection.as_mut()).await?;
        connection.close().await;
        let running = self.running(spec, &record, accounts, true, DataOrigin::Kept);
        let outcome = if adopted { Outcome::changed("found without a record") } else { Outcome::Unchanged };
        Ok((outcome, running))
    }

    #[expect(clippy::too_many_arguments, reason = "all of it was worked out by the one caller")]
    async fn start_database(
        &self,
        spec: &DatabaseSpec,
        program: &DatabaseProgram,
        user: &RunAs,
        key: String,
        data: DataOrigin,
        earlier: Option<ServiceRecord>,
        deadline: Instant,
    ) -> Result<Running, RuntimeError> {
        let name = spec.name.as_str();
        let places = self.places(name);
        clear_leftovers(name, &places.data).await?;
        let mut accounts = self.accounts_of(spec)?;
        let template = self.template_superuser(name)?;
        let kind = Service::Database(spec.clone()).kind();
        let usual = [earlier.map_or(0, |record| record.port), kind.usual_port()];
        let start = Start {
            name,
            log: &places.log,
            port: spec.port.map_or_else(|| PortWish::Rather(usual.to_vec()), PortWish::Exactly),
            record: ServiceRecord {
                kind: kind.as_str().into(),
                program: program.path().into(),
                program_version: program.product(),
                port: 0,
                pid: None,
                started: None,
                template: Some(key),
            },
            deadline,
        };
        let launch = |port| Ok(program.launch(&places.data, port, user, None));
        let probe = ask(spec, &accounts, template.as_ref());
        let (mut connection, record) = self.start(start, launch, &probe).await?;
        self.apply_accounts(name, &mut accounts, connection.as_mut()).await?;
        connection.close().await;
        Ok(self.running(spec, &record, accounts, false, data))
    }

    fn accounts_of(&self, spec: &DatabaseSpec) -> Result<DatabaseAccounts, RuntimeError> {
        self.accounts(&spec.name)?.ok_or_else(|| RuntimeError::AccountsLost { service: spec.name.clone() })
    }

    fn running(
        &self,
        spec: &DatabaseSpec,
        record: &ServiceRecord,
        accounts: DatabaseAccounts,
        reused: bool,
        data: DataOrigin,
    ) -> Running {
        Running {
            name: spec.name.clone(),
            kind: Service::Database(spec.clone()).kind(),
            endpoint: Endpoint::loopback(record.port),
            from_services: Endpoint::loopback(record.port),
            reused,
            data,
            version: record.program_version.clone(),
            flavour: None,
            accounts: Some(accounts),
            log_folder: self.places(&spec.name).log_folder.to_string_lossy().into_owned(),
        }
    }

    /// Copies the template into the lab. Killed at any point, it starts over or is complete.
    async fn take_template(
        &self,
        spec: &DatabaseSpec,
        key: &str,
        places: &Places,
        user: &RunAs,
    ) -> Result<(), RuntimeError> {
        let name = spec.name.as_str();
        let template = self.home.templates().join(key);
        let partial = places.root.join("data.partial");
        let copied = {
            let (from, to, user) = (template.join("data"), partial.clone(), user.clone());
            tokio::task::spawn_blocking(move || {
                match fs::remove_dir_all(&to) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
                template::copy_data(&from, &to, &user)
            })
        };
        // Meanwhile: the passwords that are to be set are written down before the data is there.
        let origin = Origin::load(&template)?.ok_or_else(|| RuntimeError::Unsupported {
            service: name.into(),
            cause: format!("its template {key} was removed while it was needed; run the command again"),
        })?;
        origin.save(&places.root)?;
        self.plan_accounts(spec)?;
        user.make_folder(&places.log_folder).map_err(folder(
            name,
            "create the folder",
            &places.log_folder,
        ))?;
        copied.await.map_err(std::io::Error::other).and_then(|copied| copied).map_err(folder(
            name,
            "copy the template to",
            &partial,
        ))?;
        fs::rename(&partial, &places.data).map_err(folder(name, "rename", &partial))
    }

    /// Initialises a server, gives it accounts, schema and seed, and keeps its data as a template.
    async fn build_template(
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
        program.initialise(&initialise).await?;
        self.fill_template(spec, program, &initialise, deadline).await?;
        Origin::new(key, superuser).save(scratch)?;
        fs::remove_file(&log).map_err(folder(name, "remove", &log))?;
        build.keep(key).map_err(folder(name, "rename the new template to", &templates.join(key)))
    }

    async fn fill_template(
        &self,
        spec: &DatabaseSpec,
        program: &DatabaseProgram,
        at: &Initialise<'_>,
        deadline: Instant,
    ) -> Result<(), RuntimeError> {
        let name = spec.name.as_str();
        let first = first_sql(program, at)?;
        let hold = self.ports.pick([]).map_err(folder(name, "find a port of 127.0.0.1 for", at.data))?;
        let port = hold.port;
        let launch = program.launch(at.data, port, at.user, first.as_deref());
        let from = super::log::length(at.log);
        drop(hold);
        let child = launch.spawn(at.log).map_err(|source| RuntimeError::Process {
            service: name.into(),
            operation: "start",
            program: launch.program.display().to_string(),
            source,
        })?;
        let identity = Identity::of(child.id());
        // It must not outlive this build, however the build ends.
        let mut server = KillOnDrop(child);
        let database = maintenance_database(program);
        let probe = AskSql { service: name, engine: spec.engine, database, accounts: vec![at.superuser] };
        let mut connection = self.wait_ready(name, at.log, from, identity, port, deadline, &probe).await?;
        if let Some(first) = &first {
            fs::remove_file(first).map_err(folder(name, "remove", first))?;
        }
        fill(spec, program, connection.as_mut(), port, at.superuser).await?;
        connection.close().await;
        self.ports.release(port);
        if let Some(identity) = identity {
            let kind = Service::Database(spec.clone()).kind();
            identity.signal(super::engine::stop_signal(kind)).map_err(folder(
                name,
                "stop the server on",
                at.data,
            ))?;
        }
        loop {
            match server.0.try_wait().map_err(folder(name, "stop the server on", at.data))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(RuntimeError::Exited {
                        service: name.into(),
                        status: super::spawn::describe(status),
                        log: super::log::since(at.log, from, 20),
                    });
                }
                None if Instant::now() >= deadline => {
                    return Err(RuntimeError::WillNotStop { service: name.into(), pid: server.0.id() });
                }
                None => tokio::time::sleep(super::spawn::POLL).await,
            }
        }
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

/// Makes Vault's account, the database, schema and seed, in this order: the schema may grant to
/// the account.
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
    server.ensure_account(&fresh(ADMIN_USER)).await.map_err(failed())?;
    server.ensure_database(&spec.database).await.map_err(failed())?;
    let endpoint = Endpoint::loopback(port);
    let target = Target { engine: spec.engine, endpoint, database: spec.database.clone() };
    let mut inside = crate::database::connect(&target, superuser).await.map_err(failed())?;
    for script in [&spec.admin].into_iter().chain(&spec.schema).chain(&spec.seed) {
        inside.run_script(script).await.map_err(RuntimeError::script(name))?;
    }
    inside.close().await;
    Ok(())
}

/// The database that is there before the lab's own is.
fn maintenance_database(program: &DatabaseProgram) -> &'static str {
    match program {
        DatabaseProgram::Postgres(_) => "postgres",
        DatabaseProgram::Mysql(_) => "mysql",
    }
}

/// The probe of a database that is the lab's. Until the lab's own passwords are known to be set, the
/// template's may still hold: that is the likelier one right after the copy.
fn ask<'a>(
    spec: &'a DatabaseSpec,
    accounts: &'a DatabaseAccounts,
    template: Option<&'a Credentials>,
) -> AskSql<'a> {
    let template = template.filter(|_| !accounts.applied);
    AskSql {
        service: &spec.name,
        engine: spec.engine,
        database: &spec.database,
        accounts: template.into_iter().chain([&accounts.superuser]).collect(),
    }
}
