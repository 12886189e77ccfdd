//! A request as the core routes it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Fields, Object, Operation, TokenEntry};

/// Request headers that reach a backend, names in lower case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first value of a header; `name` in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A header that audit devices record.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditedHeader {
    /// Name, in lower case.
    pub name: String,
    /// Its values.
    pub values: Vec<String>,
    /// Record their hashes only.
    pub hmac: bool,
}

/// One request. Its `Debug` shows no data and no token.
#[derive(Clone, Default)]
pub struct Request {
    /// UUID, the `request_id` of the response.
    pub id: String,
    /// What is asked.
    pub operation: Operation,
    /// Path; inside a backend relative to its mount, without a leading slash.
    pub path: String,
    /// Mount that serves it, such as `database/` or `auth/approle/`; empty before routing.
    pub mount_point: String,
    /// Type of that mount, such as `database`.
    pub mount_type: String,
    /// Accessor of that mount.
    pub mount_accessor: String,
    /// JSON body, or the query parameters of a read.
    pub data: Object,
    /// Token as the client sent it; empty for none.
    pub client_token: String,
    /// Entry of that token; none on unauthenticated paths.
    pub token: Option<Arc<TokenEntry>>,
    /// Address of the client.
    pub remote_addr: Option<IpAddr>,
    /// Port of the client, 0 when unknown.
    pub remote_port: u16,
    /// Lifetime of the wrapping token the client asked for.
    pub wrap_ttl: Option<Duration>,
    /// Headers.
    pub headers: Headers,
    /// Headers for the audit devices.
    pub audited_headers: Vec<AuditedHeader>,
}

impl Request {
    /// Typed access to the data.
    pub fn fields(&self) -> Fields<'_> {
        Fields::new(&self.data)
    }

    /// Display name of the token, such as `approle`; empty without a token.
    pub fn display_name(&self) -> &str {
        self.token.as_deref().map_or("", |t| &t.display_name)
    }

    /// Path as clients write it: mount and relative path.
    pub fn full_path(&self) -> String {
        format!("{}{}", self.mount_point, self.path)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("id", &self.id)
            .field("operation", &self.operation)
            .field("mount_point", &self.mount_point)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
