use std::process::ExitCode;

use super::Settings;
use crate::cli::printer::{suggest, table};
use crate::lab::{LabError, LabStatus, LabSummary};
use crate::state::Home;

/// The exit code when a lab is not up; the same as [`LabError::NotRunning`]'s.
const NOT_UP: u8 = 9;

pub(super) async fn status(settings: &Settings) -> Result<ExitCode, LabError> {
    let status = settings.known_lab()?.status().await?;
    settings.printer().result(&status, |status| suggest(&text(status), &settings.selector()));
    Ok(if status.is_up() { ExitCode::SUCCESS } else { ExitCode::from(NOT_UP) })
}

fn text(status: &LabStatus) -> String {
    if !status.exists {
        return format!("Lab {} does not exist yet.\n\nNext: vaultlab up\n", status.lab);
    }
    let state = if status.is_up() { "is up" } else { "is not up" };
    let mut rows = Vec::new();
    for service in &status.services {
        let mut more = Vec::new();
        if let Some(pid) = service.pid {
            more.push(format!("pid {pid}"));
        }
        if let Some(since) = service.since {
            more.push(format!("since {}", since.strftime("%Y-%m-%d %H:%M:%S UTC")));
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
    let next = if status.is_up() { "" } else { "\nNext: vaultlab up\n" };
    format!(
        "Lab {} {state}.\n\n{}\n  roles     {}\n  AppRoles  {}\n  lab file  {file}\n  folder    {}\n{next}",
        status.lab,
        table(&rows),
        status.roles.join(", "),
        status.approles.join(", "),
        status.folder.display(),
    )
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
