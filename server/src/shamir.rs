//! Shamir's secret sharing in the share format HashiCorp Vault uses.
//!
//! Each byte of the secret is the constant term of its own random polynomial over
//! GF(2^8) with the AES polynomial `x^8 + x^4 + x^3 + x + 1` (0x11b). A share is the
//! value of every polynomial at one x coordinate, followed by that coordinate as the
//! last byte; coordinates are distinct and never zero. Shares made here can be combined
//! by Vault's own implementation and the reverse.
//!
//! Field arithmetic has no tables and no branches that depend on secrets.

use rand::seq::SliceRandom;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::random;

/// One share: the polynomials' values and, as its last byte, the x coordinate.
pub type Share = Zeroizing<Vec<u8>>;

/// Why a secret could not be split or shares could not be combined.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ShamirError {
    /// There is nothing to split.
    #[error("cannot split an empty secret")]
    EmptySecret,
    /// More shares would be needed to combine than are made.
    #[error("threshold {threshold} is larger than the number of shares {parts}")]
    ThresholdAboveParts {
        /// Shares needed to combine.
        threshold: u8,
        /// Shares made.
        parts: u8,
    },
    /// One share alone would be the secret.
    #[error("threshold must be at least 2, not {0}")]
    ThresholdTooSmall(u8),
    /// Fewer shares than any split needs.
    #[error("at least 2 shares are needed to combine, not {0}")]
    TooFewShares(usize),
    /// A share without a value and a coordinate.
    #[error("share {0} is shorter than 2 bytes")]
    ShareTooShort(usize),
    /// The shares cannot come from one split.
    #[error("share {index} has {length} bytes where the first has {expected}")]
    LengthMismatch {
        /// Which share, counted from 0.
        index: usize,
        /// Its length in bytes.
        length: usize,
        /// The length of the first share.
        expected: usize,
    },
    /// The coordinate at which the secret itself lies.
    #[error("share {0} has the x coordinate 0, which no valid share has")]
    ZeroCoordinate(usize),
    /// The same share twice.
    #[error("share {0} has the same x coordinate as an earlier one")]
    DuplicateCoordinate(usize),
}

/// Splits `secret` into `parts` shares of which any `threshold` recover it.
///
/// # Errors
/// When the secret is empty, `threshold` is below 2 or above `parts`.
pub fn split(secret: &[u8], parts: u8, threshold: u8) -> Result<Vec<Share>, ShamirError> {
    if secret.is_empty() {
        return Err(ShamirError::EmptySecret);
    }
    if threshold < 2 {
        return Err(ShamirError::ThresholdTooSmall(threshold));
    }
    if threshold > parts {
        return Err(ShamirError::ThresholdAboveParts { threshold, parts });
    }

    let mut coordinates: Vec<u8> = (1..=u8::MAX).collect();
    coordinates.shuffle(&mut rand::rng());
    coordinates.truncate(usize::from(parts));

    let mut shares: Vec<Share> =
        coordinates.iter().map(|_| Zeroizing::new(Vec::with_capacity(secret.len() + 1))).collect();
    let mut coefficients = Zeroizing::new(vec![0_u8; usize::from(threshold)]);
    for &byte in secret {
        // Every other coefficient is uniform, zero included: excluding zero anywhere
        // would let fewer shares than the threshold narrow the secret down.
        random::secret(&mut coefficients[1..]);
        coefficients[0] = byte;
        for (share, &x) in shares.iter_mut().zip(&coordinates) {
            share.push(evaluate(&coefficients, x));
        }
    }
    for (share, &x) in shares.iter_mut().zip(&coordinates) {
        share.push(x);
    }
    Ok(shares)
}

/// Combines shares into the secret.
///
/// Shares of different secrets, or fewer than the threshold, give a wrong secret rather
/// than an error: the shares carry nothing that could tell.
///
/// # Errors
/// When there are fewer than 2 shares or one is malformed or given twice.
pub fn combine<S: AsRef<[u8]>>(shares: &[S]) -> Result<Zeroizing<Vec<u8>>, ShamirError> {
    let coordinates = checked_coordinates(shares)?;
    let secret_len = shares[0].as_ref().len() - 1;

    let weights: Zeroizing<Vec<u8>> = Zeroizing::new(
        (0..coordinates.len()).map(|index| lagrange_weight_at_zero(&coordinates, index)).collect(),
    );
    let mut secret = Zeroizing::new(vec![0_u8; secret_len]);
    for (share, &weight) in shares.iter().zip(weights.iter()) {
        for (out, &value) in secret.iter_mut().zip(share.as_ref()) {
            *out ^= multiply(value, weight);
        }
    }
    Ok(secret)
}

/// Splits a root key into unseal keys the way Vault does: a single share is the key
/// itself, without a coordinate.
///
/// # Errors
/// As [`split`]; with one share the threshold must be 1.
pub fn split_unseal_key(key: &[u8], shares: u8, threshold: u8) -> Result<Vec<Share>, ShamirError> {
    if shares == 1 && threshold == 1 && !key.is_empty() {
        return Ok(vec![Zeroizing::new(key.to_vec())]);
    }
    split(key, shares, threshold)
}

/// The root key from as many unseal keys as the threshold asks for; the reverse of
/// [`split_unseal_key`].
///
/// # Errors
/// As [`combine`].
pub fn combine_unseal_keys<S: AsRef<[u8]>>(keys: &[S]) -> Result<Zeroizing<Vec<u8>>, ShamirError> {
    match keys {
        [only] => Ok(Zeroizing::new(only.as_ref().to_vec())),
        several => combine(several),
    }
}

/// The x coordinates of well-formed shares that can belong together.
fn checked_coordinates<S: AsRef<[u8]>>(shares: &[S]) -> Result<Vec<u8>, ShamirError> {
    if shares.len() < 2 {
        return Err(ShamirError::TooFewShares(shares.len()));
    }
    let expected = shares[0].as_ref().len();
    let mut coordinates = Vec::with_capacity(shares.len());
    for (index, share) in shares.iter().map(AsRef::as_ref).enumerate() {
        let (Some(&x), true) = (share.last(), share.len() >= 2) else {
            return Err(ShamirError::ShareTooShort(index));
        };
        if share.len() != expected {
            return Err(ShamirError::LengthMismatch { index, length: share.len(), expected });
        }
        if x == 0 {
            return Err(ShamirError::ZeroCoordinate(index));
        }
        if coordinates.contains(&x) {
            return Err(ShamirError::DuplicateCoordinate(index));
        }
        coordinates.push(x);
    }
    Ok(coordinates)
}

/// The polynomial with these coefficients (constant term first) at `x`, by Horner's rule.
fn evaluate(coefficients: &[u8], x: u8) -> u8 {
    coefficients.iter().rev().fold(0, |value, &coefficient| multiply(value, x) ^ coefficient)
}

/// The Lagrange basis polynomial of `coordinates[index]` at zero.
///
/// Subtraction is XOR in this field, so `(0 - x_j) / (x_i - x_j)` is `x_j / (x_i ^ x_j)`.
fn lagrange_weight_at_zero(coordinates: &[u8], index: usize) -> u8 {
    let own = coordinates[index];
    coordinates
        .iter()
        .enumerate()
        .filter(|&(other_index, _)| other_index != index)
        .fold(1, |weight, (_, &other)| multiply(weight, multiply(other, invert(own ^ other))))
}

/// Multiplication modulo 0x11b, in the same time for every input.
fn multiply(mut left: u8, mut right: u8) -> u8 {
    let mut product = 0;
    for _ in 0..8 {
        product ^= left & (right & 1).wrapping_neg();
        let carry = (left >> 7).wrapping_neg();
        left = (left << 1) ^ (carry & 0x1b);
        right >>= 1;
    }
    product
}

/// The multiplicative inverse as `value^254`; 0 for 0.
fn invert(value: u8) -> u8 {
    let mut power = value;
    let mut result = 1;
    // 254 is the sum of 2^1 … 2^7.
    for _ in 0..7 {
        power = multiply(power, power);
        result = multiply(result, power);
    }
    result
}

#[cfg(test)]
mod tests;
