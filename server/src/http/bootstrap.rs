//! Endpoints that answer whether or not the server is unsealed: init, unseal, status, health.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::envelope::Reply;
use super::parse::{Parts, json_object, query_object};
use crate::core::Core;
use crate::core::lifecycle::InitRequest;
use crate::core::unseal::parse_share;
use crate::logical::{Error, Fields, Object};

/// Path, methods and parameters of each.
pub const ROUTES: &[(&str, &[&str], &str)] = &[
    ("sys/health", &["GET", "HEAD"], "activecode, sealedcode, standbyok, uninitcode, …"),
    ("sys/init", &["GET", "HEAD", "POST"], "secret_shares, secret_threshold"),
    ("sys/leader", &["GET", "HEAD"], ""),
    ("sys/seal-status", &["GET", "HEAD"], ""),
    ("sys/unseal", &["POST"], "key, reset"),
];

/// The answer, when the path is one of these.
pub async fn answer(core: &Arc<Core>, parts: &Parts<'_>, body: &Bytes) -> Option<Reply> {
    let method = if parts.method == "PUT" { "POST" } else { parts.method.as_str() };
    let path = parts.path;
    // Sealing needs a token, except where there is nothing to seal; other methods it never has.
    if path == "sys/seal" && method != "POST" {
        return Some(Reply::errors(405, &[]));
    }
    if path == "sys/seal" && core.active().is_none() {
        return Some(Reply::no_content());
    }
    let (_, methods, _) = ROUTES.iter().find(|(known, ..)| *known == path)?;
    if !methods.contains(&method) {
        return Some(Reply::errors(405, &[]));
    }
    let result = match path {
        // Boxed: the room they need would be part of every request.
        "sys/init" if method == "POST" => Box::pin(init(core, body)).await,
        "sys/init" => {
            Ok(Reply::json(200, &serde_json::json!({ "initialized": core.barrier.is_initialised() })))
        }
        "sys/seal-status" => core.seal_status().map(|status| Reply::json(200, &status)),
        "sys/unseal" => Box::pin(unseal(core, body)).await,
        "sys/health" => health(core, parts.query),
        _ => core.leader().map(|leader| Reply::json(200, &leader)),
    };
    Some(result.unwrap_or_else(|error| Reply::error(&error)))
}

/// Reads a JSON body.
///
/// # Errors
/// 400.
pub fn parse_body(body: &Bytes) -> Result<Object, Error> {
    json_object(body).map_err(|_| Error::bad_request("failed to parse JSON input"))
}

/// Whether a field holds something; clients send what they do not use as empty.
pub fn is_given(fields: Fields<'_>, name: &str) -> bool {
    fields.value(name).is_some_and(|value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    })
}

async fn init(core: &Arc<Core>, body: &Bytes) -> Result<Reply, Error> {
    let data = parse_body(body)?;
    let fields = Fields::new(&data);
    for name in ["pgp_keys", "root_token_pgp_key", "recovery_pgp_keys"] {
        if is_given(fields, name) {
            return Err(Error::bad_request(format!("{name:?} is not supported by this server")));
        }
    }
    if core.barrier.is_initialised() {
        return Err(Error::bad_request("Vault is already initialized"));
    }
    let shares = fields.int("secret_shares")?.unwrap_or_default();
    let threshold = fields.int("secret_threshold")?.unwrap_or_default();
    if shares == 0 && fields.int("recovery_shares")?.unwrap_or_default() > 0 {
        return Err(Error::bad_request(
            "parameters recovery_shares,recovery_threshold not applicable to seal type shamir",
        ));
    }
    let request = InitRequest::check(shares, threshold)?;
    Ok(Reply::json(200, &core.initialise(&request).await?))
}

async fn unseal(core: &Arc<Core>, body: &Bytes) -> Result<Reply, Error> {
    let data = parse_body(body)?;
    let fields = Fields::new(&data);
    if fields.bool("reset")?.unwrap_or_default() {
        if core.active().is_some() {
            return Err(Error::bad_request("vault is unsealed"));
        }
        core.reset_unseal();
        return Ok(Reply::json(200, &core.seal_status()?));
    }
    let key = fields.string("key")?.unwrap_or_default();
    if key.is_empty() {
        return Err(Error::bad_request(
            "'key' must be specified in request body as JSON, or 'reset' set to true",
        ));
    }
    let share = parse_share(&key)?;
    if core.active().is_none() && fields.bool("migrate")?.unwrap_or_default() {
        return Err(Error::coded(500, "can't perform a seal migration, no migration seal found"));
    }
    core.unseal(share).await?;
    Ok(Reply::json(200, &core.seal_status()?))
}

fn health(core: &Core, query: Option<&str>) -> Result<Reply, Error> {
    let params = query_object(query);
    let fields = Fields::new(&params);
    let wanted = |name: &str, default: u16| match fields.string(name)?.filter(|text| !text.is_empty()) {
        None => Ok(default),
        Some(text) => text
            .parse::<u16>()
            .ok()
            .filter(|code| (100..1000).contains(code))
            // Vault says no more than this.
            .ok_or_else(|| Error::coded(400, "")),
    };
    let codes = [("activecode", 200), ("sealedcode", 503), ("uninitcode", 501)];
    let [active, sealed, uninitialised] = codes.map(|(name, default)| wanted(name, default));
    // There is no standby here; its parameters are checked like the others all the same.
    for (name, default) in [("standbycode", 429), ("performancestandbycode", 473), ("drsecondarycode", 472)] {
        wanted(name, default)?;
    }
    let status = if !core.barrier.is_initialised() {
        uninitialised?
    } else if core.active().is_none() {
        sealed?
    } else {
        active?
    };
    Ok(Reply::json(status, &core.health()))
}
