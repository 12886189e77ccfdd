//! Mounting, unmounting, moving; the periodic tick of backends.

use std::sync::Arc;
use std::time::Duration;

use super::active::Active;
use super::mounts::{self, MountEntry, Table};
use super::registry::Registry;
use super::router::Engine;
use crate::logical::Error;

/// How often backends do their periodic work.
const TICK: Duration = Duration::from_secs(5);

/// Paths no mount may have or lose.
const PROTECTED: [&str; 4] = ["sys/", "cubbyhole/", "identity/", "auth/token/"];

impl Active {
    /// Mounts a backend.
    ///
    /// # Errors
    /// 400 when the path is taken or the type unknown; when storage or the backend fails.
    pub async fn mount(&self, entry: MountEntry, registry: &Registry) -> Result<(), Error> {
        let _mounting = self.mounting.lock().await;
        let path = entry.full_path();
        self.check_new_path(&path)?;
        let table = entry.table;
        let mounted = self.make_mount(&entry, registry)?;
        if let Engine::Backend(backend) = &mounted.engine {
            backend.initialize().await?;
        }
        let mut entries = self.entries();
        entries.push(entry);
        if let Err(error) = mounts::store(&self.storage, table, &entries).await {
            if let Engine::Backend(backend) = &mounted.engine {
                backend.unload().await;
            }
            return Err(error);
        }
        self.router.insert(path, Arc::new(mounted));
        Ok(())
    }

    fn check_new_path(&self, path: &str) -> Result<(), Error> {
        let reserved = ["sys/", "cubbyhole/", "identity/", "audit/"];
        if reserved.iter().any(|prefix| path.starts_with(prefix)) || path == "auth/" {
            return Err(Error::bad_request(format!("cannot mount {path:?}")));
        }
        match self.router.conflict(path) {
            Some(taken) => {
                let taken = taken.strip_prefix("auth/").unwrap_or(&taken);
                Err(Error::bad_request(format!("path is already in use at {taken}")))
            }
            None => Ok(()),
        }
    }

    /// Unmounts a backend: revokes its leases (and the tokens it issued), then removes its storage.
    /// Nothing mounted there is fine.
    ///
    /// # Errors
    /// 400 for a protected path; when a lease cannot be revoked: the mount then stays, refusing
    /// requests, until this is tried again.
    pub async fn unmount(&self, path: &str) -> Result<(), Error> {
        if path == "auth/token/" {
            return Err(Error::bad_request("token credential backend cannot be disabled"));
        }
        if PROTECTED.contains(&path) {
            return Err(Error::bad_request(format!("cannot unmount {path:?}")));
        }
        let _mounting = self.mounting.lock().await;
        let Some(mounted) = self.router.snapshot().get(path).cloned() else {
            return Ok(());
        };
        mounted.taint();
        self.revoke_prefix(path, false).await?;
        if let Engine::Backend(backend) = &mounted.engine {
            backend.unload().await;
        }
        let table = mounted.entry().table;
        let mut entries = self.entries();
        entries.retain(|entry| entry.full_path() != path);
        mounts::store(&self.storage, table, &entries).await?;
        self.router.remove(path);
        mounted.view.clear().await?;
        Ok(())
    }

    /// Moves a mount. Its leases are revoked, as in Vault.
    ///
    /// # Errors
    /// 400 when there is nothing at `from`, or `to` is taken or in another table.
    pub async fn remount(&self, from: &str, to: &str, registry: &Registry) -> Result<(), Error> {
        if PROTECTED.contains(&from) {
            return Err(Error::bad_request(format!("cannot remount {from:?}")));
        }
        if PROTECTED.contains(&to) || (to.starts_with("auth/") && !from.starts_with("auth/")) {
            return Err(Error::bad_request(format!("cannot remount to destination {to}")));
        }
        let (from_auth, to_auth) = (from.starts_with("auth/"), to.starts_with("auth/"));
        if from_auth != to_auth {
            return Err(Error::bad_request(format!(
                "cannot remount {from:?} to {to:?}: different kinds of mounts"
            )));
        }
        let _mounting = self.mounting.lock().await;
        let mounted = self
            .router
            .snapshot()
            .get(from)
            .cloned()
            .ok_or_else(|| Error::bad_request(format!("no matching mount at {from:?}")))?;
        if let Some(taken) = self.router.conflict(to) {
            return Err(Error::bad_request(format!("path already in use at {taken:?}")));
        }
        self.check_new_path(to)?;
        mounted.taint();
        self.revoke_prefix(from, false).await?;
        if let Engine::Backend(backend) = &mounted.engine {
            backend.unload().await;
        }
        let mut entry = MountEntry::clone(&mounted.entry());
        let table = entry.table;
        entry.path = to.strip_prefix(table.prefix()).unwrap_or(to).to_owned();
        let moved = self.make_mount(&entry, registry)?;
        if let Engine::Backend(backend) = &moved.engine {
            backend.initialize().await?;
        }
        let mut entries = self.entries();
        entries.retain(|other| other.uuid != entry.uuid);
        entries.push(entry);
        mounts::store(&self.storage, table, &entries).await?;
        self.router.insert(to.to_owned(), Arc::new(moved));
        self.router.remove(from);
        Ok(())
    }

    /// Changes the tuning of a mount.
    ///
    /// # Errors
    /// 400 when nothing is mounted there; the change's own; when storage fails.
    pub async fn tune(
        &self,
        path: &str,
        registry: &Registry,
        change: impl FnOnce(&mut MountEntry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let _mounting = self.mounting.lock().await;
        let mounted = self.router.snapshot().get(path).cloned().ok_or_else(|| {
            Error::bad_request(format!("tune of path {path:?} failed: no mount entry found"))
        })?;
        let before = mounted.entry();
        let mut entry = MountEntry::clone(&before);
        change(&mut entry)?;
        // Options decide which backend serves the mount, such as the version of kv.
        let remade =
            if entry.options == before.options { None } else { Some(self.make_mount(&entry, registry)?) };
        let mut entries = self.entries();
        entries.retain(|other| other.uuid != entry.uuid);
        entries.push(entry.clone());
        mounts::store(&self.storage, entry.table, &entries).await?;
        let Some(remade) = remade else {
            mounted.set_entry(entry);
            return Ok(());
        };
        mounted.taint();
        if let Engine::Backend(backend) = &mounted.engine {
            backend.unload().await;
        }
        let initialised = match &remade.engine {
            Engine::Backend(backend) => backend.initialize().await,
            _ => Ok(()),
        };
        self.router.insert(path.to_owned(), Arc::new(remade));
        initialised
    }
}

impl Table {
    /// Checks that a type may be mounted by users.
    ///
    /// # Errors
    /// 400 for the types of the core itself.
    pub fn check_kind(self, kind: &str) -> Result<(), Error> {
        match kind {
            "token" if self == Self::Auth => {
                Err(Error::bad_request("token credential backend cannot be instantiated"))
            }
            "system" | "identity" | "cubbyhole" | "token" => {
                Err(Error::bad_request(format!("mount type of {kind:?} is not mountable")))
            }
            _ => Ok(()),
        }
    }
}

/// Starts the periodic work of backends; it ends when the server is sealed.
pub fn start_ticking(active: &Arc<Active>) {
    let active = Arc::clone(active);
    let mut closing = active.closing.subscribe();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                _ = closing.wait_for(|closing| *closing) => return,
            }
            for mounted in active.router.snapshot().values() {
                if let Engine::Backend(backend) = &mounted.engine {
                    // Each in its own task: one that hangs on its database holds nobody else up.
                    let backend = Arc::clone(backend);
                    if mounted.start_tick() {
                        let mounted = Arc::clone(mounted);
                        tokio::spawn(async move {
                            backend.tick().await;
                            mounted.end_tick();
                        });
                    }
                }
            }
        }
    });
}
