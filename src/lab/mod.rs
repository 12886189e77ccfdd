//! The lab as a whole: what the commands and a test-suite's fixture both call.
//!
//! ```no_run
//! # async fn f() -> Result<(), vaultlab::LabError> {
//! use vaultlab::Lab;
//!
//! let lab = Lab::open("lab/vaultlab.yaml")?.up().await?;
//! let reader = lab.credential("pg-read").await?;
//! println!("{} answers at {}", reader.username, lab.vault().address());
//! lab.down().await?;
//! # Ok(())
//! # }
//! ```

mod agent;
mod break_glass;
mod credential;
mod doctor;
mod down;
mod env;
mod error;
mod events;
mod exec;
mod files;
mod keeper;
mod kept;
mod leases;
mod logs;
mod next;
mod open;
mod owned;
mod prune;
mod root;
mod running;
mod runtimes;
mod status;
mod undeclared;
mod undo;
mod up;
mod watch;

pub use agent::AgentConfig;
pub use credential::{RoleCredential, Validity};
pub use doctor::{Check, Diagnosis, Level, diagnose};
pub use down::{Data, Down};
pub use env::{EnvFormat, Variable, apply_map, masks, render};
pub use error::LabError;
pub use events::{Events, EventsWanted};
pub use exec::ExecOptions;
pub use files::{Written, write_shipped_lab};
pub use keeper::{KeeperChoice, KeeperTask};
pub use leases::{LeaseLedger, LedgerEntry, LedgerState};
pub use open::{Lab, LabOptions};
pub use prune::{Prune, Pruned, PrunedItem};
pub use root::RootAccess;
pub use running::{AppRoleInfo, DatabaseInfo, RunningLab, UpSummary, VaultInfo};
pub use status::{LabStatus, LabSummary, ServiceStatus, VaultStatus, list};
