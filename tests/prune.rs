//! `prune`: what no lab uses goes, what a lab may need stays.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod support;

use std::path::PathBuf;

use serde_json::Value;
use support::containers::{ColdHome, POSTGRES, SERVER, has, things_of};
use support::{TestLab, databases, postgres_lab, text};

const LAB: &str = "apiVersion: vaultlab/v1
vault: {flavour: embedded}
databases:
  - name: db
    engine: postgres
    schema: [{sql: CREATE TABLE pruned (id integer)}]
";

/// A home of the test's own: templates are counted in it.
fn place(name: &str) -> (tempfile::TempDir, TestLab) {
    let home = tempfile::tempdir().unwrap();
    let lab = TestLab::in_home(name, home.path());
    lab.write("vaultlab.yaml", LAB);
    (home, lab)
}

fn templates(lab: &TestLab) -> PathBuf {
    lab.home.join("templates")
}

fn items<'a>(pruned: &'a Value, kind: &str) -> Vec<&'a Value> {
    pruned["items"].as_array().unwrap().iter().filter(|item| item["kind"] == kind).collect()
}

#[test]
fn templates_go_with_the_last_lab_that_was_made_from_them() {
    if !databases() {
        return;
    }
    let (_home, lab) = place("prune");
    lab.ok(&["up", "--progress", "quiet"]);
    // A builder that was killed, and one that is at work.
    let dead = templates(&lab).join(".build-4194999-x");
    let alive = templates(&lab).join(format!(".build-{}-x", std::process::id()));
    for folder in [&dead, &alive] {
        std::fs::create_dir_all(folder.join("data")).unwrap();
        std::fs::write(folder.join("data/file"), vec![b'x'; 100_000]).unwrap();
    }

    // Running, and stopped with its data kept, the lab keeps its template.
    for stopped in [false, true] {
        if stopped {
            lab.ok(&["down", "--progress", "quiet"]);
        }
        let found = lab.json(&["prune", "--dry-run"]);
        assert_eq!((items(&found, "template").len(), items(&found, "build").len()), (0, 1), "{found:#}");
        assert_eq!(found["removed"], false);
        assert!(found["bytes"].as_u64().unwrap() >= 100_000, "{found:#}");
    }
    assert!(dead.exists(), "--dry-run only looks");

    // Nobody to ask: nothing is done, and it is said how.
    let error = lab.fails(2, &["prune"]);
    assert!(error.contains("prune --yes") && dead.exists(), "{error}");

    lab.json(&["prune", "--yes"]);
    assert!(!dead.exists() && alive.exists());
    std::fs::remove_dir_all(&alive).unwrap();
    lab.ok(&["up", "--progress", "quiet"]);

    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
    let removed = lab.json(&["prune", "--yes"]);
    let template = items(&removed, "template");
    assert_eq!(template.len(), 1, "{removed:#}");
    assert!(template[0]["name"].as_str().unwrap().starts_with("postgres-"));
    // An initialised PostgreSQL is some 20 to 40 MB.
    assert!(template[0]["bytes"].as_u64().unwrap() > 5_000_000, "{removed:#}");
    assert_eq!(std::fs::read_dir(templates(&lab)).unwrap().count(), 0);
    let shown = lab.ok(&["prune", "--yes"]);
    assert!(shown.contains("nothing to remove"), "{shown}");
}

#[test]
fn of_containers_too_what_no_lab_uses_goes_and_the_rest_stays() {
    if !has(&[POSTGRES, SERVER]) {
        return;
    }
    let home = ColdHome::new();
    let (kept, lost) = (home.lab("prune-kept"), home.lab("prune-lost"));
    for lab in [&kept, &lost] {
        lab.write("vaultlab.yaml", &postgres_lab("prune", "storage: file"));
        lab.ok(&["up", "--no-keeper", "--progress", "quiet"]);
    }
    let counts =
        |pruned: &Value| ["template", "container", "volume", "network"].map(|kind| items(pruned, kind).len());
    assert_eq!(counts(&kept.json(&["prune", "--dry-run"])), [0; 4], "both labs are there");

    // The folders of one are lost: all it has in the engine is found, running or not.
    for folder in [lost.state(), lost.services()] {
        std::fs::remove_dir_all(folder).unwrap();
    }
    let found = lost.json(&["prune", "--dry-run"]);
    assert_eq!(counts(&found), [0, 2, 3, 1], "{found:#}");
    let volumes = items(&found, "volume");
    let data = volumes.iter().find(|item| item["name"].as_str().unwrap().contains("-db-data-")).unwrap();
    assert!(data["bytes"].as_u64().unwrap() > 5_000_000 && data["runtime"] == "docker", "{found:#}");
    assert_eq!(things_of(&lost.name).len(), 6, "--dry-run only looks");
    assert_eq!(counts(&lost.json(&["prune", "--yes"])), [0, 2, 3, 1]);
    assert_eq!(things_of(&lost.name), Vec::<String>::new());
    kept.ok(&["creds", "app"]);

    // The last lab that was made from it takes the template with it.
    kept.ok(&["down", "--volumes", "--progress", "quiet"]);
    let removed = kept.json(&["prune", "--yes"]);
    assert_eq!(counts(&removed), [1, 0, 0, 0], "{removed:#}");
    assert!(items(&removed, "template")[0]["bytes"].as_u64().unwrap() > 5_000_000, "{removed:#}");
    let key = items(&removed, "template")[0]["name"].as_str().unwrap().to_owned();
    assert!(!kept.home.join("templates-docker").join(&key).exists());
    assert_eq!(counts(&kept.json(&["prune", "--dry-run"])), [0; 4]);

    // Without an engine the rest is done, and it is said what was not looked at.
    let mut kept = kept;
    kept.engine = Some(format!("unix://{}/none", kept.folder.path().display()));
    let shown = kept.ok(&["prune", "--yes"]);
    assert!(shown.contains("engine was not looked at: none answers at unix://"), "{shown}");
}

#[test]
fn nothing_is_removed_while_a_lab_is_brought_up() {
    if !databases() {
        return;
    }
    let (_home, lab) = place("prune-up");
    let mut up = lab.spawn_up();
    // In the middle of it: the first step has ended, the last has not.
    up.until_step(1).unwrap();
    let error = lab.fails(8, &["prune", "--yes"]);
    assert!(error.contains("templates of labs are in use"), "{error}");
    while up.next().is_some() {}
    assert!(up.child.wait().unwrap().success());
    lab.ok(&["prune", "--yes"]);
}

#[test]
fn a_lab_that_cannot_be_read_keeps_everything() {
    let (_home, lab) = place("prune-damaged");
    std::fs::create_dir_all(lab.state()).unwrap();
    std::fs::write(lab.state().join("manifest.json"), "{").unwrap();
    let kept = templates(&lab).join("postgres-0-0");
    std::fs::create_dir_all(&kept).unwrap();
    let output = lab.run(&["prune", "--yes"]);
    assert!(!output.status.success() && text(&output.stderr).contains("damaged"), "{output:?}");
    assert!(kept.exists());
}
