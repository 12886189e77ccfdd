//! What can go wrong in the PKI engine, apart from answers Vault itself would give.

use thiserror::Error;

use crate::logical::Error as RequestError;

/// A failure of cryptography or encoding.
#[derive(Debug, Error)]
pub(super) enum PkiError {
    /// A key could not be made.
    #[error("cannot generate a key of type {kind}: {cause}")]
    KeyGeneration {
        /// Type of the key.
        kind: &'static str,
        /// Why.
        cause: String,
    },
    /// A stored or sent private key cannot be used.
    #[error("unusable private key: {0}")]
    Key(String),
    /// A certificate cannot be read.
    #[error("cannot read the certificate: {0}")]
    Certificate(String),
    /// A certificate, request or revocation list could not be made.
    #[error("cannot make the {what}: {cause}")]
    Sign {
        /// What was to be made.
        what: &'static str,
        /// Why not.
        cause: String,
    },
}

impl From<PkiError> for RequestError {
    fn from(error: PkiError) -> Self {
        Self::internal(error.to_string())
    }
}
