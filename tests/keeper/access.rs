//! Somebody changes the password of Vault's account in a database.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::kill;
use crate::rotation;
use crate::support::{TestLab, databases, eventually};

#[test]
fn a_vault_that_is_locked_out_is_told_and_up_lets_it_in() {
    if !databases() {
        return;
    }
    let lab = rotation::lab("locked-out", None);
    lab.ok(&["up", "--progress", "quiet"]);
    lab.until_events("began", 1);
    // A keeper that begins looks at once; one that keeps the lab already sees that the password changed.
    kill(lab.keeper_pid().expect("a keeper"), Signal::SIGKILL);
    lab.lock_vault_out();
    let mut keeper = lab.command(&["supervise", "--progress", "quiet"]).spawn().expect("the program");
    is_told_and_repaired(&lab, 1);
    lab.lock_vault_out();
    is_told_and_repaired(&lab, 2);
    assert_eq!(lab.keeper_events("locked_out").len(), 2, "each is told once");
    lab.ok(&["down", "--progress", "quiet"]);
    keeper.wait().expect("wait");
}

fn is_told_and_repaired(lab: &TestLab, round: usize) {
    lab.fails(6, &["creds", "app"]);
    lab.until_events("locked_out", round);
    let told = &lab.keeper_events("locked_out")[round - 1];
    assert_eq!(told["database"], "postgres");
    assert!(told["error"].as_str().is_some_and(|error| error.contains("28P01")), "{told}");
    assert!(lab.ok(&["events"]).contains("Vault is locked out of postgres, which `vaultlab up` repairs: "));
    eventually("status tells it", Duration::from_secs(20), || {
        let status = lab.json(&["status"]);
        status["keeper"]["locked_out"]["postgres"].is_string() && lab.ok(&["status"]).contains("! postgres")
    });
    lab.ok(&["up", "--progress", "quiet"]);
    lab.ok(&["creds", "app"]);
    lab.until_events("let_in", round);
    eventually("status tells that", Duration::from_secs(20), || !lab.ok(&["status"]).contains("! postgres"));
}
