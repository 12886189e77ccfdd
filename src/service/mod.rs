//! What runs in a lab: a Vault and database servers, described without saying where they run.
//!
//! Each file beside this one holds what *every* runtime must know of one kind of service: its
//! settings, its accounts, and what it means for it to be ready.

pub mod mysql;
pub mod postgres;
pub mod vault;

use std::fmt;

use crate::spec::model::{DatabaseSpec, Engine, VaultSpec};

/// Name under which a lab's Vault runs; a lab has one.
pub const VAULT: &str = "vault";

/// A host and a port, as one side of the lab reaches a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Address or name.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Endpoint {
    /// An endpoint.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// A port of this machine's loopback interface.
    pub fn loopback(port: u16) -> Self {
        Self::new("127.0.0.1", port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The kinds of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceKind {
    /// HashiCorp Vault, OpenBao or the embedded server.
    Vault,
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
}

impl ServiceKind {
    /// `vault`, `postgres` or `mysql`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Vault, Self::Postgres, Self::Mysql].into_iter().find(|kind| kind.as_str() == name)
    }

    /// The port the service usually has.
    pub fn usual_port(self) -> u16 {
        match self {
            Self::Vault => 8200,
            Self::Postgres => 5432,
            Self::Mysql => 3306,
        }
    }
}

impl fmt::Display for ServiceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One service of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// The Vault.
    Vault(VaultSpec),
    /// A database server.
    Database(DatabaseSpec),
}

/// When a service counts as ready: asked again and again, never read from a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// `GET` of a path answers 200.
    Http {
        /// Path and query.
        path: &'static str,
    },
    /// A login over TCP as the superuser, then `SELECT 1`.
    Sql,
}

impl Service {
    /// Its name in the lab.
    pub fn name(&self) -> &str {
        match self {
            Self::Vault(_) => VAULT,
            Self::Database(database) => &database.name,
        }
    }

    /// What it is.
    pub fn kind(&self) -> ServiceKind {
        match self {
            Self::Vault(_) => ServiceKind::Vault,
            Self::Database(database) => match database.engine {
                Engine::Postgres => ServiceKind::Postgres,
                Engine::Mysql(_) => ServiceKind::Mysql,
            },
        }
    }

    /// The port asked for in the lab file.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Vault(vault) => vault.port,
            Self::Database(database) => database.port,
        }
    }

    /// What its being ready means.
    pub fn probe(&self) -> Probe {
        match self {
            // Answering is enough: an uninitialised or sealed Vault is what provisioning starts from.
            Self::Vault(_) => {
                Probe::Http { path: "/v1/sys/health?standbyok=true&sealedcode=200&uninitcode=200" }
            }
            Self::Database(_) => Probe::Sql,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_endpoints_are_bracketed() {
        assert_eq!(Endpoint::new("::1", 80).to_string(), "[::1]:80");
        assert_eq!(Endpoint::loopback(1).to_string(), "127.0.0.1:1");
    }

    #[test]
    fn kinds_parse_back() {
        for kind in [ServiceKind::Vault, ServiceKind::Postgres, ServiceKind::Mysql] {
            assert_eq!(ServiceKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(ServiceKind::parse("redis"), None);
    }
}
