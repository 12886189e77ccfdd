//! Vault and the keeper die, are sealed, come twice: the application is never refused.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::client::{Application, Counter, kill, lab, live, long};
use crate::support::{TestLab, databases, eventually, postgres_lab};

const APPROLES: &str = "  - {name: app, policies: [p], secret_id_ttl: 12s}\n";

/// The application logs in every 50 ms during `faults`.
fn survives(lab: &TestLab, faults: impl FnOnce()) {
    lab.ok(&["up", "--progress", "quiet"]);
    let application = Application::start(lab, "app", Duration::from_millis(50));
    let counter = Counter::start(lab, "app");
    faults();
    let most = counter.end();
    let seen = application.end();
    seen.assert_never_refused();
    assert!(most <= 2, "{most} live secret_ids");
    println!("{} logins, {} times Vault was away, none refused", seen.logins, seen.away);
}

#[test]
fn vault_is_killed_again_and_again() {
    let lab = lab("vault-killed", APPROLES);
    let rounds = if long() { 20 } else { 3 };
    survives(&lab, || {
        for round in 1..=rounds {
            let address = lab.vault().address().to_owned();
            kill(lab.vault_pid(), Signal::SIGKILL);
            lab.until_events("unsealed", round);
            lab.until_events("service_restarted", round);
            assert_eq!(lab.vault().address(), address, "applications know that one");
            let deliveries = lab.keeper_events("secret_id_delivered").len();
            lab.until_events("secret_id_delivered", deliveries + 1);
            // One that ran for a while does not count as one that dies as soon as it is started.
            std::thread::sleep(Duration::from_millis(if long() { 5200 } else { 100 }));
        }
    });
    let status = lab.json(&["status"]);
    assert_eq!(status["keeper"]["services"]["vault"]["restarts"], rounds, "{status}");
    assert_eq!(status["keeper"]["unseals"], rounds);
}

#[test]
fn a_seal_by_hand_is_undone_within_a_second() {
    let lab = lab("sealed", APPROLES);
    survives(&lab, || {
        for round in 1..=3 {
            std::thread::sleep(Duration::from_secs(1));
            lab.seal();
            let began = Instant::now();
            lab.until_events("unsealed", round);
            println!("unsealed {:?} after it was sealed", began.elapsed());
        }
    });
}

#[test]
fn the_keeper_is_killed_again_and_again() {
    let lab = lab("keeper-killed", APPROLES);
    let rounds = if long() { 60 } else { 8 };
    survives(&lab, || {
        for round in 0..rounds {
            // At another moment of its work each time: from its first steps to a whole turnover.
            std::thread::sleep(Duration::from_millis(37 * (round * round % 67)));
            if let Some(pid) = lab.keeper_pid() {
                kill(pid, Signal::SIGKILL);
            }
            lab.ok(&["up", "--progress", "quiet"]);
        }
        let deliveries = lab.keeper_events("secret_id_delivered").len();
        lab.until_events("secret_id_delivered", deliveries + 2);
    });
    // What the killed ones left behind is gone.
    let keeper = lab.as_keeper();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    eventually("one is left", Duration::from_secs(20), || {
        runtime.block_on(keeper.secret_id_accessors("app")).expect("Vault").len() == 1
    });
}

/// At each step of a turnover, as it is seen from outside.
#[test]
fn the_keeper_is_killed_at_every_step_of_a_turnover() {
    const STEPS: [&str; 3] = ["made, not delivered", "delivered, its predecessor lives", "alone"];
    let lab = lab("keeper-steps", "  - {name: app, policies: [p], secret_id_ttl: 6s}\n");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    let mut keepers = Vec::new();
    let mut hits = [0; STEPS.len()];
    survives(&lab, || {
        let vault = lab.as_keeper();
        let file = lab.delivered("app", "secret_id");
        // Vault may fail to list while one is destroyed.
        let count = || runtime.block_on(live(&vault, "app")).unwrap_or_default();
        let now = || (count(), std::fs::read(&file).expect("it"));
        let wanted = if long() { 5 } else { 1 };
        for round in 0..60 * wanted {
            let Some(step) = (0..STEPS.len()).map(|n| (n + round) % STEPS.len()).find(|n| hits[*n] < wanted)
            else {
                break;
            };
            eventually("one is left", Duration::from_secs(20), || now().0 == 1);
            let before = now().1;
            let is_there = |(count, content): &(usize, Vec<u8>)| match step {
                0 => *count == 2 && *content == before,
                1 => *count == 2 && *content != before,
                _ => *count == 1 && *content != before,
            };
            let pid = lab.keeper_pid().expect("a keeper");
            let end = Instant::now() + Duration::from_secs(20);
            while !is_there(&now()) {
                // One that was too fast to be seen is waited for again.
                if step == 0 && now().1 != before || Instant::now() > end {
                    break;
                }
            }
            kill(pid, Signal::SIGKILL);
            std::thread::sleep(Duration::from_millis(20));
            hits[step] += usize::from(is_there(&now()));
            // Not by `up`, which delivers too.
            keepers.push(lab.command(&["supervise", "--progress", "quiet"]).spawn().expect("the program"));
            eventually("it is kept", Duration::from_secs(20), || lab.keeper_pid() != Some(pid));
        }
    });
    println!("{STEPS:?}: {hits:?} times");
    assert!(hits.iter().all(|count| *count > 0), "{STEPS:?}: {hits:?}");
    lab.ok(&["down", "--progress", "quiet"]);
    for mut keeper in keepers {
        keeper.wait().expect("wait");
    }
}

/// Who may log in has nothing to do with the databases that Vault manages.
#[test]
fn its_database_hangs_and_is_killed() {
    if !databases() {
        return;
    }
    let lab = TestLab::new("database-lost");
    let access = "policies:\n  - name: p\n    \
                  hcl: 'path \"secret/*\" { capabilities = [\"read\"] }'\napproles:\n";
    lab.write("vaultlab.yaml", &(postgres_lab("lost", "flavour: embedded") + access + APPROLES));
    survives(&lab, || {
        let delivered = |more: usize| {
            let deliveries = lab.keeper_events("secret_id_delivered").len();
            lab.until_events("secret_id_delivered", deliveries + more);
        };
        kill(lab.service_pid("db"), Signal::SIGSTOP);
        delivered(2);
        kill(lab.service_pid("db"), Signal::SIGCONT);
        delivered(1);
        kill(lab.service_pid("db"), Signal::SIGKILL);
        lab.until_events("service_restarted", 1);
        delivered(1);
        lab.ok(&["creds", "app"]);
    });
}

/// There is nothing left to keep, and nothing of it is made again.
#[test]
fn a_lab_whose_folder_is_deleted_is_no_longer_kept() {
    let lab = lab("folder-deleted", APPROLES);
    lab.ok(&["up", "--progress", "quiet"]);
    lab.until_events("began", 1);
    // It may be delivered into while it is removed.
    while std::fs::remove_dir_all(lab.state()).is_err() && lab.state().exists() {}
    eventually("no keeper", Duration::from_secs(30), || {
        !lab.processes().iter().any(|process| process.contains(" supervise "))
    });
    let left = std::fs::read_dir(lab.state()).into_iter().flatten().flatten().map(|entry| entry.path());
    assert!(!lab.state().exists(), "made again: {:?}", left.collect::<Vec<_>>());
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
    lab.assert_gone();
}

#[test]
fn everything_is_killed_and_down_works() {
    let lab = lab("all-killed", APPROLES);
    lab.ok(&["up", "--progress", "quiet"]);
    kill(lab.keeper_pid().expect("a keeper"), Signal::SIGKILL);
    kill(lab.vault_pid(), Signal::SIGKILL);
    lab.ok(&["down", "--progress", "quiet"]);
    lab.ok(&["up", "--progress", "quiet"]);
    // One that does not listen to anything is ended too.
    kill(lab.keeper_pid().expect("a keeper"), Signal::SIGSTOP);
    lab.ok(&["down", "--volumes", "--progress", "quiet"]);
    lab.assert_gone();
}

#[test]
fn a_second_keeper_is_told_who_keeps_the_lab() {
    let lab = lab("two", APPROLES);
    survives(&lab, || {
        let pid = lab.keeper_pid().expect("a keeper");
        for _ in 0..3 {
            let error = lab.fails(8, &["supervise", "--progress", "quiet"]);
            assert!(error.contains(&format!("has a keeper: vaultlab supervise (pid {pid})")), "{error}");
        }
        let deliveries = lab.keeper_events("secret_id_delivered").len();
        lab.until_events("secret_id_delivered", deliveries + 2);
    });
}
