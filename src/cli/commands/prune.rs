use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use super::Settings;
use crate::cli::layout::table;
use crate::lab::{LabError, Prune, Pruned};
use crate::report::human_size;
use crate::state::Home;

pub(super) async fn run(settings: &Settings, dry_run: bool, yes: bool) -> Result<ExitCode, LabError> {
    let plan = Prune::look(&Home::discover()?).await?;
    let found = plan.found();
    if dry_run || found.items.is_empty() {
        settings.printer().result(&found, text);
        return Ok(ExitCode::SUCCESS);
    }
    if !yes {
        if !std::io::stdin().is_terminal() {
            eprint!("{}", text(&found));
            return Err(LabError::Unasked);
        }
        eprint!("{}\nRemove all of this? [y/N] ", text(&found));
        let mut answer = String::new();
        // An answer that cannot be read is a no.
        drop(std::io::stderr().flush());
        drop(std::io::stdin().lock().read_line(&mut answer));
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            eprintln!("Nothing was removed.");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let removed = plan.remove().await?;
    settings.printer().result(&removed, text);
    Ok(ExitCode::SUCCESS)
}

fn text(pruned: &Pruned) -> String {
    let skipped = pruned.engine_skipped.as_ref();
    let skipped = skipped.map(|cause| format!("The container engine was not looked at: {cause}.\n"));
    let skipped = skipped.unwrap_or_default();
    if pruned.items.is_empty() {
        return format!("{skipped}There is nothing to remove.\n");
    }
    let rows = pruned.items.iter().map(|item| {
        vec![
            format!("  {}", item.kind.as_str()),
            item.runtime.into(),
            item.bytes.map_or("?".into(), human_size),
            item.name.clone(),
        ]
    });
    let table = table(&rows.collect::<Vec<_>>());
    let verb = if pruned.removed { "Removed" } else { "Can be removed" };
    format!("{skipped}{table}{verb}: {}.\n", human_size(pruned.bytes))
}
