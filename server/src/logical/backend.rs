//! The trait of secrets engines and auth methods.

use std::sync::Arc;

use async_trait::async_trait;

use crate::framework::Row;

use super::{Auth, Error, Object, Renewal, Request, Response, SecretLease, System, View};

/// Paths of a backend the core treats specially. Patterns are relative to the mount: exact, with
/// `*` at the end for a prefix, and `+` for one segment.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpecialPaths {
    /// Need the `sudo` capability.
    pub root: &'static [&'static str],
    /// Need no token (logins).
    pub unauthenticated: &'static [&'static str],
}

/// What a mount is, for its backend.
#[derive(Clone, Debug, Default)]
pub struct MountInfo {
    /// Path with a trailing slash; with `auth/` in front for auth methods.
    pub path: String,
    /// Type, such as `database`.
    pub kind: String,
    /// Accessor, such as `database_1a2b3c4d`.
    pub accessor: String,
    /// UUID; names the mount's storage.
    pub uuid: String,
    /// Mount options, such as `version` of kv.
    pub options: Object,
}

/// What a backend is made from.
#[derive(Clone)]
pub struct BackendContext {
    /// Its own storage.
    pub storage: View,
    /// The core.
    pub system: Arc<dyn System>,
    /// The mount.
    pub mount: MountInfo,
}

/// Makes a backend for a mount. It does no I/O: that belongs in [`Backend::initialize`].
pub type Factory = fn(BackendContext) -> Result<Arc<dyn Backend>, Error>;

/// A secrets engine or an auth method.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Paths that need sudo or no token.
    fn special_paths(&self) -> SpecialPaths {
        SpecialPaths::default()
    }

    /// Its endpoints, for those who ask what there is.
    fn endpoints(&self) -> Vec<Row> {
        Vec::new()
    }

    /// Whether the thing a write addresses exists already, which decides between the `create` and
    /// the `update` capability. `None`: this path makes no difference, it is an update.
    ///
    /// # Errors
    /// When storage cannot be read.
    fn exists(&self, _request: &Request) -> Result<Option<bool>, Error> {
        Ok(None)
    }

    /// Serves a request. `None` is Vault's nil response: 204 on a write, 404 on a read or a list.
    /// A path that isn't there is [`Error::UnsupportedPath`], one that is but not for this
    /// operation [`Error::UnsupportedOperation`].
    ///
    /// # Errors
    /// As described at [`Error`].
    async fn handle(&self, request: &Request) -> Result<Option<Response>, Error>;

    /// Extends a secret of this backend.
    ///
    /// # Errors
    /// When it cannot be extended; the lease stays as it is.
    async fn renew(&self, _lease: &SecretLease) -> Result<Renewal, Error> {
        Err(Error::UnsupportedOperation)
    }

    /// Takes a secret back. Called again with a growing delay until it succeeds: it must succeed
    /// when the secret is already gone.
    ///
    /// # Errors
    /// When the secret may still be valid.
    async fn revoke(&self, _lease: &SecretLease) -> Result<(), Error> {
        Err(Error::UnsupportedOperation)
    }

    /// Extends a login of this auth method: checks that what it was based on still holds, and
    /// returns the life, period and limits as they are now. `auth.lease.increment` is what the
    /// client asked for.
    ///
    /// # Errors
    /// When the login must not be extended.
    async fn renew_auth(&self, _auth: &Auth) -> Result<Auth, Error> {
        Err(Error::UnsupportedOperation)
    }

    /// Called once after mounting and after every unseal, before the first request.
    ///
    /// # Errors
    /// When the backend cannot work; the mount fails.
    async fn initialize(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Called about every five seconds while unsealed: periodic rotation, clean-up of expired things.
    async fn tick(&self) {}

    /// Called after a token ended, for backends that keep things per token (the cubbyhole does, under
    /// the token's accessor).
    ///
    /// # Errors
    /// When they cannot be removed.
    async fn token_revoked(&self, _accessor: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Called before the mount is removed or the server is sealed: close connections, forget secrets.
    async fn unload(&self) {}
}
