//! What a lab tells of itself, and what it writes for a Vault Agent: `events`, `agent-config`, masks.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod support;

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{TestLab, databases, eventually, text};

#[test]
fn events_are_shown_chosen_and_followed() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("events");
    lab.fails(9, &["events"]);
    lab.ok(&["up", "--progress", "quiet"]);
    let all = lab.ok(&["events"]);
    let line = all.lines().find(|line| line.contains("Rotate root of notes-postgres")).expect("the step");
    assert!(line.contains("✓") && line.contains("old password refused") && line.starts_with("20"), "{line}");
    assert!(!all.contains('•'), "what began is not shown: {all}");
    let json = lab.ok(&["events", "--output", "json", "-n", "1"]);
    let last: Value = serde_json::from_str(&json).expect("one line of JSON");
    assert!(last["event"].is_string() && last["at"].is_string(), "{last}");
    assert!(all.contains("✓ Revoke the root token: Vault refuses it"), "{all}");
    assert_eq!(lab.ok(&["events", "--since", "2099-01-01T00:00:00Z"]), "");
    assert!(lab.ok(&["events", "--since", "1h"]).starts_with(&all), "the keeper may have told more");
    assert!(lab.fails(2, &["events", "--since", "yesterday"]).contains("how long ago"));

    let mut follow =
        lab.command(&["events", "-f", "-n", "0"]).stdout(Stdio::piped()).spawn().expect("events");
    let out = follow.stdout.take().expect("stdout");
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::BufRead::lines(std::io::BufReader::new(out)).map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    let events = lab.state().join("events.jsonl");
    let mut seen = String::new();
    eventually("a followed event", Duration::from_secs(60), || {
        lab.ok(&["up", "--progress", "quiet"]);
        seen.extend(receive.try_iter());
        seen.contains("Revoke the root token")
    });
    // The file is set aside under way.
    std::fs::rename(&events, events.with_extension("jsonl.1")).expect("rename");
    seen.clear();
    eventually("an event in the new file", Duration::from_secs(60), || {
        lab.ok(&["up", "--progress", "quiet"]);
        seen.extend(receive.try_iter());
        seen.contains("Revoke the root token")
    });
    kill(Pid::from_raw(follow.id().try_into().expect("a pid")), Signal::SIGINT).expect("a signal");
    assert!(follow.wait().expect("wait").success());
    assert!(lab.ok(&["events"]).starts_with(&all), "what was set aside comes first");
}

#[test]
fn values_are_masked_in_github_s_log() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("masks");
    lab.ok(&["up", "--progress", "quiet"]);
    let output = lab.run(&["env", "--format", "github"]);
    let (env, log) = (text(&output.stdout), text(&output.stderr));
    let token = env.lines().find_map(|line| line.strip_prefix("VAULT_TOKEN=")).expect("a token");
    assert_eq!(log, format!("::add-mask::{token}\n"));
    assert!(!env.contains("::add-mask"), "it would become a variable: {env}");
}

/// The generated files, read by a Vault Agent where there is one: `VAULTLAB_TEST_AGENT` names the
/// program `vault` or `bao`.
#[test]
fn a_generated_configuration_runs_a_vault_agent_unchanged() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("agent");
    lab.ok(&["up", "--progress", "quiet"]);
    assert!(lab.fails(2, &["agent-config", "nobody"]).contains("no AppRole \"nobody\""));
    let written = lab.json(&["agent-config"]);
    let of = |name: &str| {
        let all = written.as_array().expect("a list");
        all.iter().find(|agent| agent["approle"] == name).expect("the AppRole").clone()
    };
    let (webapp, reports) = (of("webapp"), of("reports"));
    assert_eq!(reports["roles"], serde_json::json!(["pg-read", "mysql-read"]), "what its policies allow");
    assert_eq!(webapp["roles"].as_array().map(Vec::len), Some(4));
    let config = std::fs::read_to_string(reports["config"].as_str().unwrap()).expect("agent.hcl");
    let secret_id = lab.state().join("delivery/reports/secret_id");
    assert!(config.contains(&format!("{:?}", secret_id.display().to_string())), "{config}");
    let parsed = vaultlab_server::hcl::parse(&config);
    assert!(parsed.is_ok(), "{:?}\n{config}", parsed.err());

    let Some(agent) = std::env::var_os("VAULTLAB_TEST_AGENT") else {
        eprintln!("skipped: VAULTLAB_TEST_AGENT names no Vault Agent");
        return;
    };
    let log = std::fs::File::create(lab.folder.path().join("agent.log")).expect("a log");
    let mut child = std::process::Command::new(agent)
        .args(["agent", &format!("-config={}", reports["config"].as_str().unwrap())])
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("the agent");
    let rendered = reports["rendered"].as_str().unwrap();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("rendered credentials", Duration::from_secs(30), || {
            std::fs::read_to_string(rendered).is_ok_and(|text| text.contains("MYSQL_READ_URL="))
        });
    }));
    let told = std::fs::read_to_string(lab.folder.path().join("agent.log")).unwrap_or_default();
    kill(Pid::from_raw(child.id().try_into().expect("a pid")), Signal::SIGTERM).expect("a signal");
    child.wait().expect("wait");
    assert!(ended.is_ok(), "{told}");

    let variables = std::fs::read_to_string(rendered).expect("the rendered file");
    let value = |name: &str| {
        let line = variables.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("no {name} in\n{variables}")).to_owned()
    };
    assert!(value("PG_READ_URL").contains(&format!(
        "{}:{}@",
        value("PG_READ_USERNAME"),
        value("PG_READ_PASSWORD")
    )));
    let rows = std::process::Command::new("psql").args([&value("PG_READ_URL"), "-tAc", "SELECT 1"]).output();
    assert_eq!(text(&rows.expect("psql").stdout).trim(), "1");
    assert!(secret_id.exists(), "the agent leaves it");
}
