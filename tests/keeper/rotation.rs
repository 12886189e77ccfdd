//! Root is rotated on schedule, while keeper and Vault are killed: Vault is never locked out.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::{kill, long};
use crate::support::{TestLab, databases, eventually};

/// The smallest lab, its root rotated that often.
pub fn lab(name: &str, every: Option<&str>) -> TestLab {
    let lab = TestLab::new(name);
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/lab/postgres.yaml");
    let text = std::fs::read_to_string(shipped).expect("the shipped lab");
    let rotation = every.map(|every| format!("    root_rotation: {{every: {every}}}\n")).unwrap_or_default();
    let rotated = text.replace("    database: app\n", &format!("    database: app\n{rotation}"));
    assert_eq!(text == rotated, every.is_none());
    lab.write("vaultlab.yaml", &rotated);
    lab
}

/// 200 rotations in the long form.
#[test]
fn rotations_that_are_cut_off_lock_nobody_out() {
    if !databases() {
        return;
    }
    let (wanted, faults) = if long() { (200, 40) } else { (6, 4) };
    let lab = lab("rotation", Some("1s"));
    lab.ok(&["up", "--progress", "quiet"]);
    let rotations = || lab.keeper_events("root_rotated").len();
    lab.until_events("root_rotated", 2);
    // The embedded server takes up a rotation that was cut off when it is unsealed. Vault waits a minute
    // with that: there it is the keeper who lets it in.
    let embedded = std::env::var_os("VAULTLAB_VAULT_BIN").is_none();
    let mut keepers = Vec::new();
    for fault in 0..faults {
        let target = (fault + 1) * wanted / faults;
        // At another moment of a rotation each time.
        std::thread::sleep(Duration::from_millis(900 + 23 * (fault as u64 * 7 % 13)));
        if fault % 2 == 0 {
            kill(lab.keeper_pid().expect("a keeper"), Signal::SIGKILL);
            // Not by `up`, which repairs too.
            let again = lab.command(&["supervise", "--progress", "quiet"]).spawn().expect("the program");
            keepers.push(again);
        } else {
            kill(lab.vault_pid(), Signal::SIGKILL);
        }
        eventually("credentials are issued", Duration::from_secs(20), || {
            let issued = lab.run(&["creds", "app"]);
            let said = String::from_utf8_lossy(&issued.stderr).into_owned();
            let locked_out = ["28P01", "password authentication"].iter().any(|sign| said.contains(sign));
            assert!(!locked_out || !embedded, "{said}");
            issued.status.success()
        });
        eventually("rotations go on", Duration::from_secs(300), || {
            std::thread::sleep(Duration::from_millis(50));
            rotations() >= target
        });
    }
    let events = lab.keeper_events("root_rotated");
    let repaired =
        events.iter().filter(|event| event["proof"].as_str().is_some_and(|p| p.contains("repaired")));
    println!("{} rotations, {} of them with a repair, none locked out", events.len(), repaired.count());
    let status = lab.json(&["status"]);
    assert!(status["keeper"]["rotations"]["postgres"]["rotated_at"].is_string(), "{status}");
    lab.ok(&["down", "--progress", "quiet"]);
    for mut keeper in keepers {
        keeper.wait().expect("wait");
    }
}

/// A password that only the database knows, as a rotation cut off in the wrong place leaves it, is
/// replaced without anybody's help.
#[test]
fn a_vault_that_is_locked_out_is_let_in_again() {
    if !databases() {
        return;
    }
    let lab = lab("let-in", Some("1s"));
    lab.ok(&["up", "--progress", "quiet"]);
    lab.until_events("root_rotated", 1);
    kill(lab.keeper_pid().expect("a keeper"), Signal::SIGKILL);
    lab.lock_vault_out();
    lab.fails(6, &["creds", "app"]);
    let mut keeper = lab.command(&["supervise", "--progress", "quiet"]).spawn().expect("the program");
    eventually("credentials are issued", Duration::from_secs(20), || {
        lab.run(&["creds", "app"]).status.success()
    });
    eventually("it is told", Duration::from_secs(20), || {
        let events = lab.keeper_events("root_rotated").into_iter();
        events
            .filter_map(|event| event["proof"].as_str().map(|p| p.contains("repaired")))
            .any(|repaired| repaired)
    });
    lab.ok(&["down", "--progress", "quiet"]);
    keeper.wait().expect("wait");
}

/// Long before a rotation is due, too, and with nobody beginning anew.
#[test]
fn a_rotation_that_is_not_due_is_done_where_it_lets_vault_in() {
    if !databases() {
        return;
    }
    let lab = lab("let-in-soon", Some("12h"));
    lab.ok(&["up", "--progress", "quiet"]);
    lab.until_events("began", 1);
    lab.lock_vault_out();
    lab.until_events("locked_out", 1);
    lab.until_events("root_rotated", 1);
    lab.ok(&["creds", "app"]);
    lab.until_events("let_in", 1);
    // What Vault replaces itself by somebody's hand locks nobody out.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    runtime.block_on(lab.as_keeper().rotate_root("database", "postgres")).expect("a rotation");
    // As soon as Vault is open again it is looked at anew.
    lab.seal();
    lab.until_events("unsealed", 1);
    lab.ok(&["creds", "app"]);
    eventually("status tells that nobody is locked out", Duration::from_secs(20), || {
        let keeper = &lab.json(&["status"])["keeper"];
        keeper["unseals"] == 1 && keeper["locked_out"] == serde_json::json!({})
    });
    assert_eq!(lab.keeper_events("locked_out").len(), 1);
}

impl TestLab {
    /// Gives Vault's account a password that nobody knows, and ends its connections.
    pub fn lock_vault_out(&self) {
        let json = |file: &str| -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(self.state().join(file)).expect(file)).expect("JSON")
        };
        let (manifest, accounts) = (json("manifest.json"), json("accounts.json"));
        let superuser = &accounts["databases"]["postgres"]["superuser"];
        let port = manifest["services"]["postgres"]["port"].as_u64().expect("a port").to_string();
        let output = std::process::Command::new("psql")
            .args(["-h", "127.0.0.1", "-p", &port, "-d", "app"])
            .args(["-c", "ALTER ROLE vault PASSWORD 'known to nobody'"])
            .args(["-c", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'vault'"])
            .env("PGUSER", superuser["username"].as_str().expect("a name"))
            .env("PGPASSWORD", superuser["password"].as_str().expect("a password"))
            .output()
            .expect("psql");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
