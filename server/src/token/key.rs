//! How tokens are named in memory and on disk: by a keyed hash, never by themselves.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;

use crate::hex;

/// HMAC-SHA-256 of a token under the server's salt. Looking a token up by it takes the same time
/// whatever part of the token is right.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// The key in hex, as in storage paths and token lease ids.
    pub fn hex(&self) -> String {
        hex::encode(&self.0)
    }

    /// Reads [`TokenKey::hex`].
    pub fn from_hex(text: &str) -> Option<Self> {
        Some(Self(hex::decode(text)?.as_slice().try_into().ok()?))
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

impl Serialize for TokenKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for TokenKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("not a token key"))
    }
}

/// Makes keys; holds the salt.
#[derive(Clone)]
pub struct Hasher(Hmac<Sha256>);

impl Hasher {
    /// A hasher with this salt.
    pub fn new(salt: &[u8; 32]) -> Self {
        // HMAC fills a short key up with zeros to its block of 64 bytes.
        let mut block = [0_u8; 64];
        block[..32].copy_from_slice(salt);
        Self(Hmac::<Sha256>::new(&block.into()))
    }

    /// The key of a token.
    pub fn key(&self, token: &str) -> TokenKey {
        let mut mac = self.0.clone();
        mac.update(token.as_bytes());
        TokenKey(mac.finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_stable_and_depend_on_the_salt() {
        let one = Hasher::new(&[1; 32]);
        assert_eq!(one.key("hvs.x"), one.key("hvs.x"));
        assert_ne!(one.key("hvs.x"), one.key("hvs.y"));
        assert_ne!(one.key("hvs.x"), Hasher::new(&[2; 32]).key("hvs.x"));
    }

    #[test]
    fn hex_reads_back() {
        let key = Hasher::new(&[1; 32]).key("hvs.x");
        assert_eq!(TokenKey::from_hex(&key.hex()), Some(key));
        for bad in ["", "zz", &"é".repeat(32), &"g".repeat(64)] {
            assert_eq!(TokenKey::from_hex(bad), None);
        }
    }
}
