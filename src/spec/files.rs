//! Reading the files that a lab file names, from disk or out of the program.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use super::builtin;
use super::decode::did_you_mean;

/// Largest lab file, in bytes.
pub(super) const MAX_LAB_FILE: u64 = 1024 * 1024;
/// Largest policy or SQL file, in bytes.
pub(super) const MAX_FILE: u64 = 32 * 1024 * 1024;

/// Where the paths of a lab file lead.
#[derive(Debug, Clone)]
pub(super) enum Files {
    /// To a folder of this machine.
    Disk {
        /// The lab file's folder, absolute.
        folder: PathBuf,
        /// The same folder as the user wrote it.
        shown: PathBuf,
    },
    /// Into the program.
    BuiltIn {
        /// The lab file's folder inside the shipped tree.
        folder: PathBuf,
    },
}

/// A file's content and names.
#[derive(Debug)]
pub(super) struct Content {
    /// The name for messages made now: as the user would write it.
    pub shown: String,
    /// The name for messages made later: absolute, or relative inside the shipped lab.
    pub origin: String,
    /// The text.
    pub text: String,
}

/// Why a file could not be used, with advice.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Files {
    /// Reads a policy or SQL file named in the lab file.
    pub fn read(&self, name: &str) -> Result<Content, Unreadable> {
        match self {
            Self::Disk { folder, shown } => {
                let path = clean(&folder.join(name));
                let text = read_text(&path, name, MAX_FILE).map_err(|error| {
                    let start = || format!("paths start at the lab file's folder: {}", path.display());
                    let help = error.help.or_else(|| path.symlink_metadata().is_err().then(start));
                    Unreadable { help, ..error }
                })?;
                let shown = clean(&shown.join(name)).display().to_string();
                Ok(Content { shown, origin: path.display().to_string(), text })
            }
            Self::BuiltIn { folder } => {
                let path = clean(&folder.join(name)).display().to_string();
                let text = builtin::file(&path).ok_or_else(|| Unreadable {
                    message: format!("the program has no file `{path}`"),
                    help: None,
                })?;
                Ok(Content { shown: path.clone(), origin: path, text: text.to_owned() })
            }
        }
    }

    /// The absolute path of a file to be written; inside the program there is none.
    pub fn output(&self, name: &str) -> Option<PathBuf> {
        match self {
            Self::Disk { folder, .. } => Some(clean(&folder.join(name))),
            Self::BuiltIn { .. } => None,
        }
    }
}

/// Reads a whole text file of bounded size; `name` is what messages call it.
pub(super) fn read_text(path: &Path, name: &str, max: u64) -> Result<String, Unreadable> {
    let plain = |message: String| Unreadable { message, help: None };
    let failed = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => missing(path, name),
        io::ErrorKind::PermissionDenied => Unreadable {
            message: format!("`{name}` cannot be read: permission denied"),
            help: Some(format!("let this user read it: chmod u+r {}", crate::shell::quote_path(path))),
        },
        _ => plain(format!("`{name}` cannot be read: {error}")),
    };
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let metadata = std::fs::metadata(path).map_err(|error| failed(&error))?;
    if metadata.is_dir() {
        return Err(plain(format!("`{name}` is a folder, not a file")));
    }
    if !metadata.is_file() {
        return Err(plain(format!("`{name}` is not a regular file")));
    }
    let too_large = || plain(format!("`{name}` is larger than {} MiB", max / 1024 / 1024));
    if metadata.len() > max {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(max + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(&error))?;
    if bytes.len() as u64 > max {
        return Err(too_large());
    }
    let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let text = text.ok_or_else(|| Unreadable {
        message: format!("`{name}` is not a text file"),
        help: Some("save it as UTF-8".to_owned()),
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn missing(path: &Path, name: &str) -> Unreadable {
    let message = format!("the file `{name}` does not exist");
    let Some(folder) = path.parent() else {
        return Unreadable { message, help: None };
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(folder) else {
        let help = Some(format!("the folder {} does not exist", folder.display()));
        return Unreadable { message, help };
    };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let wanted = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    Unreadable { message, help: did_you_mean(&wanted, names.iter().map(String::as_str)) }
}

/// The path without `.` and, as far as they can be resolved by name, `..`.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            Component::ParentDir if out.has_root() => {}
            other => out.push(other),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_name() {
        for (path, expected) in [
            ("lab/../sql/a.sql", "sql/a.sql"),
            ("./a", "a"),
            ("../a/./b/..", "../a"),
            ("/../a", "/a"),
            ("a/..", "."),
            ("../../x", "../../x"),
        ] {
            assert_eq!(clean(Path::new(path)), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn only_text_files_of_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("schema.sql");
        let read = |path: &Path| read_text(path, "schema.sql", 8).map_err(|e| e.message);

        std::fs::write(&path, "\u{feff}ok").unwrap();
        assert_eq!(read(&path).unwrap(), "ok");
        std::fs::write(&path, "123456789").unwrap();
        assert!(read(&path).unwrap_err().contains("larger than"));
        for binary in [&b"a\0b"[..], b"\xff\xfe"] {
            std::fs::write(&path, binary).unwrap();
            assert!(read(&path).unwrap_err().contains("not a text file"));
        }
        assert!(read(folder.path()).unwrap_err().contains("is a folder"));
        assert!(read(Path::new("/dev/zero")).unwrap_err().contains("not a regular file"));
        let near = read_text(&folder.path().join("shema.sql"), "shema.sql", 8).unwrap_err();
        assert_eq!(near.help.as_deref(), Some("did you mean `schema.sql`?"));
    }
}
