//! What happens to an engine as a whole, in one of the test's own: its disk is full, it is restarted, it is
//! killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::Signal;

use serde_json::Value;
use support::containers::{POSTGRES, SERVER};
use support::own_engine::OwnEngine;
use support::{TestLab, eventually, postgres_lab, text};

/// A Vault and one PostgreSQL in this engine; the first of a home has its data initialised.
fn lab(engine: &OwnEngine, name: &str, home: &tempfile::TempDir) -> TestLab {
    let mut lab = TestLab::in_home(name, home.path());
    (lab.runtime, lab.engine) = ("docker", Some(engine.address()));
    lab.write("vaultlab.yaml", &postgres_lab("own", "storage: file"));
    lab
}

/// The steps of an `up` that changed something.
fn changed(up: &Value) -> BTreeSet<&str> {
    let steps = up["steps"].as_array().unwrap().iter();
    steps.filter(|step| step["outcome"] == "changed").map(|step| step["step"].as_str().unwrap()).collect()
}

fn goes(engine: &OwnEngine, lab: &TestLab) {
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
    for list in [&["ps", "-aq"][..], &["volume", "ls", "-q"]] {
        assert_eq!(engine.docker(list).as_deref(), Some(""), "{list:?}");
    }
    lab.assert_gone();
}

#[test]
fn a_full_disk_is_told_and_with_room_the_next_up_goes_on() {
    let Some(engine) = OwnEngine::start(&[POSTGRES, SERVER]) else { return };
    let home = tempfile::tempdir().unwrap();
    let first = lab(&engine, "full-cold", &home);
    // Room for containers, not for a database.
    engine.fill_disk(8);
    let (code, events, error) = first.spawn_up().end();
    let told = format!("{events:?}{error}").to_lowercase();
    assert!(code == Some(5) && told.contains("no space left on device"), "{code:?} {error}\n{events:#?}");
    assert!(error.contains("next: df -h") && error.contains(" prune"), "{error}");
    engine.make_room();
    first.ok(&["up", "--progress", "quiet"]);
    first.ok(&["creds", "app"]);

    // The data is initialised, and there is no room for a copy of it.
    let second = lab(&engine, "full-warm", &home);
    engine.fill_disk(8);
    let output = second.run(&["up", "--progress", "quiet"]);
    let error = text(&output.stderr);
    assert!(!output.status.success() && error.contains("no space left on device"), "{error}");
    assert!(error.contains(" prune") && error.contains("docker system df"), "{error}");
    engine.make_room();
    let up = second.json(&["up"]);
    assert!(!changed(&up).contains("initialise db"), "{up:#}");
    second.ok(&["creds", "app"]);
    second.ok(&["down", "--volumes", "--progress", "quiet"]);
    goes(&engine, &first);
}

/// As a machine that is started anew finds it: nothing runs, and Vault is sealed.
#[test]
fn an_engine_that_is_restarted_or_killed_finds_its_lab_again() {
    // The network of its own is this thread's, and not that of a test which comes after this one.
    let test = std::thread::spawn(|| {
        let Some(mut engine) = OwnEngine::start_apart(&[POSTGRES, SERVER]) else { return };
        let home = tempfile::tempdir().unwrap();
        let lab = lab(&engine, "restart", &home);
        lab.ok(&["up", "--no-keeper", "--progress", "quiet"]);
        let before = lab.json(&["status"]);
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            engine.end(signal);
            let error = lab.fails(5, &["up", "--no-keeper", "--progress", "quiet"]);
            assert!(error.contains("no container engine answers at unix://"), "{signal}: {error}");
            engine.back();
            assert_eq!(engine.docker(&["ps", "-q"]).as_deref(), Some(""), "{signal}: nothing runs");
            lab.fails(9, &["status"]);
            let up = lab.json(&["up", "--no-keeper"]);
            let again = BTreeSet::from(["start vault", "start db", "unseal vault"]);
            assert_eq!(changed(&up), again, "{signal}: {up:#}");
            let after = lab.json(&["status"]);
            assert_eq!(after["vault"], before["vault"], "{signal}");
            assert_eq!(after["services"][1]["address"], before["services"][1]["address"], "{signal}");
            lab.ok(&["creds", "app"]);
            assert_eq!(lab.json(&["up", "--no-keeper"])["changed"], false, "{signal}");
        }
        // With a keeper nobody has to do anything, though that may not even have begun.
        lab.ok(&["up", "--progress", "quiet"]);
        engine.end(Signal::SIGKILL);
        engine.back();
        eventually("the keeper brings the lab back", Duration::from_secs(90), || {
            lab.run(&["status"]).status.success() && lab.run(&["creds", "app"]).status.success()
        });
        goes(&engine, &lab);
    });
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}
