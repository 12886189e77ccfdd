//! What the program says, and to whom: help, next commands, exit codes. No database is needed.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod support;

use std::fs::OpenOptions;

use support::{TestLab, text};

#[test]
fn standard_output_that_takes_nothing_is_told_and_a_reader_that_left_is_not() {
    let lab = TestLab::new("stdout");
    for arguments in [&["completions", "bash"][..], &["up", "--help"]] {
        if let Ok(full) = OpenOptions::new().write(true).open("/dev/full") {
            let output = lab.command(arguments).stdout(full).output().expect("the program runs");
            assert_eq!(output.status.code(), Some(11), "{arguments:?}");
            let told = text(&output.stderr);
            assert!(
                told.contains("cannot write to standard output: ") && told.contains("  next: "),
                "{told}"
            );
        }
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = lab.command(arguments).stdout(writer).output().expect("the program runs");
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(141), String::new()), "{arguments:?}");
    }
}

#[test]
fn who_mistypes_something_is_told_where_to_look() {
    let lab = TestLab::new("typo");
    assert!(lab.fails(2, &["up", "--retian"]).ends_with("  next: vaultlab up --help\n"));
    assert!(lab.fails(2, &["craeds"]).ends_with("  next: vaultlab --help\n"));
    let output = lab.run(&["--output", "json", "up", "--retian"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["error"]["next"], "vaultlab up --help");
}

#[test]
fn next_commands_can_be_copied_into_a_shell() {
    let lab = TestLab::new("copied");
    assert!(lab.ok(&["init", "sp ace/é"]).ends_with("Next: cd 'sp ace/é' && vaultlab up\n"));
    let error = lab.fails(3, &["up", "-f", "no such.yaml"]);
    assert!(error.contains("the file `no such.yaml` does not exist"), "{error}");
    assert!(error.contains("`vaultlab init` writes one") && !error.contains("the folder"), "{error}");
    assert!(error.contains("next: vaultlab init example "), "{error}");
    let error = lab.fails(3, &["up", "-f", "/nowhere/lab.yaml"]);
    assert!(error.contains("the file `/nowhere/lab.yaml` does not exist"), "{error}");
    for name in ["a b", "", "a_b", "b-", &"x".repeat(41)] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_vaultlab"))
            .args(["creds", "app", "--name", name])
            .env("VAULTLAB_HOME", &lab.home)
            .output()
            .expect("the program runs");
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("is not a lab name") && told.contains("next: vaultlab ls\n"), "{told}");
    }
}

#[test]
fn a_lab_file_may_say_yes_and_is_told_how_to_write_a_duration() {
    let lab = TestLab::new("words");
    let with = |keeper: &str, ttl: &str| {
        let file =
            support::postgres_lab("words", "audit: No") + &format!("    max_ttl: {ttl}\nkeeper: {keeper}\n");
        lab.write("vaultlab.yaml", &file);
        lab.run(&["doctor"])
    };
    for word in ["on", "yes", "True", "false", "no", "OFF"] {
        let output = with(word, "2h");
        assert_ne!(output.status.code(), Some(3), "{word}: {}", text(&output.stderr));
    }
    for ttl in ["010", "1e3"] {
        let told = text(&with("on", ttl).stderr);
        assert!(told.contains(&format!("`{ttl}` is not a duration")), "{told}");
        assert!(told.contains("or a whole number of seconds"), "{told}");
    }
    std::fs::remove_file(lab.folder.path().join("vaultlab.yaml")).expect("the file");
}
