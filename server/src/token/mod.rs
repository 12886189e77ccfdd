//! Tokens: records, and the auth method `token` mounted at `auth/token/`.

mod create;
mod endpoints;
mod key;
mod roles;
mod shown;
mod store;

pub use create::{create_root, sanitize_policies};
pub(crate) use endpoints::reference;
pub use endpoints::{exists, handle, special_paths};
#[cfg(test)]
pub use key::Hasher;
pub use key::TokenKey;
pub use store::{StoredToken, TokenLease, TokenStore};
