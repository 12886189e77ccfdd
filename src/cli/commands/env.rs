use std::process::ExitCode;

use super::Settings;
use crate::cli::args::EnvFormatArg;
use crate::cli::printer::write_out;
use crate::lab::{EnvFormat, LabError, apply_map, masks, render};

pub(super) async fn run(
    settings: &Settings,
    format: EnvFormatArg,
    map: &[(String, String)],
) -> Result<ExitCode, LabError> {
    let running = settings.lab()?.running().await?;
    let mut variables = running.variables();
    variables.extend(running.static_variables().await?);
    apply_map(&mut variables, map)?;
    let format = match format {
        _ if settings.printer().is_json() => EnvFormat::Json,
        EnvFormatArg::Shell => EnvFormat::Shell,
        EnvFormatArg::Dotenv => EnvFormat::Dotenv,
        EnvFormatArg::Json => EnvFormat::Json,
        EnvFormatArg::Github => EnvFormat::Github,
    };
    if format == EnvFormat::Github {
        // Standard output goes to `$GITHUB_ENV`; the runner takes commands from standard error too.
        eprint!("{}", masks(&variables));
    }
    write_out(&render(&variables, format));
    Ok(ExitCode::SUCCESS)
}
