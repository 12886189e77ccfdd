use std::path::PathBuf;
use std::process::ExitCode;

use crate::lab::LabError;

pub(super) fn run(config: &[PathBuf]) -> Result<ExitCode, LabError> {
    let _ = config;
    Err(LabError::Server(std::io::Error::other("the embedded server is not part of this build yet")))
}
