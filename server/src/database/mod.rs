//! The database secrets engine: dynamic and static credentials on PostgreSQL and MySQL/MariaDB.

mod error;
pub mod glob;
pub mod password;
pub mod plugin;
pub mod statements;
#[cfg(test)]
pub(crate) mod testdb;
pub mod username;

pub use error::PluginError;
