//! Bringing up a database: from a template, or on the lab's own data.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use super::build::remove_folder;
use super::engine::DatabaseProgram;
use super::identity::Identity;
use super::spawn::{Launch, RunAs, make_way};
use super::start::{PortWish, Start, Wait, ended_is_none};
use super::stop::{clear_leftovers, remove_stale_pid_file};
use super::template;
use super::{Places, ProcessRuntime};
use crate::database::Database;
use crate::report::{Outcome, Report};
use crate::runtime::kept;
use crate::runtime::origin::{self, ORIGIN, Origin};
use crate::runtime::probe::AskSql;
use crate::runtime::{DataOrigin, Running, RuntimeError, folder};
use crate::service::{Endpoint, Service};
use crate::spec::model::DatabaseSpec;
use crate::state::{Credentials, DatabaseAccounts, ServiceRecord, StateError};

/// A server that was started and answers.
pub(super) struct Started {
    pub connection: Box<dyn Database>,
    /// Which of the accounts it took.
    pub account: usize,
    pub record: ServiceRecord,
    /// Length of its log before it was started.
    from: u64,
}

impl Started {
    /// To learn how it ended.
    pub fn wait<'a>(&self, service: &'a str, log: &'a Path, deadline: Instant) -> Wait<'a> {
        let identity = match (self.record.pid, self.record.started) {
            (Some(pid), Some(started)) => Some(Identity { pid, started }),
            _ => None,
        };
        let Self { from, .. } = *self;
        Wait { service, child: service, identity, log, from, port: self.record.port, deadline }
    }
}

impl ProcessRuntime {
    pub(super) async fn ensure_database(
        &self,
        spec: &DatabaseSpec,
        report: &Report,
        deadline: Instant,
    ) -> Result<Running, RuntimeError> {
        let name = spec.name.as_str();
        let (step, title) = (format!("start {name}"), format!("Starting {name}"));
        let places = self.places(name);
        self.discard_unfilled(name).await?;
        let record = self.ledger.record(name)?;
        if let Some(record) = record.as_ref().filter(|_| places.data.is_dir()) {
            kept::check(spec, record)?;
        }
        if let Some(record) = &record
            && let Some(process) = self.process_of(name, record)
        {
            if spec.port.is_none_or(|port| port == record.port) {
                warn_if_changed(spec, record.template.as_deref(), report);
                let reuse = self.reuse(spec, record, process, deadline);
                if let Some(running) = report.step(&step, &title, &[], ended_is_none(reuse)).await? {
                    return Ok(running);
                }
            } else {
                report.note(format!("{name} moves from port {} to the one now asked for", record.port));
                self.stop_service(name, std::time::Duration::from_secs(10)).await?;
            }
        }

        if record.is_none() && self.stop_service(name, std::time::Duration::from_secs(10)).await? {
            report.note(format!("{name} ran without a record in the lab's manifest and was stopped"));
        }

        let program = DatabaseProgram::find(&self.programs, spec).await?;
        let unused = self.ledger.accounts(name)?.is_some_and(|accounts| !accounts.applied);
        let user = RunAs::for_kind(Service::Database(spec.clone()).kind());
        let fresh_key = origin::key(spec, &program.product(), &program.flags());
        self.home.make_service_root()?;
        make_way(self.lab.services(), &places.root).map_err(folder(
            name,
            "create the folder",
            &places.root,
        ))?;

        let (data, key) = if places.data.is_dir() {
            if let Some(made_by) = program.refuses(&places.data) {
                let found = program.product();
                return Err(RuntimeError::DataMismatch { service: name.into(), made_by, found });
            }
            let made_of = record.as_ref().and_then(|record| record.template.clone());
            warn_if_changed(spec, made_of.as_deref(), report);
            (DataOrigin::Kept, made_of.unwrap_or_else(|| fresh_key.clone()))
        } else if self.home.templates().join(&fresh_key).join(template::ARCHIVE).is_file() {
            // The passwords that are to be set are on disk before the data is; a sync now need not
            // wait for that data.
            self.ledger.plan_accounts(spec)?;
            (DataOrigin::Template, fresh_key.clone())
        } else {
            (DataOrigin::Fresh, fresh_key.clone())
        };
        // A copy that nobody has had a password for yet.
        let untouched = data == DataOrigin::Template || unused;

        let kind = Service::Database(spec.clone()).kind();
        let usual = [record.map_or(0, |record| record.port), kind.usual_port()];
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
                template: Some(key.clone()),
                data: Some(kept::record(spec, &program.product())),
            },
            deadline,
        };
        clear_leftovers(name, &places.data).await?;
        if data == DataOrigin::Fresh {
            return self.up_fresh(spec, &program, &user, start, report).await;
        }
        let starting = async {
            if data == DataOrigin::Template {
                self.take_template(spec, &key, &places, &user).await?;
            }
            remove_stale_pid_file(name, &places.data)?;
            let (accounts, template) = (self.accounts_of(spec)?, self.template_superuser(name)?);
            let accounts = known(&accounts, template.as_ref());
            let launch = |port| self.launch_database(name, &program, port, &user, &[]);
            let started = self.start_database(spec, &accounts, &spec.database, start.clone(), launch).await?;
            let own = started.account + 1 == accounts.len();
            self.settle(spec, started, own, data).await
        };
        let starting = async {
            match starting.await {
                Ok(running) => Ok((outcome(&running), Some(running))),
                Err(error) if untouched && template::may_be_why(&error) => {
                    self.discard_template(name, &key).await?;
                    report.warn(format!(
                        "{name} does not start from the template {key}, which is discarded and made anew: {error}"
                    ));
                    Ok((Outcome::changed("its template was of no use"), None))
                }
                Err(error) => Err(error),
            }
        };
        if let Some(running) = report.step(&step, &title, &[], starting).await? {
            return Ok(running);
        }
        let record = ServiceRecord { template: Some(fresh_key), ..start.record };
        self.up_fresh(spec, &program, &user, Start { record, ..start }, report).await
    }

    /// Removes a template and the data that was copied from it.
    async fn discard_template(&self, service: &str, key: &str) -> Result<(), RuntimeError> {
        let (places, templates) = (self.places(service), self.home.templates());
        self.stop_service(service, std::time::Duration::from_millis(500)).await?;
        for data in [&places.data, &places.partial()] {
            clear_leftovers(service, data).await?;
            remove_folder(service, data)?;
        }
        template::discard(&templates, key).map_err(folder(service, "remove", &templates.join(key)))
    }

    /// Makes the data, starts the server on it and fills it.
    async fn up_fresh(
        &self,
        spec: &DatabaseSpec,
        program: &DatabaseProgram,
        user: &RunAs,
        start: Start<'_>,
        report: &Report,
    ) -> Result<Running, RuntimeError> {
        let name = spec.name.as_str();
        let key = start.record.template.clone().unwrap_or_default();
        let mut last = format!("initialise {name}");
        let title = format!("Initialising {name} with {}", program.product());
        let initialising = async {
            self.initialise(spec, program, user, &key, start.deadline).await?;
            let started = if program.first_start_makes_data() {
                Some(self.start_fresh(spec, program, start.clone(), user).await?)
            } else {
                None
            };
            Ok::<_, RuntimeError>((Outcome::changed(program.product()), started))
        };
        let made = report.step(&last, &title, &[], initialising).await?;
        let started = if let Some(started) = made {
            started
        } else {
            let starting = async {
                let started = self.start_fresh(spec, program, start.clone(), user).await?;
                Ok::<_, RuntimeError>((Outcome::changed(program.product()), started))
            };
            let step = format!("start {name}");
            let started = report.step(&step, &format!("Starting {name}"), &[&last], starting).await?;
            last = step;
            started
        };
        let title = format!("Filling {name} with its schema and seed");
        let filling = async {
            let started = self.fill(spec, program, &key, started, start, user).await?;
            let running = self.settle(spec, started, false, DataOrigin::Fresh).await?;
            Ok((outcome(&running), running))
        };
        report.step(&format!("fill {name}"), &title, &[&last], filling).await
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
            self.ledger.save_record(name, &record)?;
        }
        let mut accounts = self.accounts_of(spec)?;
        let template = self.template_superuser(name)?;
        let known = known(&accounts, template.as_ref());
        let probe = ask(spec, &spec.database, &known);
        let wait = Wait {
            service: name,
            child: name,
            identity: Some(process),
            log: &places.log,
            from: super::log::length(&places.log),
            port: record.port,
            deadline,
        };
        let (mut connection, account) = self.wait_ready(&wait, &probe).await?;
        let own = account + 1 == known.len();
        drop(known);
        self.apply_accounts(name, &mut accounts, connection.as_mut(), own).await?;
        connection.close().await;
        let running = self.running(spec, &record, accounts, true, DataOrigin::Kept);
        let outcome = if adopted { Outcome::changed("found without a record") } else { Outcome::Unchanged };
        Ok((outcome, running))
    }

    /// Starts the server and logs in with the first of `accounts` that it takes.
    pub(super) async fn start_database(
        &self,
        spec: &DatabaseSpec,
        accounts: &[&Credentials],
        database: &str,
        start: Start<'_>,
        launch: impl Fn(u16) -> Result<Launch, RuntimeError> + Send + Sync,
    ) -> Result<Started, RuntimeError> {
        let from = super::log::length(start.log);
        let ((connection, account), record) =
            self.start(start, launch, &ask(spec, database, accounts)).await?;
        Ok(Started { connection, account, record, from })
    }

    /// Gives the lab its own passwords.
    async fn settle(
        &self,
        spec: &DatabaseSpec,
        mut started: Started,
        own: bool,
        data: DataOrigin,
    ) -> Result<Running, RuntimeError> {
        let mut accounts = self.accounts_of(spec)?;
        self.apply_accounts(&spec.name, &mut accounts, started.connection.as_mut(), own).await?;
        started.connection.close().await;
        Ok(self.running(spec, &started.record, accounts, false, data))
    }

    fn accounts_of(&self, spec: &DatabaseSpec) -> Result<DatabaseAccounts, RuntimeError> {
        self.ledger
            .accounts(&spec.name)?
            .ok_or_else(|| RuntimeError::AccountsLost { service: spec.name.clone() })
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
        let partial = places.partial();
        let origin = Origin::load(&template)?.ok_or_else(|| StateError::Damaged {
            path: template.join(ORIGIN),
            cause: "it is not there".into(),
        })?;
        let copied = {
            let (from, to, user) = (template.join(template::ARCHIVE), partial.clone(), user.clone());
            let copying = Arc::clone(&self.copying).read_owned().await;
            tokio::task::spawn_blocking(move || {
                let _copying = copying;
                template::unpack(&from, &to, &user)
            })
        };
        origin.save(&places.root)?;
        user.make_folder(&places.log_folder).map_err(folder(
            name,
            "create the folder",
            &places.log_folder,
        ))?;
        copied.await.map_err(std::io::Error::other).and_then(|copied| copied).map_err(folder(
            name,
            template::UNPACK,
            &partial,
        ))?;
        fs::rename(&partial, &places.data).map_err(folder(name, "rename", &partial))
    }
}

fn outcome(running: &Running) -> Outcome {
    Outcome::changed(format!("{} at {}", running.version, running.endpoint))
}

/// Data that is kept does not follow changes of the SQL it was made from.
fn warn_if_changed(spec: &DatabaseSpec, made_of: Option<&str>, report: &Report) {
    if made_of.is_some_and(|key| origin::content(key) != origin::content_of(spec)) {
        report.warn(format!(
            "{}: its schema, seed or admin statements were changed after its data was made; the data is \
             kept as it is (`vaultlab down --volumes` and `up` make it anew)",
            spec.name
        ));
    }
}

/// The superusers that may hold, the lab's own last; after it, where there is one, the account that is
/// kept for the case that somebody changed the superuser's password. Until the lab's own passwords are known to be set,
/// the template's may still hold: that is the likelier one right after the copy.
fn known<'a>(accounts: &'a DatabaseAccounts, template: Option<&'a Credentials>) -> Vec<&'a Credentials> {
    let template = template.filter(|_| !accounts.applied);
    template.into_iter().chain([&accounts.superuser]).chain(&accounts.break_glass).collect()
}

fn ask<'a>(spec: &'a DatabaseSpec, database: &'a str, accounts: &[&'a Credentials]) -> AskSql<'a> {
    AskSql { service: &spec.name, engine: spec.engine, database, accounts: accounts.to_vec() }
}
