//! The account that is kept outside Vault, and what it is for.

use serde_json::Value;

use crate::support::{TestLab, databases, text};

fn file(glass: &str) -> String {
    let databases = ["postgres", "mysql"].map(|engine| {
        format!("  - {{name: db-{engine}, engine: {engine}, database: app, break_glass: {glass}}}\n")
    });
    format!(
        "apiVersion: vaultlab/v1
vault: {{flavour: embedded, key_shares: 1, key_threshold: 1}}
databases:
{}roles:
  - name: app
    database: db-postgres
    creation_statements:
      sql: CREATE ROLE \"{{{{name}}}}\" LOGIN PASSWORD '{{{{password}}}}' VALID UNTIL '{{{{expiration}}}}'
",
        databases.concat()
    )
}

fn outcome(summary: &Value, name: &str) -> (String, String) {
    let steps = summary["steps"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["step"] == name);
    let step = step.unwrap_or_else(|| panic!("{name}: {summary:#}"));
    let word = |key: &str| step[key].as_str().unwrap_or_default().to_owned();
    (word("outcome"), word("detail"))
}

#[test]
fn an_account_outside_vault_is_kept_where_it_is_asked_for() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("glass");
    lab.write("vaultlab.yaml", &file("on"));
    let summary = lab.json(&["up"]);
    for database in ["db-postgres", "db-mysql"] {
        let made = outcome(&summary, &format!("break glass {database}"));
        assert_eq!(made, ("changed".into(), "made, logged in as a superuser".into()));
    }
    let again = lab.json(&["up"]);
    assert_eq!(again["changed"], false);
    assert_eq!(outcome(&again, "break glass db-mysql"), ("proven".into(), "logged in as a superuser".into()));

    // Vault is dead: that is what it is for.
    lab.ok(&["down", "--progress", "quiet"]);
    lab.fails(9, &["creds", "--break-glass", "db-postgres"]);
    lab.ok(&["up", "--no-keeper", "--progress", "quiet"]);
    crate::client::kill(lab.vault_pid(), nix::sys::signal::Signal::SIGKILL);
    let shown = lab.json(&["creds", "--break-glass", "db-postgres"]);
    assert_eq!((&shown["username"], &shown["lease_id"]), (&"break_glass".into(), &Value::Null), "{shown}");
    let ask = |database: &str, arguments: &[&str]| {
        let all = [&["connect", "--break-glass", database, "--"], arguments].concat();
        lab.ok(&all).trim().to_owned()
    };
    let superuser = "SELECT usesuper FROM pg_user WHERE usename = current_user";
    assert_eq!(ask("db-postgres", &["-tAc", superuser]), "t");
    let users = "SELECT COUNT(*) > 0 FROM mysql.user WHERE user = 'vault'";
    assert_eq!(ask("db-mysql", &["-Ne", users]), "1");
    let error = lab.fails(2, &["creds", "--break-glass", "nothing"]);
    assert!(error.contains("db-postgres, db-mysql"), "{error}");

    lab.write("vaultlab.yaml", &file("off"));
    let summary = lab.json(&["up"]);
    assert_eq!(outcome(&summary, "break glass db-mysql"), ("changed".into(), "removed".into()));
    lab.fails(2, &["creds", "--break-glass", "db-mysql"]);
    let accounts = std::fs::read_to_string(lab.state().join("accounts.json")).expect("accounts");
    assert!(!accounts.contains("break_glass"));
    lab.as_superuser(
        "db-postgres",
        "app",
        "DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'break_glass'); END $$",
    );
    assert_eq!(lab.json(&["up"])["changed"], false);
}

/// The passwords of Vault's account and of the superuser are lost together: `up` gets back in by itself.
#[test]
fn access_is_regained_through_it() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("glass-lost");
    lab.write("vaultlab.yaml", &file("on"));
    lab.ok(&["up", "--progress", "quiet"]);
    let ask = |database: &str, arguments: &[&str]| {
        lab.ok(&[&["connect", "--break-glass", database, "--"], arguments].concat())
    };
    for lost in ["vault", "postgres"] {
        ask("db-postgres", &["-c", &format!("ALTER ROLE {lost} PASSWORD 'known to nobody'")]);
    }
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'vault'";
    ask("db-postgres", &["-c", ended]);
    for lost in ["'vault'@'%'", "'root'@'127.0.0.1'"] {
        ask("db-mysql", &["-e", &format!("ALTER USER {lost} IDENTIFIED BY 'known to nobody'")]);
    }
    lab.fails(6, &["creds", "app"]);
    let summary = lab.json(&["up"]);
    let rotated = outcome(&summary, "rotate-root db-postgres");
    assert_eq!(rotated, ("changed".into(), "Vault was locked out: repaired, rotated".into()), "{summary:#}");
    lab.ok(&["creds", "app"]);
    // The superuser has its own password again, in either database.
    lab.as_superuser("db-postgres", "app", "SELECT 1");
    let is_known = || {
        let output = lab.run(&["leases"]);
        let said = text(&output.stdout);
        assert!(output.status.success() && !said.contains("Not known"), "{said}{}", text(&output.stderr));
    };
    is_known();
    // The ledger needs no `up` for that.
    ask("db-postgres", &["-c", "ALTER ROLE postgres PASSWORD 'known to nobody'"]);
    ask("db-mysql", &["-e", "ALTER USER 'root'@'127.0.0.1' IDENTIFIED BY 'known to nobody'"]);
    is_known();
    lab.as_superuser("db-postgres", "app", "SELECT 1");
    assert_eq!(lab.json(&["up"])["changed"], false);
}
