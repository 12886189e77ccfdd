//! Compaction: the live entries are written to a new file while commits go on in the old
//! one; what was committed meanwhile is then copied over and the new file renamed into
//! place. Readers never wait, writers only for that copy.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::JoinHandle;

use super::format::{Frame, HEADER_LEN};
use super::index::Index;
use super::log::{self, Log};
use super::{StorageError, SyncPolicy, WriteBatch};
use crate::group_commit::Waker;

/// Below this much garbage a compaction is not worth it.
const MINIMUM_GARBAGE: u64 = 1 << 20;
/// Entries are written in frames of about this size.
const FRAME_TARGET: usize = 1 << 20;

/// Whether garbage outweighs live data.
pub(super) fn is_due(log_len: u64, live_bytes: u64) -> bool {
    let garbage = log_len.saturating_sub(live_bytes);
    garbage > live_bytes.max(MINIMUM_GARBAGE)
}

/// The new file and its length.
type Snapshot = (File, u64);

/// A compaction under way.
pub(super) struct Compaction {
    outcome: Receiver<Result<Snapshot, StorageError>>,
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    /// The old log's length when the snapshot was taken.
    from: u64,
}

impl Compaction {
    /// Starts writing a snapshot of `index`, which must be what `log` describes. `None`
    /// when the thread cannot be started; a later call will try again.
    pub(super) fn start(log: &Log, index: &Index, waker: Waker<WriteBatch, StorageError>) -> Option<Self> {
        let entries = index.snapshot();
        let dir = log.dir().to_owned();
        let path = log.path().to_owned();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let (done, outcome) = channel();
        let thread = std::thread::Builder::new()
            .name("vault-compact".to_owned())
            .spawn(move || {
                let written = log::create_temporary(&dir).and_then(|file| {
                    write_snapshot(&file, &entries, &stopping)
                        .map(|len| (file, len))
                        .map_err(|cause| StorageError::write(&path, cause))
                });
                // The outcome is there before the writer is woken to look for it.
                let _ = done.send(written);
                waker.wake();
            })
            .inspect_err(|error| tracing::warn!(%error, "cannot start a compaction"))
            .ok()?;
        Some(Self { outcome, thread, stop, from: log.len() })
    }

    /// The snapshot, once it is written; to be passed to [`Compaction::finish`].
    pub(super) fn poll(&self) -> Option<Result<Snapshot, StorageError>> {
        match self.outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            // It panicked, which the panic hook has reported; here it is a failed compaction.
            Err(TryRecvError::Disconnected) => Some(Err(StorageError::Closed)),
        }
    }

    /// Adds to the snapshot what was committed since the start and replaces the log.
    pub(super) fn finish(
        self,
        snapshot: Result<Snapshot, StorageError>,
        log: &mut Log,
    ) -> Result<(), StorageError> {
        let before = log.len();
        let outcome = snapshot.and_then(|(file, len)| {
            let tail = log.tail(self.from)?;
            file.write_all_at(&tail, len)
                .and_then(|()| match log.sync {
                    SyncPolicy::Never => Ok(()),
                    // Durable batches may be among what was copied.
                    SyncPolicy::Always | SyncPolicy::Critical => file.sync_data(),
                })
                .map_err(|cause| StorageError::write(log.path(), cause))?;
            log.replace_with(file, len + tail.len() as u64)
        });
        match &outcome {
            Ok(()) => tracing::debug!(before, after = log.len(), "compacted the store"),
            Err(_) => log::remove_temporary(log.dir()),
        }
        outcome
    }

    /// Stops early; the old log stays as it is.
    pub(super) fn abandon(self, log: &Log) {
        self.stop.store(true, Ordering::Relaxed);
        // Its outcome no longer matters, only that it writes no more.
        let _ = self.thread.join();
        log::remove_temporary(log.dir());
    }
}

/// Writes and syncs all entries; the length of the file afterwards.
fn write_snapshot(file: &File, entries: &[(Arc<str>, Arc<[u8]>)], stop: &AtomicBool) -> std::io::Result<u64> {
    let mut end = HEADER_LEN as u64;
    let mut frame = Frame::new();
    for (key, value) in entries {
        frame.put(key, value);
        if frame.body_len() >= FRAME_TARGET {
            end = append(file, end, std::mem::replace(&mut frame, Frame::new()))?;
            if stop.load(Ordering::Relaxed) {
                return Err(std::io::Error::other("stopped"));
            }
        }
    }
    if frame.body_len() > 0 {
        end = append(file, end, frame)?;
    }
    file.sync_all()?;
    Ok(end)
}

fn append(file: &File, end: u64, frame: Frame) -> std::io::Result<u64> {
    let bytes = frame.finish();
    file.write_all_at(&bytes, end)?;
    Ok(end + bytes.len() as u64)
}
