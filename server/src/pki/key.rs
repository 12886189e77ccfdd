//! Private keys: kinds, generation, and the forms they are shown in.

use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, PKCS_RSA_SHA384,
    PKCS_RSA_SHA512, SignatureAlgorithm,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::PkiError;
use super::{pem_text, rsa};
use crate::logical::{Error, Fields};

/// Kind and size of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyKind {
    /// RSA with this many bits.
    Rsa(u32),
    /// NIST P-256.
    EcP256,
    /// NIST P-384.
    EcP384,
    /// Ed25519.
    Ed25519,
}

impl KeyKind {
    /// What `key_type` and `key_bits` ask for; 0 bits is the type's default.
    ///
    /// # Errors
    /// 400 for types and sizes Vault refuses, and for P-224 and P-521, which this server lacks.
    pub fn parse(key_type: &str, bits: i64) -> Result<Self, Error> {
        let refuse = |text: String| Err(Error::bad_request(text));
        match (key_type, bits) {
            ("rsa", 0 | 2048) => Ok(Self::Rsa(2048)),
            ("rsa", 3072) => Ok(Self::Rsa(3072)),
            ("rsa", 4096) => Ok(Self::Rsa(4096)),
            ("rsa", bits) if bits < 2048 => {
                refuse(format!("RSA keys < 2048 bits are unsafe and not supported: got {bits}"))
            }
            ("ec", 0 | 256) => Ok(Self::EcP256),
            ("ec", 384) => Ok(Self::EcP384),
            ("ec", 224 | 521) => refuse(format!("EC keys of {bits} bits are not supported by this server")),
            ("ed25519", _) => Ok(Self::Ed25519),
            ("rsa" | "ec", bits) => {
                refuse(format!("unsupported bit length for {} key: {bits}", key_type.to_uppercase()))
            }
            (other, _) => refuse(format!("unknown key type {other}")),
        }
    }

    /// `key_type` and `key_bits` of a request.
    pub fn from_fields(fields: Fields<'_>) -> Result<Self, Error> {
        let key_type = fields.string("key_type")?.unwrap_or_else(|| "rsa".to_owned());
        Self::parse(&key_type, fields.int("key_bits")?.unwrap_or(0))
    }

    /// Vault's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa(_) => "rsa",
            Self::EcP256 | Self::EcP384 => "ec",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Vault's `key_bits` of the kind; 0 for Ed25519.
    pub fn bits(self) -> u32 {
        match self {
            Self::Rsa(bits) => bits,
            Self::EcP256 => 256,
            Self::EcP384 => 384,
            Self::Ed25519 => 0,
        }
    }

    fn algorithm(self, signature_bits: u32) -> &'static SignatureAlgorithm {
        match (self, signature_bits) {
            (Self::Rsa(_), 384) => &PKCS_RSA_SHA384,
            (Self::Rsa(_), 512) => &PKCS_RSA_SHA512,
            (Self::Rsa(_), _) => &PKCS_RSA_SHA256,
            (Self::EcP256, _) => &PKCS_ECDSA_P256_SHA256,
            (Self::EcP384, _) => &PKCS_ECDSA_P384_SHA384,
            (Self::Ed25519, _) => &PKCS_ED25519,
        }
    }
}

/// A private key as it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct PrivateKey {
    /// Kind.
    pub kind: KeyKind,
    /// PKCS#8, DER.
    pkcs8: Zeroizing<Vec<u8>>,
}

impl PrivateKey {
    /// Makes a key. RSA takes its time, so this runs on a thread of its own.
    pub async fn generate(kind: KeyKind) -> Result<Self, Error> {
        let made = tokio::task::spawn_blocking(move || generate(kind)).await;
        let key = made.map_err(|error| Error::internal(format!("key generation failed: {error}")))?;
        Ok(key?)
    }

    /// Reads a PEM block: PKCS#8, PKCS#1 or SEC1.
    pub fn from_pem(block: &pem::Pem) -> Result<Self, PkiError> {
        if block.tag() == "RSA PRIVATE KEY" {
            return Self::from_pkcs8(rsa::pkcs8(block.contents()));
        }
        if block.tag() == "EC PRIVATE KEY" {
            return Self::from_pkcs8(sec1_to_pkcs8(block.contents())?);
        }
        Self::from_pkcs8(Zeroizing::new(block.contents().to_vec()))
    }

    fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, PkiError> {
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
        let kinds = [KeyKind::EcP256, KeyKind::EcP384, KeyKind::Ed25519, KeyKind::Rsa(2048)];
        for kind in kinds {
            if let Ok(pair) = KeyPair::from_pkcs8_der_and_sign_algo(&der, kind.algorithm(0)) {
                let kind = match kind {
                    // The modulus makes up the raw public key but for a few bytes.
                    KeyKind::Rsa(_) => KeyKind::Rsa(pair.public_key_raw().len() as u32 / 128 * 1024),
                    other => other,
                };
                return Ok(Self { kind, pkcs8 });
            }
        }
        Err(PkiError::Key("neither RSA (2048 bits or more), P-256, P-384 nor Ed25519".to_owned()))
    }

    /// The key ready to sign with; `signature_bits` chooses RSA's hash, 0 is SHA-256.
    pub fn pair(&self, signature_bits: u32) -> Result<KeyPair, PkiError> {
        let der = PrivatePkcs8KeyDer::from(self.pkcs8.as_slice());
        KeyPair::from_pkcs8_der_and_sign_algo(&der, self.kind.algorithm(signature_bits))
            .map_err(|error| PkiError::Key(error.to_string()))
    }

    /// PEM as clients get it: the traditional form of the type, or PKCS#8.
    pub fn pem(&self, pkcs8: bool) -> Result<Zeroizing<String>, PkiError> {
        let text = match self.kind {
            KeyKind::Rsa(_) if !pkcs8 => pem_text("RSA PRIVATE KEY", &inner_key(&self.pkcs8)?),
            KeyKind::EcP256 | KeyKind::EcP384 if !pkcs8 => pem_text("EC PRIVATE KEY", &self.sec1()?),
            _ => pem_text("PRIVATE KEY", &self.pkcs8),
        };
        Ok(Zeroizing::new(text))
    }

    /// DER as clients get it, in the same two forms.
    pub fn der(&self, pkcs8: bool) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        match self.kind {
            KeyKind::Rsa(_) if !pkcs8 => inner_key(&self.pkcs8),
            KeyKind::EcP256 | KeyKind::EcP384 if !pkcs8 => self.sec1(),
            _ => Ok(self.pkcs8.clone()),
        }
    }

    /// An `ECPrivateKey` of RFC 5915 that names its curve, as SEC1 files do.
    fn sec1(&self) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        let inner = inner_key(&self.pkcs8)?;
        let secret = ec_secret(&inner)?;
        let public = self.pair(0)?.public_key_raw().to_vec();
        let curve = yasna::models::ObjectIdentifier::from_slice(match self.kind {
            KeyKind::EcP384 => P384,
            _ => P256,
        });
        Ok(Zeroizing::new(yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_u8(1);
                writer.next().write_bytes(&secret);
                writer.next().write_tagged(yasna::Tag::context(0), |writer| writer.write_oid(&curve));
                writer.next().write_tagged(yasna::Tag::context(1), |writer| {
                    writer.write_bitvec_bytes(&public, public.len() * 8);
                });
            });
        })))
    }
}

const P256: &[u64] = &[1, 2, 840, 10_045, 3, 1, 7];
const P384: &[u64] = &[1, 3, 132, 0, 34];
const EC_PUBLIC_KEY: &[u64] = &[1, 2, 840, 10_045, 2, 1];

fn generate(kind: KeyKind) -> Result<PrivateKey, PkiError> {
    let pkcs8 = match kind {
        KeyKind::Rsa(bits) => rsa::generate(bits)?,
        other => {
            let pair = KeyPair::generate_for(other.algorithm(0))
                .map_err(|error| PkiError::KeyGeneration { kind: kind.name(), cause: error.to_string() })?;
            Zeroizing::new(pair.serialize_der())
        }
    };
    Ok(PrivateKey { kind, pkcs8 })
}

/// The key inside PKCS#8, in its type's own form.
fn inner_key(pkcs8: &[u8]) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    yasna::parse_der(pkcs8, |reader| {
        reader.read_sequence(|reader| {
            reader.next().read_u8()?;
            reader.next().read_der()?;
            let key = reader.next().read_bytes()?;
            // Attributes or a public key may follow.
            reader.read_optional(|reader| reader.read_der().map(drop))?;
            reader.read_optional(|reader| reader.read_der().map(drop))?;
            Ok(Zeroizing::new(key))
        })
    })
    .map_err(|error| PkiError::Key(error.to_string()))
}

/// The secret number inside an `ECPrivateKey`.
fn ec_secret(key: &[u8]) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    yasna::parse_der(key, |reader| {
        reader.read_sequence(|reader| {
            reader.next().read_u8()?;
            let secret = reader.next().read_bytes()?;
            reader.read_optional(|reader| reader.read_der().map(drop))?;
            reader.read_optional(|reader| reader.read_der().map(drop))?;
            Ok(Zeroizing::new(secret))
        })
    })
    .map_err(|error| PkiError::Key(error.to_string()))
}

/// Wraps an `ECPrivateKey` with its curve into PKCS#8.
fn sec1_to_pkcs8(key: &[u8]) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let secret = ec_secret(key)?;
    let curve = if secret.len() > 32 { P384 } else { P256 };
    Ok(Zeroizing::new(yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(0);
            writer.next().write_sequence(|writer| {
                for oid in [EC_PUBLIC_KEY, curve] {
                    writer.next().write_oid(&yasna::models::ObjectIdentifier::from_slice(oid));
                }
            });
            writer.next().write_bytes(key);
        });
    })))
}

#[cfg(test)]
mod tests {
    use rcgen::PublicKeyData;

    use super::*;

    #[tokio::test]
    async fn every_kind_survives_its_pem_forms() {
        for kind in [KeyKind::Rsa(2048), KeyKind::EcP256, KeyKind::EcP384, KeyKind::Ed25519] {
            let key = PrivateKey::generate(kind).await.unwrap();
            let public = key.pair(0).unwrap().subject_public_key_info();
            for pkcs8 in [false, true] {
                let text = key.pem(pkcs8).unwrap();
                let block = pem::parse(text.as_bytes()).unwrap();
                assert_eq!(block.tag() == "PRIVATE KEY", pkcs8 || kind == KeyKind::Ed25519);
                let read = PrivateKey::from_pem(&block).unwrap();
                assert_eq!(read.kind, kind);
                assert_eq!(read.pair(0).unwrap().subject_public_key_info(), public);
            }
        }
    }

    #[test]
    fn kinds_are_checked() {
        assert_eq!(KeyKind::parse("rsa", 0).unwrap(), KeyKind::Rsa(2048));
        assert_eq!(KeyKind::parse("ec", 0).unwrap(), KeyKind::EcP256);
        assert_eq!(KeyKind::parse("ed25519", 0).unwrap(), KeyKind::Ed25519);
        for (key_type, bits) in [("rsa", 1024), ("rsa", 2049), ("ec", 521), ("ec", 100), ("dsa", 0)] {
            assert_eq!(KeyKind::parse(key_type, bits).unwrap_err().status(), 400);
        }
    }

    #[test]
    fn nonsense_is_no_key() {
        for (tag, bytes) in [("PRIVATE KEY", &b"x"[..]), ("RSA PRIVATE KEY", b"y"), ("EC PRIVATE KEY", b"z")]
        {
            assert!(PrivateKey::from_pem(&pem::Pem::new(tag, bytes)).is_err());
        }
    }
}
