//! `credential_type` and `credential_config` of roles.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::logical::{Error, Fields, Object};

/// Kind of credential a role hands out. The plugins here make passwords only; the other kinds can be stored, as
/// in Vault, and are refused when a credential is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialType {
    /// A password.
    #[default]
    Password,
    /// An RSA key pair.
    RsaPrivateKey,
    /// A client certificate.
    ClientCertificate,
}

impl CredentialType {
    /// Vault's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::RsaPrivateKey => "rsa_private_key",
            Self::ClientCertificate => "client_certificate",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Password, Self::RsaPrivateKey, Self::ClientCertificate].into_iter().find(|t| t.name() == name)
    }

    /// The error for anything but passwords; its text is Vault's.
    pub fn unsupported(self) -> Option<String> {
        (self != Self::Password).then(|| format!("unsupported credential_type: {:?}", self.name()))
    }
}

/// Kind and settings of a role's credentials.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Credential {
    /// Kind.
    #[serde(rename = "credential_type")]
    pub kind: CredentialType,
    /// Settings; empty for the defaults.
    #[serde(rename = "credential_config", default)]
    pub config: Object,
}

impl Credential {
    /// Takes over what a request gives.
    ///
    /// # Errors
    /// Vault's texts for unknown kinds and settings out of range.
    pub fn update(&mut self, fields: Fields<'_>) -> Result<(), Error> {
        if let Some(name) = fields.string("credential_type")? {
            self.kind = CredentialType::parse(&name)
                .ok_or_else(|| Error::bad_request(format!("invalid credential_type {name:?}")))?;
        }
        let given = fields.string_map("credential_config")?.unwrap_or_default();
        let config = checked(self.kind, &given)
            .map_err(|e| Error::bad_request(format!("credential_config validation failed: {e}")))?;
        if !config.is_empty() {
            self.config = config;
        }
        Ok(())
    }

    /// The role's password policy; empty for none.
    pub fn password_policy(&self) -> &str {
        self.config.get("password_policy").and_then(serde_json::Value::as_str).unwrap_or_default()
    }
}

fn checked(kind: CredentialType, given: &BTreeMap<String, String>) -> Result<Object, String> {
    let text = |key: &str| given.get(key).map_or("", String::as_str);
    let mut config = Object::new();
    match kind {
        CredentialType::Password => {
            if !text("password_policy").is_empty() {
                config.insert("password_policy".to_owned(), text("password_policy").into());
            }
        }
        CredentialType::RsaPrivateKey => {
            if !matches!(text("format").to_lowercase().as_str(), "" | "pkcs8") {
                return Err(format!("invalid format: {}", text("format")));
            }
            let bits = match text("key_bits") {
                "" | "0" => 2048,
                bits => bits
                    .parse()
                    .ok()
                    .filter(|b| [2048, 3072, 4096].contains(b))
                    .ok_or_else(|| format!("invalid key_bits: {bits}"))?,
            };
            config.insert("format".to_owned(), "pkcs8".into());
            config.insert("key_bits".to_owned(), bits.into());
        }
        CredentialType::ClientCertificate => {
            config.extend(given.iter().map(|(key, value)| (key.clone(), value.clone().into())));
        }
    }
    Ok(config)
}
