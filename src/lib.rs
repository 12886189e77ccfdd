//! A real Vault with real databases: started, initialised, provisioned, rotated and *proven*.

pub mod bench;
pub mod cli;
pub mod database;
pub mod demo;
mod detached;
pub mod keeper;
pub mod lab;
pub mod provision;
pub mod report;
pub mod runtime;
pub mod secret;
pub mod service;
mod shell;
pub mod spec;
pub mod state;
#[cfg(target_os = "linux")]
mod told;
pub mod vault;

pub use lab::{Lab, LabError, LabOptions, RunningLab};
pub use secret::Secret;

/// Chooses ring as the process' TLS provider. With two compiled in, rustls could not choose and
/// would panic at the first connection; calling this again is harmless.
pub(crate) fn install_crypto_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
