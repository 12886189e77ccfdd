//! Policies: what a token may do, written in Vault's policy language.
//!
//! [`Policy::parse`] reads and checks one text. [`Acl::compile`] merges the policies of
//! a token by Vault's rules into a table that answers one request in well under
//! two microseconds.
//!
//! ```
//! use vaultlab_server::logical::Operation;
//! use vaultlab_server::policy::{Acl, Policy, Request};
//!
//! let policy = Policy::parse("app", r#"path "secret/data/app/*" { capabilities = ["read"] }"#)?;
//! let acl = Acl::compile([&policy], None);
//! assert!(acl.check(&Request::new(Operation::Read, "secret/data/app/db")).allowed);
//! assert_eq!(acl.capabilities("secret/data/other"), ["deny"]);
//! # Ok::<(), vaultlab_server::policy::PolicyError>(())
//! ```

mod acl;
mod builtin;
mod capability;
mod control_group;
mod error;
mod parameters;
mod parse;
mod template;

pub use acl::{Acl, Decision, Request};
pub use builtin::{CONTROL_GROUP_POLICY, DEFAULT_POLICY, RESPONSE_WRAPPING_POLICY, ROOT_POLICY_NAME};
pub use capability::{CAPABILITY_NAMES, Capabilities};
pub use error::{Fault, PolicyError};
pub use parameters::Parameters;
pub use template::{Group, Identity, MountAlias};

use crate::hcl::Span;
use std::time::Duration;

/// A policy as read from its text.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The name it is stored under.
    pub name: String,
    /// The rules in the order they were written.
    pub rules: Vec<Rule>,
    /// Whether a path contains `{{ … }}`, so that the rules depend on who asks.
    pub templated: bool,
}

/// What one `path` block says.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The path as written, templates and wildcards included.
    pub path: String,
    /// Where the path is written.
    pub span: Span,
    /// What is allowed; [`Capabilities::DENY`] alone if anything denies.
    pub capabilities: Capabilities,
    /// Parameters a request may have, with their values; empty: any.
    pub allowed_parameters: Parameters,
    /// Parameters a request must not have, with their values.
    pub denied_parameters: Parameters,
    /// Parameters a request must have.
    pub required_parameters: Vec<String>,
    /// The shortest TTL of response wrapping; with it, wrapping is mandatory.
    pub min_wrapping_ttl: Option<Duration>,
    /// The longest TTL of response wrapping; with it, wrapping is mandatory.
    pub max_wrapping_ttl: Option<Duration>,
}
