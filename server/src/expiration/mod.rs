//! Leases and tokens ending in time: registered, renewed, revoked, expired, restored.

mod index;
mod lease;
mod restore;
mod revoke;
mod tokens;
mod worker;

pub use index::{Index, Ref};
pub use lease::StoredLease;
pub use tokens::token_lease_id;
pub use worker::start;

#[cfg(test)]
mod tests;
