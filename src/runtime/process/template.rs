//! Initialised data folders that labs start from.
//!
//! A template is a folder `templates/KEY` with an archive of a server's data and a file with the
//! password its superuser has in it. It is built beside its place and renamed, so several vaultlabs
//! may build the same one at the same time: the first one wins.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::identity::Identity;
use super::spawn::RunAs;
use crate::runtime::RuntimeError;
use crate::runtime::origin::{ORIGIN, data_may_be_why};
use crate::state::StateError;

/// A template in the making; removed when dropped before it is [kept](Build::keep).
#[derive(Debug)]
pub(super) struct Build {
    folder: tempfile::TempDir,
    templates: PathBuf,
}

const BUILD_PREFIX: &str = ".build-";

/// A template's data.
pub(super) const ARCHIVE: &str = "data.tar";

/// What an error says was being done when a template could not be copied.
pub(super) const UNPACK: &str = "unpack the template to";

/// Whether a server that was to start from a template may have failed because of it: nothing but the
/// template is lost then when another is made.
pub(super) fn may_be_why(error: &RuntimeError) -> bool {
    use ErrorKind::{InvalidData, InvalidInput, NotFound, Other, UnexpectedEof};
    match error {
        RuntimeError::Folder { operation: UNPACK, source, .. } => {
            matches!(source.kind(), InvalidData | InvalidInput | NotFound | Other | UnexpectedEof)
        }
        RuntimeError::State(StateError::Damaged { path, .. }) => path.ends_with(ORIGIN),
        error => data_may_be_why(error),
    }
}

impl Build {
    /// A new folder to build in. What builders left behind that were killed is removed.
    pub fn begin(templates: &Path) -> std::io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(templates)?;
        remove_abandoned(templates);
        let folder = tempfile::Builder::new()
            .prefix(&format!("{BUILD_PREFIX}{}-", std::process::id()))
            .tempdir_in(templates)?;
        Ok(Self { folder, templates: templates.into() })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn archive(&self) -> PathBuf {
        self.folder.path().join(ARCHIVE)
    }

    /// Puts the finished template in its place, or drops it when another builder was faster.
    pub fn keep(self, key: &str) -> std::io::Result<PathBuf> {
        let place = self.templates.join(key);
        match fs::rename(self.folder.path(), &place) {
            Ok(()) => {
                // It is gone from where it was; there is nothing to remove.
                let _ = self.folder.keep();
                Ok(place)
            }
            Err(_) if place.join(ORIGIN).is_file() => Ok(place),
            Err(e) => Err(e),
        }
    }
}

/// Removes a template that is of no use. Nobody finds half of it: it goes by way of a builder's folder.
pub(super) fn discard(templates: &Path, key: &str) -> std::io::Result<()> {
    let grave = Build::begin(templates)?;
    match fs::rename(templates.join(key), grave.path().join(key)) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn remove_abandoned(templates: &Path) {
    let Ok(entries) = fs::read_dir(templates) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(is_abandoned) != Some(true) {
            continue;
        }
        // Another vaultlab may be removing it too; what stays is tried again next time.
        drop(fs::remove_dir_all(entry.path()));
    }
}

/// Whether this is the name of a builder's folder, and the builder is gone; `None` for other names.
pub(super) fn is_abandoned(folder: &str) -> Option<bool> {
    let pid = folder.strip_prefix(BUILD_PREFIX)?.split('-').next()?.parse().ok()?;
    Some(Identity::of(pid).is_none())
}

/// Writes a data folder into an archive, one file instead of a thousand: making files is what costs.
pub(super) struct Pack {
    archive: tar::Builder<BufWriter<File>>,
    data: PathBuf,
}

impl Pack {
    /// A new archive, only for us to read, of the folder `data`.
    pub fn begin(archive: &Path, data: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(archive)?;
        let archive = tar::Builder::new(BufWriter::with_capacity(1 << 20, file));
        Ok(Self { archive, data: data.into() })
    }

    /// Adds the folders and files below the data folder for which `wanted` says so. One that is gone
    /// meanwhile is left out, one that grows meanwhile is cut: a server that runs does both.
    pub fn add(&mut self, wanted: &dyn Fn(&Path) -> bool) -> std::io::Result<()> {
        self.add_folder(Path::new(""), wanted)
    }

    fn add_folder(&mut self, folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> std::io::Result<()> {
        let mut entries: Vec<_> = fs::read_dir(self.data.join(folder))?.collect::<Result<_, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = folder.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if wanted(&path) {
                    let mut header = tar::Header::new_gnu();
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(entry.metadata()?.permissions().mode() & 0o7777);
                    header.set_size(0);
                    self.archive.append_data(&mut header, &path, std::io::empty())?;
                }
                self.add_folder(&path, wanted)?;
            } else if kind.is_file() && wanted(&path) {
                let file = match File::open(entry.path()) {
                    Err(e) if e.kind() == ErrorKind::NotFound => continue,
                    opened => opened?,
                };
                let meta = file.metadata()?;
                let mut header = tar::Header::new_gnu();
                header.set_mode(meta.permissions().mode() & 0o7777);
                header.set_size(meta.len());
                // Zeros make up for what was cut off meanwhile.
                let content = file.chain(std::io::repeat(0)).take(meta.len());
                self.archive.append_data(&mut header, &path, content)?;
            }
            // Sockets and the like belong to the server that runs.
        }
        Ok(())
    }

    /// Adds a file that is not in the folder.
    pub fn add_file(&mut self, name: &str, content: &[u8]) -> std::io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(content.len() as u64);
        self.archive.append_data(&mut header, name, content)
    }

    pub fn finish(self) -> std::io::Result<()> {
        self.archive.into_inner()?.into_inner().map(drop).map_err(std::io::IntoInnerError::into_error)
    }
}

/// What an archive is made of, and how many zeros it ends with.
const BLOCK: u64 = 512;
const END: u64 = 2 * BLOCK;

/// A file of an archive.
struct Packed {
    to: PathBuf,
    mode: u32,
    offset: u64,
    length: u64,
}

/// Unpacks an archive into a new folder `to`, for `user`.
pub(super) fn unpack(archive: &Path, to: &Path, user: &RunAs) -> std::io::Result<()> {
    let source = File::open(archive)?;
    let folder = |path: &Path, mode| {
        fs::DirBuilder::new().mode(mode).create(path)?;
        user.own(path)
    };
    folder(to, 0o700)?;
    let (mut files, mut end) = (Vec::new(), 0);
    for entry in tar::Archive::new(&source).entries_with_seek()? {
        let entry = entry?;
        end = entry.raw_file_position() + entry.size();
        let (to, mode) = (to.join(entry.path()?), entry.header().mode()?);
        if entry.header().entry_type().is_dir() {
            folder(&to, mode)?;
        } else {
            files.push(Packed { to, mode, offset: entry.raw_file_position(), length: entry.size() });
        }
    }
    // One that is cut off between two of its files reads like a shorter one.
    if end.next_multiple_of(BLOCK) + END != source.metadata()?.len() {
        return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "the archive is cut off"));
    }
    // Two workers: it is as much waiting for the file system as work.
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut buffer = vec![0; 1 << 16];
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(e) = unpack_file(&source, file, user, &mut buffer) {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                        next.store(files.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn unpack_file(source: &File, file: &Packed, user: &RunAs, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut target = OpenOptions::new().write(true).create_new(true).mode(file.mode).open(&file.to)?;
    let mut done = 0;
    while done < file.length {
        let wanted = usize::try_from(file.length - done).unwrap_or(usize::MAX).min(buffer.len());
        source.read_exact_at(&mut buffer[..wanted], file.offset + done)?;
        target.write_all(&buffer[..wanted])?;
        done += wanted as u64;
    }
    user.own_file(&target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::origin::Origin;
    use crate::state::Credentials;

    #[test]
    fn data_is_packed_with_its_modes_and_a_failure_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let user = RunAs::for_kind(crate::service::ServiceKind::Postgres);
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let deep = "b".repeat(90);
        fs::create_dir_all(from.join("a").join(&deep)).unwrap();
        for i in 0..40 {
            fs::write(from.join(format!("a/{deep}/file-{i}")), vec![i; 100_000]).unwrap();
        }
        fs::write(from.join("empty"), "").unwrap();
        fs::write(from.join("server.pid"), "1").unwrap();
        fs::set_permissions(from.join(format!("a/{deep}/file-7")), fs::Permissions::from_mode(0o600))
            .unwrap();
        fs::set_permissions(from.join("a"), fs::Permissions::from_mode(0o700)).unwrap();
        let archive = dir.path().join("data.tar");
        let mut pack = Pack::begin(&archive, &from).unwrap();
        pack.add(&|path| path != Path::new("server.pid")).unwrap();
        pack.add_file("label", b"text").unwrap();
        pack.finish().unwrap();
        assert_eq!(fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);

        unpack(&archive, &to, &user).unwrap();
        for i in 0..40 {
            assert_eq!(fs::read(to.join(format!("a/{deep}/file-{i}"))).unwrap(), vec![i; 100_000]);
        }
        assert_eq!(fs::read(to.join("empty")).unwrap(), b"");
        assert_eq!(fs::read(to.join("label")).unwrap(), b"text");
        assert!(!to.join("server.pid").exists());
        let mode = |path: &str| fs::metadata(to.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a"), mode(&format!("a/{deep}/file-7"))), (0o700, 0o600));
        assert!(unpack(&archive, &to, &user).is_err(), "the target is there already");

        // In the middle of a file, between two files, before the end, and wholly.
        let length = fs::metadata(&archive).unwrap().len();
        for cut in [length / 2, length - END - 2 * BLOCK, length - END, 0] {
            OpenOptions::new().write(true).open(&archive).unwrap().set_len(cut).unwrap();
            let target = dir.path().join(format!("cut-{cut}"));
            assert!(unpack(&archive, &target, &user).is_err(), "the archive was cut off at {cut}");
        }
    }

    #[test]
    fn the_first_of_two_builders_wins_and_the_dead_ones_folder_goes() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join(".build-4194999-x");
        fs::create_dir(&dead).unwrap();
        let builds = [Build::begin(dir.path()).unwrap(), Build::begin(dir.path()).unwrap()];
        assert!(!dead.exists());
        let mut places = Vec::new();
        for (build, name) in builds.into_iter().zip(["first", "second"]) {
            Origin::new("k", Credentials::new(name, "p")).save(build.path()).unwrap();
            places.push(build.keep("k").unwrap());
        }
        assert_eq!(places[0], places[1]);
        assert_eq!(Origin::load(&places[0]).unwrap().unwrap().superuser.username, "first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        for _ in 0..2 {
            discard(dir.path(), "k").unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
}
