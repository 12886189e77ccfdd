//! Where labs are kept.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::StateError;
use super::atomic::make_private_folder;

/// The folder that holds every lab of a user: `$VAULTLAB_HOME`, else `vaultlab` in the XDG state
/// folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
    service_root: PathBuf,
}

/// Before the name of a service: the name of its folder while that is removed.
const REMOVED: &str = ".removed-";

/// One lab's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabDir {
    name: String,
    path: PathBuf,
    service_path: PathBuf,
}

impl Home {
    /// The home of the current user.
    pub fn discover() -> Result<Self, StateError> {
        use etcetera::BaseStrategy as _;
        let root = if let Some(path) = std::env::var_os("VAULTLAB_HOME").filter(|v| !v.is_empty()) {
            PathBuf::from(path)
        } else {
            let base = etcetera::base_strategy::Xdg::new().map_err(|_| StateError::NoHome)?;
            base.state_dir().ok_or(StateError::NoHome)?.join("vaultlab")
        };
        Self::at(&root)
    }

    /// A home at a given folder. Nothing is made: whoever writes there first makes it.
    ///
    /// As root, services run as other users. When they cannot pass through the folders above
    /// `root`, their data lives under `/var/lib/vaultlab` instead; secrets stay under `root`.
    pub fn at(root: &Path) -> Result<Self, StateError> {
        let root = std::path::absolute(root).map_err(StateError::io("resolve", root))?;
        let root = resolve(&root)?;
        if root.exists() && !root.is_dir() {
            return Err(StateError::io("keep labs in", root)(ErrorKind::NotADirectory.into()));
        }
        let service_root =
            if nix::unistd::geteuid().is_root() { root_service_folder(&root) } else { root.clone() };
        Ok(Self { root, service_root })
    }

    /// Makes the folder that services have theirs in. Root's services run as `postgres`, `mysql` or
    /// `nobody`, which have to pass through it (0711).
    pub fn make_service_root(&self) -> Result<(), StateError> {
        let folder = &self.service_root;
        make_private_folder(folder)?;
        if !nix::unistd::geteuid().is_root() {
            return Ok(());
        }
        for ours in folder.ancestors().take_while(|p| *p == folder || p.ends_with("var/lib/vaultlab")) {
            fs::set_permissions(ours, fs::Permissions::from_mode(0o711))
                .map_err(StateError::io("set the mode of", ours))?;
        }
        Ok(())
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether a path is inside it.
    pub fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.root) || path.starts_with(&self.service_root)
    }

    /// Initialised data folders, one per key, that labs start from.
    pub fn templates(&self) -> PathBuf {
        self.service_root.join("templates")
    }

    /// The folder with the services of all labs.
    pub fn services(&self) -> PathBuf {
        self.service_root.join("services")
    }

    /// The folder of the lab called `name`; nothing is made.
    pub fn lab(&self, name: &str) -> Result<LabDir, StateError> {
        if !valid_lab_name(name) {
            return Err(StateError::Name { name: name.into() });
        }
        Ok(LabDir {
            name: name.into(),
            path: self.root.join("labs").join(name),
            service_path: self.services().join(name),
        })
    }

    /// The labs that have a folder, by name.
    pub fn labs(&self) -> Result<Vec<LabDir>, StateError> {
        let folder = self.root.join("labs");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(StateError::io("list", folder)(e)),
        };
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .filter(|e| e.path().is_dir())
            .filter_map(|e| e.file_name().into_string().ok())
            .filter(|name| valid_lab_name(name))
            .collect();
        names.sort();
        names.iter().map(|name| self.lab(name)).collect()
    }

    /// What is left of services whose removal was cut off, of whichever lab.
    pub fn half_removed(&self) -> Result<Vec<PathBuf>, StateError> {
        let mut found = Vec::new();
        for lab in entries(&self.services())? {
            found.extend(half_removed(&lab)?);
        }
        Ok(found)
    }
}

/// The folders in a folder, by name; none in one that is not there.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, StateError> {
    let failed = || StateError::io("list", folder);
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed()(e)),
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(failed())?;
        if entry.file_type().map_err(failed())?.is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn half_removed(services: &Path) -> Result<Vec<PathBuf>, StateError> {
    let mut folders = entries(services)?;
    folders.retain(|folder| name_of(folder).starts_with(REMOVED));
    Ok(folders)
}

fn name_of(folder: &Path) -> &str {
    folder.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Removes a folder with everything in it; one that is gone is no error.
fn remove_tree(folder: &Path) -> Result<(), StateError> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(StateError::io("remove", folder)(e)),
        _ => Ok(()),
    }
}

/// The real path of a folder of which the last parts may still be missing.
fn resolve(path: &Path) -> Result<PathBuf, StateError> {
    match path.canonicalize() {
        Err(e) if e.kind() == ErrorKind::NotFound => match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok(resolve(parent)?.join(name)),
            _ => Err(StateError::io("resolve", path)(e)),
        },
        resolved => resolved.map_err(StateError::io("resolve", path)),
    }
}

/// Where root's services have their folders: they must be passable to all, which `/root` is not, and
/// neither is a folder that is still missing, for it will be made for its owner alone.
fn root_service_folder(root: &Path) -> PathBuf {
    let passable = |p: &Path| fs::metadata(p).is_ok_and(|m| m.permissions().mode() & 0o001 != 0);
    if root.ancestors().skip(1).all(passable) {
        return root.to_path_buf();
    }
    let digest = Sha256::digest(root.as_os_str().as_encoded_bytes());
    let id = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    PathBuf::from("/var/lib/vaultlab").join(format!("{id:08x}"))
}

impl LabDir {
    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder with the manifest and the secret files (0700).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is anything of the lab: its own folder, or data of its services. A folder that
    /// cannot be looked at counts; [`try_exists`](Self::try_exists) tells why.
    pub fn exists(&self) -> bool {
        self.try_exists().unwrap_or(true)
    }

    /// The same; an error when the system does not let us look.
    pub fn try_exists(&self) -> Result<bool, StateError> {
        for path in [&self.path, &self.service_path] {
            if path.try_exists().map_err(StateError::io("look for", path))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The services that have a folder, by name: also those that no manifest knows any more.
    pub fn service_names(&self) -> Result<Vec<String>, StateError> {
        let names = entries(&self.service_path)?;
        let names = names.iter().map(|folder| name_of(folder).to_owned());
        Ok(names.filter(|name| !name.is_empty() && !name.starts_with(REMOVED)).collect())
    }

    /// Removes a service's folder. It first gets a name by which it is known to be rubbish: killed in
    /// between, nobody takes what is left for a service's data.
    pub fn remove_service(&self, service: &str) -> Result<(), StateError> {
        let (place, removed) = (self.service(service), self.service_path.join(format!("{REMOVED}{service}")));
        remove_tree(&removed)?;
        match fs::rename(&place, &removed) {
            Ok(()) => remove_tree(&removed),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(StateError::io("remove", place)(e)),
        }
    }

    /// Finishes the removals of services that were cut off.
    pub fn finish_removals(&self) -> Result<(), StateError> {
        half_removed(&self.service_path)?.iter().try_for_each(|folder| remove_tree(folder))
    }

    /// Makes the folder.
    pub fn create(&self) -> Result<(), StateError> {
        make_private_folder(&self.path)
    }

    /// Makes a folder in the lab's, if it is to be there. The lab's own is not made: whoever removed it under
    /// a keeper wants it gone.
    pub fn make_inside(&self, folder: &Path) -> Result<(), StateError> {
        let Ok(inside) = folder.strip_prefix(&self.path) else { return Ok(()) };
        let mut made = self.path.clone();
        for part in inside {
            made.push(part);
            match fs::DirBuilder::new().mode(0o700).create(&made) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(StateError::io("create the folder", made)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// That the lab's folder is there; asked right before something is written by who must not make it anew.
    pub fn is_there(&self) -> Result<(), StateError> {
        fs::metadata(&self.path).map(drop).map_err(StateError::io("find the folder", &self.path))
    }

    /// Removes everything the lab keeps on disk.
    pub fn remove(&self) -> Result<(), StateError> {
        [&self.service_path, &self.path].into_iter().try_for_each(|path| remove_tree(path))
    }

    /// What runs for the lab, and where.
    pub fn manifest(&self) -> PathBuf {
        self.path.join("manifest.json")
    }

    /// Unseal keys and, where it is kept, the root token.
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys.json")
    }

    /// The token that commands use.
    pub fn token(&self) -> PathBuf {
        self.path.join("token.json")
    }

    /// Superuser and first admin passwords of the databases.
    pub fn accounts(&self) -> PathBuf {
        self.path.join("accounts.json")
    }

    /// What happened, one JSON object a line.
    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// The lock's file.
    pub fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// What the keeper says of itself.
    pub fn keeper(&self) -> PathBuf {
        self.path.join("keeper.json")
    }

    /// Locked for as long as a keeper runs.
    pub fn keeper_lock(&self) -> PathBuf {
        self.path.join("keeper.lock")
    }

    /// Asks the keeper to end, by being there.
    pub fn keeper_stop(&self) -> PathBuf {
        self.path.join("keeper.stop")
    }

    /// What a detached keeper says that no event tells: why it could not begin.
    pub fn keeper_log(&self) -> PathBuf {
        self.path.join("keeper.log")
    }

    /// The keeper's own token.
    pub fn keeper_token(&self) -> PathBuf {
        self.path.join("keeper-token.json")
    }

    /// Locked while an AppRole's files are looked at and replaced. Not beside them: that folder may
    /// be deleted at any time.
    pub fn delivery_lock(&self, approle: &str) -> PathBuf {
        self.path.join("locks").join(format!("deliver-{approle}"))
    }

    /// The default place where an AppRole's role_id and secret_id are delivered.
    pub fn delivery(&self, approle: &str) -> PathBuf {
        self.path.join("delivery").join(approle)
    }

    /// The folders of all services: passable to the users they run as.
    pub fn services(&self) -> &Path {
        &self.service_path
    }

    /// What was delivered for an AppRole outside this folder.
    pub fn delivered(&self) -> PathBuf {
        self.path.join("delivered")
    }

    /// One service's folder: data, configuration and log.
    pub fn service(&self, service: &str) -> PathBuf {
        self.service_path.join(service)
    }
}

/// Longest name of a lab or a service: paths and container names are made of it.
pub const LONGEST_NAME: usize = 40;

/// Whether `name` can be a folder, a container and a network name: 1 to 40 of `a-z 0-9 -`, a letter or digit
/// first and last.
pub fn valid_lab_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= LONGEST_NAME
        && name.starts_with(legal)
        && name.ends_with(legal)
        && name.chars().all(|c| legal(c) || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_escape_the_folder_are_refused() {
        for name in ["", "..", "a/b", "-x", "x-", "A", "a b", "a.b", "a_b", &"x".repeat(41)] {
            assert!(!valid_lab_name(name), "{name:?}");
        }
        for name in ["notes", "a", "0-1-x", &"x".repeat(40)] {
            assert!(valid_lab_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_lab_that_was_removed_is_not_made_again_by_what_goes_into_it() {
        let dir = tempfile::tempdir().unwrap();
        let lab = Home::at(dir.path()).unwrap().lab("a").unwrap();
        let folder = lab.delivery("app");
        assert!(lab.make_inside(&folder).is_err() && !lab.exists());
        lab.create().unwrap();
        lab.make_inside(&folder).unwrap();
        lab.make_inside(&folder).unwrap();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let elsewhere = dir.path().join("elsewhere/delivered");
        lab.make_inside(&elsewhere).unwrap();
        assert!(!elsewhere.exists(), "not the lab's");
    }

    #[test]
    fn labs_are_listed_by_name_and_removed_whole() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        assert!(home.labs().unwrap().is_empty());
        for name in ["b", "a"] {
            home.lab(name).unwrap().create().unwrap();
        }
        let labs = home.labs().unwrap();
        assert_eq!(labs.iter().map(LabDir::name).collect::<Vec<_>>(), ["a", "b"]);
        labs[0].remove().unwrap();
        labs[0].remove().unwrap();
        assert!(!labs[0].exists() && labs[1].exists());
    }

    #[test]
    fn looking_at_a_home_makes_nothing_and_leads_where_it_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        let home = Home::at(&real.join("link/a/b")).unwrap();
        assert_eq!(home.root(), real.join("a/b"));
        assert!(home.labs().unwrap().is_empty() && home.half_removed().unwrap().is_empty());
        let lab = home.lab("x").unwrap();
        assert!(!lab.exists() && !real.join("a").exists() && !home.service_root.exists());
        lab.create().unwrap();
        assert_eq!(Home::at(&real.join("a/b")).unwrap(), home);
        fs::write(real.join("file"), "").unwrap();
        assert!(Home::at(&real.join("file")).is_err() && Home::at(&real.join("file/below")).is_err());
    }

    #[test]
    fn a_service_whose_removal_was_cut_off_is_absent_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        let lab = home.lab("a").unwrap();
        let rest = lab.services().join(".removed-db/data");
        fs::create_dir_all(&rest).unwrap();
        assert!(lab.service_names().unwrap().is_empty());
        assert_eq!(home.half_removed().unwrap(), [rest.parent().unwrap()]);
        fs::create_dir_all(lab.service("db").join("data")).unwrap();
        lab.remove_service("db").unwrap();
        lab.remove_service("db").unwrap();
        assert_eq!(fs::read_dir(lab.services()).unwrap().count(), 0, "the rest of the last time, too");
        fs::create_dir_all(&rest).unwrap();
        lab.finish_removals().unwrap();
        assert_eq!(fs::read_dir(lab.services()).unwrap().count(), 0);
        fs::remove_dir_all(lab.services()).unwrap();
        lab.finish_removals().unwrap();
    }

    #[test]
    fn a_lab_of_which_only_the_services_are_left_exists() {
        let dir = tempfile::tempdir().unwrap();
        let lab = Home::at(dir.path()).unwrap().lab("a").unwrap();
        assert!(!lab.try_exists().unwrap() && lab.service_names().unwrap().is_empty());
        for service in ["vault", "postgres"] {
            fs::create_dir_all(lab.service(service)).unwrap();
        }
        fs::write(lab.services().join("a-file"), "").unwrap();
        assert!(!lab.path().exists() && lab.try_exists().unwrap() && lab.exists());
        assert_eq!(lab.service_names().unwrap(), ["postgres", "vault"]);
        lab.remove().unwrap();
        assert!(!lab.exists());
        // What cannot be looked at is not absent.
        fs::write(dir.path().join("labs"), "").unwrap();
        assert!(lab.try_exists().is_err() && lab.exists());
    }
}
