use std::process::ExitCode;

use super::{Settings, interrupted};
use crate::cli::memory::lean;
use crate::lab::LabError;

pub(super) async fn run(settings: &Settings) -> Result<ExitCode, LabError> {
    let interrupt = interrupted();
    lean(settings.lab()?.supervise(interrupt)).await?;
    Ok(ExitCode::SUCCESS)
}
