use std::process::ExitCode;

use super::Settings;
use crate::cli::layout::table;
use crate::cli::printer::suggest;
use crate::lab::{LabError, LabStatus, LabSummary};
use crate::runtime::RuntimeKind;
use crate::state::{Home, KeeperRecord};

/// The exit code when a lab is not up; the same as [`LabError::NotRunning`]'s.
const NOT_UP: u8 = 9;

pub(super) async fn status(settings: &Settings) -> Result<ExitCode, LabError> {
    let status = settings.known_lab()?.status().await?;
    settings.printer().result(&status, |status| suggest(&text(status), &settings.selector()));
    Ok(if status.is_up() { ExitCode::SUCCESS } else { ExitCode::from(NOT_UP) })
}

fn text(status: &LabStatus) -> String {
    if !status.exists {
        let skipped = status.engine_skipped.as_ref();
        let skipped = skipped.map(|cause| format!("The container engine was not asked: {cause}.\n"));
        return format!(
            "Lab {} does not exist yet.\n{}\nNext: vaultlab up\n",
            status.lab,
            skipped.unwrap_or_default()
        );
    }
    let state = if status.is_up() { "is up" } else { "is not up" };
    let mut rows = Vec::new();
    for service in &status.services {
        let mut more = Vec::new();
        if status.runtime == Some(RuntimeKind::Mixed.as_str()) {
            let container = service.runtime == RuntimeKind::Docker.as_str();
            more.push(if container { "in a container" } else { "on this host" }.to_owned());
        }
        if let Some(pid) = service.pid {
            more.push(format!("pid {pid}"));
        }
        if let Some(since) = service.since {
            more.push(format!("since {}", at(since)));
        }
        if let (true, Some(vault)) = (service.name == crate::service::VAULT, &status.vault) {
            let seal = match (vault.initialized, vault.sealed) {
                (false, _) => "not initialised",
                (true, true) => "sealed",
                (true, false) => "unsealed",
            };
            more.push(format!("{seal}, version {}", vault.version));
        }
        rows.push(vec![
            format!("  {}", service.name),
            service.state.into(),
            service.address.clone().unwrap_or_default(),
            more.join(", "),
        ]);
    }
    let file = status.file.as_ref().map_or("the lab inside the program".into(), |f| f.display().to_string());
    let file = if status.file_problem.is_some() { format!("{file}, which is wrong") } else { file };
    // What a file that is wrong declares is not known.
    let declared = |label: &str, names: &[String]| match names {
        [] if status.file_problem.is_some() => String::new(),
        names => format!("  {label}{}\n", names.join(", ")),
    };
    let fixed = match &status.static_roles[..] {
        [] => String::new(),
        names => format!("  static    {}\n", names.join(", ")),
    };
    let next = match (status.lost, status.is_up()) {
        (true, _) => {
            "\nIts folder is lost, and with it the keys and passwords.\n\nNext: vaultlab down --volumes\n"
        }
        (false, true) => "",
        (false, false) => "\nNext: vaultlab up\n",
    };
    format!(
        "Lab {} {state}.\n\n{}{}\n{}{fixed}{}  lab file  {file}\n  folder    {}\n  data      {}\n{next}",
        status.lab,
        table(&rows),
        status.keeper.as_ref().map(keeper).unwrap_or_default(),
        declared("roles     ", &status.roles),
        declared("AppRoles  ", &status.approles),
        status.folder.display(),
        status.data.as_deref().unwrap_or_default(),
    )
}

/// What the keeper says, in lines of its own.
fn keeper(keeper: &KeeperRecord) -> String {
    let state = match (keeper.running, keeper.pid, keeper.since) {
        (true, Some(pid), Some(since)) => format!("pid {pid}, since {}", at(since)),
        (true, ..) => "running".into(),
        (false, ..) => "not running: secret_ids end, and a Vault that restarts stays sealed".into(),
    };
    let mut rows = vec![vec!["  keeper".to_owned(), state]];
    if !keeper.running {
        return format!("\n{}", table(&rows));
    }
    if let Some(trouble) = &keeper.vault_trouble {
        rows.push(vec!["  ! vault".into(), trouble.clone()]);
    }
    for (name, approle) in &keeper.approles {
        let next = approle.next_at.map_or("when it is used".into(), |next| format!("at {}", at(next)));
        rows.push(match &approle.error {
            None => vec![format!("  {name}"), format!("next secret_id {next}")],
            Some(error) => {
                vec![format!("  ! {name}"), format!("{} failures, last: {error}", approle.failures)]
            }
        });
    }
    for (name, rotation) in &keeper.rotations {
        let last =
            rotation.rotated_at.map_or("not rotated yet".into(), |at_| format!("rotated at {}", at(at_)));
        let next = rotation.next_at.map(|next| format!(", next at {}", at(next))).unwrap_or_default();
        rows.push(match &rotation.error {
            None => vec![format!("  {name}"), format!("root {last}{next}")],
            Some(error) => vec![format!("  ! {name}"), format!("root {last}, last failure: {error}")],
        });
    }
    for (name, error) in &keeper.locked_out {
        rows.push(vec![format!("  ! {name}"), format!("Vault is locked out, `up` lets it in: {error}")]);
    }
    for (name, fixed) in &keeper.static_roles {
        let last =
            fixed.rotated_at.map_or("not looked at yet".into(), |time| format!("rotated at {}", at(time)));
        let next = fixed.next_at.map(|next| format!(", next at {}", at(next))).unwrap_or_default();
        rows.push(match &fixed.error {
            None => vec![format!("  {name}"), format!("static role {last}{next}")],
            Some(error) => vec![format!("  ! {name}"), format!("static role {last}; {error}")],
        });
    }
    for (name, restart) in &keeper.services {
        let mut said = format!("started again {} times", restart.restarts);
        if let Some(died) = restart.died_at {
            said += &format!(", found dead at {}", at(died));
        }
        if let Some(error) = &restart.error {
            said +=
                &format!("{}: {error}", if restart.given_up { "; given up" } else { "; it does not start" });
        }
        let mark = if restart.error.is_some() { "!" } else { " " };
        rows.push(vec![format!("{mark:>3} {name}"), said]);
    }
    format!("\n{}", table(&rows))
}

fn at(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

pub(super) async fn list(settings: &Settings) -> Result<ExitCode, LabError> {
    let labs = crate::lab::list(&Home::discover()?).await?;
    settings.printer().result(&labs, |labs: &Vec<LabSummary>| {
        if labs.is_empty() {
            return "There are no labs.\n\nNext: vaultlab up\n".to_owned();
        }
        let mut rows = vec![["NAME", "STATE", "RUNTIME", "CREATED", "LAB FILE"].map(String::from).to_vec()];
        rows.extend(labs.iter().map(|lab| {
            vec![
                lab.lab.clone(),
                lab.state.clone(),
                lab.runtime.clone(),
                lab.created_at.map(|at| at.strftime("%Y-%m-%d %H:%M").to_string()).unwrap_or_default(),
                lab.file.as_ref().map_or("(inside the program)".into(), |file| file.display().to_string()),
            ]
        }));
        table(&rows)
    });
    Ok(ExitCode::SUCCESS)
}
