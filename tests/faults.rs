//! What users do wrong, and what goes wrong for them.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod support;

use std::os::unix::fs::PermissionsExt as _;

use support::{TestLab, databases, text};

/// A lab with one PostgreSQL and one role whose parts can be spoiled.
fn small_lab(create: &str, extra: &str) -> String {
    format!(
        "apiVersion: vaultlab/v1
name: small
databases:
  - name: db
    engine: postgres
    database: app
    schema:
      - sql: CREATE TABLE t (i integer)
{extra}
roles:
  - name: app
    database: db
    creation_statements:
      sql: |
        {create}
    default_ttl: 1m
    max_ttl: 2m
"
    )
}

/// As in the tutorials; revocation is left to Vault.
const GOOD: &str = r#"CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}";"#;

#[test]
fn statements_that_fail_are_told_with_role_statement_and_the_database_s_own_error() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("bad-sql");
    let create = format!("{GOOD} GRANT no_such_group TO \"{{{{name}}}}\"");
    lab.write("vaultlab.yaml", &small_lab(&create, ""));
    let error = lab.fails(6, &["up", "--progress", "plain"]);
    for part in ["role app", "no_such_group", "does not exist", "{{password}}", "up --retain"] {
        assert!(error.contains(part), "{part} is not in:\n{error}");
    }
    lab.assert_gone();
}

#[test]
fn an_account_that_may_not_even_log_in_is_a_proof_that_failed() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("no-grants");
    let create = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}'";
    let revoke = "      - sql: REVOKE CONNECT ON DATABASE app FROM PUBLIC";
    lab.write("vaultlab.yaml", &small_lab(create, revoke));
    let error = lab.fails(7, &["up"]);
    for part in ["proof failed for role app: ", "permission denied", "made by ", "vaultlab.yaml:"] {
        assert!(error.contains(part), "{part} is not in:\n{error}");
    }
    lab.assert_gone();
}

#[test]
fn a_lab_whose_file_is_wrong_by_now_is_shown_with_what_is_wrong() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("wrong-by-now");
    let file = lab.write("vaultlab.yaml", &small_lab(GOOD, ""));
    lab.ok(&["up", "--progress", "quiet"]);
    lab.write("vaultlab.yaml", &small_lab(GOOD, "    prot: 1"));
    let output = lab.run(&["status", "--progress", "plain"]);
    assert!(output.status.success(), "the lab is up all the same");
    let (shown, told) = (text(&output.stdout), text(&output.stderr));
    assert!(told.contains("unknown key `prot` in a database") && told.lines().count() == 1, "{told}");
    assert!(shown.contains("vaultlab.yaml, which is wrong") && !shown.contains("roles"), "{shown}");
    let status = lab.json(&["status"]);
    assert_eq!(status["file"], file.canonicalize().expect("the file").to_str().expect("UTF-8"));
    assert!(status["file_problem"].as_str().expect("a problem").contains("prot"), "{status}");
}

#[test]
fn a_schema_that_fails_is_told_with_its_statement() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("bad-schema");
    lab.write("vaultlab.yaml", &small_lab(GOOD, "      - broken.sql"));
    lab.write("broken.sql", "CREATE TABLE a (i integer);\n\nCREATE TABEL b (i integer);\n");
    let error = lab.fails(5, &["up"]);
    for part in ["broken.sql:3", "statement 2", "syntax error"] {
        assert!(error.contains(part), "{part} is not in:\n{error}");
    }
    lab.assert_gone();
}

#[test]
fn a_taken_port_is_told_with_its_holder_when_it_was_asked_for() {
    if !databases() {
        return;
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let lab = TestLab::new("port");
    lab.write("vaultlab.yaml", &small_lab(GOOD, &format!("    port: {port}")));
    let error = lab.fails(5, &["up"]);
    assert!(error.contains(&format!("port {port} is taken by")), "{error}");
    assert!(error.contains(&std::process::id().to_string()), "the holder is this test: {error}");
    lab.assert_gone();
}

#[test]
fn a_wrong_unseal_key_is_told_as_such() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("wrong-key");
    lab.write("vaultlab.yaml", &small_lab(GOOD, ""));
    lab.ok(&["up", "--progress", "quiet"]);
    lab.ok(&["down", "--progress", "quiet"]);
    let path = lab.state().join("keys.json");
    let mut keys: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("keys")).expect("JSON");
    for (number, key) in keys["unseal_keys"].as_array_mut().expect("keys").iter_mut().enumerate() {
        let length = key.as_str().expect("a key").len();
        *key = format!("{}{:02x}", "a5".repeat(length / 2 - 1), number + 1).into();
    }
    std::fs::write(&path, keys.to_string()).expect("keys");
    let error = lab.fails(6, &["up"]);
    assert!(error.contains("keys.json do not unseal this Vault"), "{error}");
    assert!(error.contains("down --volumes && vaultlab"), "{error}");
}

#[test]
fn keys_that_are_gone_are_told_and_not_replaced() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("no-keys");
    lab.write("vaultlab.yaml", &small_lab(GOOD, ""));
    lab.ok(&["up", "--progress", "quiet"]);
    std::fs::remove_file(lab.state().join("keys.json")).expect("keys");
    let error = lab.fails(6, &["up"]);
    assert!(error.contains("already initialised, but its unseal keys are not in"), "{error}");
}

#[test]
fn a_home_that_cannot_be_written_is_told_by_name() {
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("file");
    std::fs::write(&file, "not a folder").expect("a file");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_vaultlab"))
        .arg("up")
        .env("VAULTLAB_HOME", file.join("below"))
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(11));
    assert!(text(&output.stderr).contains("file/below"), "{}", text(&output.stderr));
    if !nix::unistd::geteuid().is_root() {
        let locked = home.path().join("locked");
        std::fs::create_dir(&locked).expect("a folder");
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o500)).expect("a mode");
        let lab = TestLab::in_home("unwritable", &locked);
        assert!(lab.fails(11, &["up"]).contains("Permission denied"));
    }
}

/// A small file system, for root only.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let place = tempfile::tempdir().expect("a folder");
        let options = format!("size={size},mode=0711");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(place.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(place))
    }

    fn resize(&self, size: &str) {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-o", &format!("remount,size={size}")]).arg(self.0.path());
        assert!(mount.status().expect("mount").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

#[test]
fn a_full_disk_is_told_and_the_next_up_goes_on() {
    if !databases() {
        return;
    }
    // Full while the databases are initialised, while they are filled, while templates are kept.
    for size in ["200k", "6m", "30m", "55m", "80m"] {
        let Some(disk) = SmallDisk::mount(size) else {
            eprintln!("skipped: only root may mount a small file system");
            return;
        };
        let lab = TestLab::in_home("full", disk.0.path());
        let output = lab.run(&["up", "--progress", "plain"]);
        let error = text(&output.stderr);
        assert!(!output.status.success(), "{size}: {error}");
        // Vault tells its clients no more than that it failed.
        let told = error.contains("the disk is full") || error.contains("(status 500)");
        assert!(told && error.contains("next: "), "{size}: {error}");
        assert!(lab.processes().is_empty(), "{size}: {:?}", lab.processes());
        disk.resize("400m");
        lab.ok(&["up", "--progress", "quiet"]);
        lab.ok(&["creds", "pg-read"]);
        lab.ok(&["down", "--volumes", "--progress", "quiet"]);
        lab.assert_gone();
    }
}

#[test]
fn a_lab_on_a_full_disk_can_be_stopped_and_removed() {
    if !databases() {
        return;
    }
    let Some(disk) = SmallDisk::mount("200m") else {
        eprintln!("skipped: only root may mount a small file system");
        return;
    };
    let lab = TestLab::in_home("stuck", disk.0.path());
    lab.write("vaultlab.yaml", &small_lab(GOOD, ""));
    for options in [&["down"][..], &["down", "--volumes"]] {
        lab.ok(&["up", "--progress", "quiet"]);
        let filler = disk.0.path().join("filler");
        drop(std::fs::write(&filler, vec![1_u8; 256 << 20]));
        assert!(std::fs::write(disk.0.path().join("one-more"), "x").is_err(), "it is full");
        lab.ok(&[options, &["--progress", "quiet"]].concat());
        assert_eq!(lab.processes(), Vec::<String>::new(), "{options:?}");
        std::fs::remove_file(&filler).unwrap();
    }
    lab.assert_gone();
}

#[test]
fn data_of_another_engine_or_database_is_told_at_once_and_left_alone() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("other-data");
    let first = small_lab(GOOD, "");
    lab.write("vaultlab.yaml", &first);
    lab.ok(&["up", "--progress", "quiet"]);
    for run in ["running", "stopped"] {
        for (from, to, made_for) in [
            ("engine: postgres", "engine: mysql", "made for PostgreSQL, and the lab file now says MySQL"),
            ("database: app\n", "database: app2\n", "a database called \"app\", and"),
        ] {
            lab.write("vaultlab.yaml", &first.replacen(from, to, 1));
            let error = lab.fails(5, &["up"]);
            assert!(error.contains(made_for) && error.contains("next: vaultlab"), "{run}: {error}");
            assert!(error.contains("down --volumes"), "{run}: {error}");
        }
        lab.write("vaultlab.yaml", &first);
        lab.ok(&["up", "--progress", "quiet"]);
        lab.ok(&["creds", "app"]);
        lab.ok(&["down", "--progress", "quiet"]);
    }
}

/// A lab without databases whose AppRole's files go where `deliver` says.
fn delivering_lab(deliver: &str) -> String {
    format!(
        "apiVersion: vaultlab/v1\nvault: {{flavour: embedded}}\n\
         policies:\n  - name: p\n    hcl: 'path \"secret/*\" {{ capabilities = [\"read\"] }}'\n\
         approles:\n  - {{name: app, policies: [p], deliver: {deliver}}}\n"
    )
}

#[test]
fn a_delivery_leaves_alone_what_it_did_not_write_and_is_removed_with_the_lab() {
    let lab = TestLab::new("deliver");
    lab.write("vaultlab.yaml", &delivering_lab("{role_id: app/role_id, secret_id: app/secret_id}"));
    let own = lab.write("app/secret_id", "my own notes\n");
    let error = lab.fails(6, &["up", "--progress", "quiet"]);
    assert!(error.contains("was not delivered by vaultlab") && error.contains("next: mv "), "{error}");
    assert_eq!(std::fs::read_to_string(&own).unwrap(), "my own notes\n");
    assert!(!own.with_file_name("role_id").exists());

    std::fs::remove_file(&own).unwrap();
    lab.ok(&["up", "--progress", "quiet"]);
    let down = lab.ok(&["down"]);
    let (data, keys) = (lab.services(), lab.state());
    for place in [&data, &keys] {
        assert!(down.contains(&place.display().to_string()), "{down}");
    }
    assert!(lab.run(&["status"]).stdout.windows(4).any(|part| part == b"data"));
    // With its state lost, it is delivered again all the same.
    for folder in [&data, &keys] {
        std::fs::remove_dir_all(folder).unwrap();
    }
    lab.ok(&["up", "--progress", "quiet"]);
    lab.ok(&["down", "--progress", "quiet"]);
    let other = own.with_file_name("role_id");
    std::fs::write(&other, "changed since").unwrap();
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
    assert!(!own.exists() && other.exists(), "only what is still what was delivered");
    lab.assert_gone();
}

#[test]
fn a_lab_without_databases_has_nothing_to_rotate_and_no_credentials() {
    let lab = TestLab::new("empty");
    lab.write("vaultlab.yaml", &delivering_lab("{}"));
    let error = lab.fails(2, &["demo", "rotate"]);
    assert!(error.contains("there is nothing to check"), "{error}");
    lab.assert_gone();
    lab.ok(&["up", "--progress", "quiet"]);
    assert!(lab.fails(2, &["demo", "rotate"]).contains("there is nothing to check"));
    assert!(lab.fails(2, &["creds", "x"]).contains("it has none"));
    assert!(lab.fails(2, &["demo", "rotate", "--for", "5s"]).contains("--watch"));
}

#[test]
fn looking_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("not/there");
    let lab = TestLab::in_home("nowhere", &home);
    for arguments in [&["ls"][..], &["status"], &["down"], &["logs"], &["prune", "--dry-run"], &["doctor"]] {
        lab.run(arguments);
        assert!(!folder.path().join("not").exists(), "{arguments:?}");
    }
}

#[test]
fn a_wrong_lab_file_is_told_with_everything_that_is_wrong() {
    let lab = TestLab::new("wrong-file");
    lab.write(
        "vaultlab.yaml",
        &small_lab(GOOD, "    prot: 1\n    rols: []").replace("max_ttl: 2m", "max_ttl: 2s"),
    );
    let error = lab.fails(3, &["up"]);
    for part in ["prot", "rols", "did you mean", "vaultlab.yaml:"] {
        assert!(error.contains(part), "{part} is not in:\n{error}");
    }
    assert!(error.matches("error").count() >= 3, "{error}");
    std::fs::remove_file(lab.folder.path().join("vaultlab.yaml")).expect("the file");
}

#[test]
fn names_that_are_not_there_are_told_with_those_that_are() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("unknown");
    lab.write("vaultlab.yaml", &small_lab(GOOD, ""));
    lab.ok(&["up", "--progress", "quiet"]);
    assert!(lab.fails(2, &["creds", "ap"]).contains("no role \"ap\"; it has app"));
    assert!(lab.fails(2, &["exec", "--approle", "x", "--", "true"]).contains("no AppRole \"x\""));
    assert!(lab.fails(2, &["env", "--map", "A=NOPE"]).contains("there is no variable \"NOPE\""));
    assert!(lab.fails(2, &["nonsense"]).contains("unrecognized subcommand"));
    assert!(lab.fails(11, &["exec", "--", "/no/such/program"]).contains("/no/such/program"));
}

#[test]
fn programs_that_ask_for_json_get_errors_as_json_too() {
    let lab = TestLab::new("json-error");
    let error = |code: i32, arguments: &[&str]| -> serde_json::Value {
        let output = lab.run(&[&["--output", "json"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("error"), "people see it as well: {arguments:?}");
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(told["error"]["exit_code"], code);
        told["error"].clone()
    };
    let not_up = error(9, &["creds", "app"]);
    assert!(not_up["message"].as_str().unwrap().contains("is not running"), "{not_up}");
    assert_eq!(not_up["next"], format!("vaultlab --name {} up", lab.name));
    let typo = error(2, &["craeds"]);
    assert!(typo["message"].as_str().unwrap().starts_with("unrecognized subcommand"), "{typo}");
    lab.write("vaultlab.yaml", "nonsense: true\n");
    assert!(error(3, &["up"])["message"].as_str().unwrap().contains("vaultlab.yaml:1"));
    std::fs::remove_file(lab.folder.path().join("vaultlab.yaml")).expect("the file");
    // There standard output is the program's.
    let output = lab.run(&["--output", "json", "exec", "--", "true"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(9), 0));
}
