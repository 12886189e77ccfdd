//! The Docker runtime on a real engine, with the stand-in images of `make images`.
//!
//! Without an engine or an image these tests pass with a word, unless `VAULTLAB_REQUIRE_DOCKER` is
//! set. Everything they make is removed again.
#![allow(clippy::unwrap_used, reason = "a test ends where something unforeseen happens")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::containers::{MYSQL, POSTGRES, docker, has};
use vaultlab::database::{Database, Login, Target, connect, try_login};
use vaultlab::report::{EventKind, LabEvent, Report, Reporter};
use vaultlab::runtime::docker::{DockerError, DockerRuntime, Engine as ContainerEngine, PullPolicy};
use vaultlab::runtime::{DataOrigin, Running, Runtime, RuntimeError, ServiceState};
use vaultlab::service::Service;
use vaultlab::spec::model::{
    ADMIN_USER, DatabaseSpec, Engine, Flavour, MysqlFlavour, RootRotation, SqlText, Storage, VaultSpec,
};
use vaultlab::state::{Home, LabDir};

/// A home of a test's own; at its end the engine must hold nothing of it.
struct Place {
    dir: tempfile::TempDir,
}

struct Lab {
    name: String,
    dir: LabDir,
    runtime: DockerRuntime,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    async fn lab(&self, name: &str, policy: PullPolicy) -> Lab {
        let home = Home::at(self.dir.path()).unwrap();
        let name = format!("{name}-{}", std::process::id());
        let dir = home.lab(&name).unwrap();
        dir.create().unwrap();
        let engine = ContainerEngine::connect().await.unwrap();
        let runtime = DockerRuntime::new(engine, &home, &dir, policy).unwrap();
        Lab { name, dir, runtime }
    }
}

impl Lab {
    async fn up(&self, spec: &DatabaseSpec) -> Result<Running, RuntimeError> {
        self.told_up(spec, &Report::silent()).await
    }

    async fn told_up(&self, spec: &DatabaseSpec, report: &Report) -> Result<Running, RuntimeError> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(180);
        self.runtime.ensure_running(&Service::Database(spec.clone()), report, deadline).await
    }

    /// What the engine has of this lab: containers, volumes, networks.
    fn things(&self) -> Vec<String> {
        let label = format!("label=dev.vaultlab.lab={}", self.name);
        [
            &["ps", "-aq", "--filter", label.as_str()][..],
            &["volume", "ls", "-q", "--filter", label.as_str()],
            &["network", "ls", "-q", "--filter", label.as_str()],
        ]
        .iter()
        .flat_map(|arguments| docker(arguments).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
    }

    fn container(&self) -> String {
        let label = format!("label=dev.vaultlab.lab={}", self.name);
        docker(&["ps", "-aq", "--filter", &label]).unwrap()
    }
}

/// Removes what a failed test left behind.
impl Drop for Lab {
    fn drop(&mut self) {
        let label = format!("label=dev.vaultlab.lab={}", self.name);
        for (list, remove) in [
            (&["ps", "-aq"][..], &["rm", "-fv"][..]),
            (&["volume", "ls", "-q"], &["volume", "rm", "-f"]),
            (&["network", "ls", "-q"], &["network", "rm"]),
        ] {
            for id in docker(&[list, &["--filter", &label]].concat()).unwrap_or_default().lines() {
                docker(&[remove, &[id]].concat());
            }
        }
    }
}

/// Removes the templates of this home.
impl Drop for Place {
    fn drop(&mut self) {
        let folders = std::fs::read_dir(self.dir.path().join("templates-docker")).into_iter().flatten();
        for key in folders.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            let label = format!("label=dev.vaultlab.template={key}");
            for image in docker(&["images", "-q", "--filter", &label]).unwrap_or_default().lines() {
                docker(&["rmi", "-f", image]);
            }
        }
    }
}

fn sql(text: &str) -> SqlText {
    SqlText { origin: "test.sql".into(), text: text.into() }
}

/// A database whose template no other test shares.
fn spec(engine: Engine, image: &str, seed: &str) -> DatabaseSpec {
    let admin = match engine {
        Engine::Postgres => "ALTER ROLE vault CREATEROLE",
        Engine::Mysql(_) => "GRANT CREATE USER ON *.* TO vault",
    };
    DatabaseSpec {
        name: "db".into(),
        engine,
        image: Some(image.into()),
        port: None,
        database: "notes".into(),
        mount: "database".into(),
        admin: sql(admin),
        schema: vec![sql("CREATE TABLE notes (body varchar(40))")],
        seed: vec![sql(&format!("INSERT INTO notes VALUES ('{seed}')"))],
        roles: Vec::new(),
        static_roles: Vec::new(),
        break_glass: false,
        root_rotation: RootRotation::Off,
    }
}

async fn open(spec: &DatabaseSpec, running: &Running) -> Box<dyn Database> {
    let accounts = running.accounts.as_ref().unwrap();
    assert!(accounts.applied && accounts.admin.username == ADMIN_USER);
    connect(&target(spec, running), &accounts.superuser).await.unwrap()
}

fn target(spec: &DatabaseSpec, running: &Running) -> Target {
    Target { engine: spec.engine, endpoint: running.endpoint.clone(), database: spec.database.clone() }
}

async fn lives_and_is_kept(engine: Engine, image: &str, seed: &str) {
    if !has(&[image]) {
        return;
    }
    let (place, spec) = (Place::new(), spec(engine, image, seed));
    let lab = place.lab("life", PullPolicy::Never).await;
    let first = lab.up(&spec).await.unwrap();
    assert_eq!((first.data, first.reused), (DataOrigin::Fresh, false));
    assert_eq!((first.endpoint.host.as_str(), first.from_services.host.as_str()), ("127.0.0.1", "db"));
    let mut database = open(&spec, &first).await;
    assert_eq!(database.scalar("SELECT body FROM notes").await.unwrap().as_deref(), Some(seed));
    database.execute("INSERT INTO notes VALUES ('mine')").await.unwrap();
    database.close().await;
    let mounts = "{{range .Mounts}}{{.Name}} {{end}}";
    let volumes = docker(&["inspect", "-f", mounts, &lab.container()]).unwrap();
    assert!(volumes.split_whitespace().all(|name| name.starts_with("vaultlab-life-")), "{volumes}");
    let ports = docker(&["port", &lab.container()]).unwrap();
    assert!(ports.lines().all(|line| line.contains("-> 127.0.0.1:")), "{ports}");

    let again = lab.up(&spec).await.unwrap();
    assert!(again.reused && again.endpoint == first.endpoint);

    // Killed, it comes back on its data, its port and its passwords.
    docker(&["kill", &lab.container()]).unwrap();
    assert_eq!(lab.runtime.state("db").await.unwrap(), ServiceState::Stopped);
    let back = lab.up(&spec).await.unwrap();
    assert_eq!((back.data, back.endpoint.port), (DataOrigin::Kept, first.endpoint.port));
    let mut database = open(&spec, &back).await;
    assert_eq!(database.scalar("SELECT COUNT(*) FROM notes").await.unwrap().as_deref(), Some("2"));
    database.close().await;

    // The container is nothing but a way to run the data: without it, it is the same.
    docker(&["rm", "-f", &lab.container()]).unwrap();
    let replaced = lab.up(&spec).await.unwrap();
    assert_eq!(replaced.data, DataOrigin::Kept);

    // Another lab starts from what the first one made, with passwords of its own.
    let other = place.lab("second", PullPolicy::Never).await;
    let began = Instant::now();
    let warm = other.up(&spec).await.unwrap();
    eprintln!("{image}: warm start in {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(warm.data, DataOrigin::Template);
    let mut database = open(&spec, &warm).await;
    assert_eq!(database.scalar("SELECT COUNT(*) FROM notes").await.unwrap().as_deref(), Some("1"));
    database.close().await;
    let foreign = &first.accounts.as_ref().unwrap().superuser;
    assert!(matches!(try_login(&target(&spec, &warm), foreign).await.unwrap(), Login::Refused(_)));

    assert!(other.runtime.stop("db", Duration::from_secs(10)).await.unwrap());
    assert!(!other.runtime.stop("db", Duration::from_secs(10)).await.unwrap());
    for lab in [&lab, &other] {
        lab.runtime.remove("db").await.unwrap();
        lab.runtime.remove("db").await.unwrap();
        assert_eq!(lab.things(), Vec::<String>::new());
        assert_eq!(lab.runtime.state("db").await.unwrap(), ServiceState::Absent);
        assert!(!lab.dir.service("db").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_lives_and_is_kept() {
    lives_and_is_kept(Engine::Postgres, POSTGRES, "postgres lives").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_lives_and_is_kept() {
    lives_and_is_kept(Engine::Mysql(MysqlFlavour::Mysql), MYSQL, "mysql lives").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ends_fails_the_start_at_once_with_its_words() {
    if !has(&[MYSQL]) {
        return;
    }
    let place = Place::new();
    let lab = place.lab("ends", PullPolicy::Never).await;
    let began = Instant::now();
    // An image that has no such server in it.
    let error = lab.up(&spec(Engine::Postgres, MYSQL, "ends")).await.unwrap_err();
    let RuntimeError::Exited { service, status, log } = &error else { panic!("{error}") };
    assert_eq!((service.as_str(), status.as_str()), ("db", "exit code 127"));
    assert!(log.iter().any(|line| line.contains("postgres")), "{log:?}");
    assert!(began.elapsed() < Duration::from_secs(60));
    lab.runtime.remove("db").await.unwrap();
    assert_eq!(lab.things(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_up_that_was_killed_while_it_initialised_is_started_over() {
    if !has(&[POSTGRES]) {
        return;
    }
    let (place, spec) = (Place::new(), spec(Engine::Postgres, POSTGRES, "killed"));
    let lab = place.lab("killed", PullPolicy::Never).await;
    // As a kill leaves it: nothing is undone, the container goes on.
    let cut = tokio::time::timeout(Duration::from_millis(1500), lab.up(&spec)).await;
    if cut.is_err() {
        assert!(!lab.things().is_empty());
    }
    let running = lab.up(&spec).await.unwrap();
    let mut database = open(&spec, &running).await;
    assert_eq!(database.scalar("SELECT body FROM notes").await.unwrap().as_deref(), Some("killed"));
    database.close().await;
    lab.runtime.remove("db").await.unwrap();
    assert_eq!(lab.things(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_that_fails_is_named_and_leaves_no_template() {
    if !has(&[POSTGRES]) {
        return;
    }
    let place = Place::new();
    let mut spec = spec(Engine::Postgres, POSTGRES, "broken");
    spec.seed.push(sql("SELECT 1;\nINSERT INTO nowhere VALUES (1)"));
    let lab = place.lab("broken", PullPolicy::Never).await;
    let error = lab.up(&spec).await.unwrap_err().to_string();
    assert!(error.contains("test.sql:2") && error.contains("nowhere"), "{error}");
    let templates = std::fs::read_dir(place.dir.path().join("templates-docker")).unwrap();
    assert!(templates.flatten().all(|key| !key.path().join("origin.json").exists()));
    lab.runtime.remove("db").await.unwrap();
    assert_eq!(lab.things(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_was_asked_for_and_is_taken_is_an_error() {
    if !has(&[POSTGRES]) {
        return;
    }
    let place = Place::new();
    let lab = place.lab("port", PullPolicy::Never).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port();
    let mut spec = spec(Engine::Postgres, POSTGRES, "port");
    spec.port = Some(taken);
    let error = lab.up(&spec).await.unwrap_err();
    assert!(matches!(error, RuntimeError::PortTaken { port, .. } if port == taken), "{error}");
    lab.runtime.remove("db").await.unwrap();
    assert_eq!(lab.things(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_had_says_what_to_do() {
    if !has(&[]) {
        return;
    }
    let place = Place::new();
    // A registry that would tell when it is asked.
    let registry = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    registry.set_nonblocking(true).unwrap();
    let image = format!("{}/none:1", registry.local_addr().unwrap());
    let wanted = spec(Engine::Postgres, &image, "none");
    let never = place.lab("never", PullPolicy::Never).await;
    let error = never.up(&wanted).await.unwrap_err();
    let RuntimeError::Docker(DockerError::ImageMissing { image: named, hint, cause }) = &error else {
        panic!("{error}")
    };
    assert!(*named == image && cause.is_empty() && hint.contains("--pull missing"), "{error}");
    assert!(registry.accept().is_err(), "no registry is asked with --pull never");

    drop(registry);
    let missing = place.lab("missing", PullPolicy::Missing).await;
    let began = Instant::now();
    let error = missing.up(&wanted).await.unwrap_err().to_string();
    assert!(error.contains("connection refused") && error.contains("make images"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20), "a registry that is not there is not waited for");
    assert!(never.things().is_empty() && missing.things().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_runs_in_production_mode_and_keeps_its_data() {
    let images = ["vaultlab/server:latest", "vaultlab/vault:latest"];
    let Some(image) = images.into_iter().find(|image| docker(&["image", "inspect", image]).is_some()) else {
        assert!(!has(&images[..1]));
        return;
    };
    let place = Place::new();
    let lab = place.lab("vault", PullPolicy::Never).await;
    // Not the usual one: another test may take that while the container is restarted.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let service = Service::Vault(VaultSpec {
        flavour: Flavour::Auto,
        version: None,
        image: Some(image.into()),
        storage: Storage::File,
        key_shares: 1,
        key_threshold: 1,
        audit: None,
        keep_root_token: false,
        key_store: vaultlab::state::Protection::Plain,
        port: Some(free),
    });
    let up = async || {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        lab.runtime.ensure_running(&service, &Report::silent(), deadline).await.unwrap()
    };
    let first = up().await;
    assert_eq!((first.data, first.log_folder.as_str()), (DataOrigin::Fresh, "/vault/logs"));
    assert_eq!(first.from_services.to_string(), "vault:8200");
    let vault = vaultlab::vault::Client::new(&format!("http://{}", first.endpoint)).unwrap();
    let keys = vault.init(1, 1).await.unwrap();
    docker(&["restart", &lab.container()]).unwrap();
    let back = up().await;
    assert!(back.reused && back.data == DataOrigin::Kept && back.endpoint == first.endpoint);
    let health = vault.health().await.unwrap();
    assert!(health.initialized && health.sealed, "not a Vault in dev mode");
    drop(keys);
    lab.runtime.remove("vault").await.unwrap();
    assert_eq!(lab.things(), Vec::<String>::new());
}

/// Keeps the warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Reporter for Warnings {
    fn event(&self, event: &LabEvent) {
        if let EventKind::Warning { message } = &event.kind {
            self.0.lock().unwrap().push(message.clone());
        }
    }
}

/// Puts a template in the place of the one there is, or another password beside it.
fn spoil(home: &Path, key: &str, how: &str) {
    let origin = home.join("templates-docker").join(key).join("origin.json");
    let data = tempfile::tempdir().unwrap();
    match how {
        "empty" => std::fs::create_dir(data.path().join("data")).unwrap(),
        "cut off" => {
            std::fs::create_dir_all(data.path().join("data/mysql")).unwrap();
            std::fs::write(data.path().join("data/PG_VERSION"), "15\n").unwrap();
            std::fs::write(data.path().join("data/ibdata1"), [7; 8192]).unwrap();
        }
        "locked" => {
            let mut kept: serde_json::Value =
                serde_json::from_slice(&std::fs::read(&origin).unwrap()).unwrap();
            kept["superuser"]["password"] = "another".into();
            return std::fs::write(&origin, kept.to_string()).unwrap();
        }
        _ => return std::fs::write(&origin, "{").unwrap(),
    }
    let label = format!("dev.vaultlab.template={key}");
    let filter = format!("label={label}");
    let tags = docker(&["images", "--filter", &filter, "--format", "{{.Repository}}:{{.Tag}}"]).unwrap();
    // What was replaced before has lost its name.
    let tag = tags.lines().find(|tag| !tag.contains("none")).unwrap();
    let mut tar = Command::new("tar");
    let mut tar = tar.arg("-C").arg(data.path()).args(["-c", "data"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut import = Command::new("docker");
    import.args(["import", "--change", &format!("LABEL {label}"), "-", tag]).stdout(Stdio::null());
    assert!(import.stdin(tar.stdout.take().unwrap()).status().unwrap().success());
    assert!(tar.wait().unwrap().success());
}

async fn a_template_of_no_use_is_made_anew(engine: Engine, image: &str, spoiled: &[&str]) {
    if !has(&[image]) {
        return;
    }
    let (place, spec) = (Place::new(), spec(engine, image, "spoiled"));
    let lab = place.lab(&format!("spoiled-{}", engine.as_str()), PullPolicy::Never).await;
    lab.up(&spec).await.unwrap();
    lab.runtime.settle().await;
    lab.runtime.remove("db").await.unwrap();
    let templates = std::fs::read_dir(place.dir.path().join("templates-docker")).unwrap();
    let keys: Vec<_> = templates.map(|key| key.unwrap().file_name().into_string().unwrap()).collect();
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    for how in spoiled {
        spoil(place.dir.path(), key, how);
        let warnings = Warnings::default();
        let report = Report::new(vec![Box::new(warnings.clone())]);
        let running = lab.told_up(&spec, &report).await.unwrap();
        assert_eq!(running.data, DataOrigin::Fresh, "{image}, {how}");
        let mut database = open(&spec, &running).await;
        let rows = database.scalar("SELECT COUNT(*) FROM notes").await.unwrap();
        assert_eq!(rows.as_deref(), Some("1"), "{image}, {how}");
        database.close().await;
        let told = warnings.0.lock().unwrap().clone();
        assert!(told.len() == 1 && told[0].contains(key), "{image}, {how}: {told:?}");

        lab.runtime.settle().await;
        lab.runtime.remove("db").await.unwrap();
        assert_eq!(lab.up(&spec).await.unwrap().data, DataOrigin::Template, "{image}, after {how}");
        lab.runtime.remove("db").await.unwrap();
    }
    assert_eq!(lab.things(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_template_that_is_of_no_use_is_told_once_and_made_anew() {
    let spoiled = ["empty", "cut off", "locked", "without its password"];
    a_template_of_no_use_is_made_anew(Engine::Postgres, POSTGRES, &spoiled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_template_that_is_of_no_use_is_told_once_and_made_anew() {
    // It takes its time to initialise.
    let spoiled = ["cut off", "locked"];
    a_template_of_no_use_is_made_anew(Engine::Mysql(MysqlFlavour::Mysql), MYSQL, &spoiled).await;
}
