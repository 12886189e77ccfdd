//! `sys/capabilities`, `-self` and `-accessor`.

use serde_json::json;

use super::Endpoint;
use crate::core::active::Active;
use crate::framework::Call;
use crate::logical::{Error, Object, Response, TokenEntry};

/// What a token may do on paths.
///
/// # Errors
/// 400 without paths, or for an unknown token.
pub fn handle(active: &Active, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let fields = call.fields();
    if call.endpoint == Endpoint::Capabilities && fields.string("token")?.is_none_or(|token| token.is_empty())
    {
        return Err(Error::internal("no token found"));
    }
    // Of an accessor the token is looked up first, of a token the paths.
    let by_accessor = match call.endpoint {
        Endpoint::CapabilitiesAccessor => Some(token(active, call)?),
        _ => None,
    };
    let mut paths = fields.comma_strings("paths")?.unwrap_or_default();
    if paths.is_empty() {
        paths = fields.comma_strings("path")?.unwrap_or_default();
    }
    if paths.is_empty() {
        return Err(Error::bad_request("paths must be supplied"));
    }
    let entry = match by_accessor {
        Some(entry) => entry,
        None => token(active, call)?,
    };
    let entity = match entry.entity_id.as_str() {
        "" => None,
        id => active.identity.get(id)?,
    };
    let acl = active.acl_of(&entry, entity.as_ref());
    let mut data = Object::new();
    for path in &paths {
        let mut capabilities = acl.capabilities(path);
        capabilities.sort_unstable();
        data.insert(path.clone(), json!(capabilities));
    }
    if let [path] = paths.as_slice() {
        data.insert("capabilities".to_owned(), data[path].clone());
    }
    Ok(Some(Response { data: Some(data), inject: true, ..Response::default() }))
}

fn token(active: &Active, call: &Call<'_, Endpoint>) -> Result<std::sync::Arc<TokenEntry>, Error> {
    let fields = call.fields();
    let found = match call.endpoint {
        Endpoint::CapabilitiesAccessor => {
            let accessor = fields.string("accessor")?.unwrap_or_default();
            if accessor.is_empty() {
                return Err(Error::bad_request("missing accessor"));
            }
            let found = active.lookup_accessor(&accessor)?.map(|(_, token)| token);
            found.ok_or_else(|| Error::raw_bad_request("invalid accessor"))?
        }
        Endpoint::Capabilities => {
            let token = fields.string("token")?.unwrap_or_default();
            active.lookup_token(&token)?.ok_or_else(|| Error::raw_bad_request("invalid token"))?
        }
        _ => return call.request.token.clone().ok_or(Error::PermissionDenied),
    };
    Ok(std::sync::Arc::clone(&found.entry))
}
