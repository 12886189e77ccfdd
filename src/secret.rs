//! A string that must not be shown.

use std::fmt;

use rand::RngExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};

/// A password, token, unseal key or secret_id.
///
/// `Debug` and `Display` print `[redacted]`; the memory is wiped on drop. The text leaves only
/// through [`Secret::expose`], so every place that uses it can be found by that word.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// A random password of `length` characters from `[A-Za-z0-9]`, with at least one of each
    /// class when `length` is 3 or more, so that no database's password policy for tests refuses it.
    pub fn random(length: usize) -> Self {
        const CLASSES: [&[u8]; 3] =
            [b"abcdefghijklmnopqrstuvwxyz", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"0123456789"];
        let mut rng = rand::rng();
        let all: Vec<u8> = CLASSES.concat();
        loop {
            let text: String = (0..length).map(|_| char::from(all[rng.random_range(0..all.len())])).collect();
            let complete = length < CLASSES.len()
                || CLASSES.iter().all(|class| text.bytes().any(|b| class.contains(&b)));
            if complete {
                return Self::new(text);
            }
        }
    }

    /// The secret text itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// Writes the exposed text, for `#[serde(serialize_with = "secret::exposed")]` on fields of files
/// that are kept 0600. `Secret` itself is not `Serialize`, so that no event or report can carry one.
pub fn exposed<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    secret.expose().serialize(serializer)
}

/// [`exposed`] for one that may be missing; to be skipped when it is.
pub fn exposed_if_any<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}

/// [`exposed`] for a list.
pub fn exposed_all<S: Serializer>(secrets: &[Secret], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(secrets.iter().map(Secret::expose))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_and_display_are_redacted() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "[redacted] [redacted] Some([redacted])"
        );
    }

    #[test]
    fn random_passwords_have_every_class_and_differ() {
        let (a, b) = (Secret::random(24), Secret::random(24));
        assert_ne!(a, b);
        for class in [char::is_lowercase, char::is_uppercase, |c: char| c.is_ascii_digit()] {
            assert!(a.expose().chars().any(class));
        }
        assert_eq!(a.expose().len(), 24);
    }
}
