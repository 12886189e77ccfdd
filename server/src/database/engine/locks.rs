//! Locks by name. They are held while a database works, but only by what changes the named thing itself:
//! issuing, renewing and revoking credentials never waits for one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// A lock for each name.
#[derive(Default)]
pub struct Locks(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Locks {
    /// Waits for the lock of `name`.
    pub async fn lock(&self, name: &str) -> OwnedMutexGuard<()> {
        self.of(name).lock_owned().await
    }

    fn of(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Names nobody uses any more go.
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(name.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::Locks;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn one_name_waits_and_others_do_not() {
        let locks = Locks::default();
        let held = locks.lock("a").await;
        assert!(timeout(Duration::from_millis(20), locks.lock("a")).await.is_err());
        drop(locks.lock("b").await);
        drop(held);
        drop(locks.lock("a").await);
    }
}
