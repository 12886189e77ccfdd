//! A general Vault-compatible server for labs and tests: in-process as a library, or as the
//! `vaultlab server` command. It knows nothing of labs.

pub mod approle;
pub mod audit;
pub mod barrier;
#[cfg(test)]
mod child_test;
pub mod config;
pub mod cubbyhole;
pub mod database;
pub mod duration;
pub mod framework;
mod group_commit;
pub mod hcl;
pub mod kv;
pub mod logical;
pub mod policy;
pub mod random;
pub mod shamir;
pub mod storage;
pub mod tls;
pub mod userpass;
