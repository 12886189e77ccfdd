//! Open plugins by connection name, and their repair when the stored password stops working.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use super::Engine;
use crate::database::PluginError;
use crate::database::plugin::Plugin;
use crate::logical::Error;

/// Open plugins. The lock is held for look-ups only.
#[derive(Default)]
pub struct Instances(Mutex<HashMap<String, Arc<dyn Plugin>>>);

impl Instances {
    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<dyn Plugin>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, name: &str) -> Option<Arc<dyn Plugin>> {
        self.map().get(name).cloned()
    }

    /// Keeps a plugin unless there is one already, and returns the one that is kept.
    fn get_or_put(&self, name: &str, plugin: Arc<dyn Plugin>) -> Arc<dyn Plugin> {
        Arc::clone(self.map().entry(name.to_owned()).or_insert(plugin))
    }

    /// Puts a plugin in place of the one there, which ends once its operations have.
    pub fn put(&self, name: &str, plugin: Arc<dyn Plugin>) {
        let old = self.map().insert(name.to_owned(), plugin);
        if let Some(old) = old {
            old.close();
        }
    }

    /// Closes and forgets a plugin.
    pub fn remove(&self, name: &str) {
        let old = self.map().remove(name);
        if let Some(old) = old {
            old.close();
        }
    }

    /// Closes and forgets all.
    pub fn close_all(&self) {
        let all = std::mem::take(&mut *self.map());
        for plugin in all.into_values() {
            plugin.close();
        }
    }
}

/// Rotations one operation sits through: each gives it a new password to try.
const MAX_ROTATIONS: usize = 10;

/// An operation on a plugin.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, PluginError>> + Send + 'a>>;

impl Engine {
    /// The plugin of a connection, opened when it is not yet.
    pub fn plugin(&self, name: &str) -> Result<Arc<dyn Plugin>, Error> {
        if let Some(plugin) = self.instances.get(name) {
            return Ok(plugin);
        }
        let opened = self.connection(name)?.open()?;
        Ok(self.instances.get_or_put(name, opened))
    }

    /// Runs `work` on a connection's plugin. When the database refuses the stored password, which it does
    /// before anything was executed, a rotation in progress is waited for or an interrupted one resolved, and
    /// `work` runs again with the password that came of it.
    pub async fn with_plugin<'a, T>(
        &'a self,
        name: &str,
        work: impl Fn(Arc<dyn Plugin>) -> Work<'a, T>,
    ) -> Result<T, Error> {
        let mut plugin = self.plugin(name)?;
        for _ in 0..MAX_ROTATIONS {
            let refused = match work(Arc::clone(&plugin)).await {
                Err(error) if error.is_authentication() => error,
                result => return Ok(result?),
            };
            let _lock = self.connection_locks.lock(name).await;
            let mut current = self.plugin(name)?;
            if Arc::ptr_eq(&current, &plugin) {
                if let Err(error) = self.recover_root(name).await {
                    tracing::warn!(connection = name, %error, "cannot resolve an interrupted rotation yet");
                }
                current = self.plugin(name)?;
                if Arc::ptr_eq(&current, &plugin) {
                    return Err(refused.into());
                }
            }
            plugin = current;
        }
        Ok(work(plugin).await?)
    }
}
