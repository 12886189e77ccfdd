//! A lab with a keeper, and an application that logs in with what is delivered.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use vaultlab::Secret;
use vaultlab::vault::{AppRolePair, Client, VaultError};

use crate::support::{TestLab, eventually};

/// Long forms of the tests, as for a release.
pub fn long() -> bool {
    std::env::var_os("VAULTLAB_LONG_TESTS").is_some()
}

/// A lab without databases whose AppRoles are as given: lines of `approles`. Its Vault is the one that
/// `VAULTLAB_VAULT_BIN` names, if it names one. It is kept in memory: a secret_id lives for a few seconds,
/// and a disk that others keep busy may let nothing be stored for as long as that.
pub fn lab(name: &str, approles: &str) -> TestLab {
    let lab = TestLab::in_memory(name);
    let named = std::env::var_os("VAULTLAB_VAULT_BIN").is_some();
    // The only storage that all of them have.
    let vault = if named { "storage: raft" } else { "flavour: embedded" };
    lab.write(
        "vaultlab.yaml",
        &format!(
            "apiVersion: vaultlab/v1\nvault: {{{vault}, key_shares: 3, key_threshold: 2}}\n\
             policies:\n  - name: p\n    hcl: 'path \"secret/*\" {{ capabilities = [\"read\"] }}'\n\
             approles:\n{approles}"
        ),
    );
    lab
}

impl TestLab {
    fn state_json(&self, file: &str) -> Value {
        let bytes = std::fs::read(self.state().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        serde_json::from_slice(&bytes).expect("JSON")
    }

    pub fn delivered(&self, approle: &str, file: &str) -> PathBuf {
        self.state().join("delivery").join(approle).join(file)
    }

    pub fn vault(&self) -> Client {
        let address = match self.state_json("manifest.json")["services"]["vault"]["port"].as_u64() {
            Some(port) => format!("127.0.0.1:{port}"),
            // In a container.
            None => self.json(&["status"])["services"][0]["address"].as_str().expect("an address").to_owned(),
        };
        Client::new(&format!("http://{address}")).expect("a client")
    }

    /// Vault with the keeper's own token: it may list and look up secret_ids.
    pub fn as_keeper(&self) -> Client {
        let token = self.state_json("keeper-token.json")["token"].as_str().expect("a token").to_owned();
        self.vault().with_token(token.into())
    }

    pub fn vault_pid(&self) -> i32 {
        self.service_pid("vault")
    }

    pub fn service_pid(&self, service: &str) -> i32 {
        let pid = self.state_json("manifest.json")["services"][service]["pid"].as_i64().expect("a pid");
        i32::try_from(pid).expect("a pid")
    }

    pub fn keeper_pid(&self) -> Option<i32> {
        let text = std::fs::read_to_string(self.state().join("keeper.lock")).ok()?;
        text.rsplit_once("(pid ")?.1.strip_suffix(')')?.parse().ok()
    }

    pub fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.state().join("events.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Events of the keeper of one kind.
    pub fn keeper_events(&self, what: &str) -> Vec<Value> {
        let events = self.events().into_iter();
        events.filter(|event| event["event"] == "keeper" && event["what"] == what).collect()
    }

    pub fn until_events(&self, what: &str, count: usize) {
        eventually(&format!("{count} × {what}"), Duration::from_secs(60), || {
            self.keeper_events(what).len() >= count
        });
    }
}

pub fn kill(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("a signal");
}

/// Logs in with the delivered pair again and again, from a thread of its own, until dropped.
pub struct Application {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Seen>>,
}

/// What an application saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub logins: usize,
    /// Vault did not answer, or was sealed: no fault of the pair.
    pub away: usize,
    pub refused: Vec<String>,
    /// What was in the file and is no secret_id.
    pub torn: Vec<String>,
    /// There was no file.
    pub absent: usize,
    /// Since when every login was refused, if the last one was.
    refused_since: Option<Instant>,
    /// For how long at a stretch no login worked.
    pub longest_refusal: Duration,
}

impl Seen {
    /// Every login was let in.
    pub fn assert_never_refused(&self) {
        let (refused, first) = (self.refused.len(), self.refused.first());
        assert!(refused == 0, "{} logins, {refused} refused, the first: {first:?}", self.logins);
        assert!(self.torn.is_empty() && self.absent == 0 && self.logins > 20, "{self:?}");
    }
}

impl Application {
    pub fn start(lab: &TestLab, approle: &str, pause: Duration) -> Self {
        Self::reading(lab, ["role_id", "secret_id"].map(|file| lab.delivered(approle, file)), pause)
    }

    /// With the pair in these files.
    pub fn reading(lab: &TestLab, files: [PathBuf; 2], pause: Duration) -> Self {
        let vault = lab.vault();
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
            let mut seen = Seen::default();
            while !ended.load(Ordering::Relaxed) {
                runtime.block_on(log_in(&vault, &files, &mut seen));
                std::thread::sleep(pause);
            }
            seen
        });
        Self { stop, thread: Some(thread) }
    }

    pub fn end(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("a thread").join().expect("the application")
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

pub async fn log_in(vault: &Client, files: &[PathBuf; 2], seen: &mut Seen) {
    let [role_id, secret_id] = files.each_ref().map(|file| std::fs::read_to_string(file).ok());
    let (Some(role_id), Some(secret_id)) = (role_id, secret_id) else {
        seen.absent += 1;
        return;
    };
    if [&role_id, &secret_id].iter().any(|text| text.len() != 36) {
        seen.torn.push(format!("{role_id:?} {secret_id:?}"));
        return;
    }
    let pair = AppRolePair { role_id: Secret::new(role_id), secret_id: Secret::new(secret_id) };
    match vault.login_approle(&pair).await {
        // Its token ends by itself.
        Ok(_) => {
            seen.logins += 1;
            if let Some(since) = seen.refused_since.take() {
                seen.longest_refusal = seen.longest_refusal.max(since.elapsed());
            }
        }
        Err(VaultError::Refused { status: 503, .. } | VaultError::Unreachable { .. }) => seen.away += 1,
        // On raft storage one that was just unsealed looks for its leader.
        Err(error) if error.to_string().contains("local node not active") => seen.away += 1,
        Err(error) => {
            seen.refused_since.get_or_insert_with(Instant::now);
            let age = std::fs::metadata(&files[1]).and_then(|file| file.modified()).map(|at| at.elapsed());
            seen.refused.push(format!("{error} (delivered {age:?} ago)"));
        }
    }
}

/// How many secret_ids of an AppRole live, as Vault says.
pub async fn live(vault: &Client, approle: &str) -> Result<usize, VaultError> {
    Ok(vault.secret_id_accessors(approle).await?.len())
}

/// Counts the live secret_ids again and again.
pub struct Counter {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<(usize, usize)>>,
}

impl Counter {
    pub fn start(lab: &TestLab, approle: &str) -> Self {
        Self::of(lab, vec![approle.to_owned()])
    }

    /// Of each of these AppRoles.
    pub fn of(lab: &TestLab, approles: Vec<String>) -> Self {
        let vault = lab.as_keeper();
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
            let (mut most, mut asked) = (0, 0);
            while !ended.load(Ordering::Relaxed) {
                for approle in &approles {
                    if let Ok(count) = runtime.block_on(live(&vault, approle)) {
                        most = most.max(count);
                        asked += 1;
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            (most, asked)
        });
        Self { stop, thread: Some(thread) }
    }

    /// The most that an AppRole had at a time.
    pub fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let (most, asked) = self.thread.take().expect("a thread").join().expect("the counter");
        assert!(asked > 10, "it was asked {asked} times only");
        most
    }
}
