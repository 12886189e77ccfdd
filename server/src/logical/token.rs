//! The entry of a token, as the core stores it and backends see it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Kind of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenType {
    /// Persisted, with an accessor, renewable, may have children.
    #[default]
    Service,
    /// Self-contained; this server does not issue them.
    Batch,
}

impl fmt::Display for TokenType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "service",
            Self::Batch => "batch",
        })
    }
}

/// What is stored about a token.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenEntry {
    /// The token itself.
    pub id: String,
    /// Its accessor.
    pub accessor: String,
    /// The parent token; empty for an orphan.
    pub parent: String,
    /// Names of its policies, sorted.
    pub policies: Vec<String>,
    /// Path that created it, such as `auth/approle/login`.
    pub path: String,
    /// Metadata given at creation.
    pub meta: BTreeMap<String, String>,
    /// Name used in lease and user names, such as `approle`, `root`, `token`.
    pub display_name: String,
    /// Uses left; 0 is unlimited, -1 is being revoked after its last use.
    pub num_uses: i64,
    /// Unix seconds of creation.
    pub creation_time: i64,
    /// TTL at creation; zero never expires.
    pub ttl: Duration,
    /// Hard limit set at creation; zero is none.
    pub explicit_max_ttl: Duration,
    /// Period of a periodic token; zero is not periodic.
    pub period: Duration,
    /// Token role it was created through; empty for none.
    pub role: String,
    /// Identity entity; empty for none.
    pub entity_id: String,
    /// Networks the token may be used from; empty for any.
    pub bound_cidrs: Vec<IpNet>,
    /// Kind.
    pub token_type: TokenType,
}

impl TokenEntry {
    /// Whether one of its policies is `root`.
    pub fn is_root(&self) -> bool {
        self.policies.iter().any(|p| p == "root")
    }

    /// Whether it has no parent.
    pub fn is_orphan(&self) -> bool {
        self.parent.is_empty()
    }

    /// Time of creation.
    pub fn created(&self) -> Timestamp {
        Timestamp::from_second(self.creation_time).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Debug for TokenEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEntry")
            .field("display_name", &self.display_name)
            .field("path", &self.path)
            .field("policies", &self.policies)
            .finish_non_exhaustive()
    }
}
