//! How a secret_id can be delivered otherwise: wrapped, and as a file of another user's.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use vaultlab::Secret;
use vaultlab::vault::{AppRolePair, Client};

use crate::client::{Counter, kill, lab, live, long};
use crate::support::{TestLab, eventually, text};

/// A wrapped delivery as an application sees it.
struct Reader<'a> {
    lab: &'a TestLab,
    vault: Client,
    approle: &'static str,
}

impl Reader<'_> {
    fn token(&self) -> Option<Secret> {
        let text = std::fs::read_to_string(self.lab.delivered(self.approle, "secret_id")).ok()?;
        Some(Secret::new(text))
    }

    async fn is_good(&self, token: &Secret) -> bool {
        let info = self.vault.wrapping_info(token).await.expect("an answer");
        let path = format!("auth/approle/role/{}/secret-id", self.approle);
        info.is_some_and(|info| info.creation_path == path)
    }

    /// Waits until there is a token that can be unwrapped.
    async fn next(&self) -> Secret {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(token) = self.token()
                && self.is_good(&token).await
            {
                return token;
            }
            assert!(Instant::now() < end, "no wrapping token");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn log_in(&self, secret_id: Secret) -> Result<Secret, vaultlab::vault::VaultError> {
        let role_id = std::fs::read_to_string(self.lab.delivered(self.approle, "role_id")).expect("role_id");
        let pair = AppRolePair { role_id: Secret::new(role_id), secret_id };
        Ok(self.vault.login_approle(&pair).await?.client_token)
    }
}

#[tokio::test]
async fn a_wrapped_secret_id_is_delivered_again_once_it_was_taken() {
    let lab = lab("wrapped", "  - {name: app, policies: [p], deliver: {wrap_ttl: 10m}}\n");
    lab.ok(&["up", "--progress", "quiet"]);
    lab.until_events("began", 1);
    let reader = Reader { lab: &lab, vault: lab.vault(), approle: "app" };
    let counter = Counter::start(&lab, "app");
    let mut unwrapped: Vec<Secret> = Vec::new();
    for round in 0..4 {
        let token = reader.next().await;
        let secret_id = reader.vault.unwrap_secret_id(&token).await.expect("it is wrapped").secret_id;
        assert!(!reader.is_good(&token).await, "it is good for once");
        if round % 2 == 1 && reader.token().as_ref() == Some(&token) {
            // As an agent does with `remove_secret_id_file_after_reading`.
            std::fs::remove_file(lab.delivered("app", "secret_id")).expect("remove");
        }
        reader.log_in(secret_id.clone()).await.expect("a login with what was unwrapped");
        reader.next().await;
        reader.log_in(secret_id.clone()).await.expect("it stays good for who has it");
        unwrapped.push(secret_id);
    }
    assert_eq!(
        live(&lab.as_keeper(), "app").await.expect("a count"),
        2,
        "the last one and the one in the file"
    );
    for taken in &unwrapped[..3] {
        reader.log_in(taken.clone()).await.expect_err("it was destroyed");
    }
    reader.log_in(unwrapped[3].clone()).await.expect("the last one");
    // The first may have been taken before the keeper looked for the first time.
    let events = lab.keeper_events("secret_id_delivered");
    assert_eq!(events.len(), 4);
    assert!(events[1..].iter().all(|event| event["reason"] == "it was unwrapped"), "{events:?}");

    // Taken away and not used: whoever has read it can still unwrap it.
    let token = reader.next().await;
    std::fs::remove_file(lab.delivered("app", "secret_id")).expect("remove");
    assert!(reader.next().await == token, "the same is put back");
    assert!(tokio::task::spawn_blocking(|| counter.end()).await.expect("a count") <= 2);

    // A new keeper leaves what is good.
    kill(lab.keeper_pid().expect("a keeper"), Signal::SIGKILL);
    lab.ok(&["up", "--progress", "quiet"]);
    lab.until_events("began", 2);
    assert!(reader.token().expect("a token") == token && reader.is_good(&token).await);
    reader.log_in(unwrapped[3].clone()).await.expect("the last one");
    // What a program is run with is taken like any other, and replaced.
    lab.ok(&["exec", "--approle", "app", "--", "true"]);
    assert!(reader.next().await != token);
    let agent = lab.json(&["agent-config", "app"]);
    let config = std::fs::read_to_string(agent[0]["config"].as_str().expect("a path")).expect("it");
    let line = r#"secret_id_response_wrapping_path = "auth/approle/role/app/secret-id""#;
    assert!(config.contains(line) && config.contains("after_reading = true"), "{config}");
}

/// Nobody takes it: at no moment is there one in the file that has ended.
#[tokio::test]
async fn a_wrapping_token_is_replaced_before_it_ends() {
    let lab = lab("wrapped-old", "  - {name: app, policies: [p], deliver: {wrap_ttl: 4s}}\n");
    lab.ok(&["up", "--progress", "quiet"]);
    let reader = Reader { lab: &lab, vault: lab.vault(), approle: "app" };
    let counter = Counter::start(&lab, "app");
    let mut asked = 0;
    while lab.keeper_events("secret_id_delivered").len() < 4 {
        let token = reader.token().expect("the file is there");
        assert!(reader.is_good(&token).await, "after {asked} looks");
        asked += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(asked > 50, "{asked}");
    assert!(tokio::task::spawn_blocking(|| counter.end()).await.expect("a count") <= 2);
    // Who read it just before it was replaced, and used it then, logs in for as long as he likes.
    let before = reader.next().await;
    while reader.token().expect("the file is there") == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let late = reader.vault.unwrap_secret_id(&before).await.expect("it may still be unwrapped").secret_id;
    let count = lab.keeper_events("secret_id_delivered").len();
    while lab.keeper_events("secret_id_delivered").len() < count + 3 {
        reader.log_in(late.clone()).await.expect("a login");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An application logs in all the time with what it took, and takes the next one now and then: with a
/// token that it has just read, whose time may be over before it is unwrapped.
#[tokio::test]
async fn who_has_taken_one_is_never_refused_while_others_grow_old_and_keepers_die() {
    let lab = lab("wrapped-use", "  - {name: app, policies: [p], deliver: {wrap_ttl: 4s}}\n");
    lab.ok(&["up", "--progress", "quiet"]);
    lab.until_events("began", 1);
    let reader = Reader { lab: &lab, vault: lab.vault(), approle: "app" };
    let first = reader.next().await;
    let mut own = reader.vault.unwrap_secret_id(&first).await.expect("it is wrapped").secret_id;
    let began = Instant::now();
    let seconds = if long() { 300 } else { 30 };
    let (mut logins, mut count, mut late, mut most) = (0, 1, 0, 0);
    let mut next_take = Duration::from_secs(5);
    let mut next_death = Duration::from_secs(seconds / 2);
    let (vault, mut keepers) = (lab.as_keeper(), Vec::new());
    while began.elapsed() < Duration::from_secs(seconds) {
        reader.log_in(own.clone()).await.unwrap_or_else(|e| panic!("login {logins}, of the {count}th: {e}"));
        logins += 1;
        // Vault may fail to list while one is destroyed.
        if keepers.is_empty() {
            most = most.max(live(&vault, "app").await.unwrap_or_default());
        }
        if began.elapsed() > next_take {
            next_take = began.elapsed() + Duration::from_millis(4700);
            if let Some(token) = reader.token() {
                tokio::time::sleep(Duration::from_millis(logins % 7)).await;
                // What was replaced in between is read again.
                match reader.vault.unwrap_secret_id(&token).await {
                    Ok(fresh) => (own, count) = (fresh.secret_id, count + 1),
                    Err(_) => late += 1,
                }
            }
        }
        if began.elapsed() > next_death {
            next_death = began.elapsed() + Duration::from_millis(6100);
            let pid = lab.keeper_pid().expect("a keeper");
            kill(pid, Signal::SIGKILL);
            keepers.push(lab.command(&["supervise", "--progress", "quiet"]).spawn().expect("the program"));
            eventually("it is kept", Duration::from_secs(20), || lab.keeper_pid() != Some(pid));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "{logins} logins with {count} secret_ids, {late} tokens were late, {} keepers killed, {most} lived at most",
        keepers.len()
    );
    assert!(count > 3 && logins > 100 && most == 2, "{count} {logins} {most}");
    let events = lab.keeper_events("secret_id_delivered");
    for reason in ["it was unwrapped", "the end of its wrapping token was near"] {
        assert!(events.iter().any(|event| event["reason"] == reason), "{reason}: {events:?}");
    }
    // Whatever the killed ones left is gone once the next one is count.
    let token = reader.next().await;
    reader.vault.unwrap_secret_id(&token).await.expect("it is wrapped");
    reader.next().await;
    assert_eq!(live(&vault, "app").await.expect("a count"), 2);
    lab.ok(&["down", "--progress", "quiet"]);
    for mut keeper in keepers {
        keeper.wait().expect("wait");
    }
}

/// Vault was away for longer than a token lives: nobody can tell whether it was used.
#[tokio::test]
async fn a_token_that_ends_unseen_disturbs_nobody() {
    let lab = lab("wrapped-away", "  - {name: app, policies: [p], deliver: {wrap_ttl: 4s}}\n");
    lab.ok(&["up", "--progress", "quiet"]);
    lab.until_events("began", 1);
    let reader = Reader { lab: &lab, vault: lab.vault(), approle: "app" };
    let token = reader.next().await;
    let own = reader.vault.unwrap_secret_id(&token).await.expect("it is wrapped").secret_id;
    let unseen = reader.next().await;
    kill(lab.vault_pid(), Signal::SIGSTOP);
    tokio::time::sleep(Duration::from_secs(5)).await;
    kill(lab.vault_pid(), Signal::SIGCONT);
    assert!(reader.next().await != unseen);
    for _ in 0..50 {
        reader.log_in(own.clone()).await.expect("it is in use");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let token = reader.next().await;
    reader.vault.unwrap_secret_id(&token).await.expect("it is wrapped");
    reader.next().await;
    assert_eq!(live(&lab.as_keeper(), "app").await.expect("a count"), 2);
    reader.log_in(own).await.expect_err("it was replaced");
}

#[test]
fn files_are_given_to_their_owner() {
    const NOBODY: u32 = 65534;
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let place = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o711)).expect("the mode");
    let out = place.path().join("out");
    let approle = |owner: &str| {
        let path = out.display();
        format!(
            "  - {{name: app, policies: [p], secret_id_ttl: 3s, deliver: {{role_id: {path}/role_id, secret_id: {path}/secret_id{owner}}}}}\n"
        )
    };
    let with_owner = format!(", owner: '{NOBODY}:{NOBODY}'");
    let lab = lab("owner", &approle(&with_owner));
    lab.ok(&["up", "--progress", "quiet"]);
    let owner = |file: &str| {
        let meta = out.join(file).metadata().expect(file);
        (meta.uid(), meta.gid(), meta.mode() & 0o777)
    };
    let read = || {
        let mut cat = Command::new("cat");
        let output = cat.arg(out.join("secret_id")).uid(NOBODY).gid(NOBODY).output().expect("cat");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!([owner("role_id"), owner("secret_id")], [(NOBODY, NOBODY, 0o600); 2]);
    assert_eq!(owner(""), (NOBODY, NOBODY, 0o700), "the folder that was made for them");
    let first = read();
    lab.until_events("secret_id_delivered", 2);
    assert_eq!(owner("secret_id"), (NOBODY, NOBODY, 0o600));
    assert_ne!(read(), first);
    // Given away again where the lab file was changed.
    let file = lab.folder.path().join("vaultlab.yaml");
    let lab_file = std::fs::read_to_string(&file).expect("the lab file");
    std::fs::write(&file, lab_file.replace(&with_owner, ", owner: 'root:daemon'")).expect("write");
    lab.ok(&["up", "--progress", "quiet"]);
    // The keeper of before may look once more until it is replaced.
    eventually("they are root's and daemon's", Duration::from_secs(20), || {
        ["role_id", "secret_id"]
            .map(owner)
            .iter()
            .all(|(uid, gid, mode)| *uid == 0 && *gid != NOBODY && *gid != 0 && *mode == 0o600)
    });
    std::fs::write(&file, lab_file.replace(&with_owner, ", owner: no-such-user")).expect("write");
    assert!(lab.fails(3, &["up"]).contains("this host has no user `no-such-user`"));
    std::fs::write(&file, lab_file).expect("write");
}
