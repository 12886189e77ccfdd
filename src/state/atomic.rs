//! Files that are either the old or the new one, never half of one.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StateError;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// 0600: it holds, or leads to, secrets.
    Private,
    /// 0644: a service that runs as another user reads it.
    Shared,
}

/// Writes `bytes` to `path` by temp file + fsync + rename, so that a reader sees the old content
/// or the new, and a crash leaves one of them. The folder is made (0700) when it is missing.
pub fn write_atomic(path: &Path, bytes: &[u8], visibility: Visibility) -> Result<(), StateError> {
    write(path, bytes, visibility, true)
}

fn write(path: &Path, bytes: &[u8], visibility: Visibility, sync: bool) -> Result<(), StateError> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    make_private_folder(folder)?;
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(folder)?;
        let mode = match visibility {
            Visibility::Private => 0o600,
            Visibility::Shared => 0o644,
        };
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        if sync {
            file.as_file().sync_all()?;
        }
        file.persist(path).map_err(|e| e.error)?;
        if sync { File::open(folder)?.sync_all() } else { Ok(()) }
    };
    write().map_err(StateError::io("write", path))
}

/// A file (0600) that is ready to take the place of another: it is made, and its space on the disk
/// taken, before there is a secret to put in it. Dropped, it is removed.
#[derive(Debug)]
pub struct Staged {
    file: tempfile::NamedTempFile,
    path: PathBuf,
}

impl Staged {
    /// Makes room for `length` bytes beside `path`, in a folder that is made (0700) when it is missing;
    /// what a killed program staged for the same path before is removed. One program at a time stages
    /// for a path.
    ///
    /// File and folders that are made belong to `owner` (user and group), if there is one.
    pub fn prepare(path: &Path, length: usize, owner: Option<(u32, u32)>) -> Result<Self, StateError> {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let missing = folder.ancestors().take_while(|folder| !folder.exists());
        let missing: Vec<PathBuf> = missing.map(Into::into).collect();
        make_private_folder(folder)?;
        for made in missing.iter().filter(|_| owner.is_some()) {
            give(made, owner)?;
        }
        let prefix = format!(".{}.new-", path.file_name().unwrap_or_default().to_string_lossy());
        let stage = || -> std::io::Result<_> {
            for entry in fs::read_dir(folder)?.flatten() {
                if entry.file_name().to_string_lossy().starts_with(&prefix) {
                    fs::remove_file(entry.path())?;
                }
            }
            // Made 0600.
            let mut file = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder)?;
            file.write_all(&vec![b'#'; length])?;
            if let Some((uid, gid)) = owner {
                std::os::unix::fs::fchown(file.as_file(), Some(uid), Some(gid))?;
            }
            Ok(file)
        };
        let file = stage().map_err(StateError::io("write", path))?;
        Ok(Self { file, path: path.into() })
    }

    /// Puts `bytes` in the place of the old content: fsync, then rename.
    pub fn publish(mut self, bytes: &[u8]) -> Result<(), StateError> {
        let folder = self.path.parent().unwrap_or_else(|| Path::new(".")).to_path_buf();
        let path = self.path.clone();
        let publish = move || -> std::io::Result<()> {
            self.file.rewind()?;
            self.file.write_all(bytes)?;
            self.file.as_file().set_len(bytes.len() as u64)?;
            self.file.as_file().sync_all()?;
            self.file.persist(&self.path).map_err(|e| e.error)?;
            File::open(folder)?.sync_all()
        };
        publish().map_err(StateError::io("write", path))
    }
}

/// Gives a file or folder to a user and a group, unless it is theirs or there is no `owner`; gives whether
/// it was not theirs. A link itself is given, not what it leads to.
pub fn give(path: &Path, owner: Option<(u32, u32)>) -> Result<bool, StateError> {
    let Some((uid, gid)) = owner else { return Ok(false) };
    let meta = path.symlink_metadata().map_err(StateError::io("look at", path))?;
    if (meta.uid(), meta.gid()) == (uid, gid) {
        return Ok(false);
    }
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(StateError::io("give away", path))?;
    Ok(true)
}

/// Makes a folder (and its parents) that only its owner may enter. An existing one is left as it is.
pub(super) fn make_private_folder(folder: &Path) -> Result<(), StateError> {
    use std::os::unix::fs::DirBuilderExt as _;
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(StateError::io("create the folder", folder))
}

/// [`write_atomic`] of a value as indented JSON.
pub fn write_json<T: Serialize>(path: &Path, value: &T, visibility: Visibility) -> Result<(), StateError> {
    write(path, &json(path, value)?, visibility, true)
}

/// [`write_json`] without waiting for the disk, for what means nothing after a power cut. A killed
/// program leaves the old content or the new all the same.
pub fn write_json_unsynced<T: Serialize>(
    path: &Path,
    value: &T,
    visibility: Visibility,
) -> Result<(), StateError> {
    write(path, &json(path, value)?, visibility, false)
}

fn json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, StateError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| StateError::Damaged { path: path.into(), cause: e.to_string() })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A state file's value; `None` when there is no such file. The file's `version` must not exceed
/// `supported`.
pub fn read_json<T: DeserializeOwned>(path: &Path, supported: u32) -> Result<Option<T>, StateError> {
    match fs::read(path) {
        Ok(bytes) => parse_json(path, &bytes, supported).map(Some),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StateError::io("read", path)(e)),
    }
}

/// The value in the content of the state file at `path`.
pub(super) fn parse_json<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    supported: u32,
) -> Result<T, StateError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let damaged = |e: serde_json::Error| StateError::Damaged { path: path.into(), cause: e.to_string() };
    let Versioned { version: found } = serde_json::from_slice(bytes).map_err(damaged)?;
    if found > supported {
        return Err(StateError::Newer { path: path.into(), found, supported });
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_0600_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        write_atomic(&path, b"one", Visibility::Private).unwrap();
        write_atomic(&path, b"two", Visibility::Private).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temp file is left");
    }

    #[test]
    fn what_is_staged_shows_only_once_it_is_published_and_leftovers_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/secret_id");
        Staged::prepare(&path, 36, None).unwrap().publish(b"one").unwrap();
        // A killed program runs no destructors.
        std::mem::forget(Staged::prepare(&path, 36, None).unwrap());
        let staged = Staged::prepare(&path, 36, None).unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        staged.publish(b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(Staged::prepare(&path, 36, None).unwrap());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        fs::write(&path, r#"{"version": 9}"#).unwrap();
        let error = read_json::<serde_json::Value>(&path, 1).unwrap_err().to_string();
        assert!(error.contains("newer vaultlab (format 9"), "{error}");
        fs::write(&path, r#"{"version": "#).unwrap();
        assert!(read_json::<serde_json::Value>(&path, 1).unwrap_err().to_string().contains("damaged"));
    }
}
