//! The Vault: the embedded server, which needs nothing but this project's own program.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;
use vaultlab::report::Report;
use vaultlab::runtime::process::{ProcessRuntime, Programs};
use vaultlab::runtime::{DataOrigin, Running, Runtime, RuntimeError};
use vaultlab::service::{Service, VAULT};
use vaultlab::spec::model::{Flavour, Storage, VaultSpec};

use crate::support::{Lab, Place, kill, pid};

fn spec() -> VaultSpec {
    VaultSpec {
        flavour: Flavour::Embedded,
        version: None,
        image: None,
        storage: Storage::File,
        key_shares: 1,
        key_threshold: 1,
        audit: None,
        keep_root_token: false,
        key_store: vaultlab::state::Protection::Plain,
        port: None,
    }
}

fn runtime(lab: &Lab) -> ProcessRuntime {
    let programs = Programs { vaultlab: Some(env!("CARGO_BIN_EXE_vaultlab").into()), ..Programs::from_env() };
    ProcessRuntime::with_programs(&lab.home, &lab.dir, programs)
}

async fn up(lab: &Lab, spec: &VaultSpec) -> Result<Running, RuntimeError> {
    let deadline = Instant::now() + Duration::from_mins(1);
    runtime(lab).ensure_running(&Service::Vault(spec.clone()), &Report::silent(), deadline).await
}

/// The answer to `GET path`, with its status.
async fn get(running: &Running, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(running.endpoint.to_string()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_started_reused_restarted_after_a_kill_and_when_its_configuration_changes() {
    let place = Place::new();
    let lab = place.lab("vault");
    let mut spec = spec();
    // A port of its own: the usual one may be another test's by the time of the restart.
    spec.port = Some(std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let first = up(&lab, &spec).await.unwrap();
    assert_eq!(
        (first.data, first.reused, first.flavour),
        (DataOrigin::Fresh, false, Some(Flavour::Embedded))
    );
    // Uninitialised: that is what provisioning starts from.
    assert_eq!(get(&first, "/v1/sys/health").await.0, 501);
    let server = pid(&lab, VAULT);
    if nix::unistd::geteuid().is_root() {
        assert_ne!(std::fs::metadata(format!("/proc/{server}")).unwrap().uid(), 0, "it runs as root");
    }
    assert!(up(&lab, &spec).await.unwrap().reused);
    assert_eq!(pid(&lab, VAULT), server);

    kill(server, Signal::SIGKILL);
    let second = up(&lab, &spec).await.unwrap();
    assert_eq!((second.data, second.reused, &second.endpoint), (DataOrigin::Kept, false, &first.endpoint));
    let server = pid(&lab, VAULT);

    spec.storage = Storage::Inmem;
    let third = up(&lab, &spec).await.unwrap();
    assert!(!third.reused);
    assert_ne!(pid(&lab, VAULT), server);
    assert_eq!(get(&third, "/v1/sys/health").await.0, 501);
    runtime(&lab).remove(VAULT).await.unwrap();
    assert!(!lab.dir.service(VAULT).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_that_was_asked_for_is_an_error() {
    let place = Place::new();
    let lab = place.lab("vaultport");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = VaultSpec { port: Some(taken.local_addr().unwrap().port()), ..spec() };
    let error = up(&lab, &spec).await.unwrap_err();
    assert!(error.to_string().contains(&format!("(pid {})", std::process::id())), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_another_flavour_is_not_touched() {
    let place = Place::new();
    let lab = place.lab("vaultflavour");
    up(&lab, &spec()).await.unwrap();
    runtime(&lab).stop(VAULT, Duration::from_secs(10)).await.unwrap();
    let mut manifest = vaultlab::state::Manifest::load(&lab.dir).unwrap().unwrap();
    manifest.services.get_mut(VAULT).unwrap().program_version = "OpenBao 2.4.1".into();
    manifest.save(&lab.dir).unwrap();
    let error = up(&lab, &spec()).await.unwrap_err();
    assert!(matches!(error, RuntimeError::DataMismatch { .. }), "{error}");
    assert!(error.to_string().contains("VAULTLAB_VAULT_BIN"), "{error}");
    // What was in memory only is nobody's.
    let inmem = VaultSpec { storage: Storage::Inmem, ..spec() };
    assert!(!up(&lab, &inmem).await.unwrap().reused);
    runtime(&lab).remove(VAULT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_program_is_preferred_where_nothing_names_one() {
    let place = Place::new();
    let lab = place.lab("vaultrecorded");
    up(&lab, &spec()).await.unwrap();
    runtime(&lab).stop(VAULT, Duration::from_secs(10)).await.unwrap();
    // As a real Vault that was named in the environment of an earlier `up` leaves it.
    let bao = place.path().join("bao-2");
    std::fs::write(&bao, "#!/bin/sh\n[ \"$1\" = version ] && echo 'OpenBao v2.4.1 (x)' && exit 0\nexit 3\n")
        .unwrap();
    std::fs::set_permissions(&bao, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut manifest = vaultlab::state::Manifest::load(&lab.dir).unwrap().unwrap();
    let record = manifest.services.get_mut(VAULT).unwrap();
    (record.program_version, record.program) = ("OpenBao 2.4.1".into(), bao.clone());
    manifest.save(&lab.dir).unwrap();
    let programs = Programs {
        vaultlab: Some(env!("CARGO_BIN_EXE_vaultlab").into()),
        path: Some("/bin".into()),
        ..Programs::default()
    };
    let runtime = ProcessRuntime::with_programs(&lab.home, &lab.dir, programs);
    let service = Service::Vault(VaultSpec { flavour: Flavour::Auto, ..spec() });
    let attempt = async || {
        let deadline = Instant::now() + Duration::from_secs(20);
        runtime.ensure_running(&service, &Report::silent(), deadline).await.unwrap_err()
    };
    // It was chosen and started: this one ends at once.
    let error = attempt().await;
    assert!(matches!(&error, RuntimeError::Exited { status, .. } if status.contains('3')), "{error}");
    std::fs::remove_file(&bao).unwrap();
    let error = attempt().await;
    assert!(matches!(error, RuntimeError::DataMismatch { .. }), "{error}");
    assert!(error.to_string().contains(bao.to_str().unwrap()), "{error}");
    runtime.remove(VAULT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_record_is_found_and_removed() {
    let place = Place::new();
    let lab = place.lab("vaultstray");
    let running = up(&lab, &spec()).await.unwrap();
    let server = pid(&lab, VAULT);
    std::fs::remove_dir_all(lab.dir.path()).unwrap();
    let state = runtime(&lab).state(VAULT).await.unwrap();
    assert!(
        matches!(&state, vaultlab::runtime::ServiceState::Running { pid: Some(pid), endpoint, .. }
            if *pid == server && *endpoint == running.endpoint),
        "{state:?}"
    );
    runtime(&lab).remove(VAULT).await.unwrap();
    assert!(!crate::support::alive(server) && !lab.dir.service(VAULT).exists());
}
