//! The clock is set while everything runs: forward by an hour, and back. libfaketime shows the programs
//! that are started with it another wall clock; the time that passes is the same for all.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use vaultlab::vault::Client;

use crate::client::{Application, lab};
use crate::support::{TestLab, eventually};

const HOUR: i64 = 3600;

/// `short` ends when the clock is set, `long` and what is taken of `wrapped` do not, and the token in the
/// file of `wrapped` does.
const APPROLES: &str = "  - {name: short, policies: [p], secret_id_ttl: 12s}
  - {name: long, policies: [p], secret_id_ttl: 2h}
  - {name: wrapped, policies: [p], secret_id_ttl: 4h, deliver: {wrap_ttl: 10m}}
";

/// For so long at most a secret_id is refused that ended because Vault's clock was set, where the system
/// does not tell the keeper: it looks every tenth of its life, 1.2 s, and then delivers.
const NOTICED: Duration = Duration::from_secs(4);

/// How long the programs run on after the clock was set: several lives of `short`'s successor.
const AFTERWARDS: Duration = Duration::from_secs(12);

/// A wall clock that is set under programs.
struct Clock {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl Clock {
    /// `None` where libfaketime is missing, unless `VAULTLAB_REQUIRE_FAKETIME` is set, as in CI.
    fn new() -> Option<Self> {
        let library = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let library = library.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
        let Some(library) = library.into_iter().find(|path| path.exists()) else {
            let required = std::env::var_os("VAULTLAB_REQUIRE_FAKETIME").is_some();
            assert!(!required, "VAULTLAB_REQUIRE_FAKETIME is set, but libfaketime is missing");
            eprintln!("skipped: this host has no libfaketime to set a clock with");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        // Vault runs as another user.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("the mode");
        let clock = Self { folder, library };
        clock.set(0);
        Some(clock)
    }

    /// One that Vault can be started with: Vault's own program asks the kernel, not a library.
    fn of_vault() -> Option<Self> {
        let embedded = std::env::var_os("VAULTLAB_VAULT_BIN").is_none();
        if !embedded {
            eprintln!("skipped: only the embedded server's clock can be set");
        }
        embedded.then(Self::new).flatten()
    }

    /// So many seconds ahead of this host's.
    fn set(&self, ahead: i64) {
        let (file, fresh) = (self.folder.path().join("clock"), self.folder.path().join("fresh"));
        std::fs::write(&fresh, format!("{ahead:+}\n")).expect("write");
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o644)).expect("the mode");
        std::fs::rename(fresh, file).expect("rename");
    }

    fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.folder.path().join("clock")),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("FAKETIME_DISABLE_SHM", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ]
    }

    /// vaultlab by this clock, for those who start it with an environment of their own: the server.
    fn program(&self) -> PathBuf {
        let own = self.folder.path().join("vaultlab");
        let built = env!("CARGO_BIN_EXE_vaultlab");
        // Its own folder may be root's alone.
        if std::fs::hard_link(built, &own).is_err() {
            std::fs::copy(built, &own).expect("a copy");
        }
        let exports: String = self
            .environment()
            .iter()
            .map(|(name, value)| format!("export {name}={}\n", value.display()))
            .collect();
        let script = self.folder.path().join("vaultlab-by-it");
        let text = format!("#!/bin/sh\n{exports}exec {} \"$@\"\n", own.display());
        std::fs::write(&script, text).expect("a script");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("the mode");
        script
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio")
}

/// By how many seconds a clock is ahead of this host's.
fn ahead(shows: jiff::Timestamp) -> i64 {
    shows.duration_since(jiff::Timestamp::now()).as_secs()
}

/// By how much Vault's clock is ahead.
fn vault_is_ahead(keeper: &Client) -> i64 {
    runtime().block_on(async {
        let accessor = keeper.secret_id_accessors("long").await.expect("accessors").remove(0);
        let info = keeper.lookup_secret_id_accessor("long", &accessor).await.expect("Vault");
        ahead(info.expect("it lives").told_at)
    })
}

fn supervise(lab: &TestLab, change: impl FnOnce(&mut Command)) -> Child {
    let mut command = lab.command(&["supervise", "--progress", "quiet"]);
    change(&mut command);
    let keeper = command.spawn().expect("the program");
    lab.until_events("began", 1);
    keeper
}

/// Takes what is delivered wrapped into a file, as an application that logs in with it from then on.
fn take_wrapped(lab: &TestLab) -> Application {
    let files = ["role_id", "taken"].map(|file| lab.folder.path().join(file));
    let vault = lab.vault();
    let unwrap = || {
        let token = std::fs::read_to_string(lab.delivered("wrapped", "secret_id")).ok()?;
        runtime().block_on(vault.unwrap_secret_id(&token.into())).ok()
    };
    let mut taken = None;
    eventually("a token", Duration::from_secs(20), || {
        taken = taken.take().or_else(unwrap);
        taken.is_some()
    });
    std::fs::write(&files[1], taken.expect("one").secret_id.expose()).expect("write");
    std::fs::copy(lab.delivered("wrapped", "role_id"), &files[0]).expect("a copy");
    Application::reading(lab, files, Duration::from_millis(50))
}

fn deliveries(lab: &TestLab, approle: &str) -> usize {
    lab.keeper_events("secret_id_delivered").iter().filter(|event| event["approle"] == approle).count()
}

/// In a container, or on another machine than Vault: what Vault says goes by Vault's clock.
#[test]
fn the_keepers_clock_is_set() {
    let Some(clock) = Clock::new() else { return };
    let lab = lab("clock-keeper", APPROLES);
    lab.ok(&["up", "--no-keeper", "--progress", "quiet"]);
    let mut keeper = supervise(&lab, |command| {
        command.envs(clock.environment());
    });
    let applications =
        ["short", "long"].map(|name| Application::start(&lab, name, Duration::from_millis(50)));
    let taken = take_wrapped(&lab);
    for set in [HOUR, 0, -HOUR, 0] {
        clock.set(set);
        let before = ["short", "long", "wrapped"].map(|name| deliveries(&lab, name));
        std::thread::sleep(AFTERWARDS);
        let after = ["short", "long", "wrapped"].map(|name| deliveries(&lab, name));
        let made = [0, 1, 2].map(|n| after[n] - before[n]);
        println!("{made:?} deliveries with a clock that is {set} s ahead");
        assert!((2..=5).contains(&made[0]), "as many as ever, not one after the other: {made:?}");
        assert!(made[1] == 0 && made[2] <= 1, "{made:?}");
        let told = lab.keeper_events("secret_id_delivered").pop().expect("an event");
        let told: jiff::Timestamp = told["at"].as_str().expect("a time").parse().expect("a time");
        assert!((ahead(told) - set).abs() < 60, "its clock shows {told}");
    }
    for application in applications {
        application.end().assert_never_refused();
    }
    taken.end().assert_never_refused();
    lab.ok(&["down", "--progress", "quiet"]);
    keeper.wait().expect("wait");
}

#[test]
fn vaults_clock_is_set() {
    let Some(clock) = Clock::of_vault() else { return };
    let lab = lab("clock-vault", APPROLES);
    let up = lab
        .command(&["up", "--no-keeper", "--progress", "quiet"])
        .env("VAULTLAB_BIN", clock.program())
        .output();
    assert!(up.expect("the program").status.success());
    let mut keeper = supervise(&lab, |_| {});
    survives_vaults_clock(&lab, &clock);
    lab.ok(&["down", "--progress", "quiet"]);
    keeper.wait().expect("wait");
}

/// As where the host's is.
#[test]
fn both_clocks_are_set() {
    let Some(clock) = Clock::of_vault() else { return };
    let lab = lab("clock-both", APPROLES);
    let program = clock.program();
    let up = Command::new(&program)
        .args(lab.command(&["up", "--progress", "quiet"]).get_args())
        .current_dir(lab.folder.path())
        .envs([("VAULTLAB_HOME", lab.home.as_path()), ("VAULTLAB_BIN", &program)])
        .env("VAULTLAB_RUNTIME", lab.runtime)
        .output();
    let up = up.expect("the program");
    assert!(up.status.success(), "{}", crate::support::text(&up.stderr));
    lab.until_events("began", 1);
    survives_vaults_clock(&lab, &clock);
    lab.ok(&["down", "--progress", "quiet"]);
}

/// What ends by the jump cannot be good any more: it is replaced as soon as the keeper sees that. What
/// does not end, and what somebody has, is good all the time.
fn survives_vaults_clock(lab: &TestLab, clock: &Clock) {
    let keeper = lab.as_keeper();
    let long = Application::start(lab, "long", Duration::from_millis(50));
    let taken = take_wrapped(lab);
    for set in [HOUR, 0] {
        let short = Application::start(lab, "short", Duration::from_millis(50));
        let before = ["short", "long"].map(|name| deliveries(lab, name));
        std::thread::sleep(Duration::from_secs(1));
        clock.set(set);
        std::thread::sleep(AFTERWARDS);
        assert!((vault_is_ahead(&keeper) - set).abs() < 60, "Vault's clock was set");
        let made = [("short", 0), ("long", 1)].map(|(name, n)| deliveries(lab, name) - before[n]);
        let seen = short.end();
        println!(
            "{set} s ahead: {made:?} deliveries; {} logins, {} refused, for {:?} at most",
            seen.logins,
            seen.refused.len(),
            seen.longest_refusal
        );
        assert!(seen.logins > 20 && seen.torn.is_empty() && seen.absent == 0, "{seen:?}");
        assert!(seen.longest_refusal < NOTICED, "{seen:?}");
        assert!((2..=7).contains(&made[0]) && made[1] <= 1, "{made:?}");
        if set == 0 {
            assert!(seen.refused.is_empty(), "back: what there is lasts longer than before: {seen:?}");
        } else {
            assert!(!seen.refused.is_empty(), "it ended when the clock was set");
        }
    }
    long.end().assert_never_refused();
    // The token in the file ended, and was replaced; whoever took the one before was not disturbed.
    taken.end().assert_never_refused();
    take_wrapped(lab).end();
}
