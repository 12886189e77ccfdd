//! The thread that owns the log: writes groups of batches and compacts.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use super::compact::{self, Compaction};
use super::format::{self, Frame, MAX_BODY};
use super::index::Index;
use super::log::Log;
use super::{StorageError, WriteBatch, write_lock};
use crate::group_commit::{Sink, Waker};

/// Pause after a failed compaction, most often for want of room.
const RETRY_COMPACTION: Duration = Duration::from_secs(30);

/// A batch of at most so many bytes is copied to the system's memory in less time than it takes to wake
/// the thread for it.
const AT_ONCE: usize = 64 << 10;

pub(super) struct Writer {
    log: Log,
    index: Arc<RwLock<Index>>,
    waker: Waker<WriteBatch, StorageError>,
    compaction: Option<Compaction>,
    /// After a compaction failed: when another may be tried.
    not_before: Option<Instant>,
}

impl Writer {
    pub(super) fn new(log: Log, index: Arc<RwLock<Index>>, waker: Waker<WriteBatch, StorageError>) -> Self {
        Self { log, index, waker, compaction: None, not_before: None }
    }

    /// Writes batches as one frame and, when that worked, shows them to readers.
    fn commit(&mut self, batches: &mut Vec<WriteBatch>) -> Result<(), StorageError> {
        let mut frame = Frame::new();
        let mut durable = false;
        for batch in batches.iter() {
            durable |= batch.durable;
            for op in &batch.ops {
                frame.push(op);
            }
        }
        if frame.body_len() > MAX_BODY {
            return Err(StorageError::TooLarge { bytes: frame.body_len(), limit: MAX_BODY });
        }
        self.log.append(&frame.finish(), durable)?;
        let mut index = write_lock(&self.index);
        for batch in batches.drain(..) {
            index.apply(batch.ops);
        }
        Ok(())
    }

    fn compact_if_due(&mut self) {
        if let Some(snapshot) = self.compaction.as_ref().and_then(Compaction::poll)
            && let Some(running) = self.compaction.take()
            && let Err(error) = running.finish(snapshot, &mut self.log)
        {
            tracing::warn!(%error, "the store could not be compacted; it goes on growing");
            self.not_before = Some(Instant::now() + RETRY_COMPACTION);
        }
        if self.is_compaction_due() {
            let index = self.index.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            self.compaction = Compaction::start(&self.log, &index, self.waker.clone());
        }
    }

    fn is_compaction_due(&self) -> bool {
        let may_start = || self.not_before.is_none_or(|time| Instant::now() >= time);
        let live = || self.index.read().unwrap_or_else(std::sync::PoisonError::into_inner).live_bytes();
        self.compaction.is_none() && compact::is_due(self.log.len(), live()) && may_start()
    }
}

impl Sink for Writer {
    type Item = WriteBatch;
    type Error = StorageError;

    const GROUP_LIMIT: usize = 1 << 20;

    fn weight(batch: &WriteBatch) -> usize {
        batch.ops.iter().map(format::op_size).sum()
    }

    fn write(&mut self, mut batches: Vec<WriteBatch>) -> Vec<Result<(), StorageError>> {
        let count = batches.len();
        let outcomes = match count {
            0 => Vec::new(),
            1 => vec![self.commit(&mut batches)],
            _ => match self.commit(&mut batches) {
                Ok(()) => (0..count).map(|_| Ok(())).collect(),
                // What does not fit together may fit one by one: a large batch on a full
                // disk must not fail the small ones it happened to be grouped with.
                Err(_) => batches.into_iter().map(|batch| self.commit(&mut vec![batch])).collect(),
            },
        };
        self.compact_if_due();
        outcomes
    }

    fn write_here(&mut self, batch: WriteBatch) -> Result<Result<(), StorageError>, WriteBatch> {
        if self.log.waits_for(batch.durable) || Self::weight(&batch) > AT_ONCE {
            return Err(batch);
        }
        let outcome = self.commit(&mut vec![batch]);
        if self.is_compaction_due() {
            self.waker.wake();
        }
        Ok(outcome)
    }

    fn close(&mut self) {
        if let Some(running) = self.compaction.take() {
            running.abandon(&self.log);
        }
        if self.log.sync != super::SyncPolicy::Never
            && let Err(error) = self.log.flush()
        {
            tracing::warn!(%error, "the store was closed without a last sync");
        }
    }
}
