//! What a keeper costs: memory and processor time while nothing happens and with 100 AppRoles that
//! live for 30 s, and how soon a Vault that was killed is unsealed and delivered for. Nothing is
//! asserted; the figures are for people.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the run")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn main() {
    // `cargo test` runs benches without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let idle = Lab::up(2, "1h");
    idle.measure("idle, 2 AppRoles", Duration::from_secs(20));
    let mut times: Vec<[Duration; 3]> = (0..5).map(|_| idle.kill_vault()).collect();
    times.sort();
    let [restart, unsealed, delivering] = times[2];
    println!(
        "Vault killed: started again after {:.0} ms, unsealed {:.0} ms later, delivering {:.0} ms after that \
         (wanted: at most 1000 ms from its answer on)",
        ms(restart),
        ms(unsealed),
        ms(delivering)
    );
    drop(idle);
    let busy = Lab::up(100, "30s");
    // Until every one was replaced once.
    while busy.events("secret_id_delivered").len() < 100 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let before = busy.events("secret_id_delivered").len();
    busy.measure("100 AppRoles, 30 s", Duration::from_secs(30));
    let delivered = busy.events("secret_id_delivered").len() - before;
    println!("{:<24} {delivered} delivered, {} failures", "", busy.events("delivery_failed").len());
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    fn up(approles: usize, ttl: &str) -> Self {
        let lab = Self { folder: tempfile::tempdir().expect("a temp folder") };
        let mut text =
            "apiVersion: vaultlab/v1\nname: kept\nvault: {flavour: embedded}\npolicies:\n  - name: p\n    \
             hcl: 'path \"secret/*\" { capabilities = [\"read\"] }'\napproles:\n"
                .to_owned();
        for number in 0..approles {
            let _ = writeln!(text, "  - {{name: app{number}, policies: [p], secret_id_ttl: {ttl}}}");
        }
        std::fs::write(lab.folder.path().join("vaultlab.yaml"), text).expect("the lab file");
        lab.run(&["up"]);
        lab
    }

    fn run(&self, arguments: &[&str]) {
        let status = Command::new(env!("CARGO_BIN_EXE_vaultlab"))
            .args(arguments)
            .args(["--progress", "quiet", "--runtime", "process"])
            .current_dir(self.folder.path())
            .env("VAULTLAB_HOME", self.home())
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("the program").success(), "{arguments:?}");
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn state(&self) -> PathBuf {
        self.home().join("labs/kept")
    }

    fn json(&self, file: &str) -> Value {
        let bytes = std::fs::read(self.state().join(file)).expect(file);
        serde_json::from_slice(&bytes).expect("JSON")
    }

    fn events(&self, what: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.state().join("events.jsonl")).unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["what"] == what).collect()
    }

    /// Memory and processor time of the keeper over some time.
    fn measure(&self, what: &str, time: Duration) {
        // It lets go of what it only needed to begin with five seconds after its start: no idling yet.
        std::thread::sleep(Duration::from_secs(7));
        let pid = self.json("keeper.json")["pid"].as_u64().expect("a pid");
        let before = cpu(pid);
        std::thread::sleep(time);
        let used = cpu(pid) - before;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        let field = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<f64>().expect("kB") / 1024.0
        };
        println!(
            "{what:<24} {:>6.1} MB resident, {:.1} MB of them its own (wanted: at most 15), {:.3} % of a core (wanted: at most 0.1)",
            field("VmRSS"),
            field("RssAnon"),
            used / time.as_secs_f64() * 100.0
        );
    }

    /// Kills Vault; gives how long it took until it was started, from there until it was unsealed, and
    /// from there until a file that was taken away is delivered again.
    fn kill_vault(&self) -> [Duration; 3] {
        let vault = self.json("manifest.json")["services"]["vault"]["pid"].as_i64().expect("a pid");
        let file = self.state().join("delivery/app0/secret_id");
        let (restarts, unseals) = (self.events("service_restarted").len(), self.events("unsealed").len());
        std::fs::remove_file(&file).expect("remove");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(vault).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("a signal");
        let killed = Instant::now();
        wait(|| self.events("service_restarted").len() > restarts);
        let restarted = Instant::now();
        wait(|| self.events("unsealed").len() > unseals);
        let unsealed = Instant::now();
        wait(|| file.exists());
        let delivered = Instant::now();
        // It counts as stable by then.
        std::thread::sleep(Duration::from_millis(5500));
        [restarted - killed, unsealed - restarted, delivered - unsealed]
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.run(&["down", "--volumes"]);
    }
}

fn wait(mut done: impl FnMut() -> bool) {
    while !done() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Seconds of processor time that the threads of a process have used.
fn cpu(pid: u64) -> f64 {
    let threads = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")).expect("threads");
    let used = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
    };
    threads.flatten().map(used).sum()
}
