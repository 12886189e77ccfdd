use std::path::Path;
use std::process::ExitCode;

use super::Settings;
use crate::lab::{LabError, Written, write_shipped_lab};
use crate::shell::quote_path;

pub(super) fn run(settings: &Settings, folder: &Path, force: bool) -> Result<ExitCode, LabError> {
    let written = write_shipped_lab(folder, force)?;
    settings.printer().result(&written, |Written { written, kept }| {
        let list = |verb: &str, paths: &[std::path::PathBuf]| {
            paths.iter().map(|path| format!("{verb} {}\n", path.display())).collect::<String>()
        };
        let next = if folder == Path::new(".") {
            "vaultlab up".to_owned()
        } else {
            format!("cd {} && vaultlab up", quote_path(folder))
        };
        let hint = if kept.is_empty() {
            ""
        } else {
            "Files that were there are left alone; --force overwrites them.\n"
        };
        format!("{}{}{hint}\nNext: {next}\n", list("wrote", written), list("kept ", kept))
    });
    Ok(ExitCode::SUCCESS)
}
