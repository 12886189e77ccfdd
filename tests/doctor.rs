//! `doctor`: what is there and what is missing, with what to do, and an exit code to go by.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use support::{TestLab, databases, text};

/// What `doctor` says with these variables set: exit code and diagnosis.
fn doctor(lab: &TestLab, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, Value) {
    let all = [&["doctor", "--output", "json"], arguments].concat();
    let output = lab.command(&all).envs(variables.iter().copied()).output().unwrap();
    let diagnosis = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no JSON: {}{}", text(&output.stdout), text(&output.stderr)));
    (output.status.code().unwrap(), diagnosis)
}

fn check<'a>(diagnosis: &'a Value, name: &str) -> &'a Value {
    let checks = diagnosis["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name} in {diagnosis:#}"))
}

/// Stands for a machine without a container engine.
const NO_ENGINE: (&str, &str) = ("DOCKER_HOST", "unix:///nowhere/docker.sock");

#[test]
fn programs_of_the_host_are_enough_and_their_versions_are_told() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("doctor-programs");
    let (code, diagnosis) = doctor(&lab, &["--runtime", "auto"], &[NO_ENGINE]);
    assert_eq!(code, 0, "{diagnosis:#}");
    assert_eq!(diagnosis["would_use"], "process");
    assert_eq!(diagnosis["docker"], false);
    let engine = check(&diagnosis, "engine");
    // Not needed here, so no failure; but named with its place, why it is that one, and what to do.
    assert_eq!(engine["level"], "warn");
    assert!(engine["found"].as_str().unwrap().contains("unix:///nowhere/docker.sock (DOCKER_HOST)"));
    assert!(engine["advice"].as_str().unwrap().contains("--runtime process"));
    let postgres = check(&diagnosis, "program of notes-postgres");
    assert_eq!(postgres["level"], "ok");
    assert!(postgres["found"].as_str().unwrap().starts_with("PostgreSQL 1"), "{postgres}");
    let vault = check(&diagnosis, "program of vault");
    assert!(vault["found"].as_str().unwrap().contains("vaultlab"), "{vault}");
    for name in ["state folder", "disk", "memory", "port of vault"] {
        assert_ne!(check(&diagnosis, name)["level"], "fail", "{diagnosis:#}");
    }
    assert!(!lab.state().exists() || !lab.state().join("manifest.json").exists(), "it only looks");
}

#[test]
fn a_lab_that_could_not_come_up_fails_with_what_to_do() {
    let lab = TestLab::new("doctor-nothing");
    let empty = lab.folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let nothing = [
        NO_ENGINE,
        ("VAULTLAB_POSTGRES_BIN", empty.to_str().unwrap()),
        ("VAULTLAB_MYSQL_BIN", empty.to_str().unwrap()),
    ];
    let (code, diagnosis) = doctor(&lab, &["--runtime", "auto"], &nothing);
    assert_eq!((code, &diagnosis["can_come_up"]), (4, &Value::Bool(false)), "{diagnosis:#}");
    assert_eq!(diagnosis["would_use"], Value::Null);
    for name in ["engine", "program of notes-postgres", "program of notes-mysql"] {
        let check = check(&diagnosis, name);
        assert_eq!(check["level"], "fail");
        assert!(check["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{check}");
    }
    assert_eq!(check(&diagnosis, "program of vault")["level"], "ok", "the embedded server needs nothing");

    // Containers were asked for: programs do not make up for an engine.
    let (code, diagnosis) = doctor(&lab, &["--runtime", "docker"], &[NO_ENGINE]);
    assert_eq!(code, 4, "{diagnosis:#}");
    let output = lab.command(&["doctor", "--runtime", "docker"]).envs([NO_ENGINE]).output().unwrap();
    let shown = text(&output.stdout);
    assert!(shown.contains(" ✗ engine ") && shown.contains("cannot come up here"), "{shown}");
}

#[test]
fn a_port_that_is_asked_for_and_taken_is_told_with_its_holder() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let lab = TestLab::new("doctor-port");
    lab.write(
        "vaultlab.yaml",
        &format!("apiVersion: vaultlab/v1\nvault:\n  flavour: embedded\n  port: {port}\n"),
    );
    let (code, diagnosis) = doctor(&lab, &[], &[]);
    let found = check(&diagnosis, "port of vault");
    assert_eq!((code, &found["level"]), (4, &Value::from("fail")), "{diagnosis:#}");
    assert!(found["found"].as_str().unwrap().contains(&format!("{port}")), "{found}");
    assert!(found["found"].as_str().unwrap().contains("pid"), "{found}");

    drop(listener);
    let (code, diagnosis) = doctor(&lab, &[], &[]);
    assert_eq!(code, 0, "{diagnosis:#}");

    // The lab's own service is no stranger.
    lab.ok(&["up", "--progress", "quiet"]);
    let (code, diagnosis) = doctor(&lab, &[], &[]);
    assert_eq!(code, 0, "{diagnosis:#}");
    assert!(check(&diagnosis, "port of vault")["found"].as_str().unwrap().contains("the lab is running"));
}

#[test]
fn a_state_folder_that_cannot_be_used_and_an_open_one_are_told() {
    let lab = TestLab::new("doctor-state");
    let file = lab.write("a-file", "");
    let (code, diagnosis) = doctor(&lab, &[], &[("VAULTLAB_HOME", file.to_str().unwrap())]);
    let state = check(&diagnosis, "state folder");
    assert_eq!((code, &state["level"]), (4, &Value::from("fail")), "{diagnosis:#}");
    assert!(state["advice"].as_str().unwrap().contains("VAULTLAB_HOME"));

    let home = lab.folder.path().join("open");
    std::fs::create_dir(&home).unwrap();
    // A folder that was there keeps its mode; services of root need to pass, nobody needs to look.
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (_, diagnosis) = doctor(&lab, &[], &[("VAULTLAB_HOME", home.to_str().unwrap())]);
    let state = check(&diagnosis, "state folder");
    let mode = std::fs::metadata(Path::new(&home)).unwrap().permissions().mode() & 0o777;
    assert!(state["found"].as_str().unwrap().contains(&format!("mode {mode:04o}")), "{state}");
    assert_eq!(state["level"] == "warn", mode & 0o066 != 0, "{state}");
}

#[test]
fn a_lab_file_that_is_wrong_is_the_first_thing_to_mend() {
    let lab = TestLab::new("doctor-file");
    lab.write("vaultlab.yaml", "apiVersion: vaultlab/v1\nvalt: {}\n");
    let error = lab.fails(3, &["doctor"]);
    assert!(error.contains("valt"), "{error}");
    std::fs::remove_file(lab.folder.path().join("vaultlab.yaml")).unwrap();
}

/// Stands for an engine that is reached over TCP: passes everything on to the local socket.
fn engine_over_tcp() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let engine = std::os::unix::net::UnixStream::connect("/var/run/docker.sock").unwrap();
            let (mut from_client, mut to_client) = (client.try_clone().unwrap(), client);
            let (mut from_engine, mut to_engine) = (engine.try_clone().unwrap(), engine);
            // Whoever leaves first ends both.
            std::thread::spawn(move || drop(std::io::copy(&mut from_client, &mut to_engine)));
            std::thread::spawn(move || drop(std::io::copy(&mut from_engine, &mut to_client)));
        }
    });
    port
}

#[test]
fn an_engine_is_found_over_tcp_and_through_a_context_and_it_is_said_why_that_one() {
    if !support::containers::has(&[]) || !Path::new("/var/run/docker.sock").exists() {
        return;
    }
    let lab = TestLab::new("doctor-engine");
    let host = format!("tcp://127.0.0.1:{}", engine_over_tcp());
    let found = |diagnosis: &Value| check(diagnosis, "engine")["found"].as_str().unwrap().to_owned();
    let (_, diagnosis) = doctor(&lab, &[], &[("DOCKER_HOST", &host)]);
    assert!(found(&diagnosis).ends_with(&format!("at {host} (DOCKER_HOST)")), "{diagnosis:#}");
    assert_eq!(check(&diagnosis, "engine")["level"], "ok");

    let config = lab.folder.path().join("docker");
    let create = std::process::Command::new("docker")
        .args(["context", "create", "there", "--docker", &format!("host={host}")])
        .env("DOCKER_CONFIG", &config)
        .output()
        .unwrap();
    assert!(create.status.success(), "{}", text(&create.stderr));
    let there = [("DOCKER_CONFIG", config.to_str().unwrap()), ("DOCKER_CONTEXT", "there")];
    let (_, diagnosis) = doctor(&lab, &[], &there);
    assert!(found(&diagnosis).ends_with(&format!("at {host} (the Docker context there)")), "{diagnosis:#}");
}
