//! A small connection pool. Connections are opened by the caller that needs one, outside any lock; the lock
//! around the idle list is held for a push or a pop only.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::settings::Limits;
use crate::database::PluginError;

/// How long a caller waits for one of the pool's connections to become free.
const WAIT_FOR_SLOT: Duration = Duration::from_secs(30);
/// How long opening a connection may take, over all hosts of the address.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// Opens connections of one database.
#[async_trait]
pub trait Connect: Send + Sync + 'static {
    /// An open connection; dropping it closes it.
    type Connection: Send + 'static;

    /// Opens and authenticates a connection.
    async fn connect(&self) -> Result<Self::Connection, PluginError>;

    /// Whether the connection is known to be unusable.
    fn is_broken(connection: &Self::Connection) -> bool;
}

/// Connections of one database.
pub struct Pool<C: Connect> {
    connector: C,
    limits: Limits,
    slots: Semaphore,
    /// `None` once the pool was closed.
    idle: Mutex<Option<Vec<Idle<C::Connection>>>>,
}

struct Idle<T> {
    connection: T,
    opened: Instant,
}

/// A connection taken out of its pool. Dropping it closes the connection, so that an operation that was given
/// up half-way leaves none in an unknown state; [`Taken::put_back`] keeps it.
pub struct Taken<'a, C: Connect> {
    /// The connection.
    pub connection: C::Connection,
    /// Whether it was used before, and so may have died unnoticed.
    pub reused: bool,
    opened: Instant,
    pool: &'a Pool<C>,
    _slot: SemaphorePermit<'a>,
}

impl<C: Connect> Pool<C> {
    /// An empty pool.
    pub fn new(connector: C, limits: Limits) -> Self {
        Self { connector, slots: Semaphore::new(limits.open), limits, idle: Mutex::new(Some(Vec::new())) }
    }

    /// Takes an idle connection, or opens one.
    ///
    /// # Errors
    /// The connector's error, or `PluginError::Timeout` when no slot became free or connecting took too long.
    pub async fn take(&self) -> Result<Taken<'_, C>, PluginError> {
        let slot = self.slot().await?;
        while let Some(idle) = self.pop() {
            if !C::is_broken(&idle.connection) && !self.is_old(idle.opened) {
                return Ok(Taken {
                    connection: idle.connection,
                    reused: true,
                    opened: idle.opened,
                    pool: self,
                    _slot: slot,
                });
            }
        }
        self.open(slot).await
    }

    /// Opens a new connection, whatever is idle.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub async fn take_new(&self) -> Result<Taken<'_, C>, PluginError> {
        let slot = self.slot().await?;
        self.open(slot).await
    }

    /// What opens its connections.
    pub fn connector(&self) -> &C {
        &self.connector
    }

    /// Closes all idle connections and keeps none any more.
    pub fn close(&self) {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(idle);
    }

    async fn slot(&self) -> Result<SemaphorePermit<'_>, PluginError> {
        let operation = "waiting for a free database connection";
        match timeout(WAIT_FOR_SLOT, self.slots.acquire()).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) => Err(PluginError::Lost("the connection pool is closed".to_owned())),
            Err(_) => Err(time_is_up(operation, WAIT_FOR_SLOT)),
        }
    }

    async fn open<'a>(&'a self, slot: SemaphorePermit<'a>) -> Result<Taken<'a, C>, PluginError> {
        let connection = timeout(CONNECT_LIMIT, self.connector.connect())
            .await
            .map_err(|_| time_is_up("connecting to the database", CONNECT_LIMIT))??;
        Ok(Taken { connection, reused: false, opened: Instant::now(), pool: self, _slot: slot })
    }

    fn pop(&self) -> Option<Idle<C::Connection>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.as_mut()?.pop()
    }

    fn is_old(&self, opened: Instant) -> bool {
        self.limits.lifetime.is_some_and(|limit| opened.elapsed() >= limit)
    }
}

impl<C: Connect> Taken<'_, C> {
    /// Returns a healthy connection to its pool.
    pub fn put_back(self) {
        if C::is_broken(&self.connection) || self.pool.is_old(self.opened) {
            return;
        }
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = idle.as_mut()
            && list.len() < self.pool.limits.idle
        {
            list.push(Idle { connection: self.connection, opened: self.opened });
        }
    }
}

/// The error of an operation that took longer than `limit`.
pub fn time_is_up(operation: &'static str, limit: Duration) -> PluginError {
    PluginError::Timeout { operation, seconds: limit.as_secs() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[derive(Default)]
    struct Counter {
        opened: AtomicUsize,
    }

    #[async_trait]
    impl Connect for Counter {
        type Connection = (usize, Arc<AtomicBool>);

        async fn connect(&self) -> Result<Self::Connection, PluginError> {
            let number = self.opened.fetch_add(1, Ordering::SeqCst);
            Ok((number, Arc::new(AtomicBool::new(false))))
        }

        fn is_broken(connection: &Self::Connection) -> bool {
            connection.1.load(Ordering::SeqCst)
        }
    }

    fn pool(open: usize, idle: usize, lifetime: Option<Duration>) -> Pool<Counter> {
        Pool::new(Counter::default(), Limits { open, idle, lifetime })
    }

    #[tokio::test]
    async fn connections_are_reused_and_broken_ones_replaced() {
        let pool = pool(2, 2, None);
        pool.take().await.unwrap().put_back();
        let again = pool.take().await.unwrap();
        assert_eq!((again.connection.0, again.reused), (0, true));
        let broken = Arc::clone(&again.connection.1);
        again.put_back();
        broken.store(true, Ordering::SeqCst);
        let fresh = pool.take().await.unwrap();
        assert_eq!((fresh.connection.0, fresh.reused), (1, false));
        drop(fresh);
        assert_eq!(pool.take().await.unwrap().connection.0, 2, "a dropped one is closed");
    }

    #[tokio::test]
    async fn limits_hold() {
        let pool = pool(2, 1, None);
        let (a, b) = (pool.take().await.unwrap(), pool.take().await.unwrap());
        assert!(timeout(Duration::from_millis(20), pool.take()).await.is_err());
        a.put_back();
        b.put_back();
        let kept = pool.take().await.unwrap();
        assert!(kept.reused);
        assert!(!pool.take().await.unwrap().reused, "only one was kept");
    }

    #[tokio::test]
    async fn old_connections_and_those_of_a_closed_pool_are_not_kept() {
        let aged = pool(1, 1, Some(Duration::ZERO));
        aged.take().await.unwrap().put_back();
        assert!(!aged.take().await.unwrap().reused);
        let closed = pool(1, 1, None);
        let taken = closed.take().await.unwrap();
        closed.close();
        taken.put_back();
        assert!(!closed.take().await.unwrap().reused);
    }
}
