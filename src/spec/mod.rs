//! The lab file: from YAML on disk to a checked [`LabSpec`].
//!
//! The way is: [`load`] (YAML to a tree that knows its lines) → [`wire`] (the keys and their types)
//! → [`resolve`] (files read, names resolved, rules checked) → [`model`]. Nothing stops at the first
//! problem: a [`SpecError`] holds them all, each with file, line, column and advice.

mod builtin;
mod decode;
pub mod diagnostic;
mod files;
mod load;
pub mod model;
mod names;
mod resolve;
pub mod schema;
mod sql;
mod values;
mod wire;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use builtin::{LAB_FILE, builtin_files};
pub use diagnostic::{Diagnostic, SpecError};
pub use model::LabSpec;
pub use names::variable_name;

use files::{Files, MAX_LAB_FILE, read_text};
use model::Origin;
use resolve::Input;

impl LabSpec {
    /// Reads a lab file and everything it names.
    ///
    /// # Errors
    /// Everything that is wrong with it and with the files it names.
    pub fn load(path: &Path) -> Result<Self, SpecError> {
        let shown = path.display().to_string();
        let of_file = |message: String, help: Option<String>| {
            let diagnostic = Diagnostic::of_file(&shown, message);
            let diagnostic = match help {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            };
            SpecError::new(vec![diagnostic])
        };
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let text = read_text(path, &shown, MAX_LAB_FILE).map_err(|error| {
            let write_one =
                || "`vaultlab init` writes one; without -f the lab inside the program is used".into();
            let help = error.help.or_else(|| path.symlink_metadata().is_err().then(write_one));
            of_file(error.message, help)
        })?;
        // The folder without links, so that a lab has one identity; a link to the file itself stays.
        let shown_folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let folder = std::path::absolute(path)
            .and_then(|absolute| absolute.parent().unwrap_or(Path::new("/")).canonicalize())
            .map_err(|error| of_file(format!("the folder of `{shown}` cannot be read: {error}"), None))?;
        let absolute = folder.join(&*name);
        resolve::lab(&Input {
            shown: &shown,
            text: &with_newlines(&text),
            files: &Files::Disk { folder, shown: shown_folder },
            origin: Origin::File(absolute),
        })
    }

    /// The lab that is part of the program: the notes application's.
    ///
    /// # Errors
    /// None in a program that passed its tests.
    pub fn builtin() -> Result<Self, SpecError> {
        Self::parse(builtin::file(LAB_FILE).unwrap_or_default())
    }

    /// Reads the text of a lab file in the place of the program's own: no file of this machine is read.
    #[doc(hidden)]
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        resolve::lab(&Input {
            shown: LAB_FILE,
            text: &with_newlines(text),
            files: &Files::BuiltIn { folder: PathBuf::from("lab") },
            origin: Origin::BuiltIn,
        })
    }

    /// The lab to use: the given file, else `vaultlab.yaml` or `lab/vaultlab.yaml` in `cwd`, else
    /// the built-in one ([`LabSpec::origin`] tells which).
    ///
    /// # Errors
    /// As [`LabSpec::load`]; a file that exists but is wrong is never passed over.
    pub fn discover(file: Option<&Path>, cwd: &Path) -> Result<Self, SpecError> {
        if let Some(file) = file {
            return Self::load(file);
        }
        for candidate in ["vaultlab.yaml", LAB_FILE] {
            let path = cwd.join(candidate);
            if path.symlink_metadata().is_ok() {
                let relative = std::env::current_dir().is_ok_and(|current| current == cwd);
                return Self::load(if relative { Path::new(candidate) } else { &path });
            }
        }
        Self::builtin()
    }
}

/// To YAML a carriage return ends a line too, alone or before a newline: its places are counted so.
fn with_newlines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}
