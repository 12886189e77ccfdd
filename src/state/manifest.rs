//! What runs for a lab.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LabDir, StateError, Visibility, read_json, write_json_unsynced};

const VERSION: u32 = 1;

/// The lab as it was last brought up (`manifest.json`). It holds no secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// The lab file it came from; none for the lab inside the binary.
    pub lab_file: Option<PathBuf>,
    /// When the lab was first made.
    pub created_at: Timestamp,
    /// Which runtime its services are in.
    pub runtime: String,
    /// By service name, where each is, in a lab whose services are not all in one runtime.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runtimes: BTreeMap<String, String>,
    /// By service name.
    #[serde(default)]
    pub services: BTreeMap<String, ServiceRecord>,
    /// Paths in Vault that the lab wrote and owns: what is no longer declared is removed there.
    /// What others wrote is not in it, and left alone.
    #[serde(default)]
    pub provisioned: BTreeSet<String>,
}

/// One service of the process runtime. Written before its program is started, so that a crash in
/// between leaves a trace to find it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// `vault`, `postgres` or `mysql`.
    pub kind: String,
    /// The program's path.
    pub program: PathBuf,
    /// What the program says of itself.
    pub program_version: String,
    /// Port on 127.0.0.1; kept across restarts.
    pub port: u16,
    /// Process id; none while it is stopped.
    pub pid: Option<u32>,
    /// Start time of that process as the system counts it (clock ticks since boot on Linux), so
    /// that another process with a recycled pid is never taken for it.
    pub started: Option<u64>,
    /// Hash of what the data folder was initialised from.
    pub template: Option<String>,
    /// What a database's data is of; not known of services that an older version started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataRecord>,
}

/// What data is of: a lab file that says otherwise needs other data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// `PostgreSQL`, `MariaDB` or `MySQL`.
    pub product: String,
    /// The database inside the server.
    pub database: String,
}

impl Manifest {
    /// A manifest with no services.
    pub fn new(runtime: impl Into<String>, lab_file: Option<PathBuf>) -> Self {
        Self {
            version: VERSION,
            lab_file,
            created_at: Timestamp::now(),
            runtime: runtime.into(),
            runtimes: BTreeMap::new(),
            services: BTreeMap::new(),
            provisioned: BTreeSet::new(),
        }
    }

    /// The lab's manifest; `None` when it was never up.
    pub fn load(lab: &LabDir) -> Result<Option<Self>, StateError> {
        read_json(&lab.manifest(), VERSION)
    }

    /// Saves it, without waiting for the disk: after a power cut nothing of what it tells runs, and
    /// a sync would wait for the data that services have just written.
    pub fn save(&self, lab: &LabDir) -> Result<(), StateError> {
        write_json_unsynced(&lab.manifest(), self, Visibility::Private)
    }
}
