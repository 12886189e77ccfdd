//! `sys/rekey/*` and `sys/generate-root/*`: authorised by unseal keys instead of a token.

use std::sync::Arc;

use bytes::Bytes;

use super::bootstrap::{is_given, parse_body};
use super::envelope::Reply;
use super::parse::Parts;
use crate::core::Core;
use crate::core::lifecycle::InitRequest;
use crate::core::unseal::{Share, parse_share};
use crate::logical::{Error, Fields, Object};

/// Path, methods and parameters of each.
pub const ROUTES: &[(&str, &[&str], &str)] = &[
    ("sys/generate-root/attempt", &["GET", "POST", "DELETE"], "otp"),
    ("sys/generate-root/update", &["POST"], "key, nonce"),
    ("sys/rekey/init", &["GET", "POST", "DELETE"], "secret_shares, secret_threshold, require_verification"),
    ("sys/rekey/update", &["POST"], "key, nonce"),
    ("sys/rekey/verify", &["GET", "POST", "DELETE"], "key, nonce"),
];

/// The same for the recovery keys that other seals have.
const RECOVERY: [&str; 3] =
    ["sys/rekey-recovery-key/init", "sys/rekey-recovery-key/update", "sys/rekey-recovery-key/verify"];

/// Whether the path is one of these.
pub fn is_one(parts: &Parts<'_>) -> bool {
    let path = parts.path;
    ROUTES.iter().any(|(known, ..)| *known == path) || RECOVERY.contains(&path)
}

/// The answer where it is.
///
/// # Errors
/// As each operation says.
pub async fn answer(core: &Arc<Core>, parts: &Parts<'_>, body: &Bytes) -> Result<Reply, Error> {
    handle(core, parts.method.as_str(), parts.path, body).await
}

async fn handle(core: &Arc<Core>, method: &str, path: &str, body: &Bytes) -> Result<Reply, Error> {
    let write = matches!(method, "POST" | "PUT");
    if path.starts_with("sys/rekey") {
        core.unsealed("node is not active")?;
    }
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
        // Whatever the method, as in Vault.
        "sys/rekey/update" => {
            let (nonce, share) = rekey_key(body)?;
            core.update_rekey(&nonce, share).await?
        }
        "sys/rekey/verify" if method == "GET" => core.rekey_verification_status()?,
        "sys/rekey/verify" if method == "DELETE" => core.restart_rekey_verification()?,
        "sys/rekey/verify" if write => {
            let (nonce, share) = rekey_key(body)?;
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
            core.unsealed("Vault is sealed")?;
            core.cancel_generate_root();
            return Ok(Reply::no_content());
        }
        "sys/generate-root/update" => {
            let (nonce, share) = key_and_nonce(body)?;
            core.update_generate_root(&nonce, share).await?
        }
        "sys/rekey-recovery-key/update" => {
            rekey_key(body)?;
            return Err(Error::coded(
                500,
                "failed to fetch existing recovery config: recovery not supported",
            ));
        }
        _ if RECOVERY.contains(&path) => return Err(Error::bad_request("recovery rekeying not supported")),
        _ => return Err(Error::coded(405, "")),
    };
    Ok(Reply::json(200, &body))
}

/// The new keys asked for, and whether they are to be verified.
fn rekey_request(body: &Bytes) -> Result<(InitRequest, bool), Error> {
    let data = given_body(body)?;
    let fields = Fields::new(&data);
    let verify = fields.bool("require_verification")?.unwrap_or_default();
    if is_given(fields, "pgp_keys") {
        return Err(Error::bad_request("\"pgp_keys\" is not supported by this server"));
    }
    if fields.bool("backup")?.unwrap_or_default() {
        return Err(Error::bad_request(
            "cannot request a backup of the new keys without providing PGP keys for encryption",
        ));
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

/// The same for a rekey, of whose keys Vault says only what is wrong.
fn rekey_key(body: &Bytes) -> Result<(String, Share), Error> {
    key_and_nonce(body).map_err(|error| {
        let text = error.to_string();
        text.strip_prefix("invalid key: ").map_or(error, Error::bad_request)
    })
}

fn key_and_nonce(body: &Bytes) -> Result<(String, Share), Error> {
    let data = given_body(body)?;
    let fields = Fields::new(&data);
    let key = fields.string("key")?.unwrap_or_default();
    if key.is_empty() {
        return Err(Error::bad_request("'key' must be specified in request body as JSON"));
    }
    Ok((fields.string("nonce")?.unwrap_or_default(), parse_share(&key)?))
}

/// The body, which there has to be.
fn given_body(body: &Bytes) -> Result<Object, Error> {
    if body.trim_ascii().is_empty() {
        return Err(Error::bad_request("EOF"));
    }
    parse_body(body)
}
