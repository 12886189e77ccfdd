use std::ffi::OsString;
use std::process::ExitCode;

use super::{Settings, exit_code_of};
use crate::lab::{ExecOptions, LabError};

pub(super) async fn run(
    settings: &Settings,
    options: &ExecOptions,
    command: &[OsString],
) -> Result<ExitCode, LabError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(ExitCode::from(2)) };
    let running = settings.lab()?.running().await?;
    let status = running.exec(program, arguments, options).await?;
    Ok(exit_code_of(status))
}

pub(super) async fn connect(
    settings: &Settings,
    role: Option<&str>,
    break_glass: Option<&str>,
    arguments: &[OsString],
) -> Result<ExitCode, LabError> {
    if let Some(database) = break_glass {
        return Ok(exit_code_of(settings.lab()?.connect_break_glass(database, arguments).await?));
    }
    let role = role.unwrap_or_default();
    let running = settings.lab()?.running().await?;
    Ok(exit_code_of(running.connect(role, arguments).await?))
}
