//! A credential of a role, with everything needed to connect.

use serde::Serialize;

use super::DatabaseInfo;
use crate::secret::Secret;
use crate::service::Endpoint;
use crate::spec::model::Engine;
use crate::state::Credentials;
use crate::vault::{Credential, StaticCredential};

/// A credential with everything needed to connect.
#[derive(Debug, Clone)]
pub struct RoleCredential {
    /// The role.
    pub role: String,
    /// Which system.
    pub engine: Engine,
    /// Where the database is.
    pub endpoint: Endpoint,
    /// The database inside the server.
    pub database: String,
    /// The account.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// How long it is good.
    pub validity: Validity,
}

/// How long a credential is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Validity {
    /// As long as its lease: the account is dropped then.
    Lease {
        /// The lease; revoking it drops the account.
        lease_id: String,
        /// Seconds it is valid.
        lease_duration: u64,
    },
    /// Until somebody changes it: it is kept outside Vault.
    Lasting {},
    /// Until Vault replaces the password of the static role.
    Rotation {
        /// Seconds until then.
        ttl: u64,
        /// Seconds between two rotations.
        rotation_period: u64,
        /// When Vault set the password.
        last_vault_rotation: jiff::Timestamp,
    },
}

impl RoleCredential {
    pub(super) fn new(database: &DatabaseInfo, engine: Engine, role: &str, credential: Credential) -> Self {
        let Credential { username, password, lease_id, lease_duration } = credential;
        Self::of(database, engine, role, (username, password), Validity::Lease { lease_id, lease_duration })
    }

    pub(super) fn of_static(
        database: &DatabaseInfo,
        engine: Engine,
        role: &str,
        credential: StaticCredential,
    ) -> Self {
        let StaticCredential { username, password, ttl, rotation_period, last_vault_rotation } = credential;
        let validity = Validity::Rotation { ttl, rotation_period, last_vault_rotation };
        Self::of(database, engine, role, (username, password), validity)
    }

    /// An account that is kept outside Vault.
    pub(super) fn lasting(database: &DatabaseInfo, engine: Engine, account: Credentials) -> Self {
        let Credentials { username, password } = account;
        Self::of(database, engine, "break_glass", (username, password), Validity::Lasting {})
    }

    fn of(
        database: &DatabaseInfo,
        engine: Engine,
        role: &str,
        (username, password): (String, Secret),
        validity: Validity,
    ) -> Self {
        Self {
            role: role.into(),
            engine,
            endpoint: database.endpoint(),
            database: database.database.clone(),
            username,
            password,
            validity,
        }
    }

    /// The lease, for a dynamic role.
    pub fn lease_id(&self) -> Option<&str> {
        match &self.validity {
            Validity::Lease { lease_id, .. } => Some(lease_id),
            Validity::Rotation { .. } | Validity::Lasting {} => None,
        }
    }

    /// Seconds its lease is valid, or until the password of a static role is replaced; 0 is for ever.
    pub fn ttl(&self) -> u64 {
        match self.validity {
            Validity::Lease { lease_duration, .. } => lease_duration,
            Validity::Rotation { ttl, .. } => ttl,
            Validity::Lasting {} => 0,
        }
    }

    /// `postgresql://user:password@host:port/database` or `mysql://…`. Names and passwords need no
    /// escaping: letters, digits, `_` and `-`.
    pub fn url(&self) -> Secret {
        let scheme = match self.engine {
            Engine::Postgres => "postgresql",
            Engine::Mysql(_) => "mysql",
        };
        let Self { username, password, endpoint, database, .. } = self;
        Secret::new(format!("{scheme}://{username}:{}@{endpoint}/{database}", password.expose()))
    }
}
