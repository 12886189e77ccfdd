//! Files encrypted with age (<https://age-encryption.org/v1>), which `age -d` opens too.
//!
//! The only place that knows the age library.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, Encryptor, IdentityFile, scrypt, x25519};

use crate::secret::Secret;

/// Base-2 logarithm of scrypt's cost for a passphrase: a tenth of a second and 64 MiB.
const WORK_FACTOR: u8 = 16;

/// What a file of somebody else's may cost at most to open: some seconds.
const MAX_WORK_FACTOR: u8 = 20;

/// Who can open a file.
pub(super) enum Lock<'a> {
    /// Who has the passphrase.
    Passphrase(&'a Secret),
    /// Who has the identity of one of these recipients.
    Recipients(&'a [String]),
}

/// Whether a text names a recipient that files can be encrypted to: `age1…`.
pub fn is_recipient(text: &str) -> bool {
    text.parse::<x25519::Recipient>().is_ok()
}

/// Encrypts; an error says what is wrong with a recipient.
pub(super) fn encrypt(plain: &[u8], lock: &Lock<'_>) -> Result<Vec<u8>, String> {
    let recipients: Vec<Box<dyn age::Recipient>> = match lock {
        Lock::Passphrase(passphrase) => {
            let mut recipient = scrypt::Recipient::new(secret_string(passphrase));
            recipient.set_work_factor(WORK_FACTOR);
            vec![Box::new(recipient)]
        }
        Lock::Recipients(names) => names
            .iter()
            .map(|name| match name.parse::<x25519::Recipient>() {
                Ok(recipient) => Ok(Box::new(recipient) as Box<dyn age::Recipient>),
                Err(error) => Err(format!("{name} is no recipient: {error}")),
            })
            .collect::<Result<_, _>>()?,
    };
    let encryptor = Encryptor::with_recipients(recipients.iter().map(|r| &**r)).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    let mut writer = encryptor.wrap_output(&mut bytes).map_err(|e| e.to_string())?;
    writer.write_all(plain).map_err(|e| e.to_string())?;
    writer.finish().map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// What a file needs to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Passphrase,
    Identity,
}

/// An encrypted file whose head was read.
pub(super) struct Sealed<'a>(Decryptor<&'a [u8]>);

/// Why a file was not opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The key is not this file's.
    WrongKey,
    /// The file, or the identity file, is not what it should be.
    Damaged(String),
}

impl<'a> Sealed<'a> {
    /// Reads the head.
    pub fn read(bytes: &'a [u8]) -> Result<Self, OpenError> {
        Decryptor::new_buffered(bytes).map(Self).map_err(|error| OpenError::Damaged(error.to_string()))
    }

    /// What is needed.
    pub fn needs(&self) -> Key {
        if self.0.is_scrypt() { Key::Passphrase } else { Key::Identity }
    }

    /// Opens it with the passphrase.
    pub fn open_with_passphrase(self, passphrase: &Secret) -> Result<Vec<u8>, OpenError> {
        let mut identity = scrypt::Identity::new(secret_string(passphrase));
        identity.set_max_work_factor(MAX_WORK_FACTOR);
        self.open(&[Box::new(identity)])
    }

    /// Opens it with the identities in a file, as `age-keygen` writes one.
    pub fn open_with_identities(self, file: &PathBuf) -> Result<Vec<u8>, OpenError> {
        let damaged = |cause: String| OpenError::Damaged(format!("{}: {cause}", file.display()));
        let text = std::fs::read(file).map_err(|error| damaged(error.to_string()))?;
        let identities = IdentityFile::from_buffer(&*text).map_err(|error| damaged(error.to_string()))?;
        let identities = identities.into_identities().map_err(|error| damaged(error.to_string()))?;
        let identities: Vec<Box<dyn age::Identity>> =
            identities.into_iter().map(|identity| identity as Box<dyn age::Identity>).collect();
        self.open(&identities)
    }

    fn open(self, identities: &[Box<dyn age::Identity>]) -> Result<Vec<u8>, OpenError> {
        let failed = |error: DecryptError| match error {
            DecryptError::NoMatchingKeys
            | DecryptError::DecryptionFailed
            | DecryptError::KeyDecryptionFailed => OpenError::WrongKey,
            other => OpenError::Damaged(other.to_string()),
        };
        let mut reader = self.0.decrypt(identities.iter().map(|i| &**i)).map_err(failed)?;
        let mut plain = Vec::new();
        reader.read_to_end(&mut plain).map_err(|error| OpenError::Damaged(error.to_string()))?;
        Ok(plain)
    }
}

fn secret_string(secret: &Secret) -> SecretString {
    SecretString::from(secret.expose().to_owned())
}

#[cfg(test)]
pub(super) mod testing {
    use age::secrecy::ExposeSecret as _;
    use age::x25519;

    /// A new identity and its recipient.
    pub fn identity() -> (String, String) {
        let identity = x25519::Identity::generate();
        (identity.to_string().expose_secret().to_owned(), identity.to_public().to_string())
    }
}
