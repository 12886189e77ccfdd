//! The ledger of leases beside the accounts that are in the databases.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod support;

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::{TestLab, databases, eventually, text};

const OLD: &str = "1700000000";

/// Runs SQL as a database's superuser; gives what it says.
fn as_superuser(lab: &TestLab, database: &str, sql: &str) -> String {
    let accounts: Value =
        serde_json::from_slice(&std::fs::read(lab.state().join("accounts.json")).expect("accounts"))
            .expect("JSON");
    let account = &accounts["databases"][database]["superuser"];
    let (user, password) = (account["username"].as_str().unwrap(), account["password"].as_str().unwrap());
    let summary = lab.json(&["status"]);
    let services = summary["services"].as_array().unwrap();
    let address = services.iter().find(|s| s["name"] == database).unwrap()["address"].as_str().unwrap();
    let (host, port) = address.rsplit_once(':').unwrap();
    let output = if database.contains("postgres") {
        Command::new("psql")
            .args(["-h", host, "-p", port, "-U", user, "-d", "notes", "-tAc", sql])
            .env("PGPASSWORD", password)
            .output()
    } else {
        Command::new("mariadb")
            .args(["--protocol=tcp", "-h", host, "-P", port, "-u", user, "-Ne", sql])
            .env("MYSQL_PWD", password)
            .output()
    };
    let output = output.expect("a client");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

fn entries(ledger: &Value) -> Vec<Value> {
    ledger["entries"].as_array().expect("entries").clone()
}

/// The ledger, whatever the exit code says about orphans.
fn ledger(lab: &TestLab) -> (Option<i32>, Value) {
    let output = lab.run(&["leases", "--output", "json"]);
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    (output.status.code(), value)
}

#[test]
fn leases_and_accounts_are_told_together_and_orphans_of_either_side_are_removed() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("leases");
    lab.ok(&["up", "--progress", "quiet"]);
    let (code, empty) = ledger(&lab);
    assert_eq!((code, entries(&empty).len()), (Some(0), 0), "{empty:#}");

    // Two credentials of one role at the same second, and one of an AppRole's token.
    let mut issued = vec![lab.json(&["creds", "pg-read"]), lab.json(&["creds", "pg-read"])];
    issued.extend([lab.json(&["creds", "mysql-write"]), lab.json(&["creds", "mysql-write"])]);
    let mut approle = lab
        .command(&[
            "exec",
            "--approle",
            "reports",
            "--role",
            "mysql-read",
            "--",
            "sh",
            "-c",
            "echo $MYSQL_READ_USERNAME; cat",
        ])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut by_approle = String::new();
    let out = approle.stdout.take().expect("stdout");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut by_approle).expect("a line");

    let (code, told) = ledger(&lab);
    assert_eq!(code, Some(0), "{told:#}");
    let found = entries(&told);
    assert_eq!(found.len(), 5, "{told:#}");
    for credential in &issued {
        let entry = found.iter().find(|e| e["lease_id"] == credential["lease_id"]).expect("its entry");
        assert_eq!(entry["account"], credential["username"], "the right account: {told:#}");
        assert_eq!((&entry["state"], &entry["who"]), (&"live".into(), &"token-vaultlab".into()));
        assert!(entry["ttl"].as_i64().is_some_and(|ttl| (500..=600).contains(&ttl)), "{entry}");
    }
    let entry = found.iter().find(|e| e["account"] == by_approle.trim()).expect("the AppRole's");
    assert_eq!(entry["who"], "AppRole reports");
    drop(approle.stdin.take());
    assert!(approle.wait().expect("wait").success());

    // One by its account, the others by their role; each account is gone.
    let account = issued[0]["username"].as_str().unwrap();
    assert!(lab.ok(&["leases", "--revoke", account]).contains("seen gone"));
    assert_eq!(lab.json(&["leases", "--revoke", "pg-read"]).as_array().map(Vec::len), Some(1));
    assert_eq!(
        as_superuser(&lab, "notes-postgres", "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'"),
        "0"
    );
    assert!(
        lab.fails(2, &["leases", "--revoke", "nothing"]).contains("no lease, account or role \"nothing\"")
    );

    // Orphans: accounts whose lease is gone, a lease whose account somebody dropped.
    let pg = format!("v-approle-pg-write-abcdefghij0123456789-{OLD}");
    as_superuser(&lab, "notes-postgres", &format!("CREATE ROLE \"{pg}\" LOGIN PASSWORD 'x'"));
    // It owns something: a plain DROP ROLE would fail.
    let own = format!("CREATE TABLE its_own (i int); ALTER TABLE its_own OWNER TO \"{pg}\"");
    as_superuser(&lab, "notes-postgres", &own);
    as_superuser(&lab, "notes-mysql", "CREATE USER 'v-approle-mysql-read-abcdefg'@'%' IDENTIFIED BY 'x'");
    let dropped = issued[2]["username"].as_str().unwrap();
    as_superuser(&lab, "notes-mysql", &format!("DROP USER '{dropped}'@'%'"));
    eventually("an account without a lease is no new one for long", Duration::from_secs(30), || {
        let (code, told) = ledger(&lab);
        code == Some(7)
            && entries(&told).iter().filter(|e| e["state"] == "account without lease").count() == 2
    });
    let (_, told) = ledger(&lab);
    let lost = entries(&told).into_iter().find(|e| e["state"] == "lease without account").expect("the lease");
    assert_eq!(lost["lease_id"], issued[2]["lease_id"], "{told:#}");
    let shown = text(&lab.run(&["leases"]).stdout);
    assert!(shown.contains(&pg) && shown.contains("leases --clean"), "{shown}");

    let cleaned = lab.json(&["leases", "--clean"]);
    assert_eq!(cleaned.as_array().map(Vec::len), Some(3), "{cleaned:#}");
    let (code, told) = ledger(&lab);
    assert_eq!((code, entries(&told).len()), (Some(0), 1), "the live one is left alone: {told:#}");
    assert_eq!(
        as_superuser(&lab, "notes-mysql", "SELECT COUNT(*) FROM mysql.user WHERE User LIKE 'v-%'"),
        "1"
    );
    assert!(lab.ok(&["leases", "--clean"]).contains("Nothing to clean"));
}
