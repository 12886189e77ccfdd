//! An engine behind ssh, as `DOCKER_HOST` and Docker contexts name it, through a sshd of the test's own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod support;

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use support::containers::{POSTGRES, SERVER, container, docker, has, things_of};
use support::own_sshd::{ALIAS, OwnSshd};
use support::{TestLab, eventually, postgres_lab, text};

/// `vaultlab` with this sshd's client, and an engine at this address.
fn command(lab: &TestLab, sshd: &OwnSshd, engine: &str, arguments: &[&str]) -> Command {
    let mut command = lab.command(arguments);
    command.env("PATH", sshd.search_path()).env("DOCKER_HOST", engine);
    command
}

fn run(lab: &TestLab, sshd: &OwnSshd, engine: &str, arguments: &[&str]) -> Output {
    command(lab, sshd, engine, arguments).output().unwrap()
}

fn engine_check(output: &Output) -> Value {
    let diagnosis: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let checks = diagnosis["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == "engine").unwrap().clone()
}

#[test]
fn a_lab_lives_on_an_engine_of_this_machine_behind_ssh() {
    if !has(&[POSTGRES, SERVER]) {
        return;
    }
    let Some(sshd) = OwnSshd::start("") else { return };
    let lab = TestLab::contained("ssh");
    lab.write("vaultlab.yaml", &postgres_lab("ssh", "storage: file"));
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    let engine = format!("ssh://{user}@127.0.0.1:{}", sshd.port);
    let ok = |arguments: &[&str]| {
        let output = run(&lab, &sshd, &engine, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    ok(&["up", "--progress", "quiet"]);
    assert_eq!(things_of(&lab.name).len(), 6, "two containers, three volumes, a network");
    assert!(ok(&["up", "--progress", "quiet"]).contains("nothing to do"));
    ok(&["creds", "app"]);
    assert!(ok(&["logs", "vault", "--tail", "5"]).contains("unsealed"));

    // The keeper is behind ssh too.
    let vault = container(&lab, "vault");
    docker(&["kill", &vault]).expect("it runs");
    eventually("the keeper starts and unseals it again", Duration::from_secs(60), || {
        run(&lab, &sshd, &engine, &["creds", "app"]).status.success()
    });

    // By a name that only ssh's own configuration knows, and through a context.
    let alias = format!("ssh://{ALIAS}");
    let doctor = run(&lab, &sshd, &alias, &["doctor", "--output", "json"]);
    let check = engine_check(&doctor);
    assert_eq!(check["level"], "ok", "{check}");
    let config = lab.folder.path().join("docker");
    let create = Command::new("docker")
        .args(["context", "create", "behind", "--docker", &format!("host={engine}")])
        .env("DOCKER_CONFIG", &config)
        .output()
        .unwrap();
    assert!(create.status.success(), "{}", text(&create.stderr));
    let doctor = command(&lab, &sshd, "", &["doctor", "--output", "json"])
        .env_remove("DOCKER_HOST")
        .env("DOCKER_CONFIG", &config)
        .env("DOCKER_CONTEXT", "behind")
        .output()
        .unwrap();
    let check = engine_check(&doctor);
    let found = check["found"].as_str().unwrap();
    assert!(
        check["level"] == "ok" && found.contains(&format!("at {engine} (the Docker context behind)")),
        "{check}"
    );

    ok(&["down", "--volumes", "--progress", "quiet"]);
    assert_eq!(things_of(&lab.name), Vec::<String>::new());
    lab.assert_gone();
    let left = Command::new("pgrep").args(["-f", &format!("ssh.*-p {} -- 127.0.0.1", sshd.port)]).output();
    assert_eq!(text(&left.unwrap().stdout), "", "no ssh is left");
}

#[test]
fn an_engine_behind_ssh_that_is_elsewhere_or_out_of_reach_is_told() {
    if !has(&[POSTGRES, SERVER]) {
        return;
    }
    // It is another machine that says to have another kernel: an address of this one may be a tunnel.
    let Some(sshd) = OwnSshd::start(
        "ForceCommand case \"$SSH_ORIGINAL_COMMAND\" in cat*) echo another; echo 'net:[1]' ;; \
         *) exec sh -c \"$SSH_ORIGINAL_COMMAND\" ;; esac",
    ) else {
        return;
    };
    let lab = TestLab::contained("ssh-far");
    lab.write("vaultlab.yaml", &postgres_lab("ssh-far", "storage: file"));
    let engine = format!("ssh://{ALIAS}");
    let output = run(&lab, &sshd, &engine, &["up", "--progress", "quiet"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{error}");
    assert!(
        error.contains(&format!("{engine} is on another machine")) && error.contains("run vaultlab there"),
        "{error}"
    );
    assert!(error.contains("next: docker context ls"), "{error}");
    let check = engine_check(&run(&lab, &sshd, &engine, &["doctor", "--output", "json"]));
    assert!(
        check["level"] == "fail" && check["advice"].as_str().unwrap().contains("run vaultlab there"),
        "{check}"
    );

    // What ssh says is what is told.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (engine, words) in [
        (format!("ssh://127.0.0.1:{closed}"), "Connection refused"),
        (format!("ssh://localhost:{}", sshd.port), "Host key verification failed"),
        (format!("ssh://nobody-at-all@127.0.0.1:{}", sshd.port), "Permission denied"),
        (format!("ssh://{ALIAS}/nowhere.sock"), "nowhere.sock"),
        ("ssh://me:secret@far".to_owned(), "use a key"),
    ] {
        let output = run(&lab, &sshd, &engine, &["up", "--progress", "quiet"]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{engine}: {error}");
        assert!(error.contains("no container engine answers at ssh://") && error.contains(words), "{error}");
        assert!(error.contains("docker version") && !error.contains("secret"), "{error}");
    }
    assert_eq!(things_of(&lab.name), Vec::<String>::new());
}
