//! A real Vault with real databases: started, initialised, provisioned, rotated and *proven*.

pub mod report;
pub mod secret;
pub mod spec;
pub mod state;

pub use secret::Secret;
