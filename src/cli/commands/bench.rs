use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::{Settings, interrupted};
use crate::bench::{self, BenchReport, Direct, Load, LoadReport, Measured, Plan};
use crate::cli::args::{BenchArgs, LoadArg};
use crate::cli::layout::table;
use crate::lab::{LabError, RunningLab};
use crate::secret::Secret;

/// The exit code when a load got nothing done; the same as when Vault refuses.
const NOTHING_DONE: u8 = 6;

/// How long a root token of the lab may be needed besides the loads themselves, to clean up above all.
const ROOT_TTL: Duration = Duration::from_mins(30);

/// More loads than anybody asks for at once.
const MAX_LOADS: u32 = 20;

/// Above this share of a core the load itself was the limit.
const LIMITED: f64 = 0.95;

pub(super) async fn run(settings: &Settings, args: &BenchArgs) -> Result<ExitCode, LabError> {
    let report = settings.report();
    let found = if let Some(address) = &args.address {
        bench::run(plan_for(address, args)?, &report, interrupted()).await?
    } else {
        let lab = settings.lab()?.running().await?;
        // Making a secret_id and reading a role's statements takes more than commands have.
        let root = lab.root(ROOT_TTL + args.duration * MAX_LOADS).await?;
        let token = root.client().token().cloned().unwrap_or_else(|| Secret::new(""));
        let found = match plan_for_lab(&lab, token, args) {
            Ok(plan) => bench::run(plan, &report, interrupted()).await,
            Err(error) => Err(error),
        };
        root.end().await?;
        found?
    };
    settings.printer().result(&found, text);
    Ok(if found.is_success() { ExitCode::SUCCESS } else { ExitCode::from(NOTHING_DONE) })
}

/// Whether a load was asked for; without any, all are.
fn wanted(args: &BenchArgs, load: LoadArg) -> bool {
    args.loads.is_empty() || args.loads.contains(&load)
}

fn plan_for_lab(lab: &RunningLab, token: Secret, args: &BenchArgs) -> Result<Plan, LabError> {
    let spec = lab.lab().spec();
    let mut loads = Vec::new();
    if wanted(args, LoadArg::Reads) {
        loads.push(Load::Reads { path: args.path.clone() });
    }
    let approle = match &args.approle {
        Some(name) => Some(name),
        None => spec.approles.first().map(|approle| &approle.name),
    };
    if let (true, Some(approle)) = (wanted(args, LoadArg::Logins), approle) {
        loads.push(Load::Logins { approle: approle.clone() });
    }
    if wanted(args, LoadArg::Creds) {
        let first = |roles: &[crate::spec::model::RoleSpec]| roles.first().map(|role| role.name.clone());
        let roles = if args.roles.is_empty() {
            spec.databases.iter().filter_map(|database| first(&database.roles)).collect()
        } else {
            args.roles.clone()
        };
        for role in roles {
            let (mount, target, account) = lab.direct(&role)?;
            let direct = args.direct.then_some(Direct { target, account });
            loads.push(Load::Credentials { mount, role, revoke: args.revoke, direct });
        }
    }
    Ok(plan(args, lab.vault().address(), token, loads))
}

fn plan_for(address: &str, args: &BenchArgs) -> Result<Plan, LabError> {
    let token = match &args.token_file {
        Some(file) => Secret::new(read(file)?.trim()),
        None => Secret::new(std::env::var("VAULT_TOKEN").unwrap_or_default()),
    };
    let direct = match &args.database_url_file {
        Some(file) => Some(Direct::of_url(&Secret::new(read(file)?.trim()))?),
        None => None,
    };
    let mut loads = Vec::new();
    if wanted(args, LoadArg::Reads) {
        loads.push(Load::Reads { path: args.path.clone() });
    }
    if let (true, Some(approle)) = (wanted(args, LoadArg::Logins), &args.approle) {
        loads.push(Load::Logins { approle: approle.clone() });
    }
    if wanted(args, LoadArg::Creds) {
        loads.extend(args.roles.iter().map(|role| Load::Credentials {
            mount: args.mount.trim_matches('/').to_owned(),
            role: role.clone(),
            revoke: args.revoke,
            direct: direct.clone(),
        }));
    }
    Ok(plan(args, address, token, loads))
}

fn plan(args: &BenchArgs, address: &str, token: Secret, loads: Vec<Load>) -> Plan {
    Plan {
        address: address.trim_end_matches('/').to_owned(),
        token,
        ca: args.ca_cert.clone().filter(|_| args.address.is_some()),
        workers: args.workers,
        time: args.duration,
        loads,
    }
}

fn read(file: &Path) -> Result<String, LabError> {
    fs::read_to_string(file).map_err(|source| LabError::File {
        operation: "read",
        path: file.to_owned(),
        source,
    })
}

fn text(report: &BenchReport) -> String {
    let heads = ["", "PER SECOND", "P50 ms", "P99 ms", "MAX ms", "DONE", "FAILED"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    for load in &report.loads {
        rows.push(row(&format!("{} {}", load.load, load.what), &load.measured));
        rows.extend(load.revocations.as_ref().map(|revocations| row("  revoked", revocations)));
        rows.extend(load.direct.as_ref().map(|direct| row("  directly", &direct.measured)));
    }
    let notes: String = report.loads.iter().map(notes).collect();
    format!(
        "{} (version {}), {} workers\n\n{}{}{notes}",
        report.address,
        report.version,
        report.workers,
        table(&rows),
        if notes.is_empty() { "" } else { "\n" },
    )
}

fn row(name: &str, measured: &Measured) -> Vec<String> {
    let latency = &measured.latency_ms;
    let failed: u64 = measured.errors.values().sum();
    vec![
        name.to_owned(),
        format!("{:.0}", measured.per_second),
        format!("{:.2}", latency.p50),
        format!("{:.2}", latency.p99),
        format!("{:.2}", latency.max),
        measured.done.to_string(),
        failed.to_string(),
    ]
}

/// What the numbers do not say.
fn notes(load: &LoadReport) -> String {
    let name = format!("{} {}", load.load, load.what);
    let mut notes = String::new();
    if let Some(direct) = &load.direct {
        notes += &format!("{name}: {:.2} times the rate of the same statements directly\n", direct.ratio);
        if let Some(limit) = direct.vault_connections.filter(|limit| *limit < direct.connections) {
            notes += &format!(
                "{name}: directly over {} connections, while Vault may open {limit} (max_open_connections)\n",
                direct.connections
            );
        }
    }
    let direct = load.direct.as_ref().map(|direct| &direct.measured);
    for measured in [Some(&load.measured), load.revocations.as_ref(), direct].into_iter().flatten() {
        for (error, count) in &measured.errors {
            notes += &format!("{name}: {count} failed: {error}\n");
        }
    }
    if load.generator_busy > LIMITED {
        notes += &format!("{name}: making the load took all of one core; Vault may do more\n");
    }
    if let Some(cleaned) = &load.cleaned {
        notes += &format!("{name}: {} revoked afterwards in {:.1} s\n", cleaned.revoked, cleaned.seconds);
        if cleaned.failed > 0 {
            notes += &format!("{name}: {} could not be revoked; they end with their TTL\n", cleaned.failed);
        }
    }
    notes
}
