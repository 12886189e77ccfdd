//! Physical storage: an ordered map of paths to opaque bytes, kept in memory and, for the
//! file store, in an append-only log on disk.
//!
//! Values are what the [barrier](crate::barrier) encrypted; nothing here knows their
//! meaning. All of them stay in memory so that reading never waits for a disk.
//!
//! # Durability
//! A commit is acknowledged when the operating system has taken it (`write(2)` returned),
//! so an acknowledged commit survives a crash or `kill -9` of the server. Whether it also
//! survives a power cut is chosen by [`SyncPolicy`].
//!
//! # Files
//! `store.log` (the data), `store.lock` (held while a server has the store open, contains
//! its pid), only during a compaction `store.log.tmp`, and `store.log.cut` if a last record
//! was found damaged and cut off; all 0600.

mod compact;
mod error;
mod format;
mod index;
mod lock;
mod log;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

pub use error::StorageError;

use crate::group_commit::{Closed, GroupCommit};
use index::Index;

/// One change of one entry.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Put(Arc<str>, Arc<[u8]>),
    Delete(Arc<str>),
}

/// Changes that become visible and durable together or not at all.
#[derive(Debug, Clone, Default)]
pub struct WriteBatch {
    ops: Vec<Op>,
    durable: bool,
}

impl WriteBatch {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the entry `key` to `value`.
    pub fn put(&mut self, key: impl Into<Arc<str>>, value: impl Into<Arc<[u8]>>) {
        self.ops.push(Op::Put(key.into(), value.into()));
    }

    /// Removes the entry `key`; one that does not exist is no error.
    pub fn delete(&mut self, key: impl Into<Arc<str>>) {
        self.ops.push(Op::Delete(key.into()));
    }

    /// Asks that this batch be on the disk itself before it is acknowledged, unless the
    /// store runs with [`SyncPolicy::Never`].
    pub fn durable(&mut self) {
        self.durable = true;
    }

    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// When the file store waits for the disk itself (`fdatasync`), which is what a commit
/// needs to survive a power cut or a crash of the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// Before every acknowledgement. Concurrent commits share one sync.
    Always,
    /// Only for batches that ask for it ([`WriteBatch::durable`]): the keys of the store
    /// and credentials that exist nowhere else. Everything else follows within the
    /// operating system's write-back time (about 30 s). The default: leases and tokens lost
    /// in a power cut cost a lab little, a lost root password or keyring costs all of it.
    #[default]
    Critical,
    /// Never, not even when asked: for throw-away stores.
    Never,
}

/// How the file store is opened.
#[derive(Debug, Clone, Default)]
pub struct FileOptions {
    /// When to wait for the disk.
    pub sync: SyncPolicy,
}

/// A store; clones are handles on the same one.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    index: Arc<RwLock<Index>>,
    /// `None` for a store in memory.
    log: Option<GroupCommit<writer::Writer>>,
    /// Batches acknowledged since it was opened.
    commits: AtomicU64,
    dir: Option<PathBuf>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

impl Store {
    /// A store that lives and ends with the process.
    pub fn memory() -> Self {
        Self {
            inner: Arc::new(Inner {
                index: Arc::default(),
                log: None,
                commits: AtomicU64::new(0),
                dir: None,
            }),
        }
    }

    /// Opens the store in the folder `dir`, creating both (0700) when missing.
    ///
    /// A last record that a crash left incomplete is cut off; it was never acknowledged. One
    /// that is complete but damaged is kept aside in `store.log.cut`.
    ///
    /// # Errors
    /// When the folder or its files cannot be used, another process has the store open,
    /// it is of a newer format, or its data is damaged anywhere but at the very end.
    pub fn open(dir: &Path, options: &FileOptions) -> Result<Self, StorageError> {
        let (log, index) = log::Log::open(dir, options.sync)?;
        let index = Arc::new(RwLock::new(index));
        let shared = Arc::clone(&index);
        let log = GroupCommit::start("vault-store", |waker| writer::Writer::new(log, shared, waker))
            .map_err(|cause| StorageError::io("start the writer of", dir, cause))?;
        let (commits, dir) = (AtomicU64::new(0), Some(dir.to_owned()));
        Ok(Self { inner: Arc::new(Inner { index, log: Some(log), commits, dir }) })
    }

    /// `"inmem"` or `"file"`, as Vault reports its `storage_type`.
    pub fn kind(&self) -> &'static str {
        if self.inner.log.is_some() { "file" } else { "inmem" }
    }

    /// The value at `key`.
    pub fn get(&self, key: &str) -> Option<Arc<[u8]>> {
        self.read(|index| index.get(key))
    }

    /// The names directly below `prefix`, sorted: `"a"` for an entry, `"b/"` where there
    /// are deeper ones. `prefix` is empty or ends in `/`.
    pub fn list(&self, prefix: &str) -> Vec<String> {
        self.read(|index| index.list(prefix))
    }

    /// Every key that starts with `prefix`, in order.
    pub fn keys(&self, prefix: &str) -> Vec<Arc<str>> {
        self.read(|index| index.keys(prefix))
    }

    /// The number of entries whose key starts with `prefix`.
    pub fn count(&self, prefix: &str) -> usize {
        self.read(|index| index.count(prefix))
    }

    /// Applies a batch; when this returns `Ok` it is visible to every reader and kept as
    /// [`SyncPolicy`] says. On an error nothing of it is visible or kept. If the future is
    /// dropped the batch may or may not be applied, but never in part.
    ///
    /// # Errors
    /// When the log cannot be written, most often because the disk is full.
    pub async fn commit(&self, batch: WriteBatch) -> Result<(), StorageError> {
        if batch.is_empty() {
            return Ok(());
        }
        match &self.inner.log {
            None => write_lock(&self.inner.index).apply(batch.ops),
            Some(log) => log.write(batch).await.map_err(|Closed| StorageError::Closed)??,
        }
        self.inner.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// How many batches were committed since the store was opened.
    pub fn commits(&self) -> u64 {
        self.inner.commits.load(Ordering::Relaxed)
    }

    /// Finishes what is queued, syncs and releases the folder. Reads still work, commits
    /// are refused. Dropping the last handle does the same.
    pub async fn close(&self) {
        let this = self.clone();
        // Waiting for the thread is blocking work.
        let _ = tokio::task::spawn_blocking(move || {
            if let Some(log) = &this.inner.log {
                log.stop();
            }
        })
        .await;
    }

    fn read<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.inner.index.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The index is replaced entry by entry and holds no broken state when a thread panics.
fn write_lock(index: &RwLock<Index>) -> std::sync::RwLockWriteGuard<'_, Index> {
    index.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
