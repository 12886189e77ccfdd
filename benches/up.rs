//! `make bench`: how long `vaultlab up` takes, against the databases' own initialisation measured
//! in the same run. Nothing is asserted; the figures are for people.
//!
//! No data is removed before the end: ext4 leaves the numbers of files alone that were removed a few
//! seconds ago, and making a thousand files right after removing as many takes twice as long.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 5;

fn main() {
    let folder = tempfile::tempdir().expect("a temp folder");
    open_to_all(folder.path());
    let postgres = median("bare initdb", RUNS, |run| initdb(&folder.path().join(format!("pg{run}"))));
    let mysql =
        median("bare mariadb-install-db", RUNS, |run| install_db(&folder.path().join(format!("my{run}"))));
    let slowest = postgres.max(mysql);

    let home = |run| folder.path().join(format!("home{run}"));
    let cold = median("vaultlab up, cold", RUNS, |run| {
        let took = up(&home(run), "cold");
        vaultlab(&home(run), "cold", &["down"]);
        took
    });
    let warm = median("vaultlab up, warm", RUNS, |run| {
        let name = format!("warm{run}");
        let took = up(&home(0), &name);
        vaultlab(&home(0), &name, &["down"]);
        took
    });
    let again = {
        up(&home(0), "again");
        let took = median("vaultlab up, nothing to do", RUNS, |_| up(&home(0), "again"));
        vaultlab(&home(0), "again", &["down"]);
        took
    };
    println!();
    println!("warm up                  {:>7.2} s   (wanted: at most 0.80 s)", warm.as_secs_f64());
    println!(
        "cold up / slowest bare   {:>7.2}     (wanted: at most 1.30)",
        cold.as_secs_f64() / slowest.as_secs_f64()
    );
    println!("up with nothing to do    {:>7.2} s", again.as_secs_f64());
}

/// Median of some runs, each shown.
fn median(what: &str, runs: usize, mut run: impl FnMut(usize) -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..runs).map(&mut run).collect();
    times.sort();
    let shown: Vec<String> = times.iter().map(|t| format!("{:.2}", t.as_secs_f64())).collect();
    println!("{what:<28} median {:.2} s of {}", times[runs / 2].as_secs_f64(), shown.join(" "));
    times[runs / 2]
}

/// From the program's start to its end, which comes after the last proof.
fn up(home: &Path, name: &str) -> Duration {
    let began = Instant::now();
    let output = vaultlab(home, name, &["up", "--output", "json"]);
    let took = began.elapsed();
    let summary: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    if std::env::var_os("VAULTLAB_BENCH_STEPS").is_some() {
        println!("  critical path: {}", summary["critical_path"]);
        for step in summary["steps"].as_array().expect("steps") {
            println!("  {:>8} +{:>8} ms {}", step["started_ms"], step["took_ms"], step["step"]);
        }
    }
    took
}

fn vaultlab(home: &Path, name: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_vaultlab"))
        .args(arguments)
        .args(["--progress", "quiet", "--name", name])
        .env("VAULTLAB_HOME", home)
        .env("VAULTLAB_RUNTIME", "process")
        .current_dir(std::env::temp_dir())
        .stderr(Stdio::inherit())
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{arguments:?}");
    output.stdout
}

fn initdb(data: &Path) -> Duration {
    let program = find(&["/usr/lib/postgresql/*/bin/initdb", "/opt/homebrew/bin/initdb", "/usr/bin/initdb"]);
    timed("postgres", &program, &["-D".into(), data.display().to_string()])
}

fn install_db(data: &Path) -> Duration {
    let program = find(&["/usr/bin/mariadb-install-db", "/opt/homebrew/bin/mariadb-install-db"]);
    let arguments = [format!("--datadir={}", data.display()), "--skip-test-db".into()];
    timed("mysql", &program, &arguments)
}

/// Runs a program as an unprivileged user when this is root, in a folder that user owns.
fn timed(user: &str, program: &Path, arguments: &[String]) -> Duration {
    let root = Command::new("id").arg("-u").output().expect("id").stdout == b"0\n";
    let mut command = if root {
        let mut command = Command::new("runuser");
        command.args(["-u", user, "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    assert!(command.status().expect("the program runs").success(), "{command:?}");
    began.elapsed()
}

fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o1777)).expect("a mode");
}

fn find(patterns: &[&str]) -> PathBuf {
    let found = patterns.iter().find_map(|pattern| match pattern.split_once("/*/") {
        None => Some(PathBuf::from(pattern)).filter(|path| path.exists()),
        Some((before, after)) => {
            let mut versions: Vec<PathBuf> =
                std::fs::read_dir(before).ok()?.flatten().map(|e| e.path().join(after)).collect();
            versions.sort();
            versions.pop().filter(|path| path.exists())
        }
    });
    found.unwrap_or_else(|| panic!("none of {patterns:?} is there"))
}
