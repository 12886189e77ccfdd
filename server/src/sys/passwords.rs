//! `sys/policies/password`: how generated passwords look.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Endpoint;
use crate::core::active::Active;
use crate::database::password::{PasswordPolicy, PolicyError};
use crate::framework::Call;
use crate::logical::Operation::{Delete, Read};
use crate::logical::{Error, Response, View};

fn view(storage: &View) -> View {
    storage.sub("sys/password_policy/")
}

/// A password by a stored policy.
///
/// # Errors
/// When there is no such policy or no password satisfies it.
pub fn generate(storage: &View, name: &str) -> Result<String, Error> {
    let text: String =
        view(storage).get_json(name)?.ok_or_else(|| Error::internal("no password policy found"))?;
    let failed = |error: String| Error::internal(format!("failed to generate password from policy: {error}"));
    let policy = PasswordPolicy::parse(&text).map_err(|error| failed(error.to_string()))?;
    let password = policy.generate().map_err(|error| failed(error.to_string()))?;
    Ok(password.to_string())
}

/// A raw error with a status of its own.
fn no_policy() -> Error {
    Error::coded(404, "1 error occurred:\n\t* policy does not exist\n\n")
}

/// Serves the endpoints.
///
/// # Errors
/// 400 for a policy that cannot be used.
pub async fn handle(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let view = view(&active.storage);
    let name = call.path_field("name");
    // A policy of a name with a slash is none.
    if call.endpoint == Endpoint::PasswordPolicy && call.request.path.ends_with('/') {
        return match call.operation() {
            Read => Err(no_policy()),
            Delete => Ok(None),
            _ => Err(Error::UnsupportedPath),
        };
    }
    match (call.endpoint, call.operation()) {
        (Endpoint::PasswordPolicies, _) => Ok(Response::list(view.list("")?)),
        (Endpoint::GeneratePassword, _) => {
            if view.get(name)?.is_none() {
                return Err(no_policy());
            }
            let password = generate(&active.storage, name)?;
            Ok(Some(Response::json(json!({ "password": password }))))
        }
        (_, Read) => {
            let text: String = view.get_json(name)?.ok_or_else(no_policy)?;
            Ok(Some(Response::json(json!({ "policy": text }))))
        }
        (_, Delete) => {
            view.delete(name).await?;
            Ok(None)
        }
        _ => {
            let given = call.fields().string("policy")?.unwrap_or_default();
            if given.is_empty() {
                return Err(Error::raw_bad_request("missing policy"));
            }
            let decoded = STANDARD.decode(given.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text = decoded.unwrap_or(given);
            let invalid = |error: String| Error::raw_bad_request(format!("invalid password policy: {error}"));
            let policy = PasswordPolicy::parse(&text).map_err(|error| {
                let why = error.to_string();
                // What is checked after reading comes in a list of its own.
                match error {
                    PolicyError::Syntax(_) | PolicyError::Rules(_) => invalid(why),
                    _ => invalid(format!("1 error occurred:\n\t* {why}\n\n")),
                }
            })?;
            policy.check_storable().map_err(|error| Error::raw_bad_request(error.to_string()))?;
            view.put_json(name, &text).await?;
            Ok(None)
        }
    }
}
