//! Data that labs start from.

use std::path::Path;
use std::process::Command;

use vaultlab::database::{Login, try_login};
use vaultlab::report::Report;
use vaultlab::runtime::{DataOrigin, Runtime};
use vaultlab::service::Service;
use vaultlab::spec::model::{DatabaseSpec, Engine};
use vaultlab::state::Credentials;

use crate::support::{BOTH, Lab, Place, Warnings, alive, available, spec, superuser, target, up};

/// Every file below a folder with its content's length and time of change.
fn listing(folder: &Path) -> Vec<(String, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            found.extend(listing(&entry.path()));
        } else {
            found.push((entry.path().display().to_string(), meta.len(), meta.modified().unwrap()));
        }
    }
    found.sort();
    found
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_lab_starts_from_a_copy_with_passwords_of_its_own() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let spec = spec(engine);
        let (one, two) = (place.lab("one"), place.lab("two"));
        let first = one.up(&spec).await.unwrap();
        let templates = place.home().templates();
        let before = listing(&templates);
        let second = two.up(&spec).await.unwrap();
        assert_eq!((first.data, second.data), (DataOrigin::Fresh, DataOrigin::Template));

        let mut root = superuser(&second, engine).await;
        assert_eq!(root.scalar("SELECT COUNT(*) FROM t").await.unwrap().as_deref(), Some("2"));
        root.execute("INSERT INTO t VALUES (3)").await.unwrap();
        root.close().await;

        let key = &names(&templates)[0];
        let origin = std::fs::read_to_string(templates.join(key).join("origin.json")).unwrap();
        let origin: serde_json::Value = serde_json::from_str(&origin).unwrap();
        let template = Credentials::new(
            origin["superuser"]["username"].as_str().unwrap(),
            origin["superuser"]["password"].as_str().unwrap(),
        );
        let (a, b) = (first.accounts.clone().unwrap(), second.accounts.clone().unwrap());
        assert_ne!(a.superuser, b.superuser);
        assert_ne!(a.admin, b.admin);
        for (running, foreign) in [(&first, &b), (&second, &a)] {
            let target = target(running, engine);
            for account in [&template, &foreign.superuser, &foreign.admin] {
                assert!(
                    matches!(try_login(&target, account).await.unwrap(), Login::Refused(_)),
                    "{} of another lab or of the template gets in",
                    account.username
                );
            }
        }
        for lab in [&one, &two] {
            lab.runtime.remove(&spec.name).await.unwrap();
            assert!(!lab.dir.service(&spec.name).join("origin.json").exists());
        }
        assert_eq!(listing(&templates), before, "a lab changed its template");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sql_means_another_template_and_data_of_old_sql_is_kept() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let (one, two) = (place.lab("one"), place.lab("two"));
        let old = spec(engine);
        one.up(&old).await.unwrap();
        let mut new = old.clone();
        new.seed[0].text = "INSERT INTO t VALUES (1)".into();
        let running = two.up(&new).await.unwrap();
        assert_eq!(running.data, DataOrigin::Fresh);
        assert_eq!(names(&place.home().templates()).len(), 2);
        let mut root = superuser(&running, engine).await;
        assert_eq!(root.scalar("SELECT COUNT(*) FROM t").await.unwrap().as_deref(), Some("1"));
        root.close().await;

        one.runtime.stop(&old.name, std::time::Duration::from_secs(10)).await.unwrap();
        let kept = one.up(&new).await.unwrap();
        assert_eq!(kept.data, DataOrigin::Kept);
        for lab in [&one, &two] {
            lab.runtime.remove(&old.name).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_labs_may_build_the_same_template_at_the_same_time() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let spec = spec(engine);
        let (one, two) = (place.lab("one"), place.lab("two"));
        let (a, b) = tokio::join!(one.up(&spec), two.up(&spec));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_ne!(a.endpoint, b.endpoint);
        assert_eq!(names(&place.home().templates()).len(), 1, "a builder left something behind");
        for (lab, running) in [(&one, &a), (&two, &b)] {
            superuser(running, engine).await.close().await;
            lab.runtime.remove(&spec.name).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_up_left_unfinished_is_made_anew() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let lab = place.lab("next");
        let spec = spec(engine);
        let service = lab.dir.service(&spec.name);
        // A program that still initialises the data.
        let partial = service.join("data.partial");
        std::fs::create_dir_all(&partial).unwrap();
        let mut orphan = Command::new("sleep").arg("60").current_dir(&partial).spawn().unwrap();
        let first = lab.up(&spec).await.unwrap();
        assert!(!partial.exists());
        assert!(orphan.try_wait().unwrap().is_some(), "it still runs");
        assert_eq!(first.data, DataOrigin::Fresh);

        // A server that runs, on data without a seed, as after a kill while it was filled.
        let mut root = superuser(&first, engine).await;
        root.execute("DROP TABLE t").await.unwrap();
        root.close().await;
        std::fs::write(service.join("unfilled"), "").unwrap();
        let second = up(&lab.reopened(), &spec).await.unwrap();
        assert_eq!(second.data, DataOrigin::Template);
        assert!(!second.reused && !service.join("unfilled").exists());
        let mut root = superuser(&second, engine).await;
        assert_eq!(root.scalar("SELECT COUNT(*) FROM t").await.unwrap().as_deref(), Some("2"));
        root.close().await;
        lab.runtime.remove(&spec.name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_initialisation_leaves_no_process() {
    // MariaDB has no program of its own for it: its first start makes the data.
    let engine = Engine::Postgres;
    if !available(engine).await {
        return;
    }
    let place = Place::new();
    let lab = place.lab("interrupted");
    let spec = spec(engine);
    let service = lab.dir.service(&spec.name);
    interrupted_up(&lab, &spec).await;
    assert!(!place.home().templates().exists());
    let began = std::time::Instant::now();
    let running = || {
        std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
            std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&service))
                && process.file_name().to_str().and_then(|pid| pid.parse().ok()).is_some_and(alive)
        })
    };
    // A child of the killed program may take a moment.
    while running() && began.elapsed().as_secs() < 10 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(!running());
    up(&lab.reopened(), &spec).await.unwrap();
    lab.runtime.remove(&spec.name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_copy_leaves_no_file() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let spec = spec(engine);
        let first = place.lab("first");
        first.up(&spec).await.unwrap();
        for attempt in 0..5 {
            let lab = place.lab(&format!("interrupted-{attempt}"));
            interrupted_up(&lab, &spec).await;
            lab.runtime.remove(&spec.name).await.unwrap();
            let service = lab.dir.service(&spec.name);
            assert!(!service.exists(), "{:?}", listing(&service));
        }
        first.runtime.remove(&spec.name).await.unwrap();
    }
}

/// Starts a new database and gives up as soon as there is some of its data.
async fn interrupted_up(lab: &Lab, spec: &DatabaseSpec) {
    let partial = lab.dir.service(&spec.name).join("data.partial");
    let begun = || std::fs::read_dir(&partial).is_ok_and(|mut files| files.next().is_some());
    tokio::select! {
        _ = lab.up(spec) => panic!("it was too fast to be interrupted"),
        () = async {
            while !begun() { tokio::time::sleep(std::time::Duration::from_millis(1)).await }
        } => {}
    }
}

/// Spoils the content of one file in an archive, or what is around it.
fn spoil(template: &Path, engine: Engine, how: &str) {
    let (archive, origin) = (template.join("data.tar"), template.join("origin.json"));
    let mut bytes = std::fs::read(&archive).unwrap();
    match how {
        "cut off" => bytes.truncate(bytes.len() / 2),
        "emptied" => bytes.clear(),
        "overwritten" => {
            let file: &[u8] = match engine {
                Engine::Postgres => b"global/pg_control\0",
                Engine::Mysql(_) => b"ibdata1\0",
            };
            let at = bytes.windows(file.len()).position(|part| part == file).unwrap() + 512;
            bytes[at..at + 8192].fill(7);
        }
        _ => std::fs::write(&origin, "{").unwrap(),
    }
    std::fs::write(&archive, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_is_of_no_use_is_told_once_and_made_anew() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let spec = spec(engine);
        let lab = place.lab("damaged");
        lab.up(&spec).await.unwrap();
        lab.runtime.remove(&spec.name).await.unwrap();
        let key = names(&place.home().templates()).remove(0);
        for how in ["cut off", "emptied", "overwritten", "without its password"] {
            spoil(&place.home().templates().join(&key), engine, how);
            let warnings = Warnings::default();
            let report = Report::new(vec![Box::new(warnings.clone())]);
            let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(2);
            let service = Service::Database(spec.clone());
            let running = lab.runtime.ensure_running(&service, &report, deadline).await.unwrap();
            assert_eq!(running.data, DataOrigin::Fresh, "{how}");
            let warnings = warnings.0.lock().unwrap().clone();
            assert!(warnings.len() == 1 && warnings[0].contains(&key), "{how}: {warnings:?}");
            assert_eq!(names(&place.home().templates()), [key.as_str()], "{how}");
            lab.runtime.remove(&spec.name).await.unwrap();
            assert_eq!(lab.up(&spec).await.unwrap().data, DataOrigin::Template, "after it was {how}");
            lab.runtime.remove(&spec.name).await.unwrap();
        }
    }
}
