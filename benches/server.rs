//! `make bench`: what the embedded server does per second, beside what the databases do without it,
//! and what it takes to run. Nothing is asserted; the figures are for people, each beside its target.
//!
//! A lab of its own, with file storage and eight workers. The targets are for two cores and nothing
//! else running: the load average is printed with the figures.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use vaultlab::bench::{self, BenchReport, Direct, Load, Plan};
use vaultlab::report::Report;
use vaultlab::vault::Client;
use vaultlab::{Lab, LabOptions, RunningLab};

const WORKERS: usize = 8;
/// Each figure is the median of so many runs.
const RUNS: usize = 3;
const LEASES: usize = 10_000;
/// Longer than the leases take to be made, so that all are there at once.
const LEASE_TTL: Duration = Duration::from_secs(60);

fn main() {
    let folder = tempfile::tempdir().expect("a temp folder");
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o1777)).expect("a mode");
    }
    println!("\nserver: {WORKERS} workers, file storage, load average before: {}", load_average());
    figure("start to answering", start(folder.path()), "ms", "at most 30");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // What the leases take is that of a server that has nothing else behind it.
    let parts: [Part; 2] = [|bench| speed(bench).boxed(), |bench| leases(bench).boxed()];
    for part in parts {
        runtime.block_on(on_a_lab(folder.path(), part));
    }
    println!("load average after: {}", load_average());
}

/// A running lab and its root.
struct Bench {
    lab: RunningLab,
    root: Client,
}

type Part = fn(Bench) -> BoxFuture<'static, ()>;

async fn on_a_lab(folder: &Path, part: Part) {
    let lab = up(folder).await;
    let root = lab.root(Duration::from_hours(1)).await.expect("a root token");
    let outcome = tokio::spawn(part(Bench { lab: lab.clone(), root: root.client().clone() })).await;
    lab.remove().await.expect("the lab is removed");
    outcome.expect("measured");
}

async fn speed(bench: Bench) {
    let server = server_of(&bench.lab).await;
    for connection in ["notes-postgres", "notes-mysql"] {
        // As many as there are workers, like the connections that are compared with.
        let settings = json!({ "max_open_connections": WORKERS });
        bench.root.write_database_config("database", connection, &settings).await.expect("the connection");
    }
    // It lets go of what it only needed to begin with.
    tokio::time::sleep(Duration::from_secs(10)).await;
    figure("resident, idle for 10 s", resident(server), "MB", "at most 25");
    let reads = Load::Reads { path: "auth/token/lookup-self".into() };
    rates(&bench, server, "authenticated reads", &reads, "at least 40000").await;
    let logins = Load::Logins { approle: "webapp".into() };
    rates(&bench, server, "AppRole logins", &logins, "at least 10000").await;
    for (role, name) in [("pg-read", "PostgreSQL"), ("mysql-read", "MariaDB")] {
        ratio(&bench, role, name).await;
    }
    let connection = "notes-postgres";
    let scram = json!({ "password_authentication": "scram-sha-256", "max_open_connections": WORKERS });
    bench.root.write_database_config("database", connection, &scram).await.expect("the connection");
    ratio(&bench, "pg-read", "PostgreSQL, verifiers made here").await;
}

/// Median rate of a load, and what it costs the server.
async fn rates(bench: &Bench, server: u32, what: &str, load: &Load, wanted: &str) {
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let before = processor_time(server);
        let report = run(bench, load, Duration::from_secs(4)).await;
        let found = &report.loads[0];
        let cost = processor_time(server).saturating_sub(before);
        costs.push(cost.as_secs_f64() * 1e6 / found.measured.done as f64);
        rates.push(found.measured.per_second);
        complain(&report);
    }
    figure(what, median(rates), "/s", wanted);
    println!("  {:>10.1} µs of processor time each on the server, clean-up included", median(costs));
}

/// Credentials through Vault beside the same statements directly.
async fn ratio(bench: &Bench, role: &str, name: &str) {
    let (mount, target, account) = bench.lab.direct(role).expect("the role");
    let direct = Some(Direct { target, account });
    let load = Load::Credentials { mount, role: role.into(), revoke: false, direct };
    let (mut ratios, mut rates, mut directly) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let report = run(bench, &load, Duration::from_secs(8)).await;
        let compared = report.loads[0].direct.as_ref().expect("compared");
        ratios.push(compared.ratio);
        rates.push(report.loads[0].measured.per_second);
        directly.push(compared.measured.per_second);
        complain(&report);
    }
    println!(
        "{name}: {:.0} credentials/s, directly {:.0}/s; {WORKERS} connections each (max_open_connections)",
        median(rates),
        median(directly)
    );
    figure(&format!("{name}, ratio"), median(ratios), "", "at least 0.90");
}

async fn run(bench: &Bench, load: &Load, time: Duration) -> BenchReport {
    let plan = Plan {
        address: bench.root.address().into(),
        token: bench.root.token().expect("a token").clone(),
        ca: None,
        workers: WORKERS,
        time,
        loads: vec![load.clone()],
    };
    bench::run(plan, &Report::silent(), std::future::pending()).await.expect("measured")
}

/// Failures are no figure, but without them said the figures would mislead.
fn complain(report: &BenchReport) {
    for load in &report.loads {
        let direct = load.direct.as_ref().map(|direct| &direct.measured.errors);
        for (error, count) in [Some(&load.measured.errors), direct].into_iter().flatten().flatten() {
            println!("  {} {}: {count} failed: {error}", load.load, load.what);
        }
        if load.cleaned.is_some_and(|cleaned| cleaned.failed > 0) {
            println!("  {} {}: not all was revoked: {:?}", load.load, load.what, load.cleaned);
        }
    }
}

/// Ten thousand leases that expire: memory while they live, and whether all are gone afterwards.
async fn leases(bench: Bench) {
    let server = server_of(&bench.lab).await;
    let vault = bench.root.clone();
    let role = vault.database_role("database", "pg-read").await.expect("an answer").expect("the role");
    let mut short = json!({ "default_ttl": LEASE_TTL.as_secs(), "max_ttl": LEASE_TTL.as_secs() });
    for key in ["db_name", "creation_statements", "revocation_statements"] {
        short[key] = role[key].clone();
    }
    vault.write_database_role("database", "short", &short).await.expect("the role");
    let all = json!({
        "allowed_roles": "*",
        "max_open_connections": WORKERS,
        "password_authentication": "scram-sha-256",
    });
    vault.write_database_config("database", "notes-postgres", &all).await.expect("the connection");

    let began = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let vault = vault.clone();
        workers.spawn(async move {
            for _ in 0..LEASES / WORKERS {
                vault.credential("database", "short").await.expect("a credential");
            }
        });
    }
    workers.join_all().await;
    let (made, last_due) = (began.elapsed(), Instant::now() + LEASE_TTL);
    println!("{LEASES} leases made in {:.1} s", made.as_secs_f64());
    figure(&format!("resident, {LEASES} leases"), resident(server), "MB", "at most 60");

    let (_, target, account) = bench.lab.direct("pg-read").expect("the role");
    let mut database = vaultlab::database::connect(&target, &account).await.expect("a connection");
    let count = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%-short-%'";
    let (mut left, end) = (LEASES, last_due + Duration::from_secs(60));
    while left > 0 && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
        left = database.scalar(count).await.expect("a count").and_then(|n| n.parse().ok()).expect("a number");
    }
    // Before the last was due is no success either: then it was not kept for its time.
    let late = Instant::now().saturating_duration_since(last_due).as_secs_f64();
    figure("accounts left of expired leases", left as f64, "", "0");
    println!("  all expired within {:.0} s; the last was gone {late:.1} s after its end", made.as_secs_f64());
    database.close().await;
}

async fn up(folder: &Path) -> RunningLab {
    vaultlab::lab::write_shipped_lab(folder, true).expect("the lab's files");
    let file = folder.join("lab/vaultlab.yaml");
    let text = std::fs::read_to_string(&file).expect("the lab file");
    let text = text.replace("flavour: auto", "flavour: embedded").replace("audit: on", "audit: off");
    std::fs::write(&file, text).expect("the lab file");
    let options = LabOptions {
        file: Some(file),
        name: Some("bench".into()),
        home: Some(folder.join("home")),
        runtime: Some(vaultlab::spec::model::RuntimeChoice::Process),
        program: Some(env!("CARGO_BIN_EXE_vaultlab").into()),
        ..LabOptions::default()
    };
    Lab::with(options, Report::silent()).expect("a lab").up().await.expect("the lab is up")
}

/// The process id of the lab's Vault.
async fn server_of(lab: &RunningLab) -> u32 {
    let status = lab.lab().status().await.expect("a status");
    status.services.iter().find(|service| service.kind == "vault").and_then(|vault| vault.pid).expect("a pid")
}

/// From the program's start to its first answer, in milliseconds: the median of ten.
fn start(folder: &Path) -> f64 {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port();
    let config = folder.join("server.hcl");
    let text = format!(
        "storage \"file\" {{ path = {:?} }}\nlistener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_disable = true\n}}\n",
        folder.join("started").display().to_string()
    );
    std::fs::write(&config, text).expect("a configuration");
    let times = (0..10).map(|_| {
        let began = Instant::now();
        let mut server = Stopped(
            Command::new(env!("CARGO_BIN_EXE_vaultlab"))
                .arg("server")
                .arg(format!("-config={}", config.display()))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the program runs"),
        );
        while !answers(port) {
            assert!(server.0.try_wait().expect("a state").is_none(), "the server ended");
            assert!(began.elapsed() < Duration::from_secs(30), "no answer");
            std::thread::sleep(Duration::from_micros(200));
        }
        began.elapsed().as_secs_f64() * 1e3
    });
    median(times.collect())
}

/// Ends its process when dropped.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.kill().expect("a kill");
        self.0.wait().expect("an end");
    }
}

fn answers(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let request = "GET /v1/sys/seal-status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
        && answer.rsplit("\r\n").next().is_some_and(|body| serde_json::from_str::<Value>(body).is_ok())
}

/// Resident memory in MB (10⁶ bytes).
fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024.0 / 1e6
}

/// User and system time of a process.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("/proc");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in hundredths of a second on every Linux there is.
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn figure(what: &str, value: f64, unit: &str, wanted: &str) {
    let digits = if value >= 1000.0 { 0 } else { 2 };
    println!("{what:<40} {value:>10.digits$} {unit:<3} (wanted: {wanted})");
}
