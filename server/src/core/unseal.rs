//! Unseal keys given so far.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::logical::Error;
use crate::{hex, random};

/// Shortest unseal key Vault takes.
const MIN_LEN: usize = 16;
/// Longest: a 32-byte key and the share's coordinate.
const MAX_LEN: usize = 33;

/// An unseal key, wiped when dropped.
pub type Share = Zeroizing<Vec<u8>>;

/// The keys given since the last attempt.
#[derive(Default)]
pub struct Progress {
    /// UUID of the attempt; empty before the first key.
    pub nonce: String,
    shares: Vec<Share>,
}

impl Progress {
    /// Number of keys given.
    pub fn count(&self) -> usize {
        self.shares.len()
    }

    /// Forgets them.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Adds a key (the same one twice counts once); at the threshold hands all of them over
    /// and starts again.
    pub fn add(&mut self, share: Share, threshold: usize) -> Option<Vec<Share>> {
        if self.nonce.is_empty() {
            self.nonce = random::uuid();
        }
        if !self.shares.contains(&share) {
            self.shares.push(share);
        }
        if self.shares.len() < threshold {
            return None;
        }
        Some(std::mem::take(self).shares)
    }
}

/// Reads an unseal key, in hex or base64. Hex of an impossible length is read as base64, which it may be.
///
/// # Errors
/// 400 when it is neither, or of an impossible length.
pub fn parse_share(text: &str) -> Result<Share, Error> {
    let text = text.trim();
    let bytes = hex::decode(text)
        .filter(|bytes| (MIN_LEN..=MAX_LEN).contains(&bytes.len()))
        .or_else(|| STANDARD.decode(text).ok().map(Zeroizing::new))
        .ok_or_else(|| Error::bad_request("'key' must be a valid hex or base64 string"))?;
    if bytes.len() < MIN_LEN {
        return Err(Error::bad_request(format!("invalid key: key is shorter than minimum {MIN_LEN} bytes")));
    }
    if bytes.len() > MAX_LEN {
        return Err(Error::bad_request(format!("invalid key: key is longer than maximum {MAX_LEN} bytes")));
    }
    Ok(bytes)
}

/// Standard base64 of bytes.
pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_hex_or_base64() {
        let bytes = [7_u8; 33];
        for text in [hex::encode(&bytes), to_base64(&bytes)] {
            assert_eq!(parse_share(&text).unwrap().as_slice(), bytes);
        }
        for (text, words) in [
            ("!", "valid hex or base64"),
            ("ab", "valid hex or base64"),
            ("00ff", "shorter than minimum"),
            (&"00".repeat(34), "longer than maximum"),
        ] {
            let error = parse_share(text).unwrap_err();
            assert_eq!(error.status(), 400);
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn the_same_key_counts_once_and_the_threshold_hands_over() {
        let share = |n: u8| Zeroizing::new(vec![n; 33]);
        let mut progress = Progress::default();
        assert!(progress.add(share(1), 2).is_none());
        assert!(progress.add(share(1), 2).is_none());
        assert_eq!(progress.count(), 1);
        assert!(!progress.nonce.is_empty());
        assert_eq!(progress.add(share(2), 2).unwrap().len(), 2);
        assert_eq!((progress.count(), progress.nonce.as_str()), (0, ""));
    }
}
