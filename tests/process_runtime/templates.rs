//! Data that labs start from.

use std::path::Path;
use std::process::Command;

use vaultlab::database::{Login, try_login};
use vaultlab::runtime::{DataOrigin, Runtime};
use vaultlab::state::Credentials;

use crate::support::{BOTH, POSTGRES, Place, alive, available, spec, superuser, target, up};

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
async fn what_a_killed_builder_left_is_removed_with_its_server() {
    if !available(POSTGRES).await {
        return;
    }
    let place = Place::new();
    let templates = place.home().templates();
    // No process has this pid: it is above what the system gives.
    let data = templates.join(".build-4194999-left/data");
    std::fs::create_dir_all(&data).unwrap();
    let server = place.path().join("postgres");
    std::fs::copy("/usr/bin/tail", &server).unwrap();
    let mut orphan = Command::new(&server)
        .args(["-f", "/dev/null"])
        .arg(&data)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();

    let lab = place.lab("next");
    let spec = spec(POSTGRES);
    lab.up(&spec).await.unwrap();
    assert!(!data.exists());
    assert!(orphan.try_wait().unwrap().is_some(), "its server still runs");
    lab.runtime.remove(&spec.name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_build_leaves_neither_processes_nor_files() {
    for engine in BOTH {
        if !available(engine).await {
            continue;
        }
        let place = Place::new();
        let lab = place.lab("interrupted");
        let spec = spec(engine);
        let templates = place.home().templates();
        let building = || templates.is_dir() && !names(&templates).is_empty();
        tokio::select! {
            _ = lab.up(&spec) => panic!("it was too fast to be interrupted"),
            () = async {
                while !building() { tokio::time::sleep(std::time::Duration::from_millis(2)).await }
                tokio::time::sleep(std::time::Duration::from_millis(150)).await;
            } => {}
        }
        assert!(names(&templates).is_empty(), "{:?}", names(&templates));
        let folder = templates.display().to_string();
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        for pid in pids.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok()) {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            assert!(!(String::from_utf8_lossy(&line).contains(&folder) && alive(pid)), "{pid} still runs");
        }
        up(&lab.reopened(), &spec).await.unwrap();
        lab.runtime.remove(&spec.name).await.unwrap();
    }
}
