//! The contract between the core and the backends mounted in it: requests, responses, errors,
//! leases, tokens and the [`Backend`] trait.

mod backend;
mod error;
mod fields;
mod lease;
mod operation;
mod request;
mod response;
mod storage;
mod system;
#[cfg(test)]
pub(crate) mod testing;
mod token;
mod ttl;

pub use backend::{Backend, BackendContext, Factory, MountInfo, SpecialPaths};
pub use error::Error;
pub use fields::Fields;
pub(crate) use fields::go_type;
pub use lease::{LeaseOptions, Renewal, Secret, SecretLease};
pub use operation::Operation;
pub use request::{AuditedHeader, Headers, Request};
pub use response::{Alias, Auth, Deferred, JsonText, RawBody, Response, WrapInfo};
pub use storage::{PartOfBatch, Storage, StorageError, View, Write};
pub use system::{Entity, Lockout, System};
pub use token::{TokenEntry, TokenType};
pub use ttl::{TtlRequest, calculate_at, calculate_ttl};

/// A JSON object, the form of request and response data.
pub type Object = serde_json::Map<String, serde_json::Value>;
