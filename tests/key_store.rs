//! The unseal keys at rest: plain, with a passphrase, to recipients, and from one to the other.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod support;

use std::path::Path;
use std::process::Output;

use support::terminal::Terminal;
use support::{TestLab, databases, text};

fn lab_file(key_store: &str) -> String {
    support::postgres_lab("keys", &format!("key_store: {key_store}"))
}

fn with(lab: &TestLab, variable: &str, value: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Output {
    lab.command(arguments).env(variable, value).output().expect("the program runs")
}

#[track_caller]
fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}\n{}", output.status, text(&output.stderr));
}

const FILE: &str = "VAULTLAB_KEY_PASSPHRASE_FILE";

#[test]
fn a_passphrase_guards_the_keys_and_the_lab_file_says_whether_there_is_one() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("passphrase");
    let (plain, encrypted) = (lab.state().join("keys.json"), lab.state().join("keys.json.age"));
    let right = lab.write("passphrase", "correct horse\n");
    let wrong = lab.write("wrong", "battery staple\n");
    lab.write("vaultlab.yaml", &lab_file("passphrase"));

    // Before anything is initialised: nobody could open what would be written.
    let error = lab.fails(11, &["up"]);
    assert!(
        error.contains("nor a terminal to ask at") && error.contains("next: VAULTLAB_KEY_PASSPHRASE_FILE="),
        "{error}"
    );
    lab.assert_gone();

    succeeds(&with(&lab, FILE, &right, &["up", "--progress", "quiet"]));
    assert!(encrypted.exists() && !plain.exists());
    assert!(std::fs::read(&encrypted).expect("keys").starts_with(b"age-encryption.org/v1"));
    // Commands need no passphrase; root's power does.
    lab.ok(&["creds", "app"]);
    lab.fails(11, &["exec", "--root", "--", "true"]);
    succeeds(&with(&lab, FILE, &right, &["exec", "--root", "--", "true"]));
    succeeds(&with(&lab, "VAULTLAB_KEY_PASSPHRASE", "correct horse", &["exec", "--root", "--", "true"]));

    // A sealed Vault is unsealed with the right one only, and nothing is started with a wrong one.
    lab.ok(&["down", "--progress", "quiet"]);
    let refused = with(&lab, FILE, &wrong, &["up", "--progress", "quiet"]);
    assert_eq!(refused.status.code(), Some(11));
    let error = text(&refused.stderr);
    assert!(
        error.contains("the passphrase does not open")
            && error.contains("next: VAULTLAB_KEY_PASSPHRASE_FILE="),
        "{error}"
    );
    assert!(!error.contains("battery") && lab.processes().is_empty(), "{error}");
    succeeds(&with(&lab, FILE, &right, &["up", "--progress", "quiet"]));

    // Back to plain, and on to encrypted again.
    lab.write("vaultlab.yaml", &lab_file("plain"));
    lab.fails(11, &["up"]);
    let told = with(&lab, FILE, &right, &["up", "--progress", "plain"]);
    succeeds(&told);
    assert!(text(&told.stderr).contains("the unseal keys are now in"), "{}", text(&told.stderr));
    assert!(plain.exists() && !encrypted.exists());
    lab.ok(&["up", "--progress", "quiet"]);
    lab.write("vaultlab.yaml", &lab_file("passphrase"));
    succeeds(&with(&lab, FILE, &right, &["up", "--progress", "quiet"]));
    assert!(encrypted.exists() && !plain.exists());
    lab.ok(&["down", "--progress", "quiet"]);
    succeeds(&with(&lab, FILE, &right, &["up", "--progress", "quiet"]));
    lab.ok(&["creds", "app"]);
}

/// Somebody types it at a terminal, where nobody sees it.
#[test]
fn a_passphrase_is_asked_for_at_a_terminal() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("asked");
    lab.write("vaultlab.yaml", &lab_file("passphrase"));
    let up = || Terminal::run(&lab.command(&["up", "--progress", "quiet"]));
    let answered = |answers: &[(&str, &str)]| {
        let mut terminal = up();
        for (question, answer) in answers {
            terminal.shows(question);
            terminal.echoes(false);
            terminal.types(answer);
        }
        let (code, seen) = terminal.end();
        for (_, answer) in answers {
            assert!(!seen.contains(&answer[..4]), "{seen}");
        }
        (code, seen)
    };
    let (first, again) = ("Passphrase for ", "The same again: ");

    // Nothing is made with one that may be mistyped, nor without one.
    let (code, seen) = answered(&[(first, "correct horse\r"), (again, "correct hose\r")]);
    assert!(code == Some(11) && seen.contains("the two differ"), "{code:?} {seen}");
    let mut terminal = up();
    terminal.shows(first);
    terminal.echoes(false);
    terminal.types("corr\x03");
    terminal.echoes(true);
    let (code, seen) = terminal.end();
    assert!(code == Some(11) && seen.contains("interrupted"), "{code:?} {seen}");
    lab.assert_gone();

    // What was deleted does not count.
    let (code, seen) = answered(&[(first, "correctx\x7f horse\r"), (again, "correct horsé\x7fe\r")]);
    assert_eq!(code, Some(0), "{seen}");
    lab.ok(&["down", "--progress", "quiet"]);
    let (code, seen) = answered(&[(first, "battery staple\r")]);
    assert!(code == Some(11) && seen.contains("the passphrase does not open"), "{code:?} {seen}");
    assert!(lab.processes().is_empty());
    // Asked for once, however often it is needed.
    let (code, seen) = answered(&[(first, "correct horse\r")]);
    assert!(code == Some(0) && seen.matches(first).count() == 1, "{code:?} {seen}");
    lab.ok(&["creds", "app"]);
}

/// An identity as `age-keygen` writes one, and its recipient.
fn identity() -> (String, String) {
    use age::secrecy::ExposeSecret as _;
    let identity = age::x25519::Identity::generate();
    let text = format!("# public key: {}\n{}\n", identity.to_public(), identity.to_string().expose_secret());
    (text, identity.to_public().to_string())
}

#[test]
fn recipients_open_the_keys_with_their_identities() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("recipients");
    let encrypted = lab.state().join("keys.json.age");
    let ((our_identity, our_recipient), (other_identity, other_recipient)) = (identity(), identity());
    let ours = lab.write("ours.txt", &our_identity);
    let others = lab.write("others.txt", &other_identity);
    let to = |recipient: &str| lab_file(&format!("{{recipients: [{recipient}], identity: ours.txt}}"));

    // Keys that could not be opened again are not made.
    lab.write("vaultlab.yaml", &to(&other_recipient));
    let error = lab.fails(11, &["up"]);
    assert!(
        error.contains("holds no identity of the recipients")
            && error.contains("next: VAULTLAB_KEY_IDENTITY_FILE="),
        "{error}"
    );
    lab.assert_gone();

    lab.write("vaultlab.yaml", &to(&our_recipient));
    lab.ok(&["up", "--progress", "quiet"]);
    assert!(encrypted.exists());
    let before = std::fs::read(&encrypted).expect("keys");
    lab.ok(&["up", "--progress", "quiet"]);
    assert_eq!(std::fs::read(&encrypted).expect("keys"), before, "nothing to do");

    // Other recipients: the one who can open it hands it on.
    lab.write("vaultlab.yaml", &to(&format!("{our_recipient}, {other_recipient}")));
    lab.ok(&["up", "--progress", "quiet"]);
    assert_ne!(std::fs::read(&encrypted).expect("keys"), before);
    lab.ok(&["down", "--progress", "quiet"]);
    succeeds(&with(&lab, "VAULTLAB_KEY_IDENTITY_FILE", &others, &["up", "--progress", "quiet"]));
    std::fs::remove_file(&ours).expect("the identity");
    let error = lab.fails(11, &["up"]);
    assert!(error.contains("ours.txt"), "{error}");

    assert_eq!(Path::new(&encrypted).extension().unwrap(), "age");
    lab.write("vaultlab.yaml", &lab_file("{recipients: [age1nonsense]}"));
    assert!(lab.fails(3, &["up"]).contains("`age1nonsense` is no recipient"));
}
