//! Every way to name an image and to log in to its registry, and what is told of a registry's refusals.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use support::containers::{docker, has};
use support::registry::{Registry, image_at, is_here, pulled, up};
use support::{TestLab, text};

#[test]
fn an_image_is_pulled_by_tag_by_digest_and_by_both() {
    let Some(registry) = Registry::start(false) else { return };
    let lab = TestLab::new("pull-names");
    // By another name of the host, which is another registry to the engine.
    let name = format!("localhost:{}/vaultlab-test/image", registry.port);
    let tagged = format!("{name}:1");
    let (events, told) = up(&lab, &tagged, &[], None);
    assert!(pulled(&events) == Some("changed") && is_here(&tagged), "{told}");
    let digest = docker(&["image", "inspect", "-f", "{{index .RepoDigests 0}}", &tagged]).unwrap();
    let digest = digest.split_once('@').unwrap().1.to_owned();
    docker(&["rmi", &tagged]);
    for image in [format!("{name}@{digest}"), format!("{name}:1@{digest}"), format!("{name}:gone@{digest}")] {
        assert!(!is_here(&image), "{image}");
        let (events, told) = up(&lab, &image, &[], None);
        assert_eq!(pulled(&events), Some("changed"), "{image}: {told}");
        let (events, told) = up(&lab, &image, &["--pull", "never"], None);
        // It is here: what is wrong then is that it holds no program.
        assert!(pulled(&events).is_none() && !told.contains("is not there"), "{image}: {told}");
        docker(&["rmi", &format!("{name}@{digest}")]);
    }
    let other = format!("{name}:1@sha256:{}", "0".repeat(64));
    let (events, told) = up(&lab, &other, &[], None);
    assert!(pulled(&events) == Some("failed") && told.contains("manifest unknown"), "{told}");
    let (_, told) = up(&lab, &format!("{name}:1@sha256:12"), &[], None);
    assert!(told.contains("64 hexadecimal digits"), "{told}");
}

#[test]
fn a_registry_that_is_down_matters_only_to_who_wants_the_newest() {
    let Some(registry) = Registry::start(false) else { return };
    let lab = TestLab::new("pull-down");
    let image = image_at(registry.port);
    let (events, told) = up(&lab, &image, &[], None);
    assert_eq!(pulled(&events), Some("changed"), "{told}");
    drop(registry);
    for policy in ["missing", "never"] {
        let (events, told) = up(&lab, &image, &["--pull", policy], None);
        assert!(pulled(&events).is_none() && !told.contains("pulled"), "{policy}: {told}");
    }
    let (events, told) = up(&lab, &image, &["--pull", "always"], None);
    assert_eq!(pulled(&events), Some("failed"), "{told}");
    assert!(told.contains("cannot be pulled anew") && told.contains("connection refused"), "{told}");
    assert!(told.contains("up --pull missing") && !told.contains("is not there"), "{told}");
    docker(&["rmi", &image]);
    let (events, told) = up(&lab, &image, &["--pull", "always"], None);
    assert!(pulled(&events) == Some("failed") && told.contains("is not there"), "{told}");
}

/// A registry that answers every request for an image with this status.
fn registry_that_says(status: &'static str, code: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let read = client.read(&mut request).unwrap_or(0);
            let line = String::from_utf8_lossy(&request[..read]).into_owned();
            let (status, body) = if line.contains("/manifests/") {
                (status, format!(r#"{{"errors":[{{"code":"{code}","message":"said the test"}}]}}"#))
            } else {
                ("200 OK", "{}".to_owned())
            };
            // A client that goes away is no concern of the test's.
            drop(write!(
                client,
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
    });
    port
}

#[test]
fn what_a_registry_refuses_is_told_with_what_to_do() {
    if !has(&[]) {
        return;
    }
    std::thread::scope(|scope| {
        for (status, code, words, tried_again, login) in [
            ("401 Unauthorized", "UNAUTHORIZED", "unauthorized", false, true),
            ("403 Forbidden", "DENIED", "denied", false, true),
            ("404 Not Found", "MANIFEST_UNKNOWN", "manifest unknown", false, false),
            ("429 Too Many Requests", "TOOMANYREQUESTS", "toomanyrequests", true, false),
            ("500 Internal Server Error", "UNKNOWN", "500 internal server error", true, false),
            ("503 Service Unavailable", "UNAVAILABLE", "503 service unavailable", true, false),
        ] {
            scope.spawn(move || {
                let lab = TestLab::new(&format!("pull-{}", &status[..3]));
                let port = registry_that_says(status, code);
                let (events, told) = up(&lab, &image_at(port), &[], None);
                assert_eq!(pulled(&events), Some("failed"), "{status}: {told}");
                assert!(told.to_lowercase().contains(words), "{status}: {told}");
                assert_eq!(told.contains("after 5 attempts"), tried_again, "{status}: {told}");
                let next = format!("next: docker login 127.0.0.1:{port}");
                assert_eq!(told.contains(&next), login, "{status}: {told}");
                assert!(told.contains("make images"), "{status}: {told}");
            });
        }
    });
}

#[test]
fn logins_are_read_in_every_form_and_what_is_wrong_with_them_is_told() {
    let Some(registry) = Registry::start(true) else { return };
    let lab = TestLab::new("pull-logins");
    let (image, host) = (image_at(registry.port), format!("127.0.0.1:{}", registry.port));
    for (name, script) in [
        ("right", r#"printf '{"Username": "tester", "Secret": "right-password"}'"#),
        ("wrong", r#"printf '{"Username": "tester", "Secret": "wrong-password"}'"#),
        ("empty", "echo 'credentials not found in native keychain'; exit 1"),
        ("broken", "echo 'the keychain is locked'; exit 1"),
        ("babbling", "echo hello"),
    ] {
        let helper = lab.write(
            &format!("bin/docker-credential-test-{name}"),
            &format!("#!/bin/sh\ncat >/dev/null\n{script}\n"),
        );
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    lab.write("vaultlab.yaml", &format!("apiVersion: vaultlab/v1\nvault:\n  image: {image}\n"));
    let path = format!("{}:{}", lab.folder.path().join("bin").display(), std::env::var("PATH").unwrap());
    let plain = r#""username": "tester", "password": "right-password""#;
    // What the configuration says, and what is told; nothing where the image comes.
    for (config, wanted) in [
        (format!(r#""auths": {{"{host}": {{{plain}}}}}"#), None),
        (format!(r#""auths": {{"https://{host}/v2/": {{{plain}}}}}"#), None),
        (format!(r#""auths": {{"http://{host}": {{{plain}}}}}, "credsStore": "test-empty""#), None),
        (format!(r#""credHelpers": {{"{host}": "test-right"}}, "credsStore": "test-wrong""#), None),
        (r#""credHelpers": {"other.example": "test-wrong"}, "credsStore": "test-right""#.into(), None),
        (r#""credsStore": "test-empty""#.into(), Some(["docker login", "no basic auth credentials"])),
        (r#""credsStore": "test-wrong""#.into(), Some(["docker login", "unauthorized"])),
        (
            r#""credsStore": "test-broken""#.into(),
            Some(["docker-credential-test-broken", "the keychain is locked"]),
        ),
        (r#""credsStore": "test-none""#.into(), Some(["docker-credential-test-none", "docker logout"])),
        (
            r#""credsStore": "test-babbling""#.into(),
            Some(["docker-credential-test-babbling", "not understood"]),
        ),
        (format!(r#""auths": {{"{host}": {{"auth": "%"}}}}"#), Some(["is not base64", "docker logout"])),
        (r#""auths": []"#.into(), Some(["config.json", "docker logout"])),
    ] {
        let file = lab.write("config/config.json", &format!("{{{config}}}"));
        let output = lab
            .command(&["up", "--runtime", "docker", "--progress", "json"])
            .env("DOCKER_CONFIG", file.parent().unwrap())
            .env("PATH", &path)
            .output()
            .unwrap();
        let told = text(&output.stderr);
        assert!(!told.contains("-password"), "{config}: {told}");
        assert_eq!(is_here(&image), wanted.is_none(), "{config}: {told}");
        for words in wanted.into_iter().flatten() {
            assert!(told.contains(words), "{words}: {config}: {told}");
        }
        docker(&["rmi", &image]);
    }
}
