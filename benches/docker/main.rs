//! `make bench`: how long labs in containers take, on the stand-in images of `make images`, against what
//! the engine and the images take without vaultlab, and against the same job done by hand, all measured
//! in the same run. Nothing is asserted of times; the figures are for people.
//!
//! Everything is made in homes and under a label of this run's own, and removed at the end.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the run")]

mod plain;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use plain::{KINDS, MYSQL, POSTGRES, Plain};

/// Labs that are brought up at once.
const TOGETHER: usize = 10;

fn main() {
    // `cargo test` runs benches without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if let Some(reason) = plain::missing() {
        println!("skipped: {reason}");
        return;
    }
    let plain = Plain::new();
    let folder = tempfile::tempdir().expect("a temp folder");
    let shipped = shipped(folder.path(), &plain.server);
    let example = example(folder.path(), &plain.server);

    let bare =
        KINDS.map(|kind| median(&format!("bare first start, {kind:?}"), 3, |_| plain.first_start(kind)));
    let slowest = bare.into_iter().max().expect("three");
    let mut ends = Vec::new();
    let cold = median("vaultlab up, cold", 3, |_| {
        let home = Home::new(&shipped);
        let began = Instant::now();
        let proven = home.up("cold");
        ends.push(began.elapsed());
        proven
    });
    let cold_end = median("the same until it ends", ends.len(), |run| ends[run]);
    let together_cold = median("ten labs at once, cold", 3, |_| Home::new(&shipped).together());

    let home = Home::new(&shipped);
    home.up("first");
    let mut downs = Vec::new();
    let warm = median("vaultlab up, warm", 5, |run| {
        let lab = format!("warm-{run}");
        let took = home.up(&lab);
        downs.push(home.timed(&lab, &["down"]));
        home.timed(&lab, &["down", "--volumes"]);
        took
    });
    let down = median("vaultlab down", downs.len(), |run| downs[run]);
    let again = median("vaultlab up, nothing to do", 5, |_| home.up("first"));
    let together = median("ten labs at once, warm", 3, |_| home.together());
    let engine = median("containers of ten that idle", 3, |_| plain.engine_alone(TOGETHER));
    drop(home);

    let by_hand = median("the example, by hand", 3, |run| plain.by_hand(run));
    let its_cold = median("the example's job, cold", 3, |_| Home::new(&example).up("example"));
    let home = Home::new(&example);
    home.up("first");
    let its_warm = median("the example's job, warm", 3, |run| home.up(&format!("example-{run}")));
    drop(home);

    println!();
    seconds("warm up", warm, "wanted: at most 3.0 s");
    ratio("cold up / slowest first start", cold, slowest, "wanted: at most 1.20");
    seconds("down", down, "wanted: at most 1.5 s");
    seconds("up with nothing to do", again, "");
    ratio("ten labs at once / one, cold", together_cold, cold_end, "wanted: at most 4.00");
    ratio("ten labs at once / one, warm", together, warm, "wanted: at most 4.00");
    ratio("  of which the engine by itself", engine, warm, "as many containers that do nothing");
    ratio("by hand / up, cold", by_hand, its_cold, "the well-known example's job");
    ratio("by hand / up, warm", by_hand, its_warm, "");
}

fn seconds(what: &str, took: Duration, remark: &str) {
    println!("{what:<32} {:>6.2} s   {remark}", took.as_secs_f64());
}

fn ratio(what: &str, took: Duration, against: Duration, remark: &str) {
    println!("{what:<32} {:>6.2}     {remark}", took.as_secs_f64() / against.as_secs_f64());
}

/// Median of some runs, each shown.
fn median(what: &str, runs: usize, mut run: impl FnMut(usize) -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..runs).map(&mut run).collect();
    times.sort();
    let shown: Vec<String> = times.iter().map(|time| format!("{:.2}", time.as_secs_f64())).collect();
    println!("{what:<28} median {:.2} s of {}", times[runs / 2].as_secs_f64(), shown.join(" "));
    times[runs / 2]
}

/// The lab that ships, on the images that are measured.
fn shipped(folder: &Path, server: &str) -> PathBuf {
    let root = env!("CARGO_MANIFEST_DIR");
    let text = std::fs::read_to_string(format!("{root}/lab/vaultlab.yaml")).expect("the lab file");
    let mut text = text.replace("../", &format!("{root}/"));
    for (line, image) in
        [("  flavour: auto\n", server), ("    engine: postgres\n", POSTGRES), ("    engine: mysql\n", MYSQL)]
    {
        let indent = &line[..line.len() - line.trim_start().len()];
        assert!(text.contains(line), "{line}");
        text = text.replace(line, &format!("{line}{indent}image: {image}\n"));
    }
    let file = folder.join("shipped.yaml");
    std::fs::write(&file, text).expect("a lab file");
    file
}

/// What `example.sh` does by hand.
fn example(folder: &Path, server: &str) -> PathBuf {
    let text = format!(
        "apiVersion: vaultlab/v1
vault: {{image: '{server}', key_shares: 5, key_threshold: 3}}
databases:
  - name: database
    engine: mysql
    image: {MYSQL}
    database: notes_webapp
    schema:
      - sql: CREATE TABLE notes (id INT AUTO_INCREMENT PRIMARY KEY, title VARCHAR(100) NOT NULL, body TEXT)
    seed:
      - sql: INSERT INTO notes (title, body) VALUES ('first', 'made with the database')
roles:
  - name: webapp
    database: database
    creation_statements:
      sql: |
        CREATE USER '{{{{name}}}}'@'%' IDENTIFIED BY '{{{{password}}}}';
        GRANT SELECT, INSERT ON notes_webapp.* TO '{{{{name}}}}'@'%';
    default_ttl: 3m
    max_ttl: 5m
    proof:
      allows: [SELECT title FROM notes]
policies:
  - name: webapp
    hcl: 'path \"database/creds/webapp\" {{ capabilities = [\"read\"] }}'
approles:
  - {{name: webapp, policies: [webapp], token_ttl: 5m, token_max_ttl: 10m, secret_id_ttl: 15m}}
"
    );
    let file = folder.join("example.yaml");
    std::fs::write(&file, text).expect("a lab file");
    file
}

/// A lab's name: nobody else's container is called so.
fn name(lab: &str) -> String {
    format!("bench-{}-{lab}", std::process::id())
}

/// A home of its own: what is initialised in it is there for no other.
struct Home {
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Home {
    fn new(file: &Path) -> Self {
        Self { folder: tempfile::tempdir().expect("a temp folder"), file: file.into() }
    }

    /// From the program's start to the last proof. After it a first `up` only keeps data for later labs.
    fn up(&self, lab: &str) -> Duration {
        let began = Instant::now();
        let output = self.run(lab, &["up", "--output", "json"]);
        let took = began.elapsed();
        let summary: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
        let steps = summary["steps"].as_array().expect("steps").iter();
        let ends = steps.map(|step| {
            let end = step["started_ms"].as_f64().expect("ms") + step["took_ms"].as_f64().expect("ms");
            (step["step"].as_str().expect("a name").starts_with("keep "), end)
        });
        let (keeping, proving): (Vec<_>, Vec<_>) = ends.partition(|(keeps, _)| *keeps);
        let last = |ends: Vec<(bool, f64)>| ends.into_iter().map(|(_, end)| end).fold(0.0, f64::max);
        let after = (last(keeping) - last(proving)).max(0.0);
        took.saturating_sub(Duration::from_secs_f64(after / 1e3))
    }

    fn timed(&self, lab: &str, arguments: &[&str]) -> Duration {
        let began = Instant::now();
        self.run(lab, arguments);
        began.elapsed()
    }

    fn run(&self, lab: &str, arguments: &[&str]) -> Vec<u8> {
        let output = self.command(lab, arguments).output().expect("the program runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Labs that begin at the same time; until the last one is up.
    fn together(&self) -> Duration {
        let names: Vec<String> = (0..TOGETHER).map(|number| format!("ten-{number}")).collect();
        let all = |arguments: &[&str]| {
            let began = Instant::now();
            std::thread::scope(|scope| {
                for name in &names {
                    scope.spawn(|| self.timed(name, arguments));
                }
            });
            began.elapsed()
        };
        let took = all(&["up", "--timeout", "5m"]);
        all(&["down", "--volumes"]);
        took
    }

    fn command(&self, lab: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vaultlab"));
        command
            .args(["--name", &name(lab), "--file"])
            .arg(&self.file)
            .args(arguments)
            .args(["--progress", "quiet"])
            .env("VAULTLAB_HOME", self.folder.path())
            .env("VAULTLAB_RUNTIME", "docker")
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let labs = std::fs::read_dir(self.folder.path().join("labs")).into_iter().flatten().flatten();
        let prefix = name("");
        for lab in labs.filter_map(|lab| lab.file_name().into_string().ok()) {
            let lab = lab.strip_prefix(&prefix).unwrap_or(&lab).to_owned();
            drop(self.command(&lab, &["down", "--volumes"]).output());
        }
        // The templates, which are images.
        drop(self.command("none", &["prune", "--yes"]).output());
    }
}
