//! Bringing up a database: from a template, or on the lab's own data.

use std::path::Path;

use tokio::time::Instant;

use super::DockerRuntime;
use super::container::{First, Plan};
use super::images::Image;
use super::start::Started;
use crate::database::{Database, Target};
use crate::report::{Outcome, Report};
use crate::runtime::kept;
use crate::runtime::ledger::{fill, fresh, superuser};
use crate::runtime::origin::{self, ORIGIN, Origin};
use crate::runtime::probe::{Ask as _, AskSql, Probed};
use crate::runtime::{DataOrigin, Running, RuntimeError};
use crate::service::{Endpoint, Service, ServiceKind, mysql, postgres};
use crate::spec::model::{DatabaseSpec, Engine};
use crate::state::{Credentials, DataRecord, DatabaseAccounts, ServiceRecord};

/// Where a database's data is in its container: outside the folders the images declare as volumes.
const DATA: &str = "/vaultlab/data";

/// File with the first password of the superuser.
const PASSWORD_FILE: &str = "/vaultlab/superuser";

/// What `initdb` is asked for through `POSTGRES_INITDB_ARGS`.
const INITDB_ARGS: &str = "--no-sync --no-instructions --encoding=UTF8 --wal-segsize=1";

/// Options of MySQL 8+ and MariaDB in a container, besides [`mysql::OPTIONS`].
const MYSQL8_OPTIONS: &[&str] = &[
    // With less, making the data stalls for a minute.
    "loose-innodb-redo-log-capacity=33554432",
    "loose-mysqlx=OFF",
    // Containers may not set memory policies; asking for one takes time.
    "loose-innodb-numa-interleave=OFF",
];
const MARIADB_OPTIONS: &[&str] = &["innodb-log-file-size=4M", "skip-ssl"];

/// A buffer pool this small is not worth being saved and restored.
const NO_BUFFER_DUMP: &[&str] =
    &["innodb-buffer-pool-dump-at-shutdown=OFF", "innodb-buffer-pool-load-at-startup=OFF"];

/// Where the data of a database that is not running comes from.
enum Source {
    Kept { made_from: String },
    Template { superuser: Credentials },
    Fresh,
}

impl DockerRuntime {
    pub(super) async fn ensure_database(
        &self,
        service: &Service,
        spec: &DatabaseSpec,
        report: &Report,
        deadline: Instant,
    ) -> Result<Running, RuntimeError> {
        let name = spec.name.as_str();
        let image = self.image(service, report).await?;
        let mut plan = self.database_plan(spec, &image);
        let key =
            origin::key(spec, &image.id, &plan.cmd.iter().chain(&plan.env).cloned().collect::<Vec<_>>());
        let mut source = self.source(spec, &key, report).await?;
        let mut build = None;
        if matches!(source, Source::Fresh) {
            // Of labs that start at the same time, one initialises; the others start from what it made.
            build = Some(self.begin_template(name, &key, report, deadline).await?);
            source = self.source(spec, &key, report).await?;
        }
        let (step, title) = (format!("start {name}"), format!("Starting {name}"));
        match source {
            Source::Kept { made_from } => {
                if let Some(record) = self.ledger.record(name)? {
                    kept::check(spec, &record)?;
                    kept::same(name, record.data.as_ref(), &data_record(spec, &image))?;
                }
                if origin::content(&made_from) != origin::content(&key) {
                    report.warn(format!(
                        "{name}: its schema, seed or admin statements were changed after its data was made; \
                         the data is kept as it is (`vaultlab down --volumes` and `up` make it anew)"
                    ));
                }
                // Nobody has had a password for it yet, so nothing is lost with it.
                let unused = self.ledger.accounts(name)?.is_some_and(|accounts| !accounts.applied);
                let template = unused.then(|| made_from.clone());
                let work =
                    self.start_database(spec, &image, &plan, made_from, DataOrigin::Kept, None, deadline);
                let work = self.or_discard(name, template.as_deref(), report, work);
                if let Some(running) = report.step(&step, &title, &[], Box::pin(work)).await? {
                    return Ok(running);
                }
            }
            Source::Template { superuser } => {
                let work = async {
                    self.prepare(spec, &image, &superuser).await?;
                    let volume = self.engine.create_volume(&self.names, name, "data", &key).await?;
                    let (origin, made_from) = (DataOrigin::Template, key.clone());
                    self.start_database(spec, &image, &plan, made_from, origin, Some(&volume), deadline).await
                };
                let work = self.or_discard(name, Some(&key), report, work);
                if let Some(running) = report.step(&step, &title, &[], Box::pin(work)).await? {
                    return Ok(running);
                }
            }
            Source::Fresh => {}
        }
        if build.is_none() {
            build = Some(self.begin_template(name, &key, report, deadline).await?);
        }
        let initialise = format!("initialise {name}");
        let superuser = fresh(superuser(spec.engine));
        plan.first = first(&image, spec, &superuser);
        let work = async {
            self.prepare(spec, &image, &superuser).await?;
            self.engine.create_volume(&self.names, name, "data", &key).await?;
            let copy = self.initialise(spec, &image, &plan, &key, &superuser, report, deadline).await?;
            Ok::<_, RuntimeError>((Outcome::changed(image.name.clone()), copy))
        };
        let title = format!("Initialising {name} with {}", image.name);
        let copy = report.step(&initialise, &title, &[], Box::pin(work)).await?;
        if let (Some(copy), Some(build)) = (copy, build) {
            let unwanted: fn(&Path) -> bool = match spec.engine {
                Engine::Postgres => |_: &Path| false,
                Engine::Mysql(_) => mysql::is_made_anew,
            };
            self.keep_template(name, copy, unwanted, build, superuser, report).await;
        }
        let work = self.start_database(spec, &image, &plan, key, DataOrigin::Fresh, None, deadline);
        report.step(&step, &title, &[&initialise], Box::pin(work)).await
    }

    /// The start on data made from a template, which may go with it where that may be why the start fails:
    /// `None`, and the data is to be made anew.
    async fn or_discard(
        &self,
        service: &str,
        template: Option<&str>,
        report: &Report,
        work: impl Future<Output = Result<(Outcome, Running), RuntimeError>>,
    ) -> Result<(Outcome, Option<Running>), RuntimeError> {
        let (error, template) = match (work.await, template) {
            (Ok((outcome, running)), _) => return Ok((outcome, Some(running))),
            (Err(error), Some(template)) => (error, template),
            (Err(error), None) => return Err(error),
        };
        // Then no time is left to make it anew, and the engine may be one that hangs.
        let late = matches!(error, RuntimeError::Timeout { .. });
        if !late {
            let container = self.engine.find(&self.names, service).await?;
            let killed = container.is_none_or(|container| !container.running && container.killed);
            if killed || !origin::data_may_be_why(&error) {
                return Err(error);
            }
        }
        self.forget_template(template)?;
        // Data that the record does not know of is cleared away when other data is made.
        if let Some(record) = self.ledger.record(service)? {
            self.ledger.save_record(service, &ServiceRecord { template: None, ..record })?;
        }
        let anew = if late { "the next `up` makes it anew" } else { "it is made anew" };
        report.warn(format!(
            "{service} does not start from the template {template}, which is discarded; {anew}: {error}"
        ));
        if late { Err(error) } else { Ok((Outcome::changed("its template was of no use"), None)) }
    }

    /// Clears away what an `up` that was killed left half done, and writes down what is to be.
    async fn prepare(
        &self,
        spec: &DatabaseSpec,
        image: &Image,
        superuser: &Credentials,
    ) -> Result<(), RuntimeError> {
        let name = spec.name.as_str();
        self.clear(name).await?;
        Origin::new(name, superuser.clone()).save(&self.lab.service(name))?;
        self.ledger.plan_accounts(spec)?;
        Ok(self.ledger.save_record(name, &record(spec, image, None))?)
    }

    async fn source(&self, spec: &DatabaseSpec, key: &str, report: &Report) -> Result<Source, RuntimeError> {
        let name = spec.name.as_str();
        let made_from = self.ledger.record(name)?.and_then(|record| record.template);
        let volume = self.engine.volume_labels(&self.names.volume(name, "data")).await?;
        match (made_from, volume) {
            (Some(made_from), Some(_)) => Ok(Source::Kept { made_from }),
            // Data without a word about it in the lab's own state: the passwords are unknown.
            (None, Some(_)) if self.ledger.accounts(name)?.is_none_or(|accounts| accounts.applied) => {
                Err(RuntimeError::AccountsLost { service: name.into() })
            }
            _ => Ok(match self.template(key, report).await? {
                Some(superuser) => Source::Template { superuser },
                None => Source::Fresh,
            }),
        }
    }

    /// Starts a new server, fills it, and gives a copy of its data, to be kept for later labs.
    #[expect(clippy::too_many_arguments, reason = "all of it was worked out by the one caller")]
    async fn initialise(
        &self,
        spec: &DatabaseSpec,
        image: &Image,
        plan: &Plan,
        key: &str,
        superuser: &Credentials,
        report: &Report,
        deadline: Instant,
    ) -> Result<Option<tokio::fs::File>, RuntimeError> {
        let name = spec.name.as_str();
        let mut record = record(spec, image, None);
        let started = self.run(plan, spec.port, &mut record).await?;
        let database = match spec.engine {
            Engine::Postgres => "postgres",
            Engine::Mysql(_) => "mysql",
        };
        let probe = AskSql { service: name, engine: spec.engine, database, accounts: vec![superuser] };
        let (mut connection, _) = self.wait_ready(plan, &started, deadline, &probe).await?;
        let target = target(spec, started.port);
        let filled = fill(spec, connection.as_mut(), &target, superuser);
        self.unless_ended(name, &started.id, Box::pin(filled)).await?;
        connection.close().await;
        let copy = match self.copy_frozen(&started.id, DATA).await {
            Ok(copy) => Some(copy),
            // A container that ended is no matter of copying.
            Err(error) if self.engine.inspect(&started.id).await?.is_some_and(|found| found.running) => {
                report.note(format!("{name}: its data could not be kept for the next lab: {error}"));
                None
            }
            Err(_) => return Err(self.end_of(name, &started.id).await),
        };
        record.template = Some(key.into());
        self.ledger.save_record(name, &record)?;
        Ok(copy)
    }

    /// Starts the server on its data, which with `empty` is first copied from a template into that
    /// volume.
    #[expect(clippy::too_many_arguments, reason = "all of it was worked out by the one caller")]
    async fn start_database(
        &self,
        spec: &DatabaseSpec,
        image: &Image,
        plan: &Plan,
        made_from: String,
        data: DataOrigin,
        empty: Option<&str>,
        deadline: Instant,
    ) -> Result<(Outcome, Running), RuntimeError> {
        let name = spec.name.as_str();
        let lost = || RuntimeError::AccountsLost { service: name.into() };
        let mut accounts = self.ledger.accounts(name)?.ok_or_else(lost)?;
        let template = Origin::load(&self.lab.service(name))?.map(|origin| origin.superuser);
        let mut record = record(spec, image, Some(made_from.clone()));
        record.port = self.ledger.record(name)?.map_or(0, |earlier| earlier.port);
        let started = if let Some(volume) = empty {
            // Until its data is whole, the record does not say that there is any.
            record.template = None;
            let fill = self.restore_template(&made_from, name, volume);
            let started = self.run_on(fill, plan, spec.port, &mut record).await?;
            record.template = Some(made_from);
            self.ledger.save_record(name, &record)?;
            started
        } else {
            self.run(plan, spec.port, &mut record).await?
        };
        let (mut connection, own) =
            self.login(spec, plan, &started, &accounts, template.as_ref(), deadline).await?;
        let work = async {
            let version = connection.version().await.map_err(RuntimeError::database(name))?;
            let applied = self.ledger.apply_accounts(name, &mut accounts, connection.as_mut(), own).await?;
            Ok((version, applied))
        };
        let (version, applied) = self.unless_ended(name, &started.id, Box::pin(work)).await?;
        if applied {
            // The template's password opens nothing here any more.
            let origin = self.lab.service(name).join(ORIGIN);
            match std::fs::remove_file(&origin) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(crate::runtime::folder(name, "remove", &origin)(e));
                }
                _ => {}
            }
        }
        connection.close().await;
        let reused = started.reused && data == DataOrigin::Kept;
        let running = Running {
            name: name.into(),
            kind: plan.kind,
            endpoint: Endpoint::loopback(started.port),
            from_services: Endpoint::new(name, plan.inner_port),
            reused,
            data,
            version: product(plan.kind, &version),
            flavour: None,
            accounts: Some(accounts),
            log_folder: "/tmp".into(),
        };
        let outcome = if reused {
            Outcome::Unchanged
        } else {
            Outcome::changed(format!("{} at {}", running.version, running.endpoint))
        };
        Ok((outcome, running))
    }

    async fn login(
        &self,
        spec: &DatabaseSpec,
        plan: &Plan,
        started: &Started,
        accounts: &DatabaseAccounts,
        template: Option<&Credentials>,
        deadline: Instant,
    ) -> Result<(Box<dyn Database>, bool), RuntimeError> {
        let template = template.filter(|_| !accounts.applied);
        let probe = AskSql {
            service: &spec.name,
            engine: spec.engine,
            database: &spec.database,
            accounts: template
                .into_iter()
                .chain([&accounts.superuser])
                .chain(&accounts.break_glass)
                .collect(),
        };
        let own = usize::from(template.is_some());
        // One that ran already usually answers at once.
        if started.reused
            && let Probed::Ready((connection, account)) = probe.ask(started.port).await
        {
            return Ok((connection, account == own));
        }
        let (connection, account) = self.wait_ready(plan, started, deadline, &probe).await?;
        Ok((connection, account == own))
    }

    fn database_plan(&self, spec: &DatabaseSpec, image: &Image) -> Plan {
        let kind = Service::Database(spec.clone()).kind();
        let (env, cmd) = match spec.engine {
            Engine::Postgres => {
                let settings = postgres::SETTINGS
                    .iter()
                    .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
                (
                    vec![format!("PGDATA={DATA}")],
                    std::iter::once("postgres".to_owned()).chain(settings).collect(),
                )
            }
            Engine::Mysql(_) => {
                let (program, own) = if image.is_mariadb() {
                    ("mariadbd", MARIADB_OPTIONS)
                } else {
                    ("mysqld", MYSQL8_OPTIONS)
                };
                let options = mysql::OPTIONS
                    .iter()
                    .chain(own)
                    .chain(NO_BUFFER_DUMP)
                    .map(|option| format!("--{option}"));
                let head = [program.to_owned(), format!("--datadir={DATA}")];
                (Vec::new(), head.into_iter().chain(options).collect())
            }
        };
        Plan {
            service: spec.name.clone(),
            kind,
            image: image.id.clone(),
            env,
            cmd,
            mounts: vec![(self.names.volume(&spec.name, "data"), DATA.into())],
            files: Vec::new(),
            declared: image.volumes.clone(),
            first: First::default(),
            inner_port: kind.usual_port(),
        }
    }
}

/// What makes an image's entrypoint initialise the data.
fn first(image: &Image, spec: &DatabaseSpec, superuser: &Credentials) -> First {
    let env = match spec.engine {
        Engine::Postgres => vec![
            format!("POSTGRES_PASSWORD_FILE={PASSWORD_FILE}"),
            format!("POSTGRES_INITDB_ARGS={INITDB_ARGS}"),
        ],
        Engine::Mysql(_) => {
            let prefix = if image.is_mariadb() { "MARIADB" } else { "MYSQL" };
            vec![
                format!("{prefix}_ROOT_PASSWORD_FILE={PASSWORD_FILE}"),
                format!("{prefix}_INITDB_SKIP_TZINFO=1"),
            ]
        }
    };
    First { env, files: vec![(PASSWORD_FILE.into(), superuser.password.clone())] }
}

fn record(spec: &DatabaseSpec, image: &Image, template: Option<String>) -> ServiceRecord {
    ServiceRecord {
        kind: Service::Database(spec.clone()).kind().as_str().into(),
        program: image.name.clone().into(),
        program_version: image.version().into(),
        port: 0,
        pid: None,
        started: None,
        template,
        data: Some(data_record(spec, image)),
    }
}

/// What the data is of that the image makes.
fn data_record(spec: &DatabaseSpec, image: &Image) -> DataRecord {
    let product = match spec.engine {
        Engine::Postgres => "PostgreSQL",
        Engine::Mysql(_) if image.is_mariadb() => "MariaDB",
        Engine::Mysql(_) => "MySQL",
    };
    kept::record(spec, product)
}

fn target(spec: &DatabaseSpec, port: u16) -> Target {
    Target { engine: spec.engine, endpoint: Endpoint::loopback(port), database: spec.database.clone() }
}

/// What the server says of its version, as a name for people.
fn product(kind: ServiceKind, version: &str) -> String {
    let number = version.split([' ', '-']).next().unwrap_or(version);
    match kind {
        ServiceKind::Postgres => format!("PostgreSQL {number}"),
        _ if version.contains("MariaDB") => format!("MariaDB {number}"),
        _ => format!("MySQL {number}"),
    }
}
