//! From a path to the mount that serves it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::mounts::MountEntry;
use crate::framework::Row;
use crate::logical::{Backend, SpecialPaths, View};

/// What serves a mount: an engine of its own, or a part of the core.
#[derive(Clone)]
pub enum Engine {
    /// `sys/`.
    System,
    /// `auth/token/`.
    Token,
    /// `identity/`.
    Identity,
    /// A backend.
    Backend(Arc<dyn Backend>),
    /// Nothing: this server has no backend of the mount's type. The mount and its data stay.
    Unavailable,
}

/// A mount's entry, shared by the router and the mount's handle onto the core.
pub struct EntryCell(RwLock<Arc<MountEntry>>);

impl EntryCell {
    /// A cell with this entry.
    pub fn new(entry: MountEntry) -> Self {
        Self(RwLock::new(Arc::new(entry)))
    }

    /// The entry as it is now.
    pub fn get(&self) -> Arc<MountEntry> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it.
    pub fn set(&self, entry: MountEntry) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(entry);
    }
}

/// A mount in service.
pub struct Mounted {
    cell: Arc<EntryCell>,
    /// What serves it.
    pub engine: Engine,
    /// Paths that need sudo or no token.
    pub special: SpecialPaths,
    /// Its storage.
    pub view: View,
    /// Being unmounted: requests are refused, leases still revoke through it.
    tainted: AtomicBool,
    /// Periodic work is under way.
    ticking: AtomicBool,
}

impl Mounted {
    /// A mount in service.
    pub fn new(cell: Arc<EntryCell>, engine: Engine, special: SpecialPaths, view: View) -> Self {
        Self { cell, engine, special, view, tainted: AtomicBool::new(false), ticking: AtomicBool::new(false) }
    }

    /// The cell of its entry.
    pub fn cell(&self) -> &EntryCell {
        &self.cell
    }

    /// Its entry as it is now.
    pub fn entry(&self) -> Arc<MountEntry> {
        self.cell.get()
    }

    /// Replaces its entry, after tuning or moving.
    pub fn set_entry(&self, entry: MountEntry) {
        self.cell.set(entry);
    }

    /// Refuses requests from now on.
    pub fn taint(&self) {
        self.tainted.store(true, Ordering::Release);
    }

    /// Whether it is being unmounted.
    pub fn is_tainted(&self) -> bool {
        self.tainted.load(Ordering::Acquire)
    }

    /// Marks the start of periodic work; `false` while earlier work is still under way.
    pub fn start_tick(&self) -> bool {
        !self.ticking.swap(true, Ordering::AcqRel)
    }

    /// Marks its end.
    pub fn end_tick(&self) {
        self.ticking.store(false, Ordering::Release);
    }

    /// Its endpoints, for those who ask what there is.
    pub fn endpoints(&self) -> Vec<Row> {
        match &self.engine {
            Engine::System => crate::sys::reference(),
            Engine::Token => crate::token::reference(),
            Engine::Identity => crate::identity::reference(),
            Engine::Backend(backend) => backend.endpoints(),
            Engine::Unavailable => Vec::new(),
        }
    }

    /// Whether a path needs no token.
    pub fn is_login(&self, path: &str) -> bool {
        self.special.unauthenticated.iter().any(|p| matches(p, path))
    }

    /// Whether a path needs `sudo`.
    pub fn is_root(&self, path: &str) -> bool {
        self.special.root.iter().any(|p| matches(p, path))
    }
}

/// Whether a special path pattern covers a path: exact, `*` at the end, `+` for a segment.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, prefix) = match pattern.strip_suffix('*') {
        Some(rest) => (rest, true),
        None => (pattern, false),
    };
    if !pattern.contains('+') {
        return if prefix { path.starts_with(pattern) } else { path == pattern };
    }
    let mut path_segments = path.split('/');
    let mut segments = pattern.split('/').peekable();
    while let Some(segment) = segments.next() {
        let Some(found) = path_segments.next() else {
            return false;
        };
        let last = segments.peek().is_none();
        let fits = segment == "+" && !found.is_empty()
            || segment == found
            || (last && prefix && found.starts_with(segment));
        if !fits {
            return false;
        }
    }
    prefix || path_segments.next().is_none()
}

/// The mounts in service, by full path.
#[derive(Default)]
pub struct Router {
    mounts: RwLock<Arc<BTreeMap<String, Arc<Mounted>>>>,
}

impl Router {
    /// The mounts as they are now.
    pub fn snapshot(&self) -> Arc<BTreeMap<String, Arc<Mounted>>> {
        Arc::clone(&self.mounts.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The mount of a path, and the length of the mount's part of it.
    pub fn find(&self, path: &str) -> Option<(Arc<Mounted>, usize)> {
        let mounts = self.mounts.read().unwrap_or_else(PoisonError::into_inner);
        for (slash, _) in path.rmatch_indices('/') {
            if let Some(mounted) = mounts.get(&path[..=slash]) {
                return Some((Arc::clone(mounted), slash + 1));
            }
        }
        let mounted = mounts.get(&format!("{path}/"))?;
        Some((Arc::clone(mounted), path.len()))
    }

    /// The mount with this accessor.
    pub fn by_accessor(&self, accessor: &str) -> Option<Arc<Mounted>> {
        self.snapshot().values().find(|mounted| mounted.entry().accessor == accessor).cloned()
    }

    /// The mount whose path is in the way of a new one at `path`: above it, below it, or the same.
    pub fn conflict(&self, path: &str) -> Option<String> {
        let mounts = self.snapshot();
        mounts.keys().find(|mounted| mounted.starts_with(path) || path.starts_with(mounted.as_str())).cloned()
    }

    /// Puts a mount into service.
    pub fn insert(&self, path: String, mounted: Arc<Mounted>) {
        let mut mounts = self.mounts.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut mounts).insert(path, mounted);
    }

    /// Takes a mount out of service.
    pub fn remove(&self, path: &str) -> Option<Arc<Mounted>> {
        let mut mounts = self.mounts.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut mounts).remove(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::mounts::Table;
    use crate::logical::testing::MemoryStorage;

    fn router(paths: &[&str]) -> Router {
        let router = Router::default();
        for path in paths {
            let entry = MountEntry::new(Table::Secret, path, "kv", "");
            let view = View::new(Arc::new(MemoryStorage::default()), "");
            let mounted =
                Mounted::new(Arc::new(EntryCell::new(entry)), Engine::System, SpecialPaths::default(), view);
            router.insert((*path).to_owned(), Arc::new(mounted));
        }
        router
    }

    #[test]
    fn the_longest_mount_serves_a_path() {
        let router = router(&["secret/", "auth/approle/", "a/b/"]);
        let found = |path: &str| router.find(path).map(|(m, n)| (m.entry().path.clone(), n));
        assert_eq!(found("secret/data/x"), Some(("secret/".into(), 7)));
        assert_eq!(found("secret"), Some(("secret/".into(), 6)));
        assert_eq!(found("a/b/c/d"), Some(("a/b/".into(), 4)));
        assert_eq!(found("a/c"), None);
        assert_eq!(found("auth/approle/login"), Some(("auth/approle/".into(), 13)));
    }

    #[test]
    fn mounts_do_not_nest() {
        let router = router(&["a/b/"]);
        for path in ["a/", "a/b/", "a/b/c/"] {
            assert_eq!(router.conflict(path).as_deref(), Some("a/b/"), "{path}");
        }
        assert_eq!(router.conflict("a/bc/"), None);
    }

    #[test]
    fn special_paths() {
        assert!(matches("login", "login"));
        assert!(!matches("login", "login/x"));
        assert!(matches("login/*", "login/x"));
        assert!(matches("role/+/x", "role/a/x"));
        assert!(!matches("role/+/x", "role/a/y"));
        assert!(matches("role/+/x*", "role/a/xyz"));
        assert!(!matches("role/+/x", "role/a/x/y"));
    }
}
