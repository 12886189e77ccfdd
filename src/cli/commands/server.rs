use std::path::PathBuf;
use std::process::ExitCode;

use crate::lab::LabError;

pub(super) async fn run(config: &[PathBuf]) -> Result<ExitCode, LabError> {
    crate::install_crypto_provider();
    vaultlab_server::server::run(config).await.map_err(LabError::Server)?;
    Ok(ExitCode::SUCCESS)
}
