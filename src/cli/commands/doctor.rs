use std::process::ExitCode;

use super::Settings;
use crate::cli::printer::suggest;
use crate::lab::{Diagnosis, LabError, Level, diagnose};

/// The exit code when the lab could not come up: something this machine needs is missing.
const MISSING: u8 = 4;

pub(super) async fn run(settings: &Settings) -> Result<ExitCode, LabError> {
    let diagnosis = diagnose(&settings.options()).await?;
    settings.printer().result(&diagnosis, |diagnosis| text(diagnosis, &settings.selector()));
    Ok(if diagnosis.can_come_up { ExitCode::SUCCESS } else { ExitCode::from(MISSING) })
}

fn text(diagnosis: &Diagnosis, selector: &str) -> String {
    let width = diagnosis.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in &diagnosis.checks {
        let mark = match check.level {
            Level::Ok => '✓',
            Level::Warn => '!',
            Level::Fail => '✗',
        };
        text.push_str(&format!(" {mark} {:<width$}  {}\n", check.name, check.found));
        if let Some(advice) = &check.advice {
            text.push_str(&format!("   {:<width$}  → {}\n", "", suggest(advice, selector)));
        }
    }
    let up = suggest("vaultlab up", selector);
    let verdict = match (diagnosis.can_come_up, diagnosis.would_use) {
        (false, _) => "This lab cannot come up here: see ✗.\n".to_owned(),
        (true, Some("docker")) => format!("The lab can come up, in containers.\n\nNext: {up}\n"),
        (true, Some("mixed")) => {
            format!(
                "The lab can come up, partly in containers and partly as programs of this host.\n\nNext: {up}\n"
            )
        }
        (true, Some(_)) => format!("The lab can come up, as programs of this host.\n\nNext: {up}\n"),
        (true, None) => {
            format!("The lab can come up once its images are pulled.\n\nNext: {up} --runtime docker\n")
        }
    };
    format!("{text}\n{verdict}")
}
