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
    runtime(&lab).remove(VAULT).await.unwrap();
}
