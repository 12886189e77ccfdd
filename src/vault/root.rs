//! `sys/generate-root/`: a root token through the unseal keys.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::transport::Method;
use super::{Client, VaultError};
use crate::secret::Secret;

/// An attempt that waits for unseal keys. Vault has at most one at a time.
#[derive(Debug)]
pub struct RootGeneration {
    nonce: String,
    otp: Secret,
}

#[derive(Deserialize)]
struct Progress {
    nonce: String,
    #[serde(default)]
    otp: Option<Secret>,
    #[serde(default)]
    complete: bool,
    #[serde(default)]
    encoded_token: String,
    #[serde(default)]
    encoded_root_token: String,
}

impl Client {
    /// Begins an attempt. Vault makes the one-time pad that hides the token on its way, and tells it
    /// in this answer only. Needs no token.
    ///
    /// # Errors
    /// 400 when an attempt is under way.
    pub async fn start_root_generation(&self) -> Result<RootGeneration, VaultError> {
        let answer = self.send(Method::PUT, "sys/generate-root/attempt", Some(&json!({}))).await?;
        let Progress { nonce, otp, .. } = answer.parse()?;
        let otp = otp.filter(|otp| !otp.expose().is_empty()).ok_or_else(|| VaultError::Unexpected {
            operation: "PUT sys/generate-root/attempt".into(),
            cause: "it has no `otp`".into(),
        })?;
        Ok(RootGeneration { nonce, otp })
    }

    /// Gives up the attempt that is under way, if there is one.
    pub async fn cancel_root_generation(&self) -> Result<(), VaultError> {
        self.send(Method::DELETE, "sys/generate-root/attempt", None).await.map(drop)
    }

    /// Gives one unseal key to an attempt; the last one needed gives the token.
    ///
    /// # Errors
    /// 400 for keys that are not this Vault's, which shows only at the last one.
    pub async fn continue_root_generation(
        &self,
        attempt: &RootGeneration,
        key: &Secret,
    ) -> Result<Option<Secret>, VaultError> {
        let body: Value = json!({ "nonce": attempt.nonce, "key": key.expose() });
        let answer = self.send(Method::PUT, "sys/generate-root/update", Some(&body)).await?;
        let progress: Progress = answer.parse()?;
        if !progress.complete {
            return Ok(None);
        }
        // Vault before 0.11 has the second name only.
        let encoded =
            [progress.encoded_token, progress.encoded_root_token].into_iter().find(|text| !text.is_empty());
        encoded.as_deref().and_then(|encoded| decode(encoded, &attempt.otp)).map(Some).ok_or_else(|| {
            VaultError::Unexpected {
                operation: "PUT sys/generate-root/update".into(),
                cause: "its token cannot be decoded with the one-time pad".into(),
            }
        })
    }
}

/// The token, XORed with the pad and in base64 (with padding in older versions).
fn decode(encoded: &str, otp: &Secret) -> Option<Secret> {
    let hidden = BASE64.decode(encoded.trim_end_matches('=')).ok()?;
    let pad = otp.expose().as_bytes();
    if hidden.len() != pad.len() {
        return None;
    }
    let token = hidden.iter().zip(pad).map(|(a, b)| a ^ b).collect();
    String::from_utf8(token).ok().map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_what_the_pad_hides() {
        // XOR of "hvs.abc" with "0123456".
        let hidden: Vec<u8> = "hvs.abc".bytes().zip("0123456".bytes()).map(|(a, b)| a ^ b).collect();
        let encoded = BASE64.encode(hidden);
        for text in [encoded.clone(), format!("{encoded}==")] {
            assert_eq!(decode(&text, &"0123456".into()).unwrap().expose(), "hvs.abc");
        }
        assert!(decode(&encoded, &"012345".into()).is_none(), "a pad of another length");
        assert!(decode("???", &"0123456".into()).is_none());
    }
}
