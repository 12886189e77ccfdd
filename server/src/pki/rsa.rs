//! RSA key generation.
//!
//! ring signs with RSA keys but makes none, and the `rsa` crate has an open advisory about the
//! timing of its private-key operations. So only the primes and the arithmetic of a key come from
//! crates here (crypto-primes, crypto-bigint); every use of the key stays with ring, which also
//! checks the key's consistency when it loads it.

use crypto_bigint::{BoxedUint, ConcatenatingMul, NonZero, Resize};
use crypto_primes::hazmat::{SetBits, SmallFactorsSieveFactory};
use crypto_primes::{Flavor, is_prime, sieve_and_find};
use zeroize::Zeroizing;

use super::error::PkiError;

/// The public exponent everybody uses.
const EXPONENT: u64 = 65537;

/// OID of `rsaEncryption` (RFC 8017).
const RSA_ENCRYPTION: &[u64] = &[1, 2, 840, 113_549, 1, 1, 1];

/// Makes a key of `bits` (2048, 3072 or 4096) and returns it in PKCS#8 (DER). Takes from a tenth of
/// a second to several seconds of a core.
pub(super) fn generate(bits: u32) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    loop {
        let (one, other) = (prime(bits / 2)?, prime(bits / 2)?);
        if one == other {
            continue;
        }
        let (p, q) = if one > other { (one, other) } else { (other, one) };
        // No inverse exists where the exponent divides p-1 or q-1: try again.
        if let Some(key) = private_key(&p, &q) {
            return Ok(pkcs8(&key));
        }
    }
}

/// A prime with its two highest bits set, so that the product of two has exactly twice the bits.
fn prime(bits: u32) -> Result<BoxedUint, PkiError> {
    let failed = |cause: String| PkiError::KeyGeneration { kind: "rsa", cause };
    let factory = SmallFactorsSieveFactory::<BoxedUint>::new(Flavor::Any, bits, SetBits::TwoMsb)
        .map_err(|error| failed(error.to_string()))?;
    let found = sieve_and_find(&mut rand::rng(), factory, |_, candidate| is_prime(Flavor::Any, candidate));
    found.map_err(|error| failed(error.to_string()))?.ok_or_else(|| failed("no prime found".to_owned()))
}

/// The key of two primes, `p > q`, as an `RSAPrivateKey` of RFC 8017 (DER).
#[expect(clippy::many_single_char_names, reason = "the letters of RFC 8017")]
fn private_key(p: &BoxedUint, q: &BoxedUint) -> Option<Zeroizing<Vec<u8>>> {
    let (p1, q1) = (minus_one(p), minus_one(q));
    let n = p.concatenating_mul(q);
    let phi = NonZero::new(p1.concatenating_mul(&q1)).into_option()?;
    let e = BoxedUint::from(EXPONENT).resize(phi.bits_precision());
    let d = e.invert_mod(&phi).into_option()?;
    let dp = d.rem(&NonZero::new(p1).into_option()?);
    let dq = d.rem(&NonZero::new(q1).into_option()?);
    let q_inverse = q.invert_mod(&NonZero::new(p.clone()).into_option()?).into_option()?;
    let numbers = [&n, &BoxedUint::from(EXPONENT), &d, p, q, &dp, &dq, &q_inverse];
    Some(Zeroizing::new(yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(0);
            for number in numbers {
                let bytes = Zeroizing::new(number.to_be_bytes().into_vec());
                writer.next().write_bigint_bytes(&bytes, true);
            }
        });
    })))
}

fn minus_one(number: &BoxedUint) -> BoxedUint {
    number.wrapping_sub(BoxedUint::one_with_precision(number.bits_precision()))
}

/// Wraps an `RSAPrivateKey` into PKCS#8.
pub(super) fn pkcs8(key: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(0);
            writer.next().write_sequence(|writer| {
                let oid = yasna::models::ObjectIdentifier::from_slice(RSA_ENCRYPTION);
                writer.next().write_oid(&oid);
                writer.next().write_null();
            });
            writer.next().write_bytes(key);
        });
    }))
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData, SigningKey};
    use rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;

    #[test]
    fn ring_takes_the_keys_and_signs_with_them() {
        for bits in [2048, 3072] {
            let der = generate(bits).unwrap();
            // ring checks n = pq, the exponents and the coefficient.
            let der = PrivatePkcs8KeyDer::from(der.as_slice());
            let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_RSA_SHA256).unwrap();
            assert_eq!(key.sign(b"message").unwrap().len(), bits as usize / 8);
            assert!(!key.subject_public_key_info().is_empty());
        }
    }

    #[test]
    fn primes_have_their_size() {
        let prime = prime(512).unwrap();
        assert_eq!(prime.bits(), 512);
        assert!(is_prime(Flavor::Any, &prime));
    }
}
