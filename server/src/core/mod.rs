//! The core: sealed or not, what is mounted, and the way of a request through it.

pub mod active;
pub mod ceremony;
pub mod flow;
pub mod groups;
pub mod identity;
pub mod lifecycle;
pub mod login;
pub mod mounting;
pub mod mounts;
pub mod policies;
pub mod raft;
pub mod registry;
mod rekey;
pub mod router;
pub mod settings;
pub mod status;
pub mod system;
pub mod unseal;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use active::Active;
use ceremony::Ceremonies;
use registry::Registry;
use settings::Settings;
use unseal::Progress;

use crate::barrier::Barrier;

/// One server's core. It lives as long as the server; what exists only while unsealed is in
/// [`Active`].
pub struct Core {
    /// What the server was started with.
    pub settings: Arc<Settings>,
    /// The encrypted storage.
    pub barrier: Barrier,
    /// Backends that can be mounted.
    pub registry: Registry,
    active: RwLock<Option<Arc<Active>>>,
    progress: Mutex<Progress>,
    ceremonies: Mutex<Ceremonies>,
    /// Held while the server is initialised, unsealed or sealed.
    transition: tokio::sync::Mutex<()>,
}

impl Core {
    /// A sealed core over a barrier.
    pub fn new(settings: Settings, barrier: Barrier, registry: Registry) -> Arc<Self> {
        Arc::new(Self {
            settings: Arc::new(settings),
            barrier,
            registry,
            active: RwLock::new(None),
            progress: Mutex::default(),
            ceremonies: Mutex::default(),
            transition: tokio::sync::Mutex::new(()),
        })
    }

    /// What exists while unsealed; none while sealed.
    pub fn active(&self) -> Option<Arc<Active>> {
        self.active.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_active(&self, active: Option<Arc<Active>>) -> Option<Arc<Active>> {
        let mut current = self.active.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, active)
    }

    fn ceremonies(&self) -> std::sync::MutexGuard<'_, Ceremonies> {
        self.ceremonies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
