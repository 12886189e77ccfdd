//! An engine whose disk is full, in one of the test's own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::containers::{POSTGRES, SERVER};
use support::own_engine::OwnEngine;
use support::{TestLab, postgres_lab, text};

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
