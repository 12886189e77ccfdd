//! Initialised data folders that labs start from.
//!
//! A template is a folder `templates/KEY` with the data of a server that was stopped in an orderly
//! way and a file with the password its superuser has in it. It is built beside its place and
//! renamed, so several vaultlabs may build the same one at the same time: the first one wins.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::identity::{self, Identity};
use super::spawn::{RunAs, make_passable};
use crate::runtime::origin::ORIGIN;

/// A template in the making; removed when dropped before it is [kept](Build::keep).
#[derive(Debug)]
pub(super) struct Build {
    folder: tempfile::TempDir,
    templates: PathBuf,
}

const BUILD_PREFIX: &str = ".build-";

impl Build {
    /// A new folder to build in. What builders left behind that were killed is removed, their
    /// servers with it.
    pub fn begin(templates: &Path, user: &RunAs) -> std::io::Result<Self> {
        make_passable(templates)?;
        remove_abandoned(templates);
        let folder = tempfile::Builder::new()
            .prefix(&format!("{BUILD_PREFIX}{}-", std::process::id()))
            .tempdir_in(templates)?;
        make_passable(folder.path())?;
        user.make_folder(&folder.path().join("data"))?;
        Ok(Self { folder, templates: templates.into() })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
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

fn remove_abandoned(templates: &Path) {
    let Ok(entries) = fs::read_dir(templates) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let builder =
            name.to_str().and_then(|name| name.strip_prefix(BUILD_PREFIX)?.split('-').next()?.parse().ok());
        if builder.is_none_or(|pid: u32| Identity::of(pid).is_some()) {
            continue;
        }
        let servers = ["postgres", "initdb", "mariadbd", "mysqld"];
        for process in identity::find(&servers, entry.path().join("data").as_os_str()) {
            drop(process.signal(nix::sys::signal::Signal::SIGKILL));
        }
        // Another vaultlab may be removing it too; what stays is tried again next time.
        drop(fs::remove_dir_all(entry.path()));
    }
}

/// Copies a data folder for `user`. Files are cloned where the file system can.
pub(super) fn copy_data(from: &Path, to: &Path, user: &RunAs) -> std::io::Result<()> {
    let mut files = Vec::new();
    copy_folders(from, to, user, &mut files)?;
    // Two workers: it is as much waiting for the file system as work.
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((from, to)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(e) = copy_file(from, to, user) {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                        next.store(files.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn copy_folders(
    from: &Path,
    to: &Path,
    user: &RunAs,
    files: &mut Vec<(PathBuf, PathBuf)>,
) -> std::io::Result<()> {
    let mode = fs::metadata(from)?.permissions().mode() & 0o7777;
    fs::DirBuilder::new().mode(mode).create(to)?;
    user.own(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_folders(&source, &target, user, files)?;
        } else if kind.is_file() {
            files.push((source, target));
        }
        // Sockets and the like belong to a server that has ended.
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, user: &RunAs) -> std::io::Result<()> {
    // Clones, or copies within the kernel, and keeps the mode.
    fs::copy(from, to)?;
    if user.switches() { user.own_file(&File::open(to)?) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::origin::Origin;
    use crate::state::Credentials;

    #[test]
    fn data_is_copied_with_its_modes_and_a_failure_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let user = RunAs::for_kind(crate::service::ServiceKind::Postgres);
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        for i in 0..40 {
            fs::write(from.join(format!("a/b/{i}")), vec![i; 10_000]).unwrap();
        }
        fs::set_permissions(from.join("a/b/7"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(from.join("a"), fs::Permissions::from_mode(0o700)).unwrap();
        copy_data(&from, &to, &user).unwrap();
        for i in 0..40 {
            assert_eq!(fs::read(to.join(format!("a/b/{i}"))).unwrap(), vec![i; 10_000]);
        }
        let mode = |path: &str| fs::metadata(to.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a"), mode("a/b/7")), (0o700, 0o600));
        assert!(copy_data(&from, &to, &user).is_err(), "the target is there already");
    }

    #[test]
    fn the_first_of_two_builders_wins_and_the_dead_ones_folder_goes() {
        let dir = tempfile::tempdir().unwrap();
        let user = RunAs::for_kind(crate::service::ServiceKind::Postgres);
        let dead = dir.path().join(".build-4194999-x");
        fs::create_dir(&dead).unwrap();
        let builds = [Build::begin(dir.path(), &user).unwrap(), Build::begin(dir.path(), &user).unwrap()];
        assert!(!dead.exists());
        let mut places = Vec::new();
        for (build, name) in builds.into_iter().zip(["first", "second"]) {
            Origin::new("k", Credentials::new(name, "p")).save(build.path()).unwrap();
            places.push(build.keep("k").unwrap());
        }
        assert_eq!(places[0], places[1]);
        assert_eq!(Origin::load(&places[0]).unwrap().unwrap().superuser.username, "first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
