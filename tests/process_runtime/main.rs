//! The process runtime against real PostgreSQL and MariaDB (or MySQL) servers.
//!
//! Required when `VAULTLAB_REQUIRE_DATABASES=1`; elsewhere a test whose programs are missing says so
//! and does nothing.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod faults;
mod lifecycle;
mod shipped_lab;
mod support;
mod templates;
mod vault;
