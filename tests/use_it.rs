//! What a lab is used with: `env`, `creds`, `exec`, `connect`, `demo rotate`, `logs`, `init`.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::terminal::Terminal;
use support::{TestLab, databases, eventually, postgres_lab, text};

#[test]
fn a_lab_is_used() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("use");
    lab.ok(&["up", "--progress", "quiet"]);
    env(&lab);
    exec(&lab);
    connect(&lab);
    logs(&lab);
    demo(&lab);
    bench(&lab);
}

fn env(lab: &TestLab) {
    let shell = lab.ok(&["env", "--map", "DB_HOST=NOTES_POSTGRES_HOST"]);
    let output =
        Command::new("sh").args(["-c", &format!("{shell}\necho $DB_HOST $VAULT_ADDR")]).output().expect("sh");
    assert!(text(&output.stdout).starts_with("127.0.0.1 http://127.0.0.1:"), "{}", text(&output.stdout));
    let json: serde_json::Value = serde_json::from_str(&lab.ok(&["env", "--format", "json"])).expect("JSON");
    assert_eq!(json["DB_HOST"], serde_json::Value::Null);
    assert!(json["VAULT_TOKEN"].as_str().expect("a token").len() > 10);
}

fn exec(lab: &TestLab) {
    // One lease pair per role, coherent: the URL's account and password are the pair's.
    let check = r#"
        for role in PG_READ PG_WRITE MYSQL_READ MYSQL_WRITE; do
            eval "user=\$${role}_USERNAME password=\$${role}_PASSWORD url=\$${role}_URL"
            case "$url" in *"$user:$password@127.0.0.1:"*) ;; *) exit 90 ;; esac
        done
        PGPASSWORD=$PG_READ_PASSWORD psql -h 127.0.0.1 -p $NOTES_POSTGRES_PORT -U $PG_READ_USERNAME -d notes -c 'SELECT count(*) FROM notes' >/dev/null || exit 91
        echo $PG_READ_USERNAME
        exit 42"#;
    let output = lab.run(&["exec", "--", "sh", "-c", check]);
    assert_eq!(output.status.code(), Some(42), "{}", text(&output.stderr));
    let user = text(&output.stdout).trim().to_owned();
    let url = lab.json(&["creds", "pg-write"])["url"].as_str().expect("a URL").to_owned();
    let count = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{user}'");
    let output = Command::new("psql").args([&url, "-tAc", &count]).output().expect("psql");
    assert_eq!(text(&output.stdout).trim(), "0", "the lease is revoked at exit; {}", text(&output.stderr));

    let reports = lab.ok(&["exec", "--approle", "reports", "--map", "DATABASE_URL=PG_READ_URL", "--", "env"]);
    assert!(reports.contains("DATABASE_URL=postgresql://v-approle-"), "{reports}");
    assert!(!reports.contains("PG_WRITE_PASSWORD"), "reports may not write");

    // A signal reaches the program; its exit code comes back.
    let mut child = lab
        .command(&[
            "exec",
            "--role",
            "pg-read",
            "--",
            "sh",
            "-c",
            "trap 'exit 33' TERM; echo ready; while :; do sleep 0.1; done",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().expect("stdout"));
    std::io::BufRead::read_line(&mut out, &mut line).expect("a line");
    kill(Pid::from_raw(child.id().try_into().expect("a pid")), Signal::SIGTERM).expect("a signal");
    assert_eq!(child.wait().expect("wait").code(), Some(33));
    interrupted_at_a_terminal(lab);
}

/// The terminal sends Ctrl-C to the program itself, which does with it what it likes.
fn interrupted_at_a_terminal(lab: &TestLab) {
    // Once more within a second would be counted, too.
    let counts = "trap 'n=$((n + 1))' INT; n=0; echo is $PG_READ_USERNAME, ready; \
                  while [ $n = 0 ]; do sleep 0.1; done; sleep 1; sleep 1; exit $((40 + n))";
    let dies = "echo is $PG_READ_USERNAME, ready; exec sleep 100";
    for (script, code) in [(counts, 41), (dies, 128 + 2)] {
        let mut terminal =
            Terminal::run(&lab.command(&["exec", "--role", "pg-read", "--", "sh", "-c", script]));
        terminal.shows(", ready");
        let shown = terminal.seen();
        let account = shown.split_once("is ").and_then(|(_, rest)| rest.split_once(',')).expect("a name").0;
        let is_there = |account: &str| {
            let ledger = lab.json(&["leases"]);
            let entries = ledger["entries"].as_array().expect("entries").clone();
            entries.iter().any(|entry| entry["account"] == account)
        };
        assert!(is_there(account), "{shown}");
        terminal.types("\x03");
        let (ended, seen) = terminal.end();
        assert_eq!(ended, Some(code), "{seen}");
        assert!(!is_there(account), "its lease and its account are gone: {seen}");
    }
}

/// Runs a command with this among its environment.
fn with(lab: &TestLab, environment: &[(&str, &str)], arguments: &[&str]) -> String {
    let output = lab.command(arguments).envs(environment.iter().copied()).output().expect("the program runs");
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What the user has set for other servers does not reach the lab's clients, nor its credentials others.
fn settings_of_the_user(lab: &TestLab) {
    let elsewhere = [
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGSSLMODE", "verify-full"),
        ("PGSERVICE", "nowhere"),
        ("PGOPTIONS", "-c no_such=1"),
        ("PGCHANNELBINDING", "require"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGCONNECT_TIMEOUT", "3"),
    ];
    assert_eq!(with(lab, &elsewhere, &["connect", "pg-read", "--", "-tAc", "SELECT 1"]).trim(), "1");
    lab.write(".my.cnf", "[client]\npassword=x\nhost=192.0.2.1\n[mysql]\ndatabase=nowhere\n");
    let home = lab.folder.path().to_str().expect("UTF-8");
    let elsewhere = [("HOME", home), ("MYSQL_HOME", home), ("MYSQL_PWD", "x"), ("MYSQL_GROUP_SUFFIX", "x")];
    assert_eq!(with(lab, &elsewhere, &["connect", "mysql-read", "--", "-Ne", "SELECT 1"]).trim(), "1");

    let elsewhere = [
        ("VAULT_NAMESPACE", "admin"),
        ("VAULT_CACERT", "/nowhere"),
        ("BAO_ADDR", "https://bao.example"),
        ("VAULT_AGENT_ADDR", "http://127.0.0.1:1"),
        ("VAULT_FORMAT", "json"),
    ];
    let seen = with(lab, &elsewhere, &["exec", "--role", "pg-read", "--", "env"]);
    for gone in ["VAULT_NAMESPACE", "VAULT_CACERT", "BAO_ADDR", "VAULT_AGENT_ADDR"] {
        assert!(!seen.contains(gone), "{gone} in\n{seen}");
    }
    assert!(seen.contains("VAULT_ADDR=http://127.0.0.1:") && seen.contains("VAULT_FORMAT=json"), "{seen}");
}

#[test]
fn a_session_outlives_the_ttl_of_its_credential_up_to_the_longest() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("session");
    let file = postgres_lab("session", "storage: inmem") + "    default_ttl: 3s\n    max_ttl: 8s\n";
    lab.write("vaultlab.yaml", &file);
    lab.ok(&["up", "--progress", "quiet"]);
    let alive = "SELECT count(*) FROM pg_roles WHERE rolname = session_user";
    let output = lab.run(&["connect", "app", "--", "-tA", "-c", "SELECT pg_sleep(6.5)", "-c", alive]);
    assert!(text(&output.stdout).ends_with("1\n"), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stderr).contains("the credential of app ends in"), "{}", text(&output.stderr));
}

fn connect(lab: &TestLab) {
    settings_of_the_user(lab);
    let rows = lab.ok(&["connect", "pg-read", "--", "-tAc", "SELECT count(*) > 0 FROM notes"]);
    assert_eq!(rows.trim(), "t");
    let rows = lab.ok(&["connect", "mysql-read", "--", "-Ne", "SELECT count(*) > 0 FROM notes"]);
    assert_eq!(rows.trim(), "1");
    let output = lab.run(&["connect", "pg-read", "--", "-c", "DELETE FROM notes"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("permission denied"), "{}", text(&output.stderr));
}

fn logs(lab: &TestLab) {
    let all = lab.ok(&["logs"]);
    for service in ["vault ", "notes-postgres |", "notes-mysql "] {
        assert!(all.contains(service), "{service} is not in:\n{all}");
    }
    assert_eq!(lab.ok(&["logs", "notes-postgres", "-n", "1"]).lines().count(), 1);
    lab.fails(2, &["logs", "nothing"]);
    let mut follow =
        lab.command(&["logs", "-f", "notes-postgres"]).stdout(Stdio::piped()).spawn().expect("logs");
    let out = follow.stdout.take().expect("stdout");
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::BufRead::lines(std::io::BufReader::new(out)).map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    let mut seen = String::new();
    eventually("an old line", Duration::from_secs(10), || {
        seen.extend(receive.try_iter());
        seen.contains("database system is ready")
    });
    lab.run(&["connect", "pg-read", "--", "-c", "SELECT this_is_no_column"]);
    eventually("a new line", Duration::from_secs(10), || {
        seen.extend(receive.try_iter());
        seen.contains("this_is_no_column")
    });
    kill(Pid::from_raw(follow.id().try_into().expect("a pid")), Signal::SIGINT).expect("a signal");
    assert!(follow.wait().expect("wait").success());
}

fn demo(lab: &TestLab) {
    let result = lab.json(&["demo", "rotate", "--watch", "--for", "9s"]);
    assert_eq!(result["passed"], true, "{result:#}");
    let checks = result["checks"].as_array().expect("checks");
    for part in ["logs in", "is used", "expires", "is revoked", "root is rotated"] {
        assert!(checks.iter().any(|c| c["check"].as_str().is_some_and(|name| name.contains(part))), "{part}");
    }
    for watched in result["watched"].as_array().expect("watched") {
        assert_eq!(watched["failed"], 0, "{watched}");
        assert!(
            watched["queries"].as_u64() > Some(100) && watched["credentials"].as_u64() >= Some(4),
            "{watched}"
        );
    }
}

#[test]
fn a_demo_brings_up_a_lab_of_its_own_and_takes_it_down() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("demo");
    let text = lab.ok(&["demo", "rotate"]);
    assert!(text.contains("checks passed"), "{text}");
    lab.assert_gone();
}

#[test]
fn init_writes_a_lab_that_can_be_brought_up() {
    let lab = TestLab::new("init");
    let told = lab.ok(&["init"]);
    assert!(told.contains("lab/vaultlab.yaml") && told.contains("Next: vaultlab up"), "{told}");
    let again = lab.ok(&["init"]);
    assert!(again.contains("kept") && !again.contains("wrote"), "{again}");
    if databases() {
        lab.ok(&["up", "--progress", "quiet"]);
        let status = lab.json(&["status"]);
        assert!(status["file"].as_str().expect("a file").ends_with("lab/vaultlab.yaml"), "{status}");
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    let lab = TestLab::new("completions");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(lab.ok(&["completions", shell]).contains("vaultlab"), "{shell}");
    }
}

fn bench(lab: &TestLab) {
    let accounts = || {
        let count = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'";
        let url = lab.json(&["creds", "pg-write"])["url"].as_str().expect("a URL").to_owned();
        let output = Command::new("psql").args([&url, "-tAc", count]).output().expect("psql");
        text(&output.stdout).trim().parse::<u64>().expect("a number")
    };
    let before = accounts();
    let found = lab.json(&["bench", "--for", "1s", "--workers", "4", "--direct"]);
    let loads = found["loads"].as_array().expect("loads");
    let kinds: Vec<&str> = loads.iter().filter_map(|load| load["load"].as_str()).collect();
    assert_eq!(kinds, ["reads", "logins", "creds", "creds"]);
    for load in loads {
        assert!(load["done"].as_u64() > Some(0), "{load}");
        assert!(load["errors"].as_object().is_some_and(serde_json::Map::is_empty), "{load}");
        assert!(load["latency_ms"]["p50"].as_f64() <= load["latency_ms"]["max"].as_f64(), "{load}");
        let made = load["done"].as_u64().unwrap_or(0)
            + load["direct"]["done"].as_u64().unwrap_or(0) * u64::from(load["load"] == "creds");
        let cleaned = if load["load"] == "reads" { 0 } else { made };
        assert_eq!(load["cleaned"]["revoked"].as_u64().unwrap_or(0), cleaned, "{load}");
    }
    assert!(loads[2]["direct"]["ratio"].as_f64() > Some(0.0), "{}", loads[2]);
    // The one more is the account that counts; what other steps left may end meanwhile.
    assert!(accounts() <= before + 1, "what a benchmark makes it removes");

    let shown = lab.ok(&["env", "--format", "json"]);
    let variables: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let token = lab.write("token", variables["VAULT_TOKEN"].as_str().expect("a token"));
    let token = token.to_str().expect("a path");
    let address = variables["VAULT_ADDR"].as_str().expect("an address");
    let asked = ["bench", "creds", "--role", "pg-read", "--revoke", "--for", "500ms", "--output", "json"];
    let other = [&asked[..], &["--address", address, "--token-file", token]].concat();
    let found: serde_json::Value = serde_json::from_str(&lab.ok(&other)).expect("JSON");
    let load = &found["loads"][0];
    assert!(load["revocations"]["done"].as_u64() > Some(0), "{load}");
    assert_eq!(load["done"], load["revocations"]["done"]);
    assert_eq!(load["cleaned"], serde_json::Value::Null);

    // Every request fails: counted by what Vault says, and told by the exit code.
    // Without a dot: what follows one names a namespace in older versions.
    lab.write("token", "nobody");
    let output = lab.run(&["bench", "reads", "--for", "200ms", "--address", address, "--token-file", token]);
    assert_eq!(output.status.code(), Some(6));
    assert!(text(&output.stdout).contains("failed: 403"), "{}", text(&output.stdout));
}
