//! Real databases for tests: PostgreSQL and MariaDB of this machine, in folders of their own.
//!
//! A data folder is initialised once per build folder and copied for each server; servers run as the
//! unprivileged `postgres` or `mysql` user when the tests run as root, and die with the test process, however
//! it ends. Without the programs a test is skipped with the reason, unless `VAULTLAB_REQUIRE_DATABASES=1`.

mod mariadb;
mod postgres;
pub mod proxy;
mod server;
mod target;

use std::sync::{Arc, OnceLock};

pub use server::Server;
pub use target::{Target, login_mariadb, login_postgres};

/// The administrator of every test server: may do everything, logs in over TCP.
pub const ADMIN: &str = "vaultadmin";
/// Its password, with characters that are special in URLs, SQL or shells left out: tests that need those
/// create accounts of their own.
pub const ADMIN_PASSWORD: &str = "admin-Passw0rd";

/// The PostgreSQL server this process's tests share.
pub fn postgres() -> Option<Arc<Server>> {
    static SHARED: OnceLock<Option<Arc<Server>>> = OnceLock::new();
    SHARED.get_or_init(|| or_skip("PostgreSQL", postgres::start())).clone()
}

/// The MariaDB server this process's tests share.
pub fn mariadb() -> Option<Arc<Server>> {
    static SHARED: OnceLock<Option<Arc<Server>>> = OnceLock::new();
    SHARED.get_or_init(|| or_skip("MariaDB", mariadb::start())).clone()
}

/// A PostgreSQL server of the caller's own, to kill and restart.
pub fn own_postgres() -> Option<Arc<Server>> {
    or_skip("PostgreSQL", postgres::start())
}

/// A MariaDB server of the caller's own, to kill and restart.
pub fn own_mariadb() -> Option<Arc<Server>> {
    or_skip("MariaDB", mariadb::start())
}

/// Why no server could be started.
enum Unavailable {
    /// A program is not installed.
    Missing(&'static str),
    /// A program failed.
    Failed(String),
}

fn or_skip(what: &str, started: Result<Server, Unavailable>) -> Option<Arc<Server>> {
    match started {
        Ok(server) => Some(Arc::new(server)),
        Err(Unavailable::Missing(program)) => {
            let required = std::env::var_os("VAULTLAB_REQUIRE_DATABASES").is_some_and(|v| v == "1");
            assert!(!required, "{what} is required for these tests, but {program} is not installed");
            eprintln!("skipped: {what} is not installed ({program} not found)");
            None
        }
        Err(Unavailable::Failed(reason)) => panic!("{what} could not be started: {reason}"),
    }
}
