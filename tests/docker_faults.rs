//! Whatever happens to containers, to vaultlab or to the engine in the middle of `up`: it is told
//! clearly, the next `up` converges, and `down --volumes` leaves nothing.
//!
//! On the real engine with the stand-in images of `make images`; without them these tests pass with a
//! word, unless `VAULTLAB_REQUIRE_DOCKER` is set.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::containers::{ColdHome, MYSQL, POSTGRES, SERVER, container, docker, has, things_of};
use support::engine_proxy::{EngineProxy, Fault};
use support::{TestLab, eventually, postgres_lab, text};

/// How long a request to the engine may take to come that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The shipped lab.
fn shipped(name: &str) -> Option<TestLab> {
    has(&[POSTGRES, MYSQL, SERVER]).then(|| TestLab::contained(name))
}

/// A Vault and one PostgreSQL.
fn small(name: &str) -> Option<TestLab> {
    has(&[POSTGRES, SERVER]).then(|| {
        let lab = TestLab::contained(name);
        lab.write("vaultlab.yaml", &postgres_lab("small", "storage: file"));
        lab
    })
}

fn runs(lab: &TestLab, service: &str) -> bool {
    let id = container(lab, service);
    docker(&["inspect", "-f", "{{.State.Running}}", &id]).is_some_and(|running| running == "true")
}

/// Whether a container has written anything to its log.
fn says(id: &str) -> bool {
    let logs = Command::new("docker").args(["logs", id]).output().unwrap();
    logs.status.success() && !(logs.stdout.is_empty() && logs.stderr.is_empty())
}

fn goes(lab: &TestLab) {
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
    nothing_is_left(lab, "down --volumes");
}

fn nothing_is_left(lab: &TestLab, after: &str) {
    assert_eq!(things_of(&lab.name), Vec::<String>::new(), "{after}");
    lab.assert_gone();
}

/// Up to the last proof, and then there is nothing to do.
fn converges(lab: &TestLab, after: &str) {
    let output = lab.run(&["up", "--output", "json", "--progress", "quiet"]);
    assert!(output.status.success(), "after {after}: {}", text(&output.stderr));
    let up: Value = serde_json::from_slice(&output.stdout).unwrap();
    for database in up["databases"].as_array().unwrap() {
        for role in database["roles"].as_array().unwrap() {
            lab.ok(&["creds", role.as_str().unwrap()]);
        }
    }
    assert_eq!(lab.json(&["up"])["changed"], false, "after {after}");
}

fn changed(up: &Value) -> BTreeSet<&str> {
    let steps = up["steps"].as_array().unwrap().iter();
    steps.filter(|step| step["outcome"] == "changed").map(|step| step["step"].as_str().unwrap()).collect()
}

/// Asserts what `up` tells of a service whose container was killed.
fn told_the_end(up: support::Up, service: &str, after: &str) {
    let (code, events, error) = up.end();
    let told = error.contains(&format!("{service} ended unasked: exit code 137, SIGKILL"));
    assert!(code == Some(5) && told, "killed after {after}: {code:?} {error}\n{events:#?}");
    let log = events.iter().find(|event| event["event"] == "service_log" && event["service"] == service);
    let lines = log.expect("the last log lines")["lines"].as_array().unwrap();
    assert!(!lines.is_empty(), "killed after {after}");
}

/// With `--retain` everything stays as the failure left it, so every `up` but the first begins with what
/// the one before it did not finish.
#[test]
fn a_container_that_is_killed_in_any_phase_is_told_and_the_next_up_converges() {
    let Some(lab) = shipped("killed") else { return };
    converges(&lab, "nothing");
    goes(&lab);
    for (service, event, step) in [
        ("vault", "step_started", "init vault"),
        ("vault", "step_finished", "init vault"),
        ("vault", "step_finished", "unseal vault"),
        ("vault", "step_finished", "secrets engine"),
        ("notes-postgres", "step_finished", "start notes-postgres"),
        ("notes-mysql", "step_finished", "start notes-mysql"),
        ("vault", "step_finished", "approles"),
        ("notes-postgres", "step_started", "rotate-root notes-postgres"),
        ("notes-mysql", "step_finished", "connection notes-mysql"),
        ("notes-mysql", "step_finished", "rotate-root notes-mysql"),
    ] {
        let mut up = lab.spawn_up_with(&["--retain"]);
        assert!(up.until(event, step), "no {event} of {step}");
        up.frozen(|| drop(docker(&["kill", &container(&lab, service)]).expect("it runs")));
        told_the_end(up, service, &format!("{event} {step}"));
    }
    converges(&lab, "a container was killed in every phase");

    // Without it, the lab that was there keeps its data and nothing else runs.
    lab.ok(&["down", "--progress", "quiet"]);
    let mut up = lab.spawn_up();
    assert!(up.until("step_finished", "start notes-mysql"));
    up.frozen(|| drop(docker(&["kill", &container(&lab, "notes-mysql")]).expect("it runs")));
    told_the_end(up, "notes-mysql", "the start of a lab that was there");
    assert!(["vault", "notes-postgres", "notes-mysql"].iter().all(|service| !runs(&lab, service)));
    converges(&lab, "an undone up");
    goes(&lab);
}

#[test]
fn a_container_that_is_killed_while_it_initialises_is_told_and_undone() {
    if !has(&[POSTGRES, MYSQL, SERVER]) {
        return;
    }
    let home = ColdHome::new();
    let lab = home.lab("killed-cold");
    for service in ["notes-postgres", "notes-mysql"] {
        let mut up = lab.spawn_up();
        assert!(up.until("step_started", &format!("initialise {service}")));
        eventually("its container says something", PATIENCE, || says(&container(&lab, service)));
        docker(&["kill", &container(&lab, service)]).expect("it runs");
        told_the_end(up, service, "it began to initialise");
        nothing_is_left(&lab, "an undone up");
    }
}

/// Every step of a warm `up`; what one leaves that was killed, the next has to cope with.
#[test]
fn kill_9_after_every_step_then_up_converges() {
    let Some(lab) = shipped("kill-9") else { return };
    let mut up = lab.spawn_up();
    let mut steps = 0;
    while let Some(event) = up.next() {
        steps += usize::from(event["event"] == "step_finished");
    }
    assert!(up.child.wait().unwrap().success() && steps >= 18, "{steps} steps");
    goes(&lab);
    for count in 1..=steps {
        let mut up = lab.spawn_up();
        let step = up.until_step(count);
        up.kill();
        if count % 6 == 0 {
            converges(&lab, &format!("kill -9 after {step:?}"));
            goes(&lab);
        }
    }
    converges(&lab, "kill -9 after every step");
    goes(&lab);
}

#[test]
fn kill_9_while_the_first_databases_are_made() {
    if !has(&[POSTGRES, MYSQL, SERVER]) {
        return;
    }
    let home = ColdHome::new();
    let (proxy, mut lab) = (EngineProxy::start(), home.lab("kill-9-cold"));
    lab.engine = Some(proxy.address());
    // While it initialises; while its processes are frozen; while its data is copied; while that
    // becomes an image.
    for (method, path) in
        [("POST", "/start"), ("POST", "/pause"), ("GET", "/archive"), ("POST", "/images/create")]
    {
        proxy.trap(method, path, Fault::Hung);
        let up = lab.spawn_up();
        assert!(proxy.sprung(PATIENCE), "{method} {path} was not asked for");
        up.kill();
        proxy.mend();
    }
    let mut up = lab.spawn_up();
    assert!(up.until("step_finished", "initialise notes-mysql"), "MySQL was not initialised");
    up.kill();
    converges(&lab, "kill -9 in every phase of an initialisation");
    goes(&lab);
}

/// What `up` asks the engine for, in this order; the first of them in a lab that is new.
const REQUESTS: [(&str, &str); 6] = [
    ("POST", "/volumes/create"),
    ("POST", "/networks/create"),
    ("POST", "/containers/create"),
    ("DELETE", "/containers/"),
    ("PUT", "/archive"),
    ("POST", "/start"),
];

/// Either the engine never heard of the request, or it did and nobody was there to take the answer.
/// False when `up` ended without it.
fn killed_at(
    lab: &TestLab,
    proxy: &EngineProxy,
    (method, path): (&'static str, &'static str),
    fault: Fault,
) -> bool {
    proxy.trap(method, path, fault);
    let mut up = lab.spawn_up();
    let (mut sprung, mut ended) = (false, false);
    while !sprung && !ended {
        ended = up.child.try_wait().unwrap().is_some();
        sprung = proxy.sprung(Duration::from_millis(20));
    }
    up.kill();
    proxy.mend();
    sprung
}

#[test]
fn kill_9_at_every_request_to_the_engine_then_up_converges_or_down_leaves_nothing() {
    let Some(mut lab) = small("kill-9-engine") else { return };
    converges(&lab, "nothing");
    goes(&lab);
    let proxy = EngineProxy::start();
    lab.engine = Some(proxy.address());
    for request in REQUESTS {
        for fault in [Fault::Hung, Fault::None] {
            assert!(killed_at(&lab, &proxy, request, fault), "{request:?} was not asked for");
            goes(&lab);
        }
    }
    // What one leaves the next finds; what is done already it does not ask for.
    for fault in [Fault::Hung, Fault::None] {
        let killed = REQUESTS.into_iter().filter(|request| killed_at(&lab, &proxy, *request, fault)).count();
        assert!(killed > 0);
        converges(&lab, &format!("kill -9 at {killed} requests, {fault:?}"));
        goes(&lab);
    }
}

#[test]
fn a_vault_that_is_restarted_is_unsealed_by_up_and_nothing_else_changes() {
    let Some(lab) = small("restarted") else { return };
    lab.ok(&["up", "--no-keeper", "--progress", "quiet"]);
    let before = lab.json(&["status"]);
    assert!(docker(&["restart", &container(&lab, "vault")]).is_some());
    let sealed = lab.run(&["status"]);
    assert!(sealed.status.code() == Some(9) && text(&sealed.stdout).contains("sealed"), "{sealed:?}");
    let up = lab.json(&["up", "--no-keeper"]);
    assert_eq!(changed(&up), BTreeSet::from(["unseal vault"]), "{up:#}");
    assert_eq!(lab.json(&["status"])["vault"], before["vault"]);
    lab.ok(&["creds", "app"]);
    goes(&lab);
}

#[test]
fn a_lab_whose_containers_all_end_at_once_is_brought_back_as_it_was() {
    let Some(lab) = shipped("all-killed") else { return };
    lab.ok(&["up", "--no-keeper", "--progress", "quiet"]);
    let before = lab.json(&["status"]);
    let services = ["vault", "notes-postgres", "notes-mysql"];
    let killed: Vec<_> = services
        .iter()
        .map(|service| Command::new("docker").args(["kill", &container(&lab, service)]).spawn().unwrap())
        .collect();
    for mut kill in killed {
        assert!(kill.wait().unwrap().success());
    }
    let up = lab.json(&["up", "--no-keeper"]);
    let again = ["start vault", "start notes-postgres", "start notes-mysql", "unseal vault"];
    assert_eq!(changed(&up), BTreeSet::from(again), "nothing is rotated again: {up:#}");
    let after = lab.json(&["status"]);
    assert_eq!(after["vault"], before["vault"]);
    for (index, service) in after["services"].as_array().unwrap().iter().enumerate() {
        assert_eq!(service["address"], before["services"][index]["address"]);
    }
    for role in ["pg-read", "mysql-write"] {
        lab.ok(&["creds", role]);
    }
    assert_eq!(lab.json(&["up", "--no-keeper"])["changed"], false);
    goes(&lab);
}

#[test]
fn ten_labs_come_up_at_once() {
    if !has(&[POSTGRES, SERVER]) {
        return;
    }
    let home = ColdHome::new();
    let labs: Vec<TestLab> = (0..10)
        .map(|number| {
            let lab = home.lab(&format!("ten-{number}"));
            lab.write("vaultlab.yaml", &postgres_lab("ten", "storage: file"));
            lab
        })
        .collect();
    let ups: Vec<_> = labs.iter().map(|lab| lab.spawn_up_with(&["--timeout", "5m"])).collect();
    for up in ups {
        let (code, events, error) = up.end();
        assert_eq!(code, Some(0), "{error}\n{events:#?}");
    }
    let mut addresses = BTreeSet::new();
    for lab in &labs {
        let status = lab.json(&["status"]);
        for service in status["services"].as_array().unwrap() {
            assert_eq!(service["state"], "running");
            addresses.insert(service["address"].as_str().unwrap().to_owned());
        }
        lab.ok(&["creds", "app"]);
    }
    assert_eq!(addresses.len(), 20, "every service has an address of its own: {addresses:?}");
    let downs: Vec<_> = labs
        .iter()
        .map(|lab| lab.command(&["down", "--volumes", "--progress", "quiet"]).spawn().unwrap())
        .collect();
    for mut down in downs {
        assert!(down.wait().unwrap().success());
    }
    for lab in &labs {
        nothing_is_left(lab, "ten at once");
    }
}

#[test]
fn an_engine_that_goes_away_is_told_and_the_next_up_goes_on() {
    let Some(mut lab) = small("engine") else { return };
    converges(&lab, "nothing");
    goes(&lab);
    let proxy = EngineProxy::start();
    lab.engine = Some(proxy.address());
    for request in [("POST", "/networks/create"), ("POST", "/containers/create"), ("POST", "/start")] {
        let (method, path) = request;
        proxy.trap(method, path, Fault::Gone);
        let (code, _, error) = lab.spawn_up().end();
        assert!(code == Some(5) && error.contains("the container engine could not"), "{code:?} {error}");
        assert!(error.contains("next: docker info"), "{error}");
        // What could not be undone is not forgotten.
        assert!(lab.state().join("manifest.json").exists(), "at {method} {path}");
        let error = lab.fails(5, &["up", "--progress", "quiet"]);
        assert!(error.contains("no container engine answers at unix://"), "{error}");
        lab.fails(5, &["down", "--volumes", "--progress", "quiet"]);
        proxy.mend();
        converges(&lab, "the engine went away");
        goes(&lab);
    }
}

/// As Docker says it.
const FULL: Fault = Fault::Refuses(500, "write /var/lib/docker/tmp/layer: no space left on device");

#[test]
fn a_full_disk_is_told_whatever_it_was_that_had_no_room_and_the_next_up_goes_on() {
    let Some(mut lab) = small("full") else { return };
    converges(&lab, "nothing");
    goes(&lab);
    let proxy = EngineProxy::start();
    lab.engine = Some(proxy.address());
    for (method, path) in
        [("POST", "/volumes/create"), ("POST", "/containers/create"), ("PUT", "/archive"), ("POST", "/start")]
    {
        proxy.trap(method, path, FULL);
        let (code, _, error) = lab.spawn_up().end();
        assert!(code == Some(5) && error.contains("no space left on device"), "{path}: {code:?} {error}");
        assert!(error.contains(" prune") && error.contains("docker system df"), "{error}");
        proxy.mend();
        nothing_is_left(&lab, "an undone up");
    }
    converges(&lab, "a full disk");
    goes(&lab);
}

#[test]
fn a_lab_whose_data_finds_no_room_to_be_kept_comes_up_and_the_next_one_starts_over() {
    if !has(&[POSTGRES, SERVER]) {
        return;
    }
    let home = ColdHome::new();
    let proxy = EngineProxy::start();
    let up = |number: usize| {
        let mut lab = home.lab(&format!("not-kept-{number}"));
        lab.write("vaultlab.yaml", &postgres_lab("not-kept", "storage: file"));
        lab.engine = Some(proxy.address());
        let (code, events, error) = lab.spawn_up().end();
        assert_eq!(code, Some(0), "{error}");
        lab.ok(&["creds", "app"]);
        goes(&lab);
        let initialised = events.iter().any(|event| event["step"] == "initialise db");
        let told = |event: &Value| {
            let message = event["message"].as_str().unwrap_or_default();
            message.contains("next lab") && message.contains("no space left on device")
        };
        (initialised, events.iter().any(told))
    };
    for (number, (method, path)) in [("GET", "/archive"), ("POST", "/images/create")].into_iter().enumerate()
    {
        proxy.trap(method, path, FULL);
        assert_eq!(up(number), (true, true), "{path}: initialised, and told that it is not kept");
        proxy.mend();
    }
    assert_eq!(up(2), (true, false), "nothing was kept so far");
    assert_eq!(up(3), (false, false), "now it was");
}

#[test]
fn an_engine_that_hangs_does_not_keep_up_beyond_its_timeout() {
    let Some(mut lab) = small("engine-hangs") else { return };
    converges(&lab, "nothing");
    goes(&lab);
    let proxy = EngineProxy::start();
    lab.engine = Some(proxy.address());
    proxy.trap("POST", "/start", Fault::Hung);
    let (code, events, error) = lab.spawn_up_with(&["--timeout", "3s"]).end();
    assert!(code == Some(10) && error.contains("was not up after 3 s"), "{code:?} {error} {events:#?}");
    let warned = events.iter().any(|event| {
        event["event"] == "warning" && event["message"].as_str().unwrap().starts_with("could not undo")
    });
    assert!(warned, "what stays is told: {events:#?}");
    proxy.mend();
    converges(&lab, "the engine hung");
    goes(&lab);
}

#[test]
fn a_lab_whose_folder_is_lost_is_found_by_its_labels() {
    let Some(lab) = small("lost") else { return };
    lab.ok(&["up", "--no-keeper", "--progress", "quiet"]);
    std::fs::remove_dir_all(lab.state()).unwrap();
    let listed = |state: &str| {
        let labs = lab.json(&["ls"]);
        let found = labs.as_array().unwrap().iter().find(|found| found["lab"] == lab.name.as_str());
        assert_eq!(found.map(|found| found["state"].as_str().unwrap()), Some(state), "{labs:#}");
    };
    listed("up, its folder is lost");
    // Nothing but its name is known: not from here, not from its file.
    std::fs::remove_file(lab.folder.path().join("vaultlab.yaml")).unwrap();
    let output = lab.run(&["status", "--output", "json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&status["lost"], &status["runtime"]), (&Value::Bool(true), &Value::from("docker")));
    let services = status["services"].as_array().unwrap();
    let db = services.iter().find(|service| service["name"] == "db").expect("the database");
    assert_eq!((&db["kind"], &db["state"]), (&Value::from("postgres"), &Value::from("running")));
    assert!(text(&lab.run(&["status"]).stdout).contains("Next: vaultlab --name"), "what to do is said");

    lab.write("vaultlab.yaml", &postgres_lab("small", "storage: file"));
    let output = lab.run(&["up", "--progress", "quiet"]);
    let error = text(&output.stderr);
    assert!(!output.status.success() && error.contains("down --volumes"), "{error}");
    assert!(runs(&lab, "db"), "what ran before goes on");

    std::fs::remove_dir_all(lab.state()).unwrap();
    lab.ok(&["down", "--progress", "quiet"]);
    assert!(!runs(&lab, "db") && !runs(&lab, "vault"));
    std::fs::remove_dir_all(lab.state()).unwrap();
    listed("down, its folder is lost");
    goes(&lab);
}

#[test]
fn a_lab_without_a_folder_on_an_engine_that_does_not_answer_is_not_said_to_be_gone() {
    let mut lab = TestLab::contained("unasked");
    lab.engine = Some(format!("unix://{}/none", lab.folder.path().display()));
    for arguments in [&["down"][..], &["down", "--volumes"]] {
        let told = lab.ok(arguments);
        assert!(told.contains("was not asked: none answers at unix://"), "{told}");
        assert!(!told.contains("is gone"), "{told}");
    }
    let down = lab.json(&["down"]);
    assert!(down["engine_skipped"].as_str().unwrap().contains("none answers"), "{down:#}");
    let status = lab.run(&["status"]);
    assert!(text(&status.stdout).contains("was not asked"), "{status:?}");
}
