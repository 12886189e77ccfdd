//! Static roles: made, proven, used, followed when the lab file changes, and watched by the keeper.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::{TestLab, databases, eventually, text};

/// A lab with a static role in a database of either engine.
fn lab(name: &str) -> TestLab {
    let lab = TestLab::new(name);
    lab.write("vaultlab.yaml", &lab_file(PG_GRANTS, "1h"));
    lab
}

const PG_GRANTS: &str = r#"GRANT SELECT, INSERT ON jobs TO "{{name}}""#;

fn lab_file(grants: &str, period: &str) -> String {
    format!("{DATABASES}{}{MYSQL_ROLE}{ACCESS}", pg_role("batch", grants, period))
}

const DATABASES: &str = "apiVersion: vaultlab/v1
vault: {flavour: embedded, key_shares: 1, key_threshold: 1}
databases:
  - {name: pg, engine: postgres, database: app, schema: [{sql: CREATE TABLE jobs (id int)}]}
  - {name: my, engine: mysql, database: app, schema: [{sql: CREATE TABLE jobs (id int)}]}
";

fn pg_role(username: &str, grants: &str, period: &str) -> String {
    format!(
        "static_roles:
  - name: pg-batch
    database: pg
    username: {username}
    rotation_period: {period}
    grants:
      sql: |
        {grants}
    proof:
      allows: [INSERT INTO jobs VALUES (1)]
      refuses: [DROP TABLE jobs]
"
    )
}

const MYSQL_ROLE: &str = "  - name: my-batch
    database: my
    username: batch
    rotation_period: 1h
    grants:
      sql: GRANT SELECT ON {{database}}.jobs TO '{{name}}'@'%'
    proof:
      allows: [SELECT id FROM jobs]
      refuses: [DELETE FROM jobs]
";

const ACCESS: &str = r#"policies:
  - name: pg
    hcl: path "database/static-creds/pg-batch" { capabilities = ["read"] }
approles:
  - {name: worker, policies: [pg]}
"#;

fn step(summary: &Value, name: &str) -> Value {
    let steps = summary["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("{name}: {summary:#}")).clone()
}

fn detail(summary: &Value, name: &str) -> String {
    step(summary, name)["detail"].as_str().expect("a detail").to_owned()
}

/// Runs a query on the URL of a credential; gives whether it was let in and what was said.
fn psql(url: &Value, sql: &str) -> (bool, String) {
    let url = url.as_str().expect("a URL");
    let output = Command::new("psql").args([url, "-tAc", sql]).output().expect("psql");
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

impl TestLab {
    /// Runs SQL as the superuser of a PostgreSQL of the lab.
    pub fn as_superuser(&self, database: &str, inside: &str, sql: &str) {
        let json = |file: &str| -> Value {
            serde_json::from_slice(&std::fs::read(self.state().join(file)).expect(file)).expect("JSON")
        };
        let (manifest, accounts) = (json("manifest.json"), json("accounts.json"));
        let superuser = &accounts["databases"][database]["superuser"];
        let port = manifest["services"][database]["port"].as_u64().expect("a port").to_string();
        let output = Command::new("psql")
            .args(["-h", "127.0.0.1", "-p", &port, "-d", inside, "-c", sql])
            .env("PGUSER", superuser["username"].as_str().expect("a name"))
            .env("PGPASSWORD", superuser["password"].as_str().expect("a password"))
            .output()
            .expect("psql");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

#[test]
fn a_static_role_is_made_proven_and_used() {
    if !databases() {
        return;
    }
    let lab = lab("static");
    let summary = lab.json(&["up"]);
    for role in ["pg-batch", "my-batch"] {
        let told = detail(&summary, &format!("static role {role}"));
        assert_eq!(told, "logged in, 1 allowed, 1 refused, rotated, old password refused");
    }
    assert_eq!(detail(&summary, "prove worker"), "may: pg-batch; refused: my-batch");
    assert_eq!(lab.json(&["up"])["changed"], false, "the second time nothing is rotated");
    let shown = lab.ok(&["up", "--progress", "quiet"]);
    assert!(shown.contains("  static roles pg-batch") && shown.contains(" creds pg-batch\n"), "{shown}");

    let creds = lab.json(&["creds", "pg-batch"]);
    assert_eq!((&creds["username"], &creds["lease_id"]), (&"batch".into(), &Value::Null), "{creds}");
    assert_eq!(creds["rotation_period"], 3600);
    assert_eq!(psql(&creds["url"], "SELECT count(*) FROM jobs"), (true, "0\n".into()));
    assert!(lab.ok(&["creds", "pg-batch"]).contains("static role: no lease"));
    let rows = lab.ok(&["connect", "my-batch", "--", "-Ne", "SELECT count(*) FROM jobs"]);
    assert_eq!(rows.trim(), "0");
    // The same password wherever it is asked for: nothing is issued.
    let environment: Value = serde_json::from_str(&lab.ok(&["env", "--format", "json"])).expect("JSON");
    assert_eq!(environment["PG_BATCH_URL"], creds["url"]);
    let url = lab.ok(&["exec", "--role", "pg-batch", "--", "sh", "-c", "echo $PG_BATCH_URL"]);
    assert_eq!(url.trim(), creds["url"]);
    let worker = lab.ok(&["exec", "--approle", "worker", "--", "env"]);
    assert!(worker.contains("PG_BATCH_PASSWORD=") && !worker.contains("MY_BATCH_PASSWORD"), "{worker}");
    assert_eq!(lab.json(&["creds", "pg-batch"])["password"], creds["password"], "`exec` revoked nothing");

    let ledger = lab.json(&["leases"]);
    let entry = ledger["entries"].as_array().expect("entries").iter().find(|e| e["role"] == "pg-batch");
    let entry = entry.expect("an entry");
    assert_eq!((&entry["state"], &entry["account"]), (&"static role".into(), &"batch".into()), "{entry}");
    assert_eq!(entry["lease_id"], Value::Null);
    assert!(lab.ok(&["leases", "--revoke", "pg-batch"]).contains("no leases"));
    assert!(lab.ok(&["status"]).contains("pg-batch, my-batch"));
    let agent = lab.json(&["agent-config", "worker"]);
    assert_eq!(agent[0]["roles"], serde_json::json!(["pg-batch"]));
    let template = std::fs::read_to_string(agent[0]["template"].as_str().expect("a path")).expect("it");
    assert!(template.contains("database/static-creds/pg-batch"), "{template}");
}

#[test]
fn a_changed_static_role_is_followed_and_one_that_is_dropped_is_told() {
    if !databases() {
        return;
    }
    let lab = lab("static-edited");
    lab.ok(&["up", "--progress", "quiet"]);
    let creds = lab.json(&["creds", "pg-batch"]);

    lab.write("vaultlab.yaml", &lab_file(&PG_GRANTS.replace("INSERT", "INSERT, DELETE"), "2h"));
    let changed = lab.json(&["up"]);
    assert!(
        detail(&changed, "static role pg-batch").contains("rotated, old password refused"),
        "{changed:#}"
    );
    let now = lab.json(&["creds", "pg-batch"]);
    assert_eq!(now["rotation_period"], 7200);
    assert_eq!(psql(&now["url"], "DELETE FROM jobs"), (true, "DELETE 0\n".into()), "it may by now");
    assert!(!psql(&creds["url"], "SELECT 1").0, "the rotation was proven again");

    // Somebody else sets a password, or drops the account.
    lab.as_superuser("pg", "app", "ALTER ROLE batch PASSWORD 'known to nobody'");
    assert!(!psql(&now["url"], "SELECT 1").0);
    assert!(detail(&lab.json(&["up"]), "static role pg-batch").contains("password was refused: rotated"));
    assert!(psql(&lab.json(&["creds", "pg-batch"])["url"], "SELECT 1").0);
    lab.as_superuser("pg", "app", "DROP OWNED BY batch; DROP ROLE batch");
    assert_eq!(ledger_state(&lab, "pg-batch"), "static role without account");
    lab.ok(&["up", "--progress", "quiet"]);
    assert_eq!(psql(&lab.json(&["creds", "pg-batch"])["url"], "SELECT count(*) FROM jobs").1, "0\n");

    // Vault never gives a static role another account.
    let renamed = format!("{DATABASES}{}{MYSQL_ROLE}{ACCESS}", pg_role("night", PG_GRANTS, "2h"));
    lab.write("vaultlab.yaml", &renamed);
    lab.ok(&["up", "--progress", "quiet"]);
    assert_eq!(lab.json(&["creds", "pg-batch"])["username"], "night");

    lab.write("vaultlab.yaml", &format!("{DATABASES}static_roles:\n{MYSQL_ROLE}"));
    let output = lab.run(&["up", "--output", "json", "--progress", "plain"]);
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(detail(&summary, "undeclared").contains("database/static-roles/pg-batch"), "{summary:#}");
    let told = text(&output.stderr);
    assert!(told.contains("the account night in pg") && told.contains("stays"), "{told}");
    assert!(lab.fails(2, &["creds", "pg-batch"]).contains("my-batch"));
    assert_eq!(lab.json(&["up"])["changed"], false);
}

/// It may log in, and no more: MySQL does not even let it into the database.
#[test]
fn a_static_role_without_grants_logs_in() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("static-bare");
    let roles = "static_roles:\n  - {name: my-bare, database: my, username: bare, rotation_period: 1h}\n";
    lab.write("vaultlab.yaml", &format!("{DATABASES}{roles}"));
    let summary = lab.json(&["up"]);
    assert!(detail(&summary, "static role my-bare").contains("old password refused"), "{summary}");
}

fn ledger_state(lab: &TestLab, role: &str) -> String {
    let ledger = lab.json(&["leases"]);
    let entries = ledger["entries"].as_array().expect("entries");
    let entry = entries.iter().find(|entry| entry["role"] == role).expect("an entry");
    entry["state"].as_str().expect("a state").to_owned()
}

#[test]
fn every_rotation_of_vaults_own_is_seen_to_work() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("static-kept");
    lab.write("vaultlab.yaml", &lab_file(PG_GRANTS, "5s"));
    lab.ok(&["up", "--progress", "quiet"]);
    lab.until_events("static_role_rotated", 2);
    let events = lab.keeper_events("static_role_rotated");
    for event in &events {
        assert_eq!(event["role"], "pg-batch", "the other's time has not come");
    }
    let proof = &events.last().expect("an event")["proof"];
    assert_eq!(*proof, "the new password logs in, the old one is refused");
    let shown = lab.ok(&["events"]);
    let sentence =
        "Vault rotated static role pg-batch: the new password logs in, the old one is refused, next at ";
    assert!(shown.contains(sentence), "{shown}");
    // By somebody's hand, long before its time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    runtime.block_on(lab.as_keeper().rotate_static_role("database", "my-batch")).expect("a rotation");
    eventually("that is seen to work, too", Duration::from_secs(60), || {
        lab.keeper_events("static_role_rotated").iter().any(|event| event["role"] == "my-batch")
    });
    eventually("status tells of it", Duration::from_secs(10), || {
        let status = lab.json(&["status"]);
        status["keeper"]["static_roles"]["pg-batch"]["rotated_at"].is_string()
            && lab.ok(&["status"]).contains("static role rotated at ")
    });
}

/// A password that only the database knows is replaced by the keeper, without anybody's help.
#[test]
fn a_password_that_was_changed_behind_vaults_back_is_replaced() {
    if !databases() {
        return;
    }
    let lab = lab("static-let-in");
    lab.ok(&["up", "--no-keeper", "--progress", "quiet"]);
    lab.as_superuser("pg", "app", "ALTER ROLE batch PASSWORD 'known to nobody'");
    let mut keeper = lab.command(&["supervise", "--progress", "quiet"]).spawn().expect("the program");
    eventually("the password works", Duration::from_secs(30), || {
        psql(&lab.json(&["creds", "pg-batch"])["url"], "SELECT 1").0
    });
    lab.until_events("static_role_failed", 1);
    lab.ok(&["down", "--progress", "quiet"]);
    keeper.wait().expect("wait");
}

/// Vault tells nobody that it cannot rotate.
#[test]
fn a_rotation_that_vault_cannot_do_is_told_until_it_can() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("static-overdue");
    lab.write("vaultlab.yaml", &lab_file(PG_GRANTS, "5s"));
    lab.ok(&["up", "--progress", "quiet"]);
    lab.until_events("static_role_rotated", 1);
    lab.as_superuser("pg", "app", "ALTER ROLE vault NOLOGIN");
    let connections = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'vault'";
    lab.as_superuser("pg", "app", connections);
    let last = lab.json(&["creds", "pg-batch"]);
    eventually("it is told", Duration::from_secs(120), || {
        let failures = lab.keeper_events("static_role_failed");
        failures.iter().any(|event| event["error"].as_str().is_some_and(|e| e.contains("it is overdue")))
    });
    eventually("status tells it", Duration::from_secs(20), || {
        let told = lab.json(&["status"])["keeper"]["static_roles"]["pg-batch"]["error"].to_string();
        told.contains("it is overdue") && lab.ok(&["status"]).contains("it is overdue")
    });
    assert!(lab.ok(&["events"]).contains("it is overdue"));
    assert_eq!(lab.json(&["creds", "pg-batch"])["password"], last["password"], "nothing was rotated");
    assert!(psql(&last["url"], "SELECT 1").0, "it is as good as before");

    let rotated = lab.keeper_events("static_role_rotated").len();
    lab.as_superuser("pg", "app", "ALTER ROLE vault LOGIN");
    lab.until_events("static_role_rotated", rotated + 1);
    assert!(!psql(&last["url"], "SELECT 1").0);
    eventually("status tells that, too", Duration::from_secs(20), || {
        lab.json(&["status"])["keeper"]["static_roles"]["pg-batch"]["error"].is_null()
    });
}
