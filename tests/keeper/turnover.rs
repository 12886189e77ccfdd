//! secret_ids come and go; the application never notices.

use std::time::Duration;

use crate::client::{Application, Counter, lab, live, long};
use crate::support::eventually;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio")
}

/// 1,000 turnovers in the long form: 20 AppRoles, 50 each.
#[test]
fn turnovers_are_not_noticed_and_leave_nothing() {
    let (roles, rounds, ttl) = if long() { (20, 50, "12s") } else { (3, 4, "9s") };
    let names: Vec<String> = (0..roles).map(|n| format!("app{n}")).collect();
    let approles: String = names
        .iter()
        .map(|n| format!("  - {{name: {n}, policies: [p], secret_id_ttl: {ttl}, token_ttl: 60s}}\n"))
        .collect();
    let lab = lab("turnover", &approles);
    lab.ok(&["up", "--progress", "quiet"]);
    let applications: Vec<_> =
        names.iter().map(|name| Application::start(&lab, name, Duration::from_millis(50))).collect();
    let counter = Counter::of(&lab, names.clone());
    let wanted = roles * rounds;
    eventually("turnovers", Duration::from_secs(600), || {
        std::thread::sleep(Duration::from_millis(200));
        lab.keeper_events("secret_id_delivered").len() >= wanted
    });
    assert!(counter.end() <= 2);
    let mut logins = 0;
    for application in applications {
        let seen = application.end();
        seen.assert_never_refused();
        logins += seen.logins;
    }
    assert!(logins > wanted, "{logins} logins");
    // Between two turnovers nothing is left but what is delivered.
    let keeper = lab.as_keeper();
    for name in &names {
        eventually(&format!("one of {name}"), Duration::from_secs(60), || {
            runtime().block_on(live(&keeper, name)).expect("Vault") == 1
        });
    }
    let delivered = lab.keeper_events("secret_id_delivered").len();
    let destroyed = lab.keeper_events("secret_id_destroyed").len();
    assert!(delivered - destroyed <= 2 * roles, "{delivered} delivered, {destroyed} destroyed");
    println!("{delivered} turnovers, {logins} logins, none refused");
}

/// With the shortest of lives a reader still sees a whole secret_id each time.
#[test]
fn a_reader_in_a_tight_loop_sees_whole_values_only() {
    let lab = lab("reader", "  - {name: app, policies: [p], secret_id_ttl: 2s}\n");
    lab.ok(&["up", "--progress", "quiet"]);
    let file = lab.delivered("app", "secret_id");
    let (mut reads, mut values) = (0_usize, std::collections::HashSet::new());
    let wanted = if long() { 100 } else { 5 };
    let began = std::time::Instant::now();
    while values.len() < wanted {
        let text = std::fs::read_to_string(&file).expect("there is always a file");
        assert_eq!(text.len(), 36, "{text:?}");
        values.insert(text);
        reads += 1;
        assert!(began.elapsed() < Duration::from_secs(400), "{} values", values.len());
    }
    assert!(reads > 100 * wanted);
}

/// One use each: whoever logs in uses it up, and the next one is there a moment later.
#[test]
fn counted_uses_do_not_run_out() {
    let lab = lab(
        "uses",
        "  - {name: once, policies: [p], secret_id_ttl: 1h, secret_id_num_uses: 1}\n  \
         - {name: many, policies: [p], secret_id_ttl: 1h, secret_id_num_uses: 60}\n",
    );
    lab.ok(&["up", "--progress", "quiet"]);
    let counter = Counter::start(&lab, "many");
    let busy = Application::start(&lab, "many", Duration::from_millis(50));
    let runtime = runtime();
    let mut seen = crate::client::Seen::default();
    let files = ["role_id", "secret_id"].map(|file| lab.delivered("once", file));
    let vault = lab.vault();
    for round in 0..5 {
        let before = std::fs::read(&files[1]).expect("a secret_id");
        runtime.block_on(crate::client::log_in(&vault, &files, &mut seen));
        assert_eq!(seen.logins, round + 1, "{seen:?}");
        eventually("a new one", Duration::from_secs(20), || {
            std::fs::read(&files[1]).is_ok_and(|now| now != before)
        });
    }
    eventually("turnovers by use", Duration::from_secs(120), || {
        lab.keeper_events("secret_id_delivered").iter().filter(|event| event["approle"] == "many").count()
            >= 3
    });
    let many = busy.end();
    assert!(many.refused.is_empty() && many.torn.is_empty(), "{many:?}");
    assert!(counter.end() <= 2);
}

/// As Vault Agent does unless told otherwise: it removes the file once it has read it.
#[test]
fn a_file_that_was_taken_away_is_delivered_again() {
    let lab = lab("taken", "  - {name: app, policies: [p], secret_id_ttl: 1h}\n");
    lab.ok(&["up", "--progress", "quiet"]);
    let files = ["role_id", "secret_id"].map(|file| lab.delivered("app", file));
    let vault = lab.vault();
    let mut seen = crate::client::Seen::default();
    for _ in 0..4 {
        eventually("a file", Duration::from_secs(20), || files[1].exists());
        // Read, removed, and used a moment later.
        let copies = files.each_ref().map(|file| lab.folder.path().join(file.file_name().expect("a name")));
        for (file, copy) in files.iter().zip(&copies) {
            std::fs::copy(file, copy).expect("a copy");
        }
        std::fs::remove_file(&files[1]).expect("remove");
        std::thread::sleep(Duration::from_millis(200));
        runtime().block_on(crate::client::log_in(&vault, &copies, &mut seen));
    }
    assert_eq!(seen.logins, 4, "{seen:?}");
    // And the whole folder.
    let folder = files[0].parent().expect("a folder");
    // It may be delivered into while it is removed.
    while std::fs::remove_dir_all(folder).is_err() && folder.exists() {}
    eventually("both files", Duration::from_secs(20), || files.iter().all(|file| file.exists()));
    runtime().block_on(crate::client::log_in(&vault, &files, &mut seen));
    assert_eq!(seen.logins, 5, "{seen:?}");
    // A file somebody wrote over is no secret_id.
    std::fs::write(&files[1], "nonsense").expect("write");
    eventually("a secret_id", Duration::from_secs(20), || {
        std::fs::read(&files[1]).is_ok_and(|bytes| bytes.len() == 36)
    });
    let destroyed =
        |keeper: &vaultlab::vault::Client| runtime().block_on(live(keeper, "app")).expect("Vault");
    let keeper = lab.as_keeper();
    eventually("only the delivered one is left", Duration::from_secs(30), || destroyed(&keeper) == 1);
}

/// Vault is asked, not the clock: one that somebody destroyed is replaced.
#[test]
fn a_secret_id_that_vault_forgot_is_replaced() {
    let lab = lab("forgot", "  - {name: app, policies: [p], secret_id_ttl: 20s}\n");
    lab.ok(&["up", "--progress", "quiet"]);
    let keeper = lab.as_keeper();
    let file = lab.delivered("app", "secret_id");
    let before = std::fs::read(&file).expect("a secret_id");
    runtime().block_on(async {
        for accessor in keeper.secret_id_accessors("app").await.expect("accessors") {
            keeper.destroy_secret_id_accessor("app", &accessor).await.expect("destroyed");
        }
    });
    eventually("a new one", Duration::from_secs(20), || std::fs::read(&file).is_ok_and(|now| now != before));
    lab.until_events("secret_id_delivered", 1);
    let events = lab.keeper_events("secret_id_delivered");
    let reason = events[0]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("Vault did not know"), "{events:?}");
}

/// Somebody still tries an old secret_id, again and again: Vault locks nobody out for that.
#[test]
fn who_tries_old_secret_ids_shuts_nobody_out() {
    let lab = lab("lockout", "  - {name: app, policies: [p], secret_id_ttl: 9s}\n");
    lab.ok(&["up", "--progress", "quiet"]);
    assert_eq!(lab.json(&["up"])["changed"], false, "that it is switched off is seen");
    let files = ["role_id", "secret_id"].map(|file| lab.delivered("app", file));
    let stale = [files[0].clone(), lab.write("stale", "12345678-1234-1234-1234-123456789012")];
    let application = Application::start(&lab, "app", Duration::from_millis(50));
    let (vault, mut seen) = (lab.vault(), crate::client::Seen::default());
    for _ in 0..20 {
        runtime().block_on(crate::client::log_in(&vault, &stale, &mut seen));
    }
    assert_eq!((seen.logins, seen.refused.len()), (0, 20), "{seen:?}");
    lab.until_events("secret_id_delivered", 2);
    application.end().assert_never_refused();
}
