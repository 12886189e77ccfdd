//! Pulling for real: from a registry of the test's own, which wants a login, is busy, and breaks off.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use support::containers::docker;
use support::own_engine::OwnEngine;
use support::registry::{LAYER, Registry, image_at, is_here, pulled, up};
use support::{TestLab, text};

#[test]
fn an_image_is_pulled_when_the_policy_says_so_and_its_layers_are_told() {
    let Some(registry) = Registry::start(false) else { return };
    let lab = TestLab::new("pull");
    let image = image_at(registry.port);

    let (events, told) = up(&lab, &image, &["--pull", "never"], None);
    assert!(pulled(&events).is_none() && told.contains("--pull missing") && !is_here(&image), "{told}");

    let (events, told) = up(&lab, &image, &[], None);
    assert_eq!(pulled(&events), Some("changed"), "{told}");
    let mut largest = std::collections::HashMap::new();
    for event in events.iter().filter(|event| event["event"] == "progress") {
        assert_eq!(event["unit"], "bytes");
        let seen: &mut u64 = largest.entry(event["item"].as_str().unwrap().to_owned()).or_default();
        *seen = (*seen).max(event["done"].as_u64().unwrap());
    }
    assert_eq!(largest.len(), 2, "two layers: {largest:?}");
    assert!(largest.values().all(|bytes| *bytes > 0), "{largest:?}");
    assert!(is_here(&image));

    // It is here: only `always` asks again.
    let (events, told) = up(&lab, &image, &["--pull", "missing"], None);
    assert!(pulled(&events).is_none(), "{told}");
    let (events, told) = up(&lab, &image, &["--pull", "always"], None);
    assert_eq!(pulled(&events), Some("changed"), "{told}");

    // By digest it is the same one.
    let digest = docker(&["image", "inspect", "-f", "{{index .RepoDigests 0}}", &image]).unwrap();
    docker(&["rmi", &image]);
    assert!(digest.contains("@sha256:") && !is_here(&image));
    let (events, told) = up(&lab, &digest, &[], None);
    assert_eq!(pulled(&events), Some("changed"), "{told}");
    assert!(is_here(&digest));
    docker(&["rmi", &digest]);

    let missing = image.replace(":1", ":2");
    let (events, told) = up(&lab, &missing, &[], None);
    assert_eq!(pulled(&events), Some("failed"), "{told}");
    assert!(told.contains("manifest unknown") && !told.contains("trying again"), "{told}");
}

#[test]
fn a_registry_with_a_login_takes_it_from_the_file_and_from_a_helper() {
    let Some(registry) = Registry::start(true) else { return };
    let lab = TestLab::new("pull-login");
    let image = image_at(registry.port);

    for config in [None, Some(registry.docker_config("tester", "wrong-password"))] {
        let (events, told) = up(&lab, &image, &[], config.as_deref());
        assert_eq!(pulled(&events), Some("failed"), "{told}");
        let next = format!("next: docker login 127.0.0.1:{}", registry.port);
        assert!(told.contains(&next) && !told.contains("wrong-password"), "{told}");
        assert!(!is_here(&image));
    }

    let config = registry.docker_config("tester", "right-password");
    let (events, told) = up(&lab, &image, &[], Some(&config));
    assert_eq!(pulled(&events), Some("changed"), "{told}");
    assert!(!told.contains("right-password") && is_here(&image));
    docker(&["rmi", &image]);

    // A helper program is asked in place of the file.
    let helper = lab.write(
        "bin/docker-credential-vaultlab-test",
        "#!/bin/sh\nread -r server\n\
         printf '{\"ServerURL\": \"%s\", \"Username\": \"tester\", \"Secret\": \"right-password\"}' \"$server\"\n",
    );
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = lab.write("helped/config.json", r#"{"credsStore": "vaultlab-test"}"#);
    let path = format!("{}:{}", helper.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = lab
        .command(&["up", "--runtime", "docker", "--progress", "json"])
        .env("DOCKER_CONFIG", config.parent().unwrap())
        .env("PATH", path)
        .output()
        .unwrap();
    let told = text(&output.stderr);
    let events: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(pulled(&events), Some("changed"), "{told}");
    docker(&["rmi", &image]);
}

#[test]
fn a_busy_registry_and_a_connection_that_breaks_off_are_tried_again() {
    let Some(registry) = Registry::start(false) else { return };
    let lab = TestLab::new("pull-faults");
    let proxy = Proxy::start(registry.port, 2, 1);
    let image = image_at(proxy.port);
    let (events, told) = up(&lab, &image, &[], None);
    assert_eq!(pulled(&events), Some("changed"), "{told}");
    assert!(told.contains("toomanyrequests") && told.contains("trying again in"), "{told}");
    assert_eq!(proxy.faults.refusals.load(Ordering::SeqCst), 0, "it was refused as often as that");
    assert_eq!(proxy.faults.cuts.load(Ordering::SeqCst), 0, "it was cut as often as that");
    assert!(is_here(&image));
    docker(&["rmi", &image]);
}

/// Nobody asked for containers: none are fetched, and no registry is asked, unless `--pull` says so.
#[test]
fn with_runtime_auto_an_image_that_only_a_registry_has_is_pulled_when_that_is_asked_for() {
    let Some(registry) = Registry::start(false) else { return };
    let lab = TestLab::new("pull-auto");
    let proxy = Proxy::start(registry.port, 0, 0);
    let image = image_at(proxy.port);
    lab.write("vaultlab.yaml", &format!("apiVersion: vaultlab/v1\nvault:\n  image: {image}\n"));
    let up = |arguments: &[&str]| {
        let mut command = lab.command(&[&["up", "--no-keeper", "--progress", "json"], arguments].concat());
        let output = command.env_remove("VAULTLAB_RUNTIME").output().unwrap();
        let told = text(&output.stderr);
        let events: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (output.status.success(), events, told)
    };
    let (success, events, told) = up(&[]);
    assert!(success && pulled(&events).is_none(), "{told}");
    let note = format!("services run as programs of this host: the container engine has no image {image}");
    let notes = events.iter().filter(|event| {
        event["message"]
            .as_str()
            .is_some_and(|message| message.contains(&note) && message.contains("pulls it"))
    });
    assert_eq!(notes.count(), 1, "in one line: {told}");
    assert_eq!(proxy.faults.requests.load(Ordering::SeqCst), 0, "the registry was asked");
    let runtime = || lab.json(&["status"])["runtime"].clone();
    assert_eq!(runtime(), "process");

    // A lab that is there stays where it is; a new one goes where its image now can be.
    let (success, events, told) = up(&["--pull", "missing"]);
    assert!(success && pulled(&events).is_none(), "{told}");
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
    let (success, events, told) = up(&["--pull", "missing"]);
    assert_eq!(pulled(&events), Some("changed"), "{told}");
    // There is no program in it: that is told, and no other place is taken instead.
    assert!(!success && !told.contains("services run as programs"), "{told}");
    assert!(is_here(&image));
    docker(&["rmi", &image]);
}

/// The engine's words come in the middle of a pull that went well so far.
#[test]
fn a_disk_that_runs_full_while_an_image_is_pulled_is_told_and_with_room_it_is_pulled() {
    let Some(registry) = Registry::start(false) else { return };
    let Some(engine) = OwnEngine::start(&[]) else { return };
    let mut lab = TestLab::new("pull-full");
    lab.engine = Some(engine.address());
    let image = image_at(registry.port);
    // Less than one layer takes.
    engine.fill_disk(2);
    let (events, told) = up(&lab, &image, &[], None);
    assert_eq!(pulled(&events), Some("failed"), "{told}");
    assert!(told.contains("no space left on device") && !told.contains("trying again"), "{told}");
    assert!(told.contains(" prune") && told.contains("docker system df"), "{told}");
    engine.make_room();
    let (events, told) = up(&lab, &image, &[], None);
    assert_eq!(pulled(&events), Some("changed"), "{told}");
    assert!(engine.docker(&["image", "inspect", &image]).is_some());
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
}

/// What is still to go wrong.
struct Faults {
    /// Requests for a manifest that are answered with 429.
    refusals: AtomicUsize,
    /// Layers that break off in the middle.
    cuts: AtomicUsize,
    /// How often it was asked for anything.
    requests: AtomicUsize,
}

impl Faults {
    fn take(counter: &AtomicUsize) -> bool {
        counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

/// Stands before the registry and makes it fail.
struct Proxy {
    port: u16,
    faults: Arc<Faults>,
}

impl Proxy {
    fn start(registry: u16, refusals: usize, cuts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let faults = Arc::new(Faults { refusals: refusals.into(), cuts: cuts.into(), requests: 0.into() });
        let shared = faults.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                shared.requests.fetch_add(1, Ordering::SeqCst);
                let faults = shared.clone();
                // A client that goes away is no concern of the test's.
                std::thread::spawn(move || drop(pass_on(client, registry, &faults)));
            }
        });
        Self { port, faults }
    }
}

/// One request and its answer; then the connection ends.
fn pass_on(mut client: TcpStream, registry: u16, faults: &Faults) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    if head.contains("/manifests/") && Faults::take(&faults.refusals) {
        let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#;
        return write!(
            client,
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }
    let mut server = TcpStream::connect(("127.0.0.1", registry))?;
    let request = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(request.as_bytes())?;
    // Configurations are blobs too; layers are the large ones.
    if head.contains("/blobs/") && faults.cuts.load(Ordering::SeqCst) > 0 {
        let mut beginning = vec![0; LAYER / 2];
        let mut read = 0;
        while read < beginning.len() {
            match server.read(&mut beginning[read..])? {
                0 => break,
                more => read += more,
            }
        }
        client.write_all(&beginning[..read])?;
        if read == beginning.len() && Faults::take(&faults.cuts) {
            return client.shutdown(Shutdown::Both);
        }
    }
    std::io::copy(&mut server, &mut client)?;
    Ok(())
}
