//! A general Vault-compatible server for labs and tests: in-process as a library, or as the
//! `vaultlab server` command. It knows nothing of labs.

pub mod duration;
pub mod framework;
pub mod logical;
pub mod random;
