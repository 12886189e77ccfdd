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

/// The answer, when the path is one of these.
///
/// # Errors
/// As each operation says.
pub async fn answer(core: &Arc<Core>, parts: &Parts<'_>, body: &Bytes) -> Option<Result<Reply, Error>> {
    let path = parts.path.trim_end_matches('/');
    let known = [
        "sys/rekey/init",
        "sys/rekey/update",
        "sys/rekey/backup",
        "sys/rekey/verify",
        "sys/generate-root/attempt",
        "sys/generate-root/update",
    ];
    if !known.contains(&path) {
        return None;
    }
    Some(handle(core, parts.method.as_str(), path, body).await)
}

async fn handle(core: &Arc<Core>, method: &str, path: &str, body: &Bytes) -> Result<Reply, Error> {
    let write = matches!(method, "POST" | "PUT");
    let body = match path {
        "sys/rekey/init" if method == "GET" => core.rekey_status()?,
        "sys/rekey/init" if write => {
            core.start_rekey(rekey_request(body)?)?;
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
        "sys/rekey/verify" => return Err(Error::bad_request("no rekey configuration found")),
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

fn rekey_request(body: &Bytes) -> Result<InitRequest, Error> {
    let data = parse_body(body)?;
    let fields = Fields::new(&data);
    for name in ["backup", "require_verification"] {
        if fields.bool(name)?.unwrap_or_default() {
            return Err(Error::bad_request(format!("{name:?} is not supported by this server")));
        }
    }
    if is_given(fields, "pgp_keys") {
        return Err(Error::bad_request("\"pgp_keys\" is not supported by this server"));
    }
    let shares = fields.int("secret_shares")?.unwrap_or_default();
    let threshold = fields.int("secret_threshold")?.unwrap_or_default();
    if threshold > shares {
        return Err(Error::bad_request("provided threshold greater than the total shares"));
    }
    InitRequest::check(shares, threshold)
        .map_err(|error| Error::coded(500, error.to_string().replace("invalid seal", "invalid rekey seal")))
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
