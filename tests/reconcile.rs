//! `up` after the lab file changed, moved or broke.
#![allow(clippy::expect_used, reason = "a failed expectation fails the test")]

mod support;

use support::{TestLab, databases, text};

const CREATE: &str =
    r#"CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"#;

fn lab_file(ttl: &str, more: &str) -> String {
    format!(
        "apiVersion: vaultlab/v1
name: edited
databases:
  - name: db
    engine: postgres
    database: app
roles:
  - name: app
    database: db
    creation_statements:
      sql: |
        {CREATE}
    default_ttl: {ttl}
    max_ttl: 1h
{more}"
    )
}

const MORE: &str = r#"  - name: second
    database: db
    creation_statements:
      sql: |
        CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'
policies:
  - name: app
    hcl: |
      path "database/creds/app" {
        capabilities = ["read"]
      }
approles:
  - name: app
    policies: [app]
  - name: away
    policies: [app]
    deliver: {role_id: out/role_id, secret_id: out/secret_id}
"#;

#[test]
fn an_edited_lab_file_is_followed_and_what_it_dropped_is_removed() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("edited");
    lab.write("vaultlab.yaml", &lab_file("1m", MORE));
    lab.ok(&["up", "--progress", "quiet"]);
    assert_eq!(lab.json(&["creds", "second"])["lease_duration"], 3600);
    let out = lab.folder.path().join("out");
    assert!(lab.state().join("delivery/app/secret_id").exists());
    assert!(out.join("role_id").exists() && out.join("secret_id").exists());
    let theirs = lab.write("out/theirs", "8f2a6b1c-0d3e-4f5a-9b7c-1e2d3f4a5b6c");

    // What somebody else wrote is theirs.
    let foreign = r#"curl -sf -H "X-Vault-Token: $VAULT_TOKEN" -X POST -d '{"policy":"path \"x\" { capabilities = [\"read\"] }"}' $VAULT_ADDR/v1/sys/policies/acl/theirs"#;
    lab.ok(&["exec", "--root", "--", "sh", "-c", foreign]);

    lab.write("vaultlab.yaml", &lab_file("2m", ""));
    let changed = lab.json(&["up"]);
    assert_eq!(changed["changed"], true);
    let step =
        changed["steps"].as_array().expect("steps").iter().find(|s| s["step"] == "undeclared").cloned();
    let detail = step.expect("the step")["detail"].as_str().expect("a detail").to_owned();
    for path in ["database/roles/second", "sys/policies/acl/app", "auth/approle/role/app"] {
        assert!(detail.contains(path), "{path} is not in {detail}");
    }
    assert_eq!(lab.json(&["creds", "app"])["lease_duration"], 120);
    assert!(!lab.state().join("delivery/app").exists());
    assert!(!out.join("role_id").exists() && !out.join("secret_id").exists() && theirs.exists());
    let check = r#"for path in database/roles/second sys/policies/acl/app auth/approle/role/app; do
            test "$(curl -s -o /dev/null -w '%{http_code}' -H "X-Vault-Token: $VAULT_TOKEN" $VAULT_ADDR/v1/$path)" = 404 || exit 1
        done
        curl -sf -H "X-Vault-Token: $VAULT_TOKEN" $VAULT_ADDR/v1/sys/policies/acl/theirs"#;
    lab.ok(&["exec", "--root", "--", "sh", "-c", check]);
    assert_eq!(lab.json(&["up"])["changed"], false);
}

#[test]
fn a_lab_of_another_file_is_not_taken_over() {
    if !databases() {
        return;
    }
    let (lab, other) = (TestLab::new("mine"), TestLab::new("mine"));
    assert_eq!(lab.name, other.name);
    lab.write("vaultlab.yaml", &lab_file("1m", ""));
    lab.ok(&["up", "--progress", "quiet"]);
    let file = other.write("vaultlab.yaml", &lab_file("2m", "")).display().to_string();
    let error = other.fails(2, &["up", "-f", &file]);
    assert!(error.contains("give it a name of its own"), "{error}");
    assert_eq!(lab.json(&["creds", "app"])["lease_duration"], 60);
    std::fs::remove_file(file).expect("the file");
}

#[test]
fn a_lab_whose_file_is_broken_or_gone_can_be_looked_at_and_stopped() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("moved");
    let file = lab.write("vaultlab.yaml", &lab_file("1m", ""));
    lab.ok(&["up", "--progress", "quiet"]);
    lab.write("vaultlab.yaml", "apiVersion: vaultlab/v1\nnonsense: true\n");
    lab.fails(3, &["up"]);
    let status = lab.json(&["status"]);
    let running = status["services"].as_array().expect("services").iter().filter(|s| s["state"] == "running");
    assert_eq!(running.count(), 2, "{status}");
    assert!(lab.ok(&["logs", "db"]).contains("ready to accept connections"));
    // Without its name too: the file says which lab it was.
    let mut nameless = std::process::Command::new(env!("CARGO_BIN_EXE_vaultlab"));
    nameless.args(["down", "-f"]).arg(&file).env("VAULTLAB_HOME", &lab.home).env_remove("VAULTLAB_NAME");
    let output = nameless.output().expect("the program runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains(&format!("Lab {} is down", lab.name)), "{}", text(&output.stdout));

    lab.write("vaultlab.yaml", &lab_file("1m", ""));
    lab.ok(&["up", "--progress", "quiet"]);
    std::fs::remove_file(file).expect("the file");
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
    lab.assert_gone();
}

#[test]
fn a_lab_whose_state_is_lost_or_damaged_can_be_removed() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("lost");
    lab.write("vaultlab.yaml", &lab_file("1m", ""));
    lab.ok(&["up", "--progress", "quiet"]);
    // It stands still, so that it does not see by itself that its lab is gone.
    let keeper = lab.processes().into_iter().find(|process| process.contains(" supervise "));
    let pid =
        keeper.as_deref().and_then(|process| process.split(':').next()?.parse().ok()).expect("a keeper");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGSTOP)
        .expect("a signal");
    std::fs::remove_dir_all(lab.state()).expect("the state can be removed");
    assert!(lab.ok(&["logs"]).contains("ready to accept connections"));
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
    lab.assert_gone();

    lab.ok(&["up", "--progress", "quiet"]);
    std::fs::write(lab.state().join("manifest.json"), "").expect("the manifest");
    let error = lab.fails(11, &["up"]);
    assert!(error.contains("manifest.json is damaged"), "{error}");
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
    lab.assert_gone();
}

const SECOND_DATABASE: &str = "  - name: other
    engine: postgres
    database: other
";
const SECOND_ROLE: &str = r#"  - name: other
    database: other
    creation_statements:
      sql: |
        CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'
"#;

/// The status of a read with a root token.
fn status_of(lab: &TestLab, path: &str) -> String {
    let script = format!(
        r#"curl -s -o /dev/null -w '%{{http_code}}' -H "X-Vault-Token: $VAULT_TOKEN" $VAULT_ADDR/v1/{path}"#
    );
    lab.ok(&["exec", "--root", "--role", "app", "--", "sh", "-c", &script])
}

#[test]
fn a_database_that_is_no_longer_declared_loses_its_connection_once_its_leases_are_revoked() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("dropped");
    let one = lab_file("1m", "");
    let two = one.replace("roles:\n", &format!("{SECOND_DATABASE}roles:\n")) + SECOND_ROLE;
    lab.write("vaultlab.yaml", &two);
    lab.ok(&["up", "--progress", "quiet"]);
    let url = lab.json(&["creds", "other"])["url"].as_str().expect("a URL").to_owned();
    let log_in =
        || std::process::Command::new("psql").args([&url, "-tAc", "SELECT 1"]).output().expect("psql");
    assert!(log_in().status.success());

    lab.write("vaultlab.yaml", &one);
    lab.ok(&["up", "--progress", "quiet"]);
    assert_eq!(status_of(&lab, "database/config/other"), "404");
    assert_eq!(status_of(&lab, "database/config/db"), "200");
    assert!(text(&log_in().stderr).contains("password authentication failed"), "its credential is revoked");

    // A database that cannot be reached keeps its connection: Vault needs it to revoke. A keeper would
    // start it again.
    let (one, two) = (one + "keeper: off\n", two + "keeper: off\n");
    lab.write("vaultlab.yaml", &two);
    lab.ok(&["up", "--progress", "quiet"]);
    lab.ok(&["creds", "other"]);
    let status = lab.json(&["status"]);
    let services = status["services"].as_array().expect("services");
    let other = services.iter().find(|s| s["name"] == "other").expect("the service");
    let pid = nix::unistd::Pid::from_raw(other["pid"].as_i64().expect("a pid") as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT).expect("a signal");
    lab.write("vaultlab.yaml", &one);
    let told = text(&lab.run(&["up", "--progress", "plain"]).stderr);
    assert!(told.contains("database/config/other stays in Vault: the credentials of other cannot"), "{told}");
    assert_eq!(status_of(&lab, "database/config/other"), "200");
}

#[test]
fn an_approle_changed_by_hand_is_set_back() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("by-hand");
    lab.write("vaultlab.yaml", &lab_file("1m", MORE));
    lab.ok(&["up", "--progress", "quiet"]);
    let change = r#"curl -sf -H "X-Vault-Token: $VAULT_TOKEN" -X POST -d '{"token_num_uses": 1, "secret_id_bound_cidrs": "10.0.0.0/8"}' $VAULT_ADDR/v1/auth/approle/role/app"#;
    lab.ok(&["exec", "--root", "--", "sh", "-c", change]);
    lab.fails(6, &["exec", "--approle", "app", "--", "true"]);
    lab.ok(&["up", "--progress", "quiet"]);
    lab.ok(&["exec", "--approle", "app", "--", "true"]);
    assert_eq!(lab.json(&["up"])["changed"], false);
}
