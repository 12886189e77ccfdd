//! `init`: the shipped lab as files to edit.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::LabError;
use crate::spec;

/// What was written and what was there already.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Written {
    /// New files.
    pub written: Vec<PathBuf>,
    /// Files that were there and were left alone.
    pub kept: Vec<PathBuf>,
}

/// Writes the shipped lab, its policies and its SQL under `folder`. Files that are there are left
/// alone unless `force`.
pub fn write_shipped_lab(folder: &Path, force: bool) -> Result<Written, LabError> {
    let mut result = Written { written: Vec::new(), kept: Vec::new() };
    for (relative, text) in spec::builtin_files() {
        let path = folder.join(relative);
        let failed = |operation| {
            let path = path.clone();
            move |source| LabError::File { operation, path, source }
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed("create the folder of"))?;
        }
        let mut open = std::fs::OpenOptions::new();
        open.write(true).create_new(!force).create(force).truncate(force);
        match open.open(&path) {
            Ok(mut file) => {
                file.write_all(text.as_bytes()).map_err(failed("write"))?;
                result.written.push(path);
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => result.kept.push(path),
            Err(e) => return Err(failed("write")(e)),
        }
    }
    Ok(result)
}
