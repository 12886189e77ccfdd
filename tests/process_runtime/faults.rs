//! What goes wrong on hosts, and what the user is told.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vaultlab::database::{Login, try_login};
use vaultlab::report::Report;
use vaultlab::runtime::process::{ProcessRuntime, Programs};
use vaultlab::runtime::{DataOrigin, Runtime, RuntimeError, ServiceState};
use vaultlab::service::Service;
use vaultlab::spec::model::{DatabaseSpec, Engine};
use vaultlab::state::{Accounts, Manifest};

use crate::support::{BOTH, POSTGRES, Place, Warnings, available, spec, superuser, target};

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_was_asked_for_and_is_taken_is_an_error_that_names_the_holder() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let lab = place.lab("port");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut spec = spec(engine);
        spec.port = Some(port);
        let error = lab.up(&spec).await.unwrap_err();
        assert!(matches!(error, RuntimeError::PortTaken { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&port.to_string()) && text.contains(&std::process::id().to_string()), "{text}");

        drop(taken);
        assert_eq!(lab.up(&spec).await.unwrap().endpoint.port, port);
        // Asked for another one, it moves and keeps its data.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        spec.port = Some(free);
        let moved = lab.up(&spec).await.unwrap();
        assert_eq!((moved.endpoint.port, moved.data), (free, DataOrigin::Kept));
        lab.runtime.remove(&spec.name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_port_that_is_taken_meanwhile_is_replaced() {
    if !available(POSTGRES).await {
        return;
    }
    let place = Place::new();
    let lab = place.lab("moved");
    let spec = spec(POSTGRES);
    let first = lab.up(&spec).await.unwrap();
    lab.runtime.stop(&spec.name, GRACE).await.unwrap();
    let _taken = TcpListener::bind(("127.0.0.1", first.endpoint.port)).unwrap();
    let second = lab.up(&spec).await.unwrap();
    assert_ne!(second.endpoint, first.endpoint);
    lab.runtime.remove(&spec.name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_named() {
    if !available(POSTGRES).await {
        return;
    }
    let place = Place::new();
    let lab = place.lab("unwritable");
    // A file in its place stops root, too.
    std::fs::create_dir_all(lab.dir.services().parent().unwrap()).unwrap();
    std::fs::write(lab.dir.services(), "").unwrap();
    let error = lab.up(&spec(POSTGRES)).await.unwrap_err();
    let RuntimeError::Folder { path, .. } = &error else { panic!("{error}") };
    assert!(path.starts_with(lab.dir.services()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_dies_while_starting_shows_its_last_log_lines_at_once() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let lab = place.lab("dying");
        let spec = spec(engine);
        lab.up(&spec).await.unwrap();
        lab.runtime.stop(&spec.name, GRACE).await.unwrap();
        let damaged = match engine {
            Engine::Postgres => "global/pg_control",
            Engine::Mysql(_) => "ibdata1",
        };
        let path = lab.dir.service(&spec.name).join("data").join(damaged);
        std::fs::write(&path, vec![7; 8192]).unwrap();
        let began = Instant::now();
        let error = lab.up(&spec).await.unwrap_err();
        let RuntimeError::Exited { status, .. } = &error else { panic!("{error}") };
        assert!(began.elapsed() < Duration::from_secs(30), "it waited for its deadline");
        assert!(!status.is_empty() && !error.log().is_empty(), "{error}");
        let expected = match engine {
            Engine::Postgres => "FATAL",
            Engine::Mysql(_) => "ERROR",
        };
        assert!(error.log().iter().any(|line| line.contains(expected)), "{:?}", error.log());
        assert!(!error.to_string().contains(expected), "the lines are shown once, by who asks for them");
        assert_eq!(lab.runtime.state(&spec.name).await.unwrap(), ServiceState::Stopped);
        lab.runtime.remove(&spec.name).await.unwrap();
        assert_eq!(lab.up(&spec).await.unwrap().data, DataOrigin::Template);
        lab.runtime.remove(&spec.name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_that_fails_is_shown_with_its_place_and_leaves_nothing() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let lab = place.lab("sql");
        let mut spec = spec(engine);
        spec.seed[0].text = "INSERT INTO t VALUES (1);\n-- a comment; with a semicolon\n\nINSERT INTO\n  missing VALUES (2);\n".into();
        let error = lab.up(&spec).await.unwrap_err();
        assert!(matches!(error, RuntimeError::Script { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("test.sql:4: statement 2 failed"), "{text}");
        assert!(text.contains("INSERT INTO missing VALUES (2)"), "{text}");
        assert!(text.contains("42P01") || text.contains("1146"), "{text}");
        assert_eq!(place.templates(), 0);
        assert_eq!(lab.runtime.state(&spec.name).await.unwrap(), ServiceState::Stopped);
        assert!(!lab.dir.service(&spec.name).join("data").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_names_the_package_to_install() {
    for engine in BOTH {
        let place = Place::new();
        let lab = place.lab("missing");
        let runtime = ProcessRuntime::with_programs(&lab.home, &lab.dir, Programs::default());
        let error = crate::support::up(&runtime, &spec(engine)).await.unwrap_err();
        assert!(matches!(error, RuntimeError::ProgramMissing { .. }), "{error}");
        let package = match engine {
            Engine::Postgres => "postgresql",
            Engine::Mysql(_) => "mariadb",
        };
        assert!(error.to_string().contains(package), "{error}");
    }
}

/// A `postgres` that says its version and then behaves as `script` does, and an `initdb` that does
/// the least.
fn fake_postgres(folder: &Path, initdb: &str, script: &str) -> Programs {
    let write = |name: &str, text: &str| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    write("initdb", initdb);
    let version = "[ \"$1\" = --version ] && echo 'postgres (PostgreSQL) 17.0' && exit 0";
    let postgres = write("postgres", &format!("{version}\n{script}"));
    Programs { postgres: Some(postgres), ..Programs::from_env() }
}

async fn up_within(
    lab: &crate::support::Lab,
    programs: Programs,
    spec: &DatabaseSpec,
    time: Duration,
) -> RuntimeError {
    let runtime = ProcessRuntime::with_programs(&lab.home, &lab.dir, programs);
    let deadline = tokio::time::Instant::now() + time;
    runtime.ensure_running(&Service::Database(spec.clone()), &Report::silent(), deadline).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_is_given_up_at_the_deadline() {
    let place = Place::new();
    let lab = place.lab("mute");
    let time = Duration::from_millis(700);
    for (initdb, server) in
        [("true", "echo still thinking; exec sleep 60"), ("echo still thinking; exec sleep 60", "")]
    {
        let programs = fake_postgres(&place.path(), initdb, server);
        let began = Instant::now();
        let error = up_within(&lab, programs, &spec(POSTGRES), time).await;
        assert!(matches!(error, RuntimeError::Timeout { .. }), "{error}");
        assert!(error.log().iter().any(|line| line.contains("still thinking")), "{:?}", error.log());
        let took = began.elapsed();
        assert!(took >= time && took < time + Duration::from_secs(5), "{took:?}");
        assert_eq!(place.templates(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_initialisation_shows_what_the_program_said() {
    let place = Place::new();
    let lab = place.lab("init");
    let programs = fake_postgres(&place.path(), "echo 'could not do it' >&2; exit 4", "");
    let error = up_within(&lab, programs, &spec(POSTGRES), GRACE).await;
    assert!(matches!(error, RuntimeError::Initialise { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("exit status 4") && !text.contains("could not do it"), "{text}");
    assert!(error.log().iter().any(|line| line.contains("could not do it")), "{:?}", error.log());
    assert_eq!(error.service(), "postgres");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_another_major_version_is_not_touched() {
    if !available(POSTGRES).await {
        return;
    }
    let place = Place::new();
    let lab = place.lab("version");
    let spec = spec(POSTGRES);
    lab.up(&spec).await.unwrap();
    lab.runtime.stop(&spec.name, GRACE).await.unwrap();
    std::fs::write(lab.dir.service(&spec.name).join("data/PG_VERSION"), "12\n").unwrap();
    let error = lab.up(&spec).await.unwrap_err();
    assert!(matches!(error, RuntimeError::DataMismatch { .. }), "{error}");
    assert!(error.to_string().contains("PostgreSQL 12"), "{error}");
    lab.runtime.remove(&spec.name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_passwords_are_said_to_be_lost() {
    if !available(POSTGRES).await {
        return;
    }
    let place = Place::new();
    let lab = place.lab("lost");
    let spec = spec(POSTGRES);
    lab.up(&spec).await.unwrap();
    std::fs::remove_file(lab.dir.accounts()).unwrap();
    let error = lab.up(&spec).await.unwrap_err();
    assert!(matches!(error, RuntimeError::AccountsLost { .. }), "{error}");
    lab.runtime.remove(&spec.name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_sql_does_not_reach_kept_data_and_that_is_said() {
    if !available(POSTGRES).await {
        return;
    }
    let place = Place::new();
    let lab = place.lab("changed");
    let mut spec = spec(POSTGRES);
    lab.up(&spec).await.unwrap();
    lab.runtime.stop(&spec.name, GRACE).await.unwrap();
    spec.seed[0].text.push_str("; INSERT INTO t VALUES (4)");
    // Both on data at rest and on a server that runs.
    for _ in 0..2 {
        let warnings = Warnings::default();
        let report = Report::new(vec![Box::new(warnings.clone())]);
        let deadline = tokio::time::Instant::now() + GRACE;
        lab.runtime.ensure_running(&Service::Database(spec.clone()), &report, deadline).await.unwrap();
        let warnings = warnings.0.lock().unwrap().clone();
        assert!(warnings.len() == 1 && warnings[0].contains("--volumes"), "{warnings:?}");
    }
    lab.runtime.remove(&spec.name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_set_after_a_crash_at_any_point() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let spec = spec(engine);
        place.lab("template").up(&spec).await.unwrap();
        place.lab("template").runtime.remove(&spec.name).await.unwrap();
        for crash in ["in the copy", "before any", "after the first", "before it was written down"] {
            let lab = place.lab("crash");
            let running = lab.up(&spec).await.unwrap();
            let accounts = running.accounts.clone().unwrap();
            // Back to the state in which a crash at that point leaves the lab.
            let origin =
                std::fs::read_dir(place.home().templates()).unwrap().flatten().next().unwrap().path();
            let service = lab.dir.service(&spec.name);
            let template: serde_json::Value =
                serde_json::from_slice(&std::fs::read(origin.join("origin.json")).unwrap()).unwrap();
            let password = template["superuser"]["password"].as_str().unwrap();
            let mut root = superuser(&running, engine).await;
            if crash != "before it was written down" {
                if crash == "before any" {
                    root.set_password("vault", &"Other1234567890".into()).await.unwrap();
                }
                root.set_password(&accounts.superuser.username, &password.into()).await.unwrap();
            }
            root.close().await;
            if crash == "in the copy" {
                lab.runtime.stop(&spec.name, GRACE).await.unwrap();
                std::fs::rename(service.join("data"), service.join("data.partial")).unwrap();
            }
            let mut all = Accounts::load(&lab.dir).unwrap();
            all.databases.get_mut(&spec.name).unwrap().applied = false;
            all.save(&lab.dir).unwrap();
            std::fs::copy(origin.join("origin.json"), service.join("origin.json")).unwrap();

            let again = crate::support::up(&lab.reopened(), &spec).await.unwrap();
            let now = again.accounts.clone().unwrap();
            assert!(now.applied);
            for account in [&now.superuser, &now.admin] {
                let login = try_login(&target(&again, engine), account).await.unwrap();
                assert_eq!(login, Login::Accepted, "{} after a crash {crash}", account.username);
            }
            let old = crate::support::with_password(&now.superuser, password);
            let login = try_login(&target(&again, engine), &old).await.unwrap();
            assert!(
                matches!(login, Login::Refused(_)),
                "the template's password works after a crash {crash}"
            );
            lab.runtime.remove(&spec.name).await.unwrap();
            assert!(Manifest::load(&lab.dir).unwrap().unwrap().services.is_empty());
            assert!(Accounts::load(&lab.dir).unwrap().databases.is_empty());
        }
    }
}
