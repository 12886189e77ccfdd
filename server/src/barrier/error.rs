use thiserror::Error;

use crate::logical;
use crate::storage::StorageError;

/// What went wrong in the barrier.
#[derive(Debug, Error)]
pub enum BarrierError {
    /// No key is in memory.
    #[error("Vault is sealed")]
    Sealed,
    /// There is no keyring yet.
    #[error("Vault is not initialized")]
    NotInitialised,
    /// There is a keyring already.
    #[error("Vault is already initialized")]
    AlreadyInitialised,
    /// The key does not open the keyring.
    #[error("the root key does not open the keyring")]
    WrongKey,
    /// A root key of another length.
    #[error("a root key has 32 bytes, not {0}")]
    KeyLength(usize),
    /// All key numbers are used.
    #[error("the keyring is full")]
    KeyringFull,
    /// The path belongs to the barrier itself.
    #[error("{0:?} is reserved for the barrier")]
    Reserved(String),
    /// A stored value cannot be decrypted or understood.
    #[error("stored value at {key:?} is damaged: {cause}")]
    Damaged {
        /// Its path.
        key: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The store refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl BarrierError {
    pub(super) fn damaged(key: &str, cause: &str) -> Self {
        Self::Damaged { key: key.to_owned(), cause: cause.to_owned() }
    }
}

impl From<BarrierError> for logical::StorageError {
    fn from(error: BarrierError) -> Self {
        match error {
            BarrierError::Sealed => Self::Sealed,
            BarrierError::Damaged { key, cause } => Self::Damaged { key, cause },
            other => Self::Write(other.to_string()),
        }
    }
}
