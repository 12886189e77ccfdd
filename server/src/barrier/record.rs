//! One encrypted value.
//!
//! ```text
//! record = 1 term:u32be nonce:[12] ciphertext tag:[16]
//! ```
//! The first five bytes and the entry's path are authenticated along with the content.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead, Payload};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const HEAD_LEN: usize = 5;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// Why a record was not decrypted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OpenError {
    /// Too short, or of an unknown version.
    Malformed,
    /// Another key, another path, or changed bytes.
    NotAuthentic,
}

/// Encrypts `value` for `path`; `None` only beyond AES-GCM's 64 GiB.
pub(super) fn seal(cipher: &Aes256Gcm, term: u32, path: &str, value: &[u8]) -> Option<Vec<u8>> {
    let mut record = Vec::with_capacity(HEAD_LEN + NONCE_LEN + value.len() + TAG_LEN);
    record.push(VERSION);
    record.extend_from_slice(&term.to_be_bytes());
    let associated = associated_data(&record, path);
    let nonce: [u8; NONCE_LEN] = crate::random::bytes();
    let payload = Payload { msg: value, aad: &associated };
    let ciphertext = cipher.encrypt(&nonce.into(), payload).ok()?;
    record.extend_from_slice(&nonce);
    record.extend_from_slice(&ciphertext);
    Some(record)
}

/// The number of the key a record is encrypted with.
pub(super) fn term(record: &[u8]) -> Result<u32, OpenError> {
    match record.first_chunk::<HEAD_LEN>() {
        Some([VERSION, term @ ..]) => Ok(u32::from_be_bytes(*term)),
        _ => Err(OpenError::Malformed),
    }
}

/// Decrypts the record stored at `path`.
pub(super) fn open(cipher: &Aes256Gcm, path: &str, record: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    term(record)?;
    let (head, rest) = record.split_at(HEAD_LEN);
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Malformed)?;
    let associated = associated_data(head, path);
    let payload = Payload { msg: ciphertext, aad: &associated };
    cipher.decrypt(&(*nonce).into(), payload).map(Zeroizing::new).map_err(|_| OpenError::NotAuthentic)
}

fn associated_data(head: &[u8], path: &str) -> Vec<u8> {
    [head, path.as_bytes()].concat()
}
