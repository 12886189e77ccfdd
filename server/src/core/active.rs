//! What exists only while the server is unsealed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};

use super::identity::IdentityStore;
use super::mounts::{self, MountEntry, Table};
use super::policies::PolicyStore;
use super::registry::Registry;
use super::router::{Engine, EntryCell, Mounted, Router};
use super::settings::Settings;
use super::system::MountSystem;
use crate::audit::Broker;
use crate::expiration::Index;
use crate::framework::KeyLocks;
use crate::logical::{BackendContext, Error, MountInfo, SpecialPaths, System, View};
use crate::sys::audited_headers::AuditedHeaders;
use crate::sys::cors::Cors;
use crate::token::TokenStore;
use crate::{random, sys};

/// Revocations that run at the same time.
const REVOCATION_WORKERS: usize = 200;

/// Requests under way at most; far more than there can be connections.
const MAX_REQUESTS: u32 = 1 << 20;

/// How long sealing waits for requests under way.
const SEAL_PATIENCE: Duration = Duration::from_secs(10);

/// Name and id of the cluster, made at initialisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// `vault-cluster-` and eight hex digits, unless configured.
    pub name: String,
    /// UUID.
    pub id: String,
}

/// The unsealed server.
pub struct Active {
    /// Settings of the server.
    pub settings: Arc<Settings>,
    /// The whole storage.
    pub storage: View,
    /// The mounts in service.
    pub router: Router,
    /// Policies.
    pub policies: PolicyStore,
    /// Token records.
    pub tokens: TokenStore,
    /// What lives until when.
    index: Mutex<Index>,
    /// Identities.
    pub identity: Arc<IdentityStore>,
    /// Name and id.
    pub cluster: Cluster,
    /// When it was unsealed.
    pub since: Timestamp,
    /// Audit devices.
    pub audit: Broker,
    /// Headers of requests that audit devices record.
    pub(crate) audited_headers: RwLock<Arc<AuditedHeaders>>,
    /// What web pages of other origins may do.
    pub(crate) cors: RwLock<Option<Arc<Cors>>>,
    /// Wakes the expiration task after the schedule changed.
    pub schedule_changed: Notify,
    /// Bounds concurrent revocations.
    pub revocations: Arc<Semaphore>,
    /// One permit per request under way: sealing waits for them.
    requests: Semaphore,
    /// Turns true when the server is being sealed.
    pub closing: watch::Sender<bool>,
    /// Held while mounts change.
    pub mounting: tokio::sync::Mutex<()>,
    /// By token: held while the uses of a limited one are counted down.
    pub counting: KeyLocks,
}

impl Active {
    /// Loads everything from an open barrier. Backends are made but not initialised.
    ///
    /// # Errors
    /// When storage fails, or what is stored cannot be used.
    pub async fn load(
        settings: Arc<Settings>,
        storage: View,
        registry: &Registry,
    ) -> Result<Arc<Self>, Error> {
        let cluster = load_cluster(&settings, &storage).await?;
        let active = Arc::new(Self {
            router: Router::default(),
            policies: PolicyStore::open(&storage).await?,
            tokens: TokenStore::open(&storage).await?,
            index: Mutex::default(),
            identity: Arc::new(IdentityStore::new(&storage)),
            cluster,
            since: Timestamp::now(),
            audit: Broker::new(),
            audited_headers: RwLock::new(AuditedHeaders::load(&storage)?),
            cors: RwLock::new(Cors::load(&storage)?),
            schedule_changed: Notify::new(),
            revocations: Arc::new(Semaphore::new(REVOCATION_WORKERS)),
            requests: Semaphore::new(MAX_REQUESTS as usize),
            closing: watch::Sender::new(false),
            mounting: tokio::sync::Mutex::new(()),
            counting: KeyLocks::default(),
            settings,
            storage,
        });
        let mut entries = mounts::load(&active.storage)?;
        if entries.is_empty() {
            entries = mounts::initial();
            for table in [Table::Secret, Table::Auth] {
                mounts::store(&active.storage, table, &entries).await?;
            }
        }
        for entry in entries {
            let path = entry.full_path();
            match active.make_mount(&entry, registry) {
                Ok(mounted) => active.router.insert(path, Arc::new(mounted)),
                Err(error) => {
                    tracing::error!(path, %error, "a mount cannot be served");
                    active.router.insert(path, Arc::new(active.unavailable(entry)));
                }
            }
        }
        active.restore()?;
        sys::audit::restore(&active).await?;
        Ok(active)
    }

    /// Makes a mount with its backend, not yet in service.
    ///
    /// # Errors
    /// When the type is unknown or the backend cannot be made.
    pub fn make_mount(&self, entry: &MountEntry, registry: &Registry) -> Result<Mounted, Error> {
        let view = self.storage.sub(&entry.storage_prefix());
        let cell = Arc::new(EntryCell::new(entry.clone()));
        let (engine, special) = match entry.kind.as_str() {
            "system" => (Engine::System, sys::special_paths()),
            "token" => (Engine::Token, crate::token::special_paths()),
            "identity" => (Engine::Identity, SpecialPaths::default()),
            kind => {
                let factory = registry
                    .factory(entry.table, kind)
                    .ok_or_else(|| Error::bad_request(format!("plugin not found in the catalog: {kind}")))?;
                let backend = factory(self.context(&cell, entry, view.clone()))?;
                let special = backend.special_paths();
                (Engine::Backend(backend), special)
            }
        };
        Ok(Mounted::new(cell, engine, special, view))
    }

    /// A mount whose backend cannot be made: it keeps its place and its data.
    fn unavailable(&self, entry: MountEntry) -> Mounted {
        let view = self.storage.sub(&entry.storage_prefix());
        Mounted::new(Arc::new(EntryCell::new(entry)), Engine::Unavailable, SpecialPaths::default(), view)
    }

    fn context(&self, cell: &Arc<EntryCell>, entry: &MountEntry, storage: View) -> BackendContext {
        let system = MountSystem {
            cell: Arc::clone(cell),
            settings: Arc::clone(&self.settings),
            identity: Arc::clone(&self.identity),
            storage: self.storage.clone(),
        };
        BackendContext {
            storage,
            system: Arc::new(system) as Arc<dyn System>,
            mount: MountInfo {
                path: entry.full_path(),
                kind: entry.kind.clone(),
                accessor: entry.accessor.clone(),
                uuid: entry.uuid.clone(),
                options: entry.options.clone(),
            },
        }
    }

    /// The index of tokens and leases. Never held across a wait.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a request as under way until the permit is dropped; none once the server is being sealed.
    pub fn enter(&self) -> Option<SemaphorePermit<'_>> {
        self.requests.try_acquire().ok()
    }

    /// Refuses new requests and waits a while for those under way, except `own` of the caller's.
    pub async fn drain(&self, own: u32) {
        let all = self.requests.acquire_many(MAX_REQUESTS - own);
        if tokio::time::timeout(SEAL_PATIENCE, all).await.is_err() {
            tracing::warn!("sealing although requests are still under way");
        }
        self.requests.close();
    }

    /// All mount entries.
    pub fn entries(&self) -> Vec<MountEntry> {
        let mounts = self.router.snapshot();
        mounts.values().map(|mounted| MountEntry::clone(&mounted.entry())).collect()
    }
}

async fn load_cluster(settings: &Settings, storage: &View) -> Result<Cluster, Error> {
    const KEY: &str = "core/cluster/local/info";
    if let Some(cluster) = storage.get_json(KEY)? {
        return Ok(cluster);
    }
    let name = match settings.cluster_name.as_str() {
        "" => format!("vault-cluster-{:08x}", u32::from_be_bytes(random::bytes())),
        name => name.to_owned(),
    };
    let cluster = Cluster { name, id: random::uuid() };
    storage.put_json(KEY, &cluster).await?;
    Ok(cluster)
}
