//! `up`, `status`, `ls`, `down`: the lab from nothing to nothing, on real databases.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod support;

use std::process::Command;

use serde_json::Value;
use support::{TestLab, databases, tree};

#[test]
fn up_ends_with_proven_credentials_and_a_second_one_changes_nothing() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("up");
    let first = lab.json(&["up"]);
    assert_eq!(first["changed"], true);
    let outcome = |run: &Value, step: &str| -> String {
        let steps = run["steps"].as_array().expect("steps");
        let found = steps
            .iter()
            .find(|s| s["step"] == step)
            .unwrap_or_else(|| panic!("no step {step} in {steps:#?}"));
        found["outcome"].as_str().expect("an outcome").to_owned()
    };
    for database in ["notes-postgres", "notes-mysql"] {
        assert_eq!(outcome(&first, &format!("rotate-root {database}")), "changed");
    }
    for role in ["pg-read", "pg-write", "mysql-read", "mysql-write"] {
        assert_eq!(outcome(&first, &format!("prove {role}")), "proven");
    }
    let path = first["critical_path"].as_array().expect("a critical path");
    assert!(path.len() > 2, "{path:?}");

    let second = lab.json(&["up"]);
    assert_eq!(second["changed"], false, "{second:#}");
    let text = lab.ok(&["up", "--progress", "quiet"]);
    assert!(text.contains("nothing to do"), "{text}");

    let status = lab.json(&["status"]);
    assert!(status["services"].as_array().expect("services").iter().all(|s| s["state"] == "running"));
    assert_eq!(status["vault"]["sealed"], false);
    assert!(lab.ok(&["ls"]).contains(&lab.name));

    lab.ok(&["down"]);
    lab.fails(9, &["status"]);
    let third = lab.json(&["up"]);
    for (step, wanted) in
        [("init vault", "unchanged"), ("unseal vault", "changed"), ("policies", "unchanged")]
    {
        assert_eq!(outcome(&third, step), wanted, "{step}: data is kept by down");
    }
    for database in ["notes-postgres", "notes-mysql"] {
        assert_eq!(outcome(&third, &format!("rotate-root {database}")), "proven", "rotated before");
    }

    lab.ok(&["down", "--volumes"]);
    lab.assert_gone();
    lab.ok(&["down", "--volumes"]);
    lab.fails(9, &["status"]);
    lab.fails(9, &["creds", "pg-read"]);
}

#[test]
fn two_labs_have_nothing_in_common_but_the_template() {
    if !databases() {
        return;
    }
    let (one, two) = (TestLab::new("one"), TestLab::new("two"));
    let (first, second) = (one.json(&["up"]), two.json(&["up"]));
    let ports = |run: &Value| -> Vec<u64> {
        run["databases"].as_array().expect("databases").iter().filter_map(|d| d["port"].as_u64()).collect()
    };
    assert!(ports(&first).iter().all(|port| !ports(&second).contains(port)));
    for file in ["keys.json", "accounts.json", "delivery/webapp/secret_id"] {
        let read = |lab: &TestLab| std::fs::read(lab.state().join(file)).expect(file);
        assert_ne!(read(&one), read(&two), "{file}");
    }
}

/// The command, run by another program.
fn within(outer: &mut Command, inner: &Command) -> Command {
    let mut command = Command::new(outer.get_program());
    command.args(outer.get_args()).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(inner.get_current_dir().expect("a folder")).stdin(std::process::Stdio::null());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// As in a small container: no certificates are installed, and root may not look into processes of
/// other users.
#[test]
fn a_machine_with_next_to_nothing_will_do() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("bare");
    let mut up = lab.command(&["up", "--timeout", "60s"]);
    if cfg!(target_os = "linux") && nix::unistd::geteuid().is_root() {
        up = within(Command::new("setpriv").arg("--bounding-set=-sys_ptrace"), &up);
    }
    up.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
    let output = up.output().expect("it runs");
    assert!(output.status.success(), "{}", support::text(&output.stderr));
}

/// Every secret of a lab, in the files that are meant to hold them.
fn secrets(lab: &TestLab) -> Vec<String> {
    fn strings(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    match value {
                        Value::String(text)
                            if ["password", "root_token", "token"].contains(&key.as_str()) =>
                        {
                            found.push(text.clone());
                        }
                        Value::Array(keys) if key == "unseal_keys" => {
                            found.extend(keys.iter().filter_map(|k| k.as_str().map(Into::into)));
                        }
                        other => strings(other, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for file in ["keys.json", "accounts.json", "token.json"] {
        let text = std::fs::read(lab.state().join(file)).expect(file);
        strings(&serde_json::from_slice(&text).expect("JSON"), &mut found);
    }
    for approle in ["webapp", "reports"] {
        let path = lab.state().join("delivery").join(approle).join("secret_id");
        found.push(std::fs::read_to_string(path).expect("secret_id"));
    }
    assert!(found.len() >= 12 && found.iter().all(|secret| secret.len() >= 16), "{}", found.len());
    found
}

#[test]
fn no_secret_is_in_a_log_an_event_an_argument_or_a_readable_file() {
    use std::os::unix::fs::PermissionsExt as _;
    if !databases() {
        return;
    }
    let lab = TestLab::new("secrets");
    let told = |arguments: &[&str]| {
        let output = lab.command(arguments).env("VAULTLAB_LOG", "trace").output().expect("the program runs");
        assert!(output.status.success());
        [output.stdout, output.stderr].concat()
    };
    let mut told = [
        told(&["up", "--progress", "json", "--output", "json"]),
        told(&["up", "--progress", "plain"]),
        told(&["demo", "rotate", "--progress", "plain"]),
        told(&["status"]),
        told(&["ls"]),
        told(&["logs"]),
    ]
    .concat();
    let mut secrets = secrets(&lab);
    let issued = lab.json(&["creds", "pg-read"]);
    secrets.push(issued["password"].as_str().expect("a password").into());
    told.extend(told_by_processes(&lab));

    let kept_in = ["keys.json", "accounts.json", "token.json", "role_id", "secret_id"];
    for file in tree(&lab.state()).into_iter().chain(tree(&lab.services())) {
        let mode = std::fs::symlink_metadata(&file).map_or(0o600, |meta| meta.permissions().mode());
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_secret = kept_in.contains(&name.as_str());
        if is_secret {
            assert_eq!(mode & 0o077, 0, "{} is readable by others", file.display());
        }
        let is_log = file.extension().is_some_and(|e| e == "log" || e == "jsonl");
        if is_log || (mode & 0o004 != 0 && !is_secret) {
            told.extend(std::fs::read(&file).unwrap_or_default());
        }
    }
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("step_finished") && told.contains("sys/"), "something was told at all");
    for secret in secrets {
        assert!(
            !told.contains(secret.trim()),
            "a secret is told: …{}",
            &told[told.find(secret.trim()).unwrap_or(0).saturating_sub(200)..]
                .chars()
                .take(200)
                .collect::<String>()
        );
    }
}

/// Command lines and environments of the lab's services.
fn told_by_processes(lab: &TestLab) -> Vec<u8> {
    let processes = lab.processes();
    assert!(processes.len() >= 3, "{processes:?}");
    let mut told = processes.join("\n").into_bytes();
    for process in processes {
        let pid = process.split(':').next().unwrap_or_default();
        told.extend(std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default());
    }
    told
}
