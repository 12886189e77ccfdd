//! What backends share to answer as Vault's framework does: path patterns with named fields, the
//! operations of each path, the parameters it knows; for auth methods also the `token_*`
//! parameters, bound networks and user lockout.
//!
//! A backend keeps a [`Router`] over its own enum of endpoints, resolves each request to a
//! [`Call`], matches on the endpoint, and passes its answer through [`Call::finish`]:
//!
//! ```
//! use vaultlab_server::framework::{Router, route};
//! use vaultlab_server::logical::{Operation, Request};
//!
//! #[derive(Clone, Copy, PartialEq, Debug)]
//! enum Endpoint { Role }
//!
//! let router = Router::new(vec![route(
//!     "role/{name}",
//!     &[Operation::Update],
//!     &[&["ttl"]],
//!     Endpoint::Role,
//! )]);
//! let request = Request { operation: Operation::Update, path: "role/web".into(), ..Request::default() };
//! let call = router.resolve(&request)?;
//! assert_eq!((call.endpoint, call.path_field("name")), (Endpoint::Role, "web"));
//! # Ok::<(), vaultlab_server::logical::Error>(())
//! ```

mod lockout;
mod locks;
pub mod network;
mod pattern;
mod router;
mod token_params;

pub use lockout::FailedLogins;
pub use locks::KeyLocks;
pub use pattern::{Captures, Pattern, is_name};
pub use router::{Call, Route, Router, Row, open_route, route};
pub use token_params::{TOKEN_PARAMETERS, TokenParams, token_type_warning};
