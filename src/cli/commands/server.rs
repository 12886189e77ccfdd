use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::memory::lean;
use crate::lab::LabError;

pub(super) async fn run(config: &[PathBuf]) -> Result<ExitCode, LabError> {
    crate::install_crypto_provider();
    lean(vaultlab_server::server::run(config)).await.map_err(LabError::Server)?;
    Ok(ExitCode::SUCCESS)
}
