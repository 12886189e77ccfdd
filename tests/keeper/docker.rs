//! Services in containers: the keeper sees to them as it does to processes.

use std::time::Duration;

use crate::client::{Application, Counter};
use crate::support::containers::{POSTGRES, SERVER, container, docker, has, things_of};
use crate::support::{TestLab, eventually, postgres_lab};

#[test]
fn containers_that_are_killed_are_started_again_and_nobody_is_refused() {
    if !has(&[POSTGRES, SERVER]) {
        return;
    }
    let lab = TestLab::contained("kept");
    let access = "policies:
  - name: p
    hcl: path \"database/creds/app\" { capabilities = [\"read\"] }
approles:
  - {name: app, policies: [p], secret_id_ttl: 12s}
";
    lab.write("vaultlab.yaml", &(postgres_lab("kept", "storage: file") + access));
    lab.ok(&["up", "--progress", "quiet"]);
    let address = lab.vault().address().to_owned();
    let application = Application::start(&lab, "app", Duration::from_millis(50));
    let counter = Counter::start(&lab, "app");
    lab.until_events("secret_id_delivered", 2);

    assert!(docker(&["kill", &container(&lab, "vault")]).is_some());
    lab.until_events("unsealed", 1);
    assert_eq!(lab.vault().address(), address, "applications know that one");
    let restarted = |service: &str| {
        let events = lab.keeper_events("service_restarted");
        events.iter().filter(|event| event["service"] == service).count()
    };
    eventually("it is told", Duration::from_secs(20), || restarted("vault") == 1);
    assert!(docker(&["kill", &container(&lab, "db")]).is_some());
    eventually("the database runs again", Duration::from_secs(60), || restarted("db") == 1);
    lab.ok(&["creds", "app"]);
    let deliveries = lab.keeper_events("secret_id_delivered").len();
    lab.until_events("secret_id_delivered", deliveries + 1);

    assert!(counter.end() <= 2);
    application.end().assert_never_refused();
    assert!(lab.keeper_pid().is_some());
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
    assert_eq!(things_of(&lab.name), Vec::<String>::new());
    lab.assert_gone();
}

/// One that somebody stopped by the engine's own means died, too; one that was removed did not.
#[test]
fn a_container_that_is_stopped_by_hand_is_started_again() {
    if !has(&[SERVER]) {
        return;
    }
    let lab = TestLab::contained("stopped");
    lab.write("vaultlab.yaml", "apiVersion: vaultlab/v1\nvault: {storage: file}\n");
    lab.ok(&["up", "--progress", "quiet"]);
    lab.until_events("began", 1);
    assert!(docker(&["stop", &container(&lab, "vault")]).is_some());
    lab.until_events("unsealed", 1);
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
    lab.assert_gone();
}
