//! Root's power: taken when it is needed, given back, and regained through the unseal keys.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod support;

use serde_json::Value;
use support::{TestLab, databases, text};

fn lab_file(keep: &str) -> String {
    support::postgres_lab("small", &format!("keep_root_token: {keep}"))
}

fn json(lab: &TestLab, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(lab.state().join(file)).expect(file)).expect("JSON")
}

/// The status of a request made with a token, in a shell with the lab's address.
fn status(lab: &TestLab, exec: &[&str], method: &str, path: &str, token: &str) -> String {
    let script = format!(
        "curl -s -o /dev/null -w '%{{http_code}}' -X {method} -H \"X-Vault-Token: {token}\" $VAULT_ADDR/v1/{path}"
    );
    let arguments = [&["exec", "--role", "app"], exec, &["--", "sh", "-c", &script]].concat();
    lab.ok(&arguments)
}

const READ_POLICY: (&str, &str) = ("GET", "sys/policies/acl/vaultlab-operator");

#[test]
fn the_root_token_is_revoked_and_regained_for_as_long_as_it_is_needed() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("root");
    lab.write("vaultlab.yaml", &lab_file("off"));

    // What an `up` that was killed before its end leaves: the token of `sys/init`, in force.
    let mut up = lab.spawn_up();
    while up.next().expect("an event")["step"] != "audit device" {}
    up.kill();
    let first = json(&lab, "keys.json")["root_token"].as_str().expect("a root token").to_owned();

    lab.ok(&["up", "--progress", "quiet"]);
    assert_eq!(json(&lab, "keys.json")["root_token"], Value::Null, "it is no longer kept");
    let (method, path) = READ_POLICY;
    assert_eq!(status(&lab, &[], method, path, &first), "403", "it is revoked");
    assert_eq!(status(&lab, &[], method, path, "$VAULT_TOKEN"), "403", "commands are not root");
    assert_eq!(status(&lab, &["--root"], method, path, "$VAULT_TOKEN"), "200");

    // The token of `exec --root` ends with its program.
    let told = lab.ok(&["exec", "--root", "--", "sh", "-c", "echo $VAULT_TOKEN"]);
    assert_eq!(status(&lab, &[], method, path, told.trim()), "403", "it is revoked at exit");

    let again = lab.json(&["up"]);
    assert_eq!(again["changed"], false, "{again:#}");
    let steps = again["steps"].as_array().expect("steps");
    for step in ["regain root", "revoke root"] {
        let found = steps.iter().find(|s| s["step"] == step).unwrap_or_else(|| panic!("no step {step}"));
        assert_eq!(found["outcome"], "proven", "{step}");
    }
}

#[test]
fn nothing_of_what_commands_use_is_lost_for_good() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("token");
    lab.write("vaultlab.yaml", &lab_file("off"));
    lab.ok(&["up", "--progress", "quiet"]);

    // Somebody began to make a root token and went away; somebody revoked the token for commands.
    let begin = "curl -sf -X PUT -d '{}' $VAULT_ADDR/v1/sys/generate-root/attempt >/dev/null";
    let revoke = "curl -sf -X POST -H \"X-Vault-Token: $1\" $VAULT_ADDR/v1/auth/token/revoke-self";
    let token = json(&lab, "token.json")["token"].as_str().expect("a token").to_owned();
    lab.ok(&["exec", "--", "sh", "-c", begin]);
    lab.ok(&["exec", "--root", "--", "sh", "-c", revoke, "sh", &token]);
    let error = lab.fails(6, &["creds", "app"]);
    assert!(error.contains("next: vaultlab ") && error.contains(" up"), "{error}");

    assert_eq!(lab.json(&["up"])["changed"], true);
    lab.ok(&["creds", "app"]);
    std::fs::remove_file(lab.state().join("token.json")).expect("the token");
    lab.fails(9, &["creds", "app"]);
    lab.ok(&["up", "--progress", "quiet"]);
    lab.ok(&["creds", "app"]);
    assert_eq!(lab.json(&["up"])["changed"], false);
}

#[test]
fn a_kept_root_token_that_is_revoked_by_hand_is_made_anew() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("kept");
    lab.write("vaultlab.yaml", &lab_file("on"));
    lab.ok(&["up", "--progress", "quiet"]);
    let first = json(&lab, "keys.json")["root_token"].as_str().expect("a root token").to_owned();
    assert_eq!(json(&lab, "token.json")["token"], first.as_str(), "commands use it");
    assert!(lab.ok(&["env"]).contains(&first));
    let (method, path) = ("GET", "sys/mounts");
    assert_eq!(status(&lab, &[], method, path, "$VAULT_TOKEN"), "200");
    assert_eq!(lab.json(&["up"])["changed"], false);

    let script = format!("curl -s -X POST -H 'X-Vault-Token: {first}' $VAULT_ADDR/v1/auth/token/revoke-self");
    // It revokes the program's own token too, which is a child of it.
    let output = lab.run(&["exec", "--role", "app", "--", "sh", "-c", &script]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    lab.fails(6, &["creds", "app"]);
    lab.ok(&["up", "--progress", "quiet"]);
    let second = json(&lab, "keys.json")["root_token"].as_str().expect("a root token").to_owned();
    assert_ne!(first, second);
    assert_eq!(status(&lab, &[], method, path, "$VAULT_TOKEN"), "200");
    // A root token is not used up by `exec --root`.
    lab.ok(&["exec", "--root", "--", "true"]);
    assert_eq!(lab.json(&["up"])["changed"], false);

    // The lab file no longer keeps it.
    lab.write("vaultlab.yaml", &lab_file("off"));
    lab.ok(&["up", "--progress", "quiet"]);
    assert_eq!(json(&lab, "keys.json")["root_token"], Value::Null);
    assert_eq!(status(&lab, &[], method, path, &second), "403");
    lab.ok(&["creds", "app"]);
}

#[test]
fn other_key_shares_in_the_lab_file_are_told_and_not_passed_over() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("shares");
    lab.write("vaultlab.yaml", &lab_file("off"));
    lab.ok(&["up", "--progress", "quiet"]);
    lab.write("vaultlab.yaml", &lab_file("off\n  key_shares: 3\n  key_threshold: 2"));
    let told = text(&lab.run(&["up", "--progress", "plain"]).stderr);
    assert!(told.contains("initialised with 5 key shares, threshold 3"), "{told}");
}
