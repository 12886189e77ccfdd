//! A general Vault-compatible server for labs and tests: in-process as a library, or as the
//! `vaultlab server` command. It knows nothing of labs.

pub mod approle;
pub mod audit;
pub mod barrier;
#[cfg(test)]
mod child_test;
pub mod config;
pub mod core;
pub mod cubbyhole;
pub mod database;
pub mod duration;
mod expiration;
pub mod framework;
mod group_commit;
pub mod hcl;
mod help;
mod hex;
mod http;
mod identity;
pub mod kv;
pub mod logical;
pub mod pki;
mod plugin_version;
pub mod policy;
pub mod random;
pub mod redact;
#[cfg(test)]
mod reference;
pub mod server;
pub mod shamir;
pub mod storage;
mod sys;
pub mod tls;
mod token;
pub mod userpass;
mod wrapping;

pub use server::{Builder, RunError, Server, ServerError, run};

/// The version of Vault whose behaviour this server follows, as it reports it.
pub const VERSION: &str = "1.18.1";
