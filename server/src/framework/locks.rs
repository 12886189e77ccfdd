//! Locks by key, for read–change–write on one thing among many.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard};

/// Number of locks; different keys rarely share one.
const SHARDS: usize = 64;

/// A fixed number of locks shared by any number of keys. Holding two at a time can deadlock.
#[derive(Debug)]
pub struct KeyLocks {
    shards: [Arc<Mutex<()>>; SHARDS],
    hasher: RandomState,
}

impl Default for KeyLocks {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Arc::default()), hasher: RandomState::new() }
    }
}

impl KeyLocks {
    /// Waits until nobody else holds this key.
    pub async fn lock(&self, key: &str) -> MutexGuard<'_, ()> {
        self.shard(key).lock().await
    }

    /// The same, to be held beyond the life of a borrow.
    pub async fn lock_owned(&self, key: &str) -> OwnedMutexGuard<()> {
        Arc::clone(self.shard(key)).lock_owned().await
    }

    fn shard(&self, key: &str) -> &Arc<Mutex<()>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn one_at_a_time_per_key() {
        let (locks, inside) = (Arc::new(KeyLocks::default()), Arc::new(AtomicU32::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..64 {
            let (locks, inside) = (Arc::clone(&locks), Arc::clone(&inside));
            tasks.spawn(async move {
                let _held = locks.lock("a").await;
                let others = inside.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                others
            });
        }
        assert!(tasks.join_all().await.into_iter().all(|others| others == 0));
    }
}
