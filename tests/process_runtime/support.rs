//! A lab in a folder of its own, taken down whatever happens.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use vaultlab::database::{Database, Target};
use vaultlab::report::{EventKind, LabEvent, Report, Reporter};
use vaultlab::runtime::process::{ProcessRuntime, Programs};
use vaultlab::runtime::{Running, Runtime, RuntimeError};
use vaultlab::service::Service;
use vaultlab::spec::model::{ADMIN_USER, DatabaseSpec, Engine, MysqlFlavour, RootRotation, SqlText};
use vaultlab::state::{Credentials, Home, LabDir};

pub const POSTGRES: Engine = Engine::Postgres;
pub const MYSQL: Engine = Engine::Mysql(MysqlFlavour::Auto);
pub const BOTH: [Engine; 2] = [POSTGRES, MYSQL];

/// A folder for labs. Anyone may pass through it, as through `/tmp` itself, so that services that run
/// as other users reach theirs.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("vaultlab-test-").tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    pub fn home(&self) -> Home {
        Home::at(&self.dir.path().join("home")).unwrap()
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().into()
    }

    /// How many templates there are, and folders of builds.
    pub fn templates(&self) -> usize {
        std::fs::read_dir(self.home().templates()).map_or(0, Iterator::count)
    }

    pub fn lab(&self, name: &str) -> Lab {
        let home = self.home();
        let dir = home.lab(name).unwrap();
        dir.create().unwrap();
        let runtime = ProcessRuntime::new(&home, &dir);
        Lab { home, dir, runtime }
    }
}

pub struct Lab {
    pub home: Home,
    pub dir: LabDir,
    pub runtime: ProcessRuntime,
}

impl Drop for Lab {
    /// Ends what a failed test left running.
    fn drop(&mut self) {
        for (name, record) in
            vaultlab::state::Manifest::load(&self.dir).into_iter().flatten().flat_map(|m| m.services)
        {
            let data = self.dir.service(&name).join("data");
            if let Some(pid) = record.pid
                && std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
                    let data = data.as_os_str().as_encoded_bytes();
                    line.windows(data.len()).any(|part| part == data)
                })
            {
                kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}

impl Lab {
    /// The same lab, seen by a program that has just been started.
    pub fn reopened(&self) -> ProcessRuntime {
        ProcessRuntime::new(&self.home, &self.dir)
    }

    pub async fn up(&self, spec: &DatabaseSpec) -> Result<Running, RuntimeError> {
        up(&self.runtime, spec).await
    }

    pub fn log(&self, service: &str) -> PathBuf {
        self.dir.service(service).join("service.log")
    }
}

pub async fn up(runtime: &ProcessRuntime, spec: &DatabaseSpec) -> Result<Running, RuntimeError> {
    let deadline = Instant::now() + Duration::from_mins(2);
    runtime.ensure_running(&Service::Database(spec.clone()), &Report::silent(), deadline).await
}

/// A database with one table; its name is the engine's.
pub fn spec(engine: Engine) -> DatabaseSpec {
    let sql = |text: &str| SqlText { origin: "test.sql".into(), text: text.into() };
    let (admin, insert) = match engine {
        Engine::Postgres => (
            format!("ALTER ROLE {ADMIN_USER} CREATEROLE"),
            "INSERT INTO t VALUES (1), (2); GRANT SELECT ON t TO vault",
        ),
        Engine::Mysql(_) => (
            format!(
                "GRANT CREATE USER ON *.* TO '{ADMIN_USER}'@'%'; GRANT SELECT ON notes.* TO '{ADMIN_USER}'@'%'"
            ),
            "INSERT INTO t VALUES (1), (2)",
        ),
    };
    DatabaseSpec {
        name: engine.as_str().into(),
        engine,
        image: None,
        port: None,
        database: "notes".into(),
        mount: "database".into(),
        admin: sql(&admin),
        schema: vec![sql("CREATE TABLE t (n INT)")],
        seed: vec![sql(insert)],
        roles: Vec::new(),
        static_roles: Vec::new(),
        break_glass: false,
        root_rotation: RootRotation::Off,
    }
}

/// Whether the engine's server is on this host; when it is not, says so, or fails where it must be.
pub async fn available(engine: Engine) -> bool {
    let place = Place::new();
    let home = place.home();
    let lab = home.lab("probe").unwrap();
    let mut spec = spec(engine);
    // Nothing is started: a file is where the folders of the services would be.
    std::fs::create_dir_all(lab.services().parent().unwrap()).unwrap();
    std::fs::write(lab.services(), "").unwrap();
    spec.name = "probe".into();
    let runtime = ProcessRuntime::with_programs(&home, &lab, Programs::from_env());
    match up(&runtime, &spec).await {
        Err(RuntimeError::ProgramMissing { .. } | RuntimeError::ProgramUnusable { .. }) => {
            assert!(
                std::env::var_os("VAULTLAB_REQUIRE_DATABASES").is_none_or(|v| v != "1"),
                "VAULTLAB_REQUIRE_DATABASES=1, but there is no server for {engine:?}"
            );
            eprintln!("skipped: this host has no server for {engine:?}");
            false
        }
        _ => true,
    }
}

pub fn target(running: &Running, engine: Engine) -> Target {
    Target { engine, endpoint: running.endpoint.clone(), database: "notes".into() }
}

pub async fn superuser(running: &Running, engine: Engine) -> Box<dyn Database> {
    let accounts = running.accounts.as_ref().unwrap();
    vaultlab::database::connect(&target(running, engine), &accounts.superuser).await.unwrap()
}

pub fn with_password(account: &Credentials, password: &str) -> Credentials {
    Credentials::new(account.username.clone(), password)
}

pub fn pid(lab: &Lab, service: &str) -> u32 {
    vaultlab::state::Manifest::load(&lab.dir).unwrap().unwrap().services[service].pid.unwrap()
}

pub fn kill(pid: u32, signal: nix::sys::signal::Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal);
}

pub fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Keeps the warnings.
#[derive(Clone, Default)]
pub struct Warnings(pub Arc<Mutex<Vec<String>>>);

impl Reporter for Warnings {
    fn event(&self, event: &LabEvent) {
        if let EventKind::Warning { message } = &event.kind {
            self.0.lock().unwrap().push(message.clone());
        }
    }
}
