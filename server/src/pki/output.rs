//! The forms certificates and keys are answered in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::certificate::certificate_pem;
use super::key::PrivateKey;
use crate::logical::{Error, Fields, Object};

/// `format` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// PEM.
    Pem,
    /// Base64 of DER.
    Der,
    /// PEM, with the private key and the chain in the same text.
    PemBundle,
}

impl Format {
    /// What a request asks for; PEM where it doesn't.
    pub fn from_fields(fields: Fields<'_>) -> Result<Self, Error> {
        match fields.string("format")?.as_deref() {
            None | Some("" | "pem") => Ok(Self::Pem),
            Some("der") => Ok(Self::Der),
            Some("pem_bundle") => Ok(Self::PemBundle),
            Some(_) => Err(Error::bad_request(
                "the \"format\" path parameter must be \"pem\", \"der\", or \"pem_bundle\"",
            )),
        }
    }

    /// A certificate in this form.
    pub fn certificate(self, der: &[u8]) -> String {
        match self {
            Self::Der => STANDARD.encode(der),
            Self::Pem | Self::PemBundle => certificate_pem(der),
        }
    }
}

/// Adds `private_key` and `private_key_type` to an answer, and the key to the bundle in
/// `certificate` or `csr`.
pub(super) fn add_private_key(
    data: &mut Object,
    key: &PrivateKey,
    format: Format,
    fields: Fields<'_>,
) -> Result<(), Error> {
    let pkcs8 = match fields.string("private_key_format")?.as_deref() {
        None | Some("" | "der" | "pem") => false,
        Some("pkcs8") => true,
        Some(_) => {
            return Err(Error::bad_request(
                "the \"private_key_format\" path parameter must be \"der\" or \"pkcs8\"",
            ));
        }
    };
    let text = match format {
        Format::Der => STANDARD.encode(key.der(pkcs8)?.as_slice()),
        Format::Pem | Format::PemBundle => key.pem(pkcs8)?.to_string(),
    };
    if format == Format::PemBundle {
        for name in ["certificate", "csr"] {
            if let Some(value) = data.get_mut(name)
                && let Some(rest) = value.as_str()
            {
                *value = json!(format!("{text}\n{rest}"));
            }
        }
    }
    data.insert("private_key".to_owned(), json!(text));
    data.insert("private_key_type".to_owned(), json!(key.kind.name()));
    Ok(())
}
