//! The mount's certificate authority, and signing with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rcgen::{
    Certificate, CertificateParams, CrlDistributionPoint, CustomExtension, IsCa, Issuer, KeyPair,
    PublicKeyData,
};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::certificate::{CertificateInfo, certificate_pem, new_serial};
use super::error::PkiError;
use super::key::PrivateKey;
use super::urls::Urls;
use crate::random;

/// A key with the certificate that makes it an authority, as it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Authority {
    /// UUID of the issuer.
    pub issuer_id: String,
    /// Its name; empty for none.
    pub issuer_name: String,
    /// UUID of the key.
    pub key_id: String,
    /// Its key.
    pub key: PrivateKey,
    /// Its certificate and those above it, base64 of DER.
    chain: Vec<String>,
}

impl Authority {
    /// An authority of a key and its certificates (DER), its own first.
    pub fn new(key: PrivateKey, chain: &[Vec<u8>], issuer_name: String) -> Self {
        Self {
            issuer_id: random::uuid(),
            issuer_name,
            key_id: random::uuid(),
            key,
            chain: chain.iter().map(|der| STANDARD.encode(der)).collect(),
        }
    }

    /// Its certificate and those above it, DER.
    pub fn chain(&self) -> Result<Vec<Vec<u8>>, PkiError> {
        self.chain
            .iter()
            .map(|text| STANDARD.decode(text).map_err(|error| PkiError::Certificate(error.to_string())))
            .collect()
    }

    /// Its own certificate, DER.
    pub fn certificate(&self) -> Result<Vec<u8>, PkiError> {
        let first = self.chain()?.into_iter().next();
        first.ok_or_else(|| PkiError::Certificate("the authority has none".to_owned()))
    }

    /// Its own certificate and those above it, each in PEM.
    pub fn chain_pems(&self) -> Result<Vec<String>, PkiError> {
        Ok(self.chain()?.iter().map(|der| certificate_pem(der)).collect())
    }

    /// When its certificate expires.
    pub fn not_after(&self) -> Result<Timestamp, PkiError> {
        Ok(CertificateInfo::parse(&self.certificate()?)?.not_after)
    }

    /// It as a signer; `signature_bits` chooses the hash of an RSA key.
    pub fn issuer(&self, signature_bits: u32) -> Result<Issuer<'static, KeyPair>, PkiError> {
        let pair = self.key.pair(signature_bits)?;
        Issuer::from_ca_cert_der(&CertificateDer::from(self.certificate()?), pair)
            .map_err(|error| PkiError::Certificate(error.to_string()))
    }

    /// Signs a certificate.
    pub fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
        signature_bits: u32,
    ) -> Result<Certificate, PkiError> {
        let issuer = self.issuer(signature_bits)?;
        params.signed_by(key, &issuer).map_err(sign_error("certificate"))
    }

    /// What a read of the issuer answers.
    pub fn describe(&self) -> Result<Value, PkiError> {
        let pems = self.chain_pems()?;
        Ok(json!({
            "ca_chain": pems,
            "certificate": pems.first(),
            "crl_distribution_points": [],
            "issuer_id": self.issuer_id,
            "issuing_certificates": [],
            "issuer_name": self.issuer_name,
            "key_id": self.key_id,
            "leaf_not_after_behavior": "err",
            "manual_chain": null,
            "ocsp_servers": [],
            "revoked": false,
            "usage": "crl-signing,issuing-certificates,ocsp-signing,read-only",
        }))
    }
}

/// Wraps an rcgen error with what was being made.
pub(super) fn sign_error(what: &'static str) -> impl Fn(rcgen::Error) -> PkiError {
    move |error| PkiError::Sign { what, cause: error.to_string() }
}

/// Parameters all certificates have in common: a new serial number, the validity, the identifiers
/// of both keys and the URLs of the mount.
pub(super) fn common_params(
    key: &impl PublicKeyData,
    not_before: Timestamp,
    not_after: Timestamp,
    urls: &Urls,
) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(new_serial().into());
    params.not_before = date(not_before)?;
    params.not_after = date(not_after)?;
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::NoCa;
    if !urls.crl_distribution_points.is_empty() {
        params.crl_distribution_points =
            vec![CrlDistributionPoint { uris: urls.crl_distribution_points.clone() }];
    }
    if let Some(content) = urls.authority_information() {
        params.custom_extensions.push(CustomExtension::from_oid_content(AUTHORITY_INFORMATION, content));
    }
    // rcgen writes the subject's key identifier for authorities only.
    let identifier = params.key_identifier(key);
    let content = yasna::construct_der(|writer| writer.write_bytes(&identifier));
    params.custom_extensions.push(CustomExtension::from_oid_content(SUBJECT_KEY_IDENTIFIER, content));
    Ok(params)
}

/// Makes parameters those of an authority.
pub(super) fn make_ca(params: &mut CertificateParams, max_path_length: Option<u8>) {
    let constraint =
        max_path_length.map_or(rcgen::BasicConstraints::Unconstrained, rcgen::BasicConstraints::Constrained);
    params.is_ca = IsCa::Ca(constraint);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    // For authorities rcgen writes it itself.
    params
        .custom_extensions
        .retain(|extension| !extension.oid_components().eq(SUBJECT_KEY_IDENTIFIER.iter().copied()));
}

const AUTHORITY_INFORMATION: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
const SUBJECT_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 14];

/// A date of a certificate, in whole seconds.
pub(super) fn date(time: Timestamp) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp(time.as_second())
        .map_err(|error| PkiError::Sign { what: "date", cause: error.to_string() })
}
