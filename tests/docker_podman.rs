//! A lab's whole life on Podman's compatible socket.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::containers::{POSTGRES, SERVER};
use support::own_podman::OwnPodman;
use support::{TestLab, eventually, postgres_lab, text};

fn lab(podman: &OwnPodman, name: &str, home: &tempfile::TempDir) -> TestLab {
    let mut lab = TestLab::in_home(name, home.path());
    (lab.runtime, lab.engine) = ("docker", Some(podman.address()));
    lab.write("vaultlab.yaml", &postgres_lab("podman", "storage: file"));
    lab
}

fn steps(up: &Value) -> Vec<&str> {
    up["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect()
}

fn container(podman: &OwnPodman, lab: &TestLab, service: &str) -> String {
    let of_lab = format!("label=dev.vaultlab.lab={}", lab.name);
    let of_service = format!("label=dev.vaultlab.service={service}");
    podman.podman(&["ps", "-aq", "--filter", &of_lab, "--filter", &of_service]).expect("podman")
}

#[test]
fn labs_live_on_podman_and_leave_nothing() {
    let Some(podman) = OwnPodman::start(&[POSTGRES, SERVER]) else { return };
    let home = tempfile::tempdir().unwrap();
    let (first, second) = (lab(&podman, "podman-1", &home), lab(&podman, "podman-2", &home));
    let doctor = first.json(&["doctor"]);
    let checks = doctor["checks"].as_array().unwrap();
    let engine = checks.iter().find(|check| check["name"] == "engine").unwrap();
    assert!(engine["level"] == "ok" && engine["found"].as_str().unwrap().starts_with("Podman "), "{engine}");

    let up = first.json(&["up"]);
    assert!(steps(&up).contains(&"initialise db") && steps(&up).contains(&"prove app"), "{up:#}");
    assert_eq!(first.json(&["up"])["changed"], false);
    let warm = second.json(&["up"]);
    assert!(!steps(&warm).contains(&"initialise db"), "it starts from what the first one made: {warm:#}");
    assert!(second.ok(&["logs", "vault"]).contains("unsealed"));
    let health = second.ok(&["exec", "--", "sh", "-c", "echo $VAULT_ADDR"]);
    assert!(health.contains("http://127.0.0.1:"), "{health}");
    let demo = second.run(&["demo", "rotate", "--progress", "quiet"]);
    assert!(demo.status.success(), "{}{}", text(&demo.stdout), text(&demo.stderr));

    // What ends unasked is started again, and unsealed.
    for service in ["db", "vault"] {
        let id = container(&podman, &second, service);
        podman.podman(&["kill", &id]).expect("it runs");
        eventually("the keeper starts it again", Duration::from_secs(60), || {
            second.run(&["creds", "app"]).status.success()
        });
    }

    // Podman lists volumes that have any one of the labels asked for: the other lab keeps its own.
    let volumes = || podman.podman(&["volume", "ls", "-q"]).unwrap().lines().count();
    assert_eq!(volumes(), 6);
    first.ok(&["down", "--volumes", "--progress", "quiet"]);
    first.assert_gone();
    assert_eq!(volumes(), 3);
    second.ok(&["creds", "app"]);
    second.ok(&["down", "--progress", "quiet"]);
    assert_eq!(podman.podman(&["ps", "-q"]).as_deref(), Some(""));
    second.ok(&["up", "--progress", "quiet"]);
    second.ok(&["creds", "app"]);
    second.ok(&["down", "--volumes", "--progress", "quiet"]);
    second.assert_gone();

    let pruned = second.json(&["prune", "--yes"]);
    let items = pruned["items"].as_array().unwrap();
    assert!(items.len() == 1 && items[0]["kind"] == "template", "{pruned:#}");
    assert!(items[0]["bytes"].as_u64().unwrap() > 5_000_000, "{pruned:#}");
    for (list, left) in [
        (&["ps", "-aq"][..], 0),
        (&["volume", "ls", "-q"], 0),
        (&["images", "-q"], 2),
        (&["network", "ls", "-q"], 1),
    ] {
        let found = podman.podman(list).unwrap();
        assert_eq!(found.lines().count(), left, "{list:?}: {found}");
    }
}

/// Podman removes a network that is in use when it is given its id, and leaves the bridge behind.
#[test]
fn a_database_on_this_host_is_reached_from_a_vault_on_podman() {
    if !support::databases() {
        return;
    }
    let Some(podman) = OwnPodman::start(&[SERVER]) else { return };
    let home = tempfile::tempdir().unwrap();
    let mixed = lab(&podman, "podman-mixed", &home);
    let file = postgres_lab("podman", "runtime: docker\n  flavour: embedded");
    let file = file.replace("    engine: postgres\n", "    engine: postgres\n    runtime: process\n");
    mixed.write("vaultlab.yaml", &file);
    let up = |arguments: &[&str]| {
        let mut command = mixed.command(arguments);
        let output = command.env_remove("VAULTLAB_RUNTIME").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(up(&["up", "--progress", "quiet"]).contains("is up (mixed"));
    assert!(up(&["up", "--progress", "quiet"]).contains("nothing to do"));
    up(&["creds", "app"]);
    assert!(OwnPodman::has_bridge());

    // Somebody else's container on the network keeps it.
    let network = podman.podman(&["network", "ls", "-q", "--filter", "label=dev.vaultlab.lab"]).unwrap();
    let other = ["run", "-d", "--network", &network, "--entrypoint", "sleep", SERVER, "60"];
    let other = podman.podman(&other).expect("a container");
    up(&["down", "--volumes", "--progress", "quiet"]);
    assert!(OwnPodman::has_bridge());
    podman.podman(&["rm", "-f", "-t", "0", &other]).expect("it is there");
    up(&["down", "--volumes", "--progress", "quiet"]);
    mixed.assert_gone();
    assert!(!OwnPodman::has_bridge(), "the bridge went with the network");
}
