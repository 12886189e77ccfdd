//! The server's own endpoints over HTTP: shapes, statuses and texts as clients of Vault expect them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod approle;
mod audit;
mod bootstrap;
mod ceremonies;
mod cubbyhole;
mod http;
mod identity;
mod kv;
mod mounts;
mod pki;
mod policies;
mod tokens;
mod wrapping;
