//! `sys/policies/acl` and the older `sys/policy`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Endpoint;
use crate::core::active::Active;
use crate::core::policies::NOT_ASSIGNABLE;
use crate::framework::Call;
use crate::logical::Operation::{Delete, Read};
use crate::logical::{Error, Response};

/// Names of all policies.
pub fn list(active: &Active, call: &Call<'_, Endpoint>) -> Option<Response> {
    let names = active.policies.names();
    if call.endpoint == Endpoint::LegacyPolicies {
        let mut response = Response::json(json!({ "keys": names, "policies": names }));
        response.inject = true;
        return Some(response);
    }
    Response::list(names)
}

/// One policy.
///
/// # Errors
/// 400 for a text that is no policy, and for what may not be changed.
pub async fn policy(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let name = call.path_field("name").to_lowercase();
    let legacy = call.endpoint == Endpoint::LegacyPolicy;
    match call.operation() {
        Read => Ok(read(active, &name, legacy)),
        Delete => {
            match name.as_str() {
                "root" => return Err(Error::bad_request("cannot delete \"root\" policy")),
                "default" => return Err(Error::bad_request("cannot delete default policy")),
                name if NOT_ASSIGNABLE.contains(&name) => {
                    return Err(Error::bad_request(format!("cannot delete {name:?} policy")));
                }
                _ => {}
            }
            active.policies.delete(&name).await?;
            Ok(None)
        }
        _ => {
            if name == "root" || NOT_ASSIGNABLE.contains(&name.as_str()) {
                return Err(Error::bad_request(format!("cannot update {name:?} policy")));
            }
            let (text, deprecated) = text(call, legacy)?;
            active.policies.set(&name, text).await?;
            Ok(deprecated.then(|| Response::warning("'rules' is deprecated, please use 'policy' instead")))
        }
    }
}

fn read(active: &Active, name: &str, legacy: bool) -> Option<Response> {
    let text = match name {
        "root" => String::new(),
        _ => active.policies.get(name)?.text.clone(),
    };
    let field = if legacy { "rules" } else { "policy" };
    let mut response = Response::json(json!({ "name": name, field: text }));
    response.inject = legacy;
    Some(response)
}

/// The text of a policy, which may be in base64, and whether it came by its older name.
fn text(call: &Call<'_, Endpoint>, legacy: bool) -> Result<(String, bool), Error> {
    let fields = call.fields();
    let mut given = fields.string("policy")?.unwrap_or_default();
    let deprecated = given.is_empty() && legacy;
    if deprecated {
        given = fields.string("rules")?.unwrap_or_default();
    }
    if given.is_empty() {
        return Err(Error::bad_request("'policy' parameter not supplied or empty"));
    }
    let decoded = STANDARD
        .decode(given.trim())
        .ok()
        .filter(|bytes| !bytes.is_empty())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    Ok((decoded.unwrap_or(given), deprecated))
}
