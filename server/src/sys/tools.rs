//! `sys/tools`: random bytes and hashes.

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine as _};
use serde_json::json;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};

use super::Endpoint;
use crate::framework::Call;
use crate::logical::{Error, Response};
use crate::{hex, random};

/// Vault's limit for random bytes.
const MAX_BYTES: i64 = 128 * 1024;

/// Serves the endpoints.
///
/// # Errors
/// 400 for a source, size, algorithm or encoding there is not.
pub fn handle(call: &Call<'_, Endpoint>) -> Result<Response, Error> {
    match call.endpoint {
        Endpoint::Random => random_bytes(call),
        _ => hash(call),
    }
}

fn random_bytes(call: &Call<'_, Endpoint>) -> Result<Response, Error> {
    let fields = call.fields();
    let given = call.path_field("source");
    let of_body = || fields.int("bytes").map(|bytes| bytes.unwrap_or(32));
    // The first segment is a source or, alone, a size. What is no name is neither, and counts for nothing.
    let (source, bytes) = match (given, call.path_field("urlbytes")) {
        ("", _) => ("platform", of_body()?),
        (source @ ("platform" | "seal" | "all"), "") => (source, of_body()?),
        (bytes, "") => ("platform", size(bytes)?),
        (source, bytes) => (source, size(bytes)?),
    };
    if bytes < 1 {
        return Err(Error::bad_request("'bytes' cannot be less than 1"));
    }
    if bytes > MAX_BYTES {
        return Err(Error::bad_request(format!("'bytes' should be less than {MAX_BYTES}")));
    }
    let format = fields.string("format")?.unwrap_or_else(|| "base64".to_owned());
    if !matches!(format.as_str(), "hex" | "base64") {
        return Err(unsupported_format(&format!("{format:?}")));
    }
    if !matches!(source, "" | "platform" | "seal" | "all") {
        return Err(Error::bad_request(format!(
            "unsupported entropy source {source:?}; must be \"platform\" or \"seal\", or \"all\""
        )));
    }
    let mut made = vec![0; bytes as usize];
    random::secret(&mut made);
    let mut response = Response::json(json!({ "random_bytes": encode(&format, &made) }));
    if source == "seal" {
        response
            .warnings
            .push("no seal/entropy augmentation available, using platform entropy source".to_owned());
    }
    // The path has a place for the source: it alone counts.
    if given.is_empty() && fields.has("source") {
        response.warnings.push(
            "Endpoint replaced the value of these parameters with the values captured from the endpoint's path: \
             [source]"
                .to_owned(),
        );
    }
    Ok(response)
}

fn size(text: &str) -> Result<i64, Error> {
    text.parse().map_err(|_| {
        Error::bad_request(format!(
            "error parsing url-set byte count: strconv.Atoi: parsing {text:?}: invalid syntax"
        ))
    })
}

fn hash(call: &Call<'_, Endpoint>) -> Result<Response, Error> {
    let fields = call.fields();
    let input = fields.string("input")?.unwrap_or_default();
    let input = STANDARD.decode(input.trim()).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) => at,
            _ => input.trim().len(),
        };
        Error::bad_request(format!(
            "unable to decode input as base64: illegal base64 data at input byte {at}"
        ))
    })?;
    let format = fields.string("format")?.unwrap_or_else(|| "hex".to_owned());
    if !matches!(format.as_str(), "hex" | "base64") {
        return Err(unsupported_format(&format));
    }
    let algorithm = match call.path_field("urlalgorithm") {
        "" => fields.string("algorithm")?.unwrap_or_else(|| "sha2-256".to_owned()),
        given => given.to_owned(),
    };
    let sum = match algorithm.as_str() {
        "sha2-224" => Sha224::digest(&input).to_vec(),
        "sha2-256" => Sha256::digest(&input).to_vec(),
        "sha2-384" => Sha384::digest(&input).to_vec(),
        "sha2-512" => Sha512::digest(&input).to_vec(),
        "sha3-224" => Sha3_224::digest(&input).to_vec(),
        "sha3-256" => Sha3_256::digest(&input).to_vec(),
        "sha3-384" => Sha3_384::digest(&input).to_vec(),
        "sha3-512" => Sha3_512::digest(&input).to_vec(),
        other => return Err(Error::bad_request(format!("unsupported algorithm {other}"))),
    };
    Ok(Response::json(json!({ "sum": encode(&format, &sum) })))
}

fn unsupported_format(shown: &str) -> Error {
    Error::bad_request(format!("unsupported encoding format {shown}; must be \"hex\" or \"base64\""))
}

fn encode(format: &str, bytes: &[u8]) -> String {
    if format == "hex" { hex::encode(bytes) } else { STANDARD.encode(bytes) }
}
