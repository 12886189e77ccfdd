//! A thin typed client of Vault's HTTP API: what a lab needs, for every flavour.
//!
//! Paths and shapes follow the HTTP API reference of HashiCorp Vault; OpenBao and the embedded
//! server answer alike, and where they don't the method says so.

mod approle;
mod database;
mod lease;
mod root;
mod sys;
mod token;
mod transport;
mod wrapping;

pub use approle::{AppRoleLogin, AppRolePair, SecretId, SecretIdInfo};
pub use database::{Credential, StaticCredential};
pub use lease::LeaseInfo;
pub use root::RootGeneration;
pub use sys::{AuditDevice, Health, InitKeys, Mount, SealStatus};
pub use token::{OrphanToken, TokenInfo, TokenLife};
pub use transport::{Client, VaultError};
pub use wrapping::{WrappingInfo, WrappingToken, secret_id_path};
