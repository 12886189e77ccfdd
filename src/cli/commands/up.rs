use std::process::ExitCode;

use super::{Settings, interrupted};
use crate::cli::layout::table;
use crate::cli::memory::lean;
use crate::cli::printer::suggest;
use crate::lab::{Data, DatabaseInfo, Down, Lab, LabError, LabOptions, UpSummary};
use crate::spec::model::Origin;

pub(super) async fn up(
    settings: &Settings,
    options: LabOptions,
    foreground: bool,
) -> Result<ExitCode, LabError> {
    let mut interrupt = std::pin::pin!(interrupted());
    let lab = Lab::with(options, settings.report())?;
    if lab.spec().origin == Origin::BuiltIn {
        lab.report().note(
            "no lab file here: using the lab inside the program (`vaultlab init` writes it out to edit)",
        );
    }
    let summary = lab.up_unless(&mut interrupt).await?.summary();
    settings.printer().result(&summary, |summary| text(summary, &settings.selector()));
    if foreground {
        lean(lab.supervise(interrupt)).await?;
        lab.down(Data::Keep).await?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(summary: &UpSummary, selector: &str) -> String {
    let took = summary.took_ms / 1e3;
    let headline = if summary.changed {
        format!("Lab {} is up ({}, {took:.1} s).", summary.lab, summary.runtime)
    } else {
        format!("Lab {} is up; nothing to do ({}, {took:.1} s).", summary.lab, summary.runtime)
    };
    let vault = &summary.vault;
    let mut rows = vec![vec!["  vault".to_owned(), vault.address.clone(), vault.version.clone()]];
    for database in &summary.databases {
        rows.push(vec![
            format!("  {}", database.name),
            format!("{}:{}/{}", database.host, database.port, database.database),
            roles(database),
        ]);
    }
    for approle in &summary.approles {
        let folder = approle.secret_id_file.parent().unwrap_or(&approle.secret_id_file);
        rows.push(vec![format!("  {}", approle.name), "AppRole".into(), folder.display().to_string()]);
    }
    let role = summary.databases.iter().find_map(|database| database.roles.first());
    let role = role.or_else(|| summary.databases.iter().find_map(|database| database.static_roles.first()));
    let next = role.map_or("vaultlab status".into(), |role| format!("vaultlab creds {role}"));
    format!("{headline}\n\n{}\nNext: {}\n", table(&rows), suggest(&next, selector))
}

/// What credentials can be had for in a database.
fn roles(database: &DatabaseInfo) -> String {
    let list = |what: &str, names: &[String]| match names {
        [] => None,
        names => Some(format!("{what} {}", names.join(", "))),
    };
    let both = [list("roles", &database.roles), list("static roles", &database.static_roles)];
    both.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

pub(super) async fn down(settings: &Settings, volumes: bool) -> Result<ExitCode, LabError> {
    let lab = settings.known_lab()?;
    let down = lab.down(if volumes { Data::Remove } else { Data::Keep }).await?;
    settings.printer().result(&down, |Down { lab, stopped, data, keys, engine_skipped }| {
        let what = match (stopped.is_empty(), volumes) {
            (true, false) => format!("Lab {lab} was not running."),
            (true, true) => format!("Lab {lab} is gone."),
            (false, false) => format!("Lab {lab} is down."),
            (false, true) => format!("Lab {lab} is down and its data is removed."),
        };
        if let Some(cause) = engine_skipped {
            return format!(
                "Lab {lab} has no folder here. Whether containers or volumes are left of it is not known: the \
                 container engine was not asked: {cause}.\n"
            );
        }
        match (data, keys) {
            (Some(data), Some(keys)) => format!(
                "{what} Its data stays in {data}, its keys in {}; `{}` removes both.\n",
                keys.display(),
                suggest("vaultlab down --volumes", &settings.selector()),
            ),
            _ => format!("{what}\n"),
        }
    });
    Ok(ExitCode::SUCCESS)
}
