//! The keeper: the long-running part of a lab. It unseals Vault, delivers secret_ids before the ones
//! in the files end, starts services again that died, and rotates on schedule.
//!
//! One keeper per lab, by a lock it holds for as long as it runs. It remembers nothing it could not
//! find out again: a new keeper asks Vault and reads the files.

mod access;
mod clock;
mod delivery;
mod error;
mod failure;
mod notice;
mod rotation;
mod services;
mod static_role;
mod stop;
mod vault;
mod wrapped;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, RwLock, watch};

pub use error::KeeperError;
pub use stop::{request_stop, stop, stop_lost};

use crate::database::Target;
use crate::provision::{DatabaseTarget, ProvisionError};
use crate::report::{KeeperEvent, Report};
use crate::runtime::{Runtime, ServiceState};
use crate::spec::LabSpec;
use crate::spec::model::DatabaseSpec;
use crate::state::{Accounts, FileLock, KeeperRecord, LabDir, StateError};
use vault::VaultState;

/// How the holder of a keeper's lock is called when it is a process of its own.
pub const SUPERVISE: &str = "vaultlab supervise";

/// How long a keeper that ends takes for what it has begun.
const LAST_WORK: Duration = Duration::from_secs(3);

/// How long changes of its record are gathered before they are written.
const SAVE_INTERVAL: Duration = Duration::from_millis(500);

/// Keeps one lab.
pub struct Keeper {
    shared: Shared,
    lock: FileLock,
}

/// What the keeper's parts work with.
struct Shared {
    spec: Arc<LabSpec>,
    dir: LabDir,
    runtime: Arc<dyn Runtime>,
    report: Report,
    record: Mutex<KeeperRecord>,
    unsaved: Notify,
    vault: watch::Sender<VaultState>,
    /// Vault is to be looked at now, not only after the usual pause.
    look_at_vault: Notify,
    /// Vault refused something: its token may have ended.
    doubt_token: AtomicBool,
    look_at_services: Notify,
    /// One of them cannot wait for its time.
    look_at_rotations: Notify,
    /// By AppRole, as in the lab file.
    files: Vec<clock::Watched>,
    /// Read by what must not be cut off half-way while there is time.
    work: RwLock<()>,
}

impl Keeper {
    /// A keeper for a lab. `holder` is how its lock calls it; a lock that came with standard input is
    /// used.
    ///
    /// # Errors
    /// [`KeeperError::Kept`] when the lab has a keeper.
    pub async fn new(
        spec: Arc<LabSpec>,
        dir: &LabDir,
        runtime: Arc<dyn Runtime>,
        report: Report,
        holder: &str,
    ) -> Result<Self, KeeperError> {
        let mut lock = match FileLock::inherited(&dir.keeper_lock())? {
            Some(lock) => lock,
            None => stop::take_lock(dir).await?,
        };
        lock.sign(holder, std::process::id())?;
        stop::forget_request(dir)?;
        let record = KeeperRecord::begun(dir, digest(&spec), std::process::id());
        let files = spec.approles.iter().map(|approle| {
            let (role_id, secret_id) = approle.deliver.paths(&approle.name, dir.path());
            clock::Watched::new(role_id, secret_id)
        });
        let files = files.collect();
        let shared = Shared {
            spec,
            dir: dir.clone(),
            runtime,
            report,
            record: Mutex::new(record),
            unsaved: Notify::new(),
            vault: watch::Sender::new(VaultState::Lost),
            look_at_vault: Notify::new(),
            doubt_token: AtomicBool::new(false),
            look_at_services: Notify::new(),
            look_at_rotations: Notify::new(),
            files,
            work: RwLock::new(()),
        };
        Ok(Self { shared, lock })
    }

    /// Keeps the lab until `interrupt` comes, until `down` asks it to end, or until the lab is gone.
    /// What failed is tried again and told; none of it ends the keeper.
    pub async fn run(self, interrupt: impl Future<Output = ()>) -> Result<(), KeeperError> {
        let Self { shared, lock } = self;
        let shared = &shared;
        shared.report.keeper(KeeperEvent::Began { pid: std::process::id() });
        shared.save()?;
        let reason = {
            let deliveries = shared.spec.approles.iter().zip(&shared.files);
            let deliveries = deliveries.map(|(spec, files)| async move {
                match spec.deliver.wrap_ttl {
                    Some(ttl) => wrapped::keep(shared, spec, files, ttl).await,
                    None => delivery::keep(shared, spec, files).await,
                }
            });
            let rotations = shared.spec.databases.iter().map(|spec| rotation::keep(shared, spec));
            let access = shared.spec.databases.iter().map(|spec| access::keep(shared, spec));
            let static_roles = shared.spec.static_roles();
            let static_roles = static_roles.map(|(spec, role)| static_role::keep(shared, spec, role));
            let work = async {
                tokio::join!(
                    vault::watch(shared),
                    vault::renew(shared),
                    services::watch(shared),
                    join_all(deliveries),
                    join_all(rotations),
                    join_all(access),
                    join_all(static_roles),
                    shared.save_changes(&lock),
                )
            };
            let mut work = std::pin::pin!(work);
            let reason = tokio::select! {
                _ = &mut work => "its work ended".to_owned(),
                reason = clock::until_told(shared, &lock) => reason,
                () = interrupt => "it was told to".to_owned(),
            };
            tokio::select! {
                _ = &mut work => {}
                _ = shared.work.write() => {}
                () = tokio::time::sleep(LAST_WORK) => {}
            }
            reason
        };
        shared.report.keeper(KeeperEvent::Ended { reason });
        if lock.is_in_place() {
            shared.record().pid = None;
            shared.save()?;
        }
        Ok(())
    }
}

impl Shared {
    /// A database of the lab, with the accounts as they are on disk now.
    async fn target<'a>(&self, spec: &'a DatabaseSpec) -> Result<DatabaseTarget<'a>, ProvisionError> {
        let not_there = |cause: String| ProvisionError::not_proven(format!("database {}", spec.name), cause);
        let endpoint = match self.runtime.state(&spec.name).await {
            Ok(ServiceState::Running { endpoint, .. }) => endpoint,
            Ok(_) => return Err(not_there("it does not run".into())),
            Err(error) => return Err(not_there(error.to_string())),
        };
        let accounts = Accounts::load(&self.dir)?.databases.remove(&spec.name);
        let accounts = accounts.ok_or_else(|| not_there("the lab knows no accounts of it".into()))?;
        let from_host = Target { engine: spec.engine, endpoint, database: spec.database.clone() };
        Ok(DatabaseTarget { spec, from_host, accounts })
    }

    fn record(&self) -> MutexGuard<'_, KeeperRecord> {
        self.unsaved.notify_one();
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self) -> Result<(), StateError> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner).clone();
        record.save(&self.dir)
    }

    async fn save_changes(&self, lock: &FileLock) {
        loop {
            self.unsaved.notified().await;
            tokio::time::sleep(SAVE_INTERVAL).await;
            // A folder that is gone is not made again. A full disk only keeps `status` from being right.
            if lock.is_in_place() && self.save().is_err() {
                self.unsaved.notify_one();
            }
        }
    }
}

/// The digest of a lab by which a keeper is known to keep it as it is described now.
pub fn digest(spec: &LabSpec) -> String {
    // Where policies and SQL were read from is told differently by different commands, and no matter.
    let databases: Vec<_> = spec
        .databases
        .iter()
        .map(|d| {
            let first = d.roles.first().map(|role| &role.name);
            let fixed: Vec<_> = d.static_roles.iter().map(|role| (&role.name, &role.username)).collect();
            (&d.name, d.engine, &d.image, d.port, &d.mount, d.root_rotation, first, fixed, &d.database)
        })
        .collect();
    let kept = (env!("CARGO_PKG_VERSION"), &spec.name, &spec.vault, &spec.approles, databases);
    let digest = Sha256::digest(format!("{kept:?}").as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
