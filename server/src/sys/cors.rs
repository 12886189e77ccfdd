//! `sys/config/cors`: which web pages of other origins may ask this server.

use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Endpoint;
use crate::core::active::Active;
use crate::framework::Call;
use crate::logical::Operation::{Delete, Read};
use crate::logical::{Error, Response, View};

const KEY: &str = "sys/config/cors";

/// Headers every such page may send.
const HEADERS: [&str; 10] = [
    "Content-Type",
    "X-Requested-With",
    "X-Vault-AWS-IAM-Server-ID",
    "X-Vault-MFA",
    "X-Vault-No-Request-Forwarding",
    "X-Vault-Wrap-Format",
    "X-Vault-Wrap-TTL",
    "X-Vault-Policy-Override",
    "Authorization",
    "X-Vault-Token",
];

/// Methods such a page may use.
pub const METHODS: [&str; 6] = ["DELETE", "GET", "OPTIONS", "POST", "PUT", "LIST"];

/// What is allowed to whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cors {
    /// Origins, or `*` alone for all.
    pub allowed_origins: Vec<String>,
    /// Headers that may be sent, Vault's own included.
    pub allowed_headers: Vec<String>,
}

impl Cors {
    /// The stored settings; none where it is off.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn load(storage: &View) -> Result<Option<Arc<Self>>, Error> {
        Ok(storage.get_json::<Self>(KEY)?.map(Arc::new))
    }

    /// Whether pages of this origin may ask.
    pub fn allows(&self, origin: &str) -> bool {
        self.allowed_origins.iter().any(|allowed| allowed == "*" || allowed == origin)
    }
}

/// Serves the endpoint.
///
/// # Errors
/// 500, as Vault answers, for no origin or a `*` among others.
pub async fn handle(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    match call.operation() {
        Read => {
            let mut response = Response::json(json!({ "enabled": false }));
            if let Some(cors) = active.cors() {
                response = Response::json(json!({
                    "enabled": true,
                    "allowed_origins": cors.allowed_origins,
                    "allowed_headers": cors.allowed_headers,
                }));
            }
            response.inject = true;
            return Ok(Some(response));
        }
        Delete => {
            active.storage.delete(KEY).await?;
            active.set_cors(None);
        }
        _ => {
            let fields = call.fields();
            let allowed_origins = fields.comma_strings("allowed_origins")?.unwrap_or_default();
            if allowed_origins.is_empty() {
                return Err(Error::internal("at least one origin or the wildcard must be provided"));
            }
            if allowed_origins.len() > 1 && allowed_origins.iter().any(|origin| origin == "*") {
                let text = "to allow all origins the '*' must be the only value for allowed_origins";
                return Err(Error::internal(text));
            }
            let mut allowed_headers: Vec<String> = HEADERS.map(str::to_owned).to_vec();
            allowed_headers.extend(fields.comma_strings("allowed_headers")?.unwrap_or_default());
            let cors = Cors { allowed_origins, allowed_headers };
            active.storage.put_json(KEY, &cors).await?;
            active.set_cors(Some(Arc::new(cors)));
        }
    }
    Ok(None)
}

impl Active {
    /// Who of other origins may ask; none where nobody may.
    pub fn cors(&self) -> Option<Arc<Cors>> {
        self.cors.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_cors(&self, cors: Option<Arc<Cors>>) {
        *self.cors.write().unwrap_or_else(PoisonError::into_inner) = cors;
    }
}
