//! Where the passphrase of an encrypted key store comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::StateError;
use crate::secret::Secret;

/// Names a file whose first line is the passphrase.
const PASSPHRASE_FILE: &str = "VAULTLAB_KEY_PASSPHRASE_FILE";
/// Is the passphrase.
const PASSPHRASE: &str = "VAULTLAB_KEY_PASSPHRASE";
/// Names a file with age identities.
const IDENTITY_FILE: &str = "VAULTLAB_KEY_IDENTITY_FILE";

/// What the passphrase is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To open a key store that is there.
    Open,
    /// To encrypt one; nobody knows yet whether it was typed as meant.
    Choose,
}

type Ask = dyn Fn(&Path, Purpose) -> std::io::Result<Option<Secret>> + Send + Sync;

/// How an encrypted key store is opened: with the passphrase in the file `VAULTLAB_KEY_PASSPHRASE_FILE`,
/// or in `VAULTLAB_KEY_PASSPHRASE`, or asked for; with the identities in a file that the lab file or
/// `VAULTLAB_KEY_IDENTITY_FILE` names. Clones share what was asked for.
#[derive(Clone, Default)]
pub struct Unlock {
    ask: Option<Arc<Ask>>,
    known: Arc<Mutex<Option<Secret>>>,
}

impl fmt::Debug for Unlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unlock").finish_non_exhaustive()
    }
}

impl Unlock {
    /// With this passphrase.
    pub fn with_passphrase(passphrase: Secret) -> Self {
        Self { ask: None, known: Arc::new(Mutex::new(Some(passphrase))) }
    }

    /// Asking somebody when the environment has none; `None` when there is nobody to ask.
    pub fn asking(
        ask: impl Fn(&Path, Purpose) -> std::io::Result<Option<Secret>> + Send + Sync + 'static,
    ) -> Self {
        Self { ask: Some(Arc::new(ask)), known: Arc::default() }
    }

    /// The passphrase for the key store at `store`.
    pub(super) fn passphrase(&self, store: &Path, purpose: Purpose) -> Result<Secret, StateError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(passphrase) = &*known {
            return Ok(passphrase.clone());
        }
        let found = match (variable(PASSPHRASE_FILE), variable(PASSPHRASE)) {
            (Some(file), _) => {
                let file = PathBuf::from(file);
                let text = std::fs::read_to_string(&file).map_err(StateError::io("read", &file))?;
                text.lines().next().filter(|line| !line.is_empty()).map(Secret::new)
            }
            (None, Some(passphrase)) => Some(Secret::new(passphrase)),
            (None, None) => match &self.ask {
                Some(ask) => {
                    ask(store, purpose).map_err(StateError::io("ask for the passphrase of", store))?
                }
                None => None,
            },
        };
        let found = found.filter(|passphrase| !passphrase.expose().is_empty());
        let passphrase = found.ok_or_else(|| StateError::NoPassphrase { store: store.into() })?;
        *known = Some(passphrase.clone());
        Ok(passphrase)
    }
}

/// The file with the identities that open the key store.
pub(super) fn identity_file(declared: Option<&PathBuf>, store: &Path) -> Result<PathBuf, StateError> {
    let named = variable(IDENTITY_FILE).map(PathBuf::from).or_else(|| declared.cloned());
    named.ok_or_else(|| StateError::NoIdentity { store: store.into() })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
