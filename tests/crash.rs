//! Whatever happens in the middle of `up`, the next one converges and `down` leaves nothing.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{TestLab, Up, databases, eventually, text};

/// The steps a first `up` has, by trying.
fn count_steps(lab: &TestLab) -> usize {
    let mut up: Up = lab.spawn_up();
    let mut steps = 0;
    let mut told = Vec::new();
    while let Some(event) = up.next() {
        steps += usize::from(event["event"] == "step_finished");
        told.push(event.to_string());
    }
    assert!(up.child.wait().expect("wait").success(), "{}", told.join("\n"));
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
    lab.assert_gone();
    steps
}

#[test]
fn kill_9_after_every_step_then_up_converges() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("kill");
    let steps = count_steps(&lab);
    assert!(steps >= 18, "{steps} steps");
    for count in 1..=steps {
        let mut up = lab.spawn_up();
        let step = up.until_step(count);
        up.kill();
        let output = lab.run(&["up", "--output", "json", "--progress", "quiet"]);
        assert!(output.status.success(), "after {step:?}: {}", text(&output.stderr));
        lab.ok(&["creds", "pg-write"]);
        let again = lab.json(&["up"]);
        assert_eq!(again["changed"], false, "after {step:?}");
        lab.ok(&["down", "--volumes", "--progress", "quiet"]);
        lab.assert_gone();
    }
}

/// The steps of a lab for which no template is there yet.
#[test]
fn kill_9_while_the_first_databases_are_made() {
    if !databases() {
        return;
    }
    let home = tempfile::tempdir().expect("a temp folder");
    // The servers' users must get in.
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o711)).expect("a mode");
    let lab = TestLab::in_home("kill-cold", home.path());
    // MariaDB's data is made by its first start: that is one step.
    let moments = |database| {
        let all = [
            ("step_started", "initialise"),
            ("step_finished", "initialise"),
            ("step_finished", "start"),
            ("step_started", "fill"),
        ];
        all.into_iter().filter(move |(_, step)| database != "notes-mysql" || *step != "start")
    };
    for database in ["notes-postgres", "notes-mysql"] {
        for (event, step) in moments(database) {
            let step = format!("{step} {database}");
            let mut up = lab.spawn_up();
            assert!(up.until(event, &step), "{event} {step} is not told");
            up.kill();
            let output = lab.run(&["up", "--output", "json", "--progress", "quiet"]);
            assert!(output.status.success(), "{event} {step}: {}", text(&output.stderr));
            lab.ok(&["creds", "pg-write"]);
            lab.ok(&["creds", "mysql-read"]);
            assert_eq!(lab.json(&["up"])["changed"], false, "{event} {step}");
            lab.ok(&["down", "--volumes", "--progress", "quiet"]);
            lab.assert_gone();
            std::fs::remove_dir_all(home.path().join("templates")).expect("the templates");
        }
    }
}

#[test]
fn kill_9_then_down_leaves_nothing() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("kill-down");
    for count in [0, 1, 2, 4, 8, 16] {
        let mut up = lab.spawn_up();
        if count > 0 {
            up.until_step(count);
        } else {
            up.next();
        }
        up.kill();
        lab.ok(&["down", "--volumes", "--progress", "quiet"]);
        lab.assert_gone();
    }
}

#[test]
fn ctrl_c_during_up_stops_what_it_started() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("ctrl-c");
    for count in [1, 3, 10] {
        let mut up = lab.spawn_up();
        up.until_step(count);
        let (status, rest) = up.signal(Signal::SIGINT);
        assert_eq!(status.code(), Some(130), "{rest}");
        assert!(rest.contains("interrupted") && !rest.contains("could not undo"), "{rest}");
        lab.assert_gone();
    }
    // A lab that was there keeps its data.
    lab.ok(&["up", "--progress", "quiet"]);
    lab.ok(&["down", "--progress", "quiet"]);
    let mut up = lab.spawn_up();
    up.until_step(2);
    let (status, _) = up.signal(Signal::SIGTERM);
    assert_eq!(status.code(), Some(130));
    assert!(lab.processes().is_empty() && lab.state().join("keys.json").exists());
    lab.ok(&["up", "--progress", "quiet"]);
}

#[test]
fn a_second_up_at_the_same_time_waits_and_finds_nothing_to_do() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("twice");
    let mut first = lab.spawn_up();
    first.next();
    let output = lab.run(&["up", "--progress", "plain"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = text(&output.stderr);
    assert!(told.contains("waiting for vaultlab up (pid"), "{told}");
    assert!(text(&output.stdout).contains("nothing to do"), "{}", text(&output.stdout));
    while first.next().is_some() {}
    assert!(first.child.wait().expect("wait").success());

    // And with no patience it says who holds the lock.
    lab.ok(&["down", "--progress", "quiet"]);
    let mut first = lab.spawn_up();
    first.next();
    let error = lab.fails(8, &["up", "--timeout", "1ms"]);
    assert!(error.contains("is being changed by vaultlab up (pid"), "{error}");
    while first.next().is_some() {}
}

#[test]
fn a_vault_that_died_in_the_middle_of_a_rotation_is_given_a_new_password() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("locked-out");
    lab.ok(&["up", "--progress", "quiet"]);
    // What such a crash leaves: the database has a password Vault does not know.
    let accounts: serde_json::Value =
        serde_json::from_slice(&std::fs::read(lab.state().join("accounts.json")).expect("accounts"))
            .expect("JSON");
    let port = |service: &str| {
        let manifest = std::fs::read(lab.state().join("manifest.json")).expect("manifest");
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
        manifest["services"][service]["port"].as_u64().expect("a port").to_string()
    };
    let superuser = &accounts["databases"]["notes-postgres"]["superuser"];
    let changed = std::process::Command::new("psql")
        .args(["-h", "127.0.0.1", "-p", &port("notes-postgres"), "-d", "notes", "-c"])
        .arg("ALTER ROLE vault PASSWORD 'known to nobody'")
        .env("PGUSER", superuser["username"].as_str().expect("a name"))
        .env("PGPASSWORD", superuser["password"].as_str().expect("a password"))
        .output()
        .expect("psql");
    assert!(changed.status.success(), "{}", text(&changed.stderr));
    // Vault's pool still has an open connection; a restart is what a crash would be.
    lab.ok(&["down", "--progress", "quiet"]);
    lab.fails(9, &["creds", "pg-read"]);
    let up = lab.json(&["up"]);
    let rotation =
        up["steps"].as_array().expect("steps").iter().find(|s| s["step"] == "rotate-root notes-postgres");
    assert!(
        rotation.expect("the step")["detail"].as_str().expect("a detail").contains("repaired"),
        "{rotation:?}"
    );
    lab.ok(&["creds", "pg-read"]);
}

#[test]
fn after_a_kill_in_the_middle_of_a_removal_the_next_up_or_down_finishes_it() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("half-removed");
    let data = lab.services().join("notes-postgres/data");
    let rubbish = || {
        let entries = std::fs::read_dir(lab.services()).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with('.')).count()
    };
    for next in [&["up"][..], &["down"], &["down", "--volumes"]] {
        lab.ok(&["up", "--progress", "quiet"]);
        // So many that their removal takes a while.
        for folder in 0..20 {
            let folder = data.join(format!("filler-{folder}"));
            std::fs::create_dir(&folder).expect("a folder");
            for file in 0..1000 {
                std::fs::write(folder.join(file.to_string()), "").expect("a file");
            }
        }
        let mut down = lab.command(&["down", "--volumes", "--progress", "quiet"]).spawn().expect("it runs");
        eventually("its removal begins", Duration::from_secs(20), || {
            !data.join("postgresql.conf").exists() || !data.join("base").exists()
        });
        down.kill().expect("kill");
        down.wait().expect("wait");
        lab.ok(&[next, &["--progress", "quiet"]].concat());
        assert_eq!(rubbish(), 0, "{next:?}");
        lab.ok(&["up", "--progress", "quiet"]);
        lab.ok(&["creds", "pg-read"]);
    }
}
