//! Reading certificates, serial numbers and PEM.

use jiff::Timestamp;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::error::PkiError;
use crate::random;

/// What this engine needs to know about a certificate.
pub(super) struct CertificateInfo {
    /// Serial number, `17:67:…`.
    pub serial: String,
    /// When it expires.
    pub not_after: Timestamp,
    /// Whether it may sign certificates.
    pub is_ca: bool,
    /// Whether it names itself as its issuer.
    pub is_self_issued: bool,
    /// Its public key, a `SubjectPublicKeyInfo` (DER).
    pub public_key: Vec<u8>,
}

impl CertificateInfo {
    /// Reads a certificate (DER).
    pub fn parse(der: &[u8]) -> Result<Self, PkiError> {
        let unreadable = |error: String| PkiError::Certificate(error);
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| unreadable(error.to_string()))?;
        let not_after = certificate.validity().not_after.timestamp();
        Ok(Self {
            serial: serial_text(certificate.raw_serial()),
            not_after: Timestamp::from_second(not_after).map_err(|error| unreadable(error.to_string()))?,
            is_ca: certificate.is_ca(),
            is_self_issued: certificate.subject().as_raw() == certificate.issuer().as_raw(),
            public_key: certificate.public_key().raw.to_vec(),
        })
    }
}

/// A new serial number: 20 bytes, positive.
pub(super) fn new_serial() -> Vec<u8> {
    let mut bytes: [u8; 20] = random::bytes();
    // Without its highest bit the number is positive; with the next it has always 20 bytes.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    bytes.to_vec()
}

/// A serial number as Vault writes it, `17:67:…`.
pub(super) fn serial_text(bytes: &[u8]) -> String {
    let bytes = match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

/// The form of a serial number in storage keys and lists, `17-67-…`. Clients send either; anything
/// else becomes a key under which nothing is stored.
pub(super) fn serial_key(serial: &str) -> String {
    serial.trim().to_lowercase().chars().map(|c| if c.is_ascii_hexdigit() { c } else { '-' }).collect()
}

/// The bytes of a serial number in either form.
pub(super) fn serial_bytes(serial: &str) -> Vec<u8> {
    serial_key(serial).split('-').filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

/// A PEM block as Vault writes it: without a line end after the last line.
pub(super) fn pem_text(tag: &str, der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let text = pem::encode_config(&pem::Pem::new(tag, der), config);
    text.trim_end().to_owned()
}

/// A certificate in PEM.
pub(super) fn certificate_pem(der: &[u8]) -> String {
    pem_text("CERTIFICATE", der)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_in_both_forms() {
        let serial = new_serial();
        let text = serial_text(&serial);
        assert_eq!((serial.len(), text.len()), (20, 59));
        assert_eq!(serial_key(&text), text.replace(':', "-"));
        assert_eq!(serial_bytes(&text), serial);
        assert_eq!(serial_bytes(&serial_key(&text.to_uppercase())), serial);
        assert_eq!(serial_text(&[0, 0xab]), "ab");
        assert_eq!(serial_key("../x"), "----");
    }

    #[test]
    fn nonsense_is_no_certificate() {
        assert!(CertificateInfo::parse(b"x").is_err());
    }
}
