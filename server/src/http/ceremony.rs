//! `sys/rekey/*` and `sys/generate-root/*`: authorised by unseal keys instead of a token.

use std::sync::Arc;

use bytes::Bytes;

use super::bootstrap::{is_given, parse_body};
use super::envelope::Reply;
use super::parse::Parts;
use crate::core::Core;
use crate::core::lifecycle::InitRequest;
use crate::core::unseal::{Share, parse_share};
use crate::logical::{Error, Fields};

/// Path, methods and parameters of each.
pub const ROUTES: &[(&str, &[&str], &str)] = &[
    ("sys/generate-root/attempt", &["GET", "POST", "DELETE"], "otp"),
    ("sys/generate-root/update", &["POST"], "key, nonce"),
    ("sys/rekey/backup", &["GET", "DELETE"], ""),
    ("sys/rekey/init", &["GET", "POST", "DELETE"], "secret_shares, secret_threshold, require_verification"),
    ("sys/rekey/update", &["POST"], "key, nonce"),
    ("sys/rekey/verify", &["GET", "POST", "DELETE"], "key, nonce"),
];

/// Whether the path is one of these.
pub fn is_one(parts: &Parts<'_>) -> bool {
    let path = parts.path.trim_end_matches('/');
    ROUTES.iter().any(|(known, ..)| *known == path)
}

/// The answer where it is.
///
/// # Errors
/// As each operation says.
pub async fn answer(core: &Arc<Core>, parts: &Parts<'_>, body: &Bytes) -> Result<Reply, Error> {
    handle(core, parts.method.as_str(), parts.path.trim_end_matches('/'), body).await
}

async fn handle(core: &Arc<Core>, method: &str, path: &str, body: &Bytes) -> Result<Reply, Error> {
    let write = matches!(method, "POST" | "PUT");
    let body = match path {
        "sys/rekey/init" if method == "GET" => core.rekey_status()?,
        "sys/rekey/init" if write => {
            let (request, verify) = rekey_request(body)?;
            core.start_rekey(request, verify)?;
            core.rekey_status()?
        }
        "sys/rekey/init" if method == "DELETE" => {
            core.cancel_rekey();
            return Ok(Reply::no_content());
        }
        "sys/rekey/update" if write => {
            let (nonce, share) = key_and_nonce(body)?;
            core.update_rekey(&nonce, share).await?
        }
        "sys/rekey/backup" if method == "GET" => return Err(Error::bad_request("no backed-up keys found")),
        "sys/rekey/backup" if method == "DELETE" => return Ok(Reply::no_content()),
        "sys/rekey/verify" if method == "GET" => core.rekey_verification_status()?,
        "sys/rekey/verify" if method == "DELETE" => core.restart_rekey_verification()?,
        "sys/rekey/verify" if write => {
            let (nonce, share) = key_and_nonce(body)?;
            core.verify_rekey(&nonce, share).await?
        }
        "sys/generate-root/attempt" if method == "GET" => core.generate_root_status()?,
        "sys/generate-root/attempt" if write => {
            let data = parse_body(body)?;
            let fields = Fields::new(&data);
            if is_given(fields, "pgp_key") {
                return Err(Error::bad_request("\"pgp_key\" is not supported by this server"));
            }
            core.start_generate_root(fields.string("otp")?.filter(|otp| !otp.is_empty()))?
        }
        "sys/generate-root/attempt" if method == "DELETE" => {
            core.cancel_generate_root();
            return Ok(Reply::no_content());
        }
        "sys/generate-root/update" if write => {
            let (nonce, share) = key_and_nonce(body)?;
            core.update_generate_root(&nonce, share).await?
        }
        _ => return Err(Error::coded(405, "")),
    };
    Ok(Reply::json(200, &body))
}

/// The new keys asked for, and whether they are to be verified.
fn rekey_request(body: &Bytes) -> Result<(InitRequest, bool), Error> {
    let data = parse_body(body)?;
    let fields = Fields::new(&data);
    if fields.bool("backup")?.unwrap_or_default() {
        return Err(Error::bad_request("\"backup\" is not supported by this server"));
    }
    let verify = fields.bool("require_verification")?.unwrap_or_default();
    if is_given(fields, "pgp_keys") {
        return Err(Error::bad_request("\"pgp_keys\" is not supported by this server"));
    }
    let shares = fields.int("secret_shares")?.unwrap_or_default();
    let threshold = fields.int("secret_threshold")?.unwrap_or_default();
    if threshold > shares {
        return Err(Error::bad_request("provided threshold greater than the total shares"));
    }
    let request = InitRequest::check(shares, threshold).map_err(|error| {
        Error::coded(500, error.to_string().replace("invalid seal", "invalid rekey seal"))
    })?;
    Ok((request, verify))
}

fn key_and_nonce(body: &Bytes) -> Result<(String, Share), Error> {
    let data = parse_body(body)?;
    let fields = Fields::new(&data);
    let key = fields.string("key")?.unwrap_or_default();
    if key.is_empty() {
        return Err(Error::bad_request("'key' must be specified in request body as JSON"));
    }
    Ok((fields.string("nonce")?.unwrap_or_default(), parse_share(&key)?))
}
