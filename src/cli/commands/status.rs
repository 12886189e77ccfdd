use std::process::ExitCode;

use super::Settings;
use crate::cli::layout::table;
use crate::cli::printer::suggest;
use crate::lab::{LabError, LabStatus, LabSummary};
use crate::runtime::RuntimeKind;
use crate::state::{Home, KeeperRecord, RestartRecord};

/// The exit code when a lab is not up; the same as [`LabError::NotRunning`]'s.
const NOT_UP: u8 = 9;

pub(super) async fn status(settings: &Settings) -> Result<ExitCode, LabError> {
    let status = settings.known_lab()?.status().await?;
    settings.printer().result(&status, |status| text(status, &settings.selector()));
    Ok(if status.is_up() { ExitCode::SUCCESS } else { ExitCode::from(NOT_UP) })
}

fn text(status: &LabStatus, selector: &str) -> String {
    let next = |command: &str| format!("\nNext: {}\n", suggest(command, selector));
    if !status.exists {
        let skipped = status.engine_skipped.as_ref();
        let skipped = skipped.map(|cause| format!("The container engine was not asked: {cause}.\n"));
        return format!(
            "Lab {} does not exist yet.\n{}{}",
            status.lab,
            skipped.unwrap_or_default(),
            next("vaultlab up")
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
    let end = match (status.lost, status.is_up()) {
        (true, _) => {
            "\nIts folder is lost, and with it the keys and passwords.\n".to_owned()
                + &next("vaultlab down --volumes")
        }
        (false, true) => String::new(),
        (false, false) => next("vaultlab up"),
    };
    format!(
        "Lab {} {state}.\n\n{}{}\n{}{fixed}{}  lab file  {file}\n  folder    {}\n  data      {}\n{end}",
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
        let mark = if restart.error.is_some() { "!" } else { " " };
        rows.push(vec![format!("{mark:>3} {name}"), restarts(restart)]);
    }
    format!("\n{}", table(&rows))
}

/// What became of a service that died.
fn restarts(service: &RestartRecord) -> String {
    let again = match service.restarts {
        0 => None,
        1 => Some("started again once".to_owned()),
        n => Some(format!("started again {n} times")),
    };
    let died = service.died_at.map(|died| format!("found dead at {}", at(died)));
    let past = [again, died].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let error = service
        .error
        .as_ref()
        .map(|error| format!("{}: {error}", if service.given_up { "given up" } else { "it does not start" }));
    [Some(past).filter(|past| !past.is_empty()), error].into_iter().flatten().collect::<Vec<_>>().join("; ")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::ServiceStatus;

    #[test]
    fn only_the_suggestion_names_the_lab() {
        let service = ServiceStatus {
            name: "vaultlab".into(),
            kind: "postgres".into(),
            runtime: "process",
            state: "stopped",
            address: None,
            pid: None,
            since: None,
        };
        let mut status = LabStatus {
            lab: "other".into(),
            file: Some("/srv/vaultlab labs/lab.yaml".into()),
            file_problem: None,
            folder: "/home/me/vaultlab state".into(),
            data: Some("/home/me/vaultlab data".into()),
            exists: true,
            lost: false,
            runtime: Some("process"),
            services: vec![service],
            vault: None,
            roles: vec!["vaultlab".into(), "b".into()],
            static_roles: Vec::new(),
            approles: Vec::new(),
            keeper: None,
            engine_skipped: None,
        };
        let shown = text(&status, "--name other ");
        for told in ["vaultlab  stopped", "/srv/vaultlab labs/lab.yaml", "vaultlab state", "vaultlab data"] {
            assert!(shown.contains(told), "{told} is not in\n{shown}");
        }
        assert!(shown.ends_with("\n\nNext: vaultlab --name other up\n"), "{shown}");
        status.lost = true;
        let shown = text(&status, "--name other ");
        assert!(shown.ends_with("passwords.\n\nNext: vaultlab --name other down --volumes\n"), "{shown}");
        status.exists = false;
        let shown = text(&status, "--name other ");
        assert_eq!(shown, "Lab other does not exist yet.\n\nNext: vaultlab --name other up\n");
    }

    #[test]
    fn a_restart_is_told_as_it_went() {
        let died_at = Some("2026-01-02T03:04:05Z".parse().unwrap());
        let told = |count, died_at, given_up, error: Option<&str>| {
            restarts(&RestartRecord { restarts: count, died_at, given_up, error: error.map(Into::into) })
        };
        assert_eq!(told(0, died_at, false, None), "found dead at 2026-01-02 03:04:05 UTC");
        assert_eq!(
            told(0, died_at, false, Some("no")),
            "found dead at 2026-01-02 03:04:05 UTC; it does not start: no"
        );
        assert_eq!(
            told(1, died_at, false, None),
            "started again once, found dead at 2026-01-02 03:04:05 UTC"
        );
        assert_eq!(told(2, None, true, Some("no")), "started again 2 times; given up: no");
    }
}
