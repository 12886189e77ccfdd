//! The database secrets engine: dynamic and static credentials on PostgreSQL and MySQL/MariaDB.

mod cron;
mod engine;
mod error;
pub mod glob;
pub mod password;
pub mod plugin;
mod secret;
pub mod statements;
#[cfg(test)]
pub(crate) mod testdb;
pub mod username;

pub use engine::DatabaseEngine;
#[cfg(test)]
pub(crate) use engine::reference;
pub use error::{OPERATION, PluginError};
