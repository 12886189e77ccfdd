//! The log file: opening and recovering it, appending to it, undoing what failed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::format::{self, HEADER_LEN, Header, Read};
use super::index::Index;
use super::lock::DirLock;
use super::{StorageError, SyncPolicy};

const NAME: &str = "store.log";
const TEMPORARY: &str = "store.log.tmp";
/// Where a damaged last record is kept when it is cut off.
const CUT: &str = "store.log.cut";

/// An open log, ready to be appended to.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    /// Where the next frame goes; everything before it is whole.
    end: u64,
    /// Bytes beyond `end` may be left of a write that failed and could not be undone yet.
    dirty: bool,
    /// The log's name may not yet be on the disk.
    unnamed: bool,
    pub(super) sync: SyncPolicy,
    _lock: DirLock,
}

impl Log {
    /// Opens or creates the log in `dir` and reads what is in it.
    pub(super) fn open(dir: &Path, sync: SyncPolicy) -> Result<(Self, Index), StorageError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|cause| StorageError::io("create", dir, cause))?;
        let lock = DirLock::take(dir)?;
        let path = dir.join(NAME);
        remove_if_there(&dir.join(TEMPORARY))?;
        if !path.try_exists().map_err(|cause| StorageError::io("look for", &path, cause))? {
            refuse_foreign(dir)?;
            let new = create_temporary(dir)?;
            new.sync_all().map_err(|cause| StorageError::write(&path, cause))?;
            rename(dir)?;
            sync_dir(dir)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|cause| StorageError::io("open", &path, cause))?;
        let bytes = fs::read(&path).map_err(|cause| StorageError::io("read", &path, cause))?;
        let Recovered { index, end, tail } = recover(&path, &bytes)?;
        if tail == Tail::Damaged {
            keep_cut(dir, &bytes[end..])?;
        }
        if tail != Tail::Clean {
            tracing::warn!(
                path = %path.display(), bytes = bytes.len() - end,
                "cut off an incomplete last record"
            );
            file.set_len(end as u64)
                .and_then(|()| file.sync_all())
                .map_err(|cause| StorageError::io("cut off the end of", &path, cause))?;
        }
        let log = Self {
            dir: dir.to_owned(),
            path,
            file,
            end: end as u64,
            dirty: false,
            unnamed: false,
            sync,
            _lock: lock,
        };
        Ok((log, index))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The log's length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.end
    }

    /// Whether appending waits for the disk itself.
    pub(super) fn waits_for(&self, durable: bool) -> bool {
        match self.sync {
            SyncPolicy::Always => true,
            SyncPolicy::Critical => durable,
            SyncPolicy::Never => false,
        }
    }

    /// Appends one frame. On an error nothing of it stays.
    pub(super) fn append(&mut self, frame: &[u8], durable: bool) -> Result<(), StorageError> {
        if self.dirty {
            self.undo();
            if self.dirty {
                return Err(StorageError::io(
                    "undo an earlier failed write to",
                    &self.path,
                    io::Error::other("the file cannot be shortened"),
                ));
            }
        }
        let wait = self.waits_for(durable);
        if wait {
            self.sync_name()?;
        }
        let written = self
            .file
            .write_all_at(frame, self.end)
            .and_then(|()| if wait { self.file.sync_data() } else { Ok(()) });
        if let Err(cause) = written {
            self.undo();
            return Err(StorageError::write(&self.path, cause));
        }
        self.end += frame.len() as u64;
        Ok(())
    }

    /// The bytes from `start` to the end.
    pub(super) fn tail(&self, start: u64) -> Result<Vec<u8>, StorageError> {
        let mut bytes = vec![0; (self.end - start) as usize];
        self.file
            .read_exact_at(&mut bytes, start)
            .map_err(|cause| StorageError::io("read", &self.path, cause))?;
        Ok(bytes)
    }

    /// Puts `file`, which is the temporary file and `len` bytes long, in this log's place.
    pub(super) fn replace_with(&mut self, file: File, len: u64) -> Result<(), StorageError> {
        rename(&self.dir)?;
        // From here on the old file has no name: what it got would be lost.
        self.file = file;
        self.end = len;
        self.dirty = false;
        self.unnamed = true;
        self.sync_name()
    }

    fn sync_name(&mut self) -> Result<(), StorageError> {
        if self.unnamed {
            sync_dir(&self.dir)?;
            self.unnamed = false;
        }
        Ok(())
    }

    /// Makes everything appended so far survive a power cut.
    pub(super) fn flush(&self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(|cause| StorageError::io("sync", &self.path, cause))
    }

    fn undo(&mut self) {
        match self.file.set_len(self.end) {
            Ok(()) => self.dirty = false,
            Err(error) => {
                self.dirty = true;
                tracing::error!(path = %self.path.display(), %error, "cannot undo a failed write yet");
            }
        }
    }
}

/// What the end of a log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Clean,
    /// A write was cut short, or its space was never filled: nothing anybody relied on.
    Torn,
    /// A last record that is there but wrong: a power cut during the write or, as nobody can
    /// tell, damage to one that was acknowledged.
    Damaged,
}

/// The state a log describes and the offset where its last whole frame ends.
struct Recovered {
    index: Index,
    end: usize,
    tail: Tail,
}

fn recover(path: &Path, bytes: &[u8]) -> Result<Recovered, StorageError> {
    match format::read_header(bytes) {
        Header::Readable => {}
        Header::Foreign => return Err(StorageError::NotAStore(path.to_owned())),
        Header::TooNew { format, needed } => {
            return Err(StorageError::TooNew {
                path: path.to_owned(),
                format,
                needed,
                reader: format::READER,
            });
        }
        Header::Damaged => {
            return Err(StorageError::Corrupt {
                path: path.to_owned(),
                offset: 0,
                reason: "the file's header fails its check",
            });
        }
    }
    let mut index = Index::default();
    let mut end = HEADER_LEN;
    let tail = loop {
        match format::read_frame(bytes, end) {
            Read::Frame { ops, next } => {
                index.apply(ops);
                end = next;
            }
            Read::End => break Tail::Clean,
            Read::Cut => break Tail::Torn,
            Read::Bad(_) if bytes[end..].iter().all(|&byte| byte == 0) => break Tail::Torn,
            // One frame is written at a time, so only the last can be incomplete.
            Read::Bad(reason) if format::valid_frame_after(bytes, end) => {
                return Err(StorageError::Corrupt { path: path.to_owned(), offset: end as u64, reason });
            }
            Read::Bad(_) => break Tail::Damaged,
        }
    };
    Ok(Recovered { index, end, tail })
}

/// Keeps the bytes of a damaged last record before it is cut off.
fn keep_cut(dir: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let path = dir.join(CUT);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|file| {
            file.write_all_at(bytes, 0)?;
            file.sync_all()
        })
        .map_err(|cause| StorageError::write(&path, cause))?;
    tracing::warn!(kept = %path.display(), "the last record of the store was damaged");
    Ok(())
}

/// Creates the temporary file with a header in it.
pub(super) fn create_temporary(dir: &Path) -> Result<File, StorageError> {
    let path = dir.join(TEMPORARY);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(|cause| StorageError::io("create", &path, cause))?;
    file.write_all_at(&format::header(), 0).map_err(|cause| StorageError::write(&path, cause))?;
    Ok(file)
}

/// Removes what an unfinished compaction left.
pub(super) fn remove_temporary(dir: &Path) {
    if let Err(error) = remove_if_there(&dir.join(TEMPORARY)) {
        tracing::warn!(%error, "a temporary file of the store is left over");
    }
}

/// Renames the temporary file over the log.
fn rename(dir: &Path) -> Result<(), StorageError> {
    let path = dir.join(NAME);
    fs::rename(dir.join(TEMPORARY), &path).map_err(|cause| StorageError::io("replace", &path, cause))
}

/// Makes names in the folder survive a power cut.
fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(|cause| StorageError::io("sync", dir, cause))
}

fn remove_if_there(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(StorageError::io("remove", path, cause)),
        _ => Ok(()),
    }
}

/// Refuses a folder in which Vault or OpenBao keep a file store (their keyring's name).
fn refuse_foreign(dir: &Path) -> Result<(), StorageError> {
    let there = |name: &str| dir.join(name).try_exists().unwrap_or(false);
    if there("core/_keyring") || there("core/_seal-config") || there("vault.db") {
        return Err(StorageError::ForeignStore(dir.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Op;
    use super::*;
    use crate::storage::format::Frame;

    fn frame(key: &str) -> Vec<u8> {
        let mut frame = Frame::new();
        frame.push(&Op::Put(key.into(), Arc::new([7; 50])));
        frame.finish()
    }

    /// As after an I/O error that hits the write and then the attempt to take it back.
    #[test]
    fn what_could_not_be_undone_is_undone_before_the_next_write() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(dir.path(), SyncPolicy::Never).unwrap();
        log.append(&frame("a"), false).unwrap();
        let writable = std::mem::replace(&mut log.file, File::open(dir.path().join(NAME)).unwrap());
        let error = log.append(&frame("refused"), false).unwrap_err();
        assert!(matches!(error, StorageError::Io { operation: "write to", .. }), "{error}");
        let error = log.append(&frame("refused"), false).unwrap_err().to_string();
        assert!(error.contains("undo an earlier failed write"), "{error}");

        // A part of the refused record reached the file.
        writable.write_all_at(&frame("refused")[..30], log.end).unwrap();
        log.file = writable;
        log.append(&frame("b"), false).unwrap();
        drop(log);
        let (_, index) = Log::open(dir.path(), SyncPolicy::Never).unwrap();
        assert_eq!(index.list(""), ["a", "b"]);
    }

    #[test]
    fn leftovers_of_a_crash_while_creating_or_compacting_are_cleared() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(TEMPORARY), "half a snap").unwrap();
        let (mut log, index) = Log::open(dir.path(), SyncPolicy::Always).unwrap();
        assert_eq!(index.count(""), 0);
        log.append(&frame("a"), false).unwrap();
        drop(log);
        fs::write(dir.path().join(TEMPORARY), format::header()).unwrap();
        let (_log, index) = Log::open(dir.path(), SyncPolicy::Always).unwrap();
        assert_eq!(index.count(""), 1);
        assert!(!dir.path().join(TEMPORARY).exists());
    }

    #[test]
    fn the_new_file_is_used_even_when_its_name_cannot_be_made_durable() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(dir.path(), SyncPolicy::Critical).unwrap();
        log.append(&frame("old"), false).unwrap();
        let file = create_temporary(dir.path()).unwrap();
        // The folder to sync is gone, the file to rename is not.
        let away = dir.path().join("away");
        rename(dir.path()).unwrap();
        log.dir.clone_from(&away);
        log.file = file;
        log.end = HEADER_LEN as u64;
        log.unnamed = true;
        let error = log.append(&frame("durable"), true).unwrap_err();
        assert!(matches!(error, StorageError::Io { operation: "sync", .. }), "{error}");
        log.append(&frame("ordinary"), false).unwrap();
        log.dir = dir.path().to_owned();
        log.append(&frame("durable"), true).unwrap();
        assert!(!log.unnamed);
        drop(log);
        let (_, index) = Log::open(dir.path(), SyncPolicy::Critical).unwrap();
        assert_eq!(index.list(""), ["durable", "ordinary"]);
    }
}
