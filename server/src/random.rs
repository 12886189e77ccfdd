//! Random names and identifiers, from a cryptographic generator seeded by the operating system.

use rand::rngs::SysRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, TryRng};

use crate::hex;

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `length` characters of `[0-9A-Za-z]`, uniformly.
pub fn base62(length: usize) -> String {
    let mut rng = rand::rng();
    (0..length).filter_map(|_| BASE62.choose(&mut rng)).map(|byte| char::from(*byte)).collect()
}

/// `length` random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    rand::rng().fill(&mut bytes[..]);
    bytes
}

/// Fills `bytes` from the operating system itself, without a generator in this process that
/// could keep a copy: for keys that have to be wiped from memory one day.
///
/// # Panics
/// When the system has none to give, which it always has.
#[expect(clippy::expect_used, reason = "without it `rand::rng` could not be seeded either")]
pub fn secret(bytes: &mut [u8]) {
    SysRng.try_fill_bytes(bytes).expect("the system gives random bytes");
}

/// A random (version 4) UUID.
pub fn uuid() -> String {
    let mut b: [u8; 16] = bytes();
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    // Every request has one: formatting it costs several times as much.
    let mut text = String::with_capacity(36);
    for (at, byte) in b.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        hex::push(&mut text, *byte);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base62_has_the_length_and_the_alphabet() {
        let text = base62(24);
        assert_eq!(text.len(), 24);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(text, base62(24));
    }

    #[test]
    fn a_uuid_is_of_version_4() {
        let uuid = uuid();
        let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&uuid[14..15], "4");
        assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"));
    }
}
