//! How a keeper begins and ends.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use vaultlab::report::Report;
use vaultlab::{Lab, LabOptions};

use crate::client::{kill, lab};
use crate::support::{TestLab, eventually};

const APPROLES: &str = "  - {name: app, policies: [p], secret_id_ttl: 6s}\n";

fn is_kept(lab: &TestLab) -> bool {
    lab.json(&["status"])["keeper"]["running"] == true
}

impl TestLab {
    /// Seals Vault, as somebody with the power to do so.
    pub fn seal(&self) {
        let lab = self.library();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
        runtime.block_on(async {
            let root = lab.running().await.unwrap().root(Duration::from_secs(60)).await.unwrap();
            root.client().seal().await.unwrap();
        });
    }

    /// The same lab through the library.
    pub fn library(&self) -> Lab {
        let options = LabOptions {
            file: Some(self.folder.path().join("vaultlab.yaml")),
            name: Some(self.name.clone()),
            home: Some(self.home.clone()),
            runtime: Some(vaultlab::spec::model::RuntimeChoice::Process),
            program: Some(env!("CARGO_BIN_EXE_vaultlab").into()),
            ..LabOptions::default()
        };
        Lab::with(options, Report::silent()).expect("the lab")
    }
}

#[test]
fn up_leaves_one_behind_and_down_ends_it() {
    let lab = lab("life", "  - {name: app, policies: [p], secret_id_ttl: 1h}\n");
    lab.ok(&["up", "--progress", "quiet"]);
    assert!(is_kept(&lab));
    let pid = lab.keeper_pid();
    assert_eq!(lab.json(&["up"])["changed"], false);
    assert_eq!(lab.keeper_pid(), pid, "it is left alone");
    eventually("status tells when the next is due", Duration::from_secs(20), || {
        let text = lab.ok(&["status"]);
        text.contains("next secret_id at ") && text.contains(&format!("pid {}", pid.unwrap()))
    });
    lab.ok(&["down", "--progress", "quiet"]);
    assert!(!is_kept_when_down(&lab) && lab.processes().is_empty());
    lab.ok(&["up", "--progress", "quiet"]);
    assert_ne!(lab.keeper_pid(), pid);
    // A lab file that was changed is followed. A keeper reads it when it begins.
    lab.until_events("began", 2);
    let file = lab.folder.path().join("vaultlab.yaml");
    let text = std::fs::read_to_string(&file).expect("the lab file");
    let second = lab.keeper_pid();
    std::fs::write(&file, text + "  - {name: late, policies: [p], secret_id_ttl: 3s}\n").expect("write");
    lab.ok(&["up", "--progress", "quiet"]);
    assert_ne!(lab.keeper_pid(), second);
    eventually("the new AppRole is kept", Duration::from_secs(20), || {
        lab.keeper_events("secret_id_delivered").iter().any(|event| event["approle"] == "late")
    });
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
    lab.assert_gone();
}

fn is_kept_when_down(lab: &TestLab) -> bool {
    let output = lab.run(&["status", "--output", "json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    status["keeper"]["running"] == true
}

#[test]
fn none_is_left_behind_where_none_is_wanted() {
    let lab = lab("none", APPROLES);
    lab.ok(&["up", "--no-keeper", "--progress", "quiet"]);
    assert!(!is_kept(&lab));
    let file = lab.folder.path().join("vaultlab.yaml");
    let text = std::fs::read_to_string(&file).expect("the lab file");
    lab.ok(&["up", "--progress", "quiet"]);
    assert!(is_kept(&lab));
    std::fs::write(&file, text + "keeper: off\n").expect("write");
    lab.ok(&["up", "--progress", "quiet"]);
    assert!(!is_kept(&lab));
}

#[test]
fn in_the_foreground_it_ends_with_the_signal() {
    let lab = lab("foreground", APPROLES);
    lab.ok(&["up", "--no-keeper", "--progress", "quiet"]);
    let run = |arguments: &[&str]| {
        lab.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program")
    };
    let mut child = run(&["supervise"]);
    eventually("it keeps the lab", Duration::from_secs(20), || is_kept(&lab));
    // It took over after a crash, too: Vault is started again and unsealed.
    kill(lab.vault_pid(), Signal::SIGKILL);
    lab.until_events("unsealed", 1);
    kill(child.id().try_into().expect("a pid"), Signal::SIGINT);
    assert!(child.wait().expect("wait").success());
    assert!(!is_kept(&lab));
    // Ended by `down` from elsewhere.
    let mut child = run(&["supervise"]);
    eventually("it keeps the lab", Duration::from_secs(20), || is_kept(&lab));
    lab.ok(&["down", "--progress", "quiet"]);
    assert!(child.wait().expect("wait").success());
    // `up` that stays.
    let mut child = run(&["up", "--foreground"]);
    eventually("it keeps the lab", Duration::from_secs(30), || is_kept_when_down(&lab));
    kill(child.id().try_into().expect("a pid"), Signal::SIGTERM);
    assert!(child.wait().expect("wait").success());
    assert!(lab.processes().is_empty(), "{:?}", lab.processes());
}

/// A test-suite keeps the lab itself; `down` of another process ends that keeper, not the test-suite.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_program_keeps_a_lab() {
    let place = lab("task", "  - {name: app, policies: [p], secret_id_ttl: 3s}\n");
    let running = place.library().up().await.unwrap();
    let keeper = running.keep().await.unwrap();
    let error = running.keep().await.unwrap_err();
    assert!(error.to_string().contains("has a keeper: a program that uses vaultlab (pid"), "{error}");
    let wait = |what: &'static str, count| {
        let events = place.state().join("events.jsonl");
        async move {
            for _ in 0..1500 {
                let text = std::fs::read_to_string(&events).unwrap_or_default();
                if text.matches(&format!("\"what\":\"{what}\"")).count() >= count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("{count} × {what}");
        }
    };
    wait("secret_id_delivered", 2).await;
    keeper.stop().await.unwrap();
    wait("ended", 1).await;
    let keeper = running.keep().await.unwrap();
    wait("began", 2).await;
    tokio::task::block_in_place(|| place.ok(&["down", "--progress", "quiet"]));
    keeper.stop().await.unwrap();
    assert!(place.processes().is_empty());
}

/// What it may do in Vault is what it has to.
#[tokio::test]
async fn its_token_is_good_for_its_work_only() {
    let lab = lab("token", APPROLES);
    lab.ok(&["up", "--progress", "quiet"]);
    let keeper = lab.as_keeper();
    let info = keeper.token_info().await.unwrap().expect("a token");
    assert_eq!(info.policies, ["default", "vaultlab-keeper"]);
    assert!(info.period.is_some());
    let denied = |error: vaultlab::vault::VaultError| assert!(error.is_status(403), "{error}");
    denied(keeper.write_policy("mine", "").await.unwrap_err());
    denied(keeper.mounts().await.unwrap_err());
    denied(
        keeper.write_approle("app", &serde_json::json!({ "token_policies": ["root"] })).await.unwrap_err(),
    );
    denied(keeper.secret_id_accessors("other").await.unwrap_err());
    denied(keeper.seal().await.unwrap_err());
    // When Vault no longer accepts it, it gets another through the unseal keys.
    keeper.revoke_self().await.unwrap();
    lab.until_events("token_replaced", 1);
    assert!(lab.as_keeper().token_info().await.unwrap().is_some());
    assert!(keeper.token_info().await.unwrap().is_none());
    let deliveries = lab.keeper_events("secret_id_delivered").len();
    lab.until_events("secret_id_delivered", deliveries + 1);
}

/// A pipe of a CI job, or the lock that `flock` holds for its command, is not held for as long as a lab is up.
#[test]
fn what_runs_on_holds_no_file_of_who_called() {
    let lab = lab("descriptors", APPROLES);
    let up = lab.command(&["up", "--progress", "quiet"]);
    // A descriptor that programs inherit, as those of a shell are.
    let handed_on = std::process::Command::new("sh")
        .args(["-c", r#"exec 9>&1 >/dev/null; exec "$0" "$@""#])
        .arg(up.get_program())
        .args(up.get_args())
        .envs(up.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(lab.folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let (done, seen) = std::sync::mpsc::channel();
    let mut child = handed_on.expect("a shell");
    let mut pipe = child.stdout.take().expect("a pipe");
    std::thread::spawn(move || done.send(std::io::copy(&mut pipe, &mut std::io::sink()).is_ok()));
    assert!(child.wait().expect("it ends").success());
    assert!(is_kept(&lab));
    assert_eq!(seen.recv_timeout(Duration::from_secs(20)), Ok(true), "something still holds the pipe");
}
