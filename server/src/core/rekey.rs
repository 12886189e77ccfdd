//! `sys/rekey`: new unseal keys, on request only once their holders have shown that they have them.

use serde_json::{Value, json};

use super::Core;
use super::ceremony::{Gathering, WrongKeys};
use super::lifecycle::{InitRequest, barrier_error};
use super::unseal::{Share, to_base64};
use crate::barrier::{Key, SealConfig};
use crate::logical::Error;
use crate::{hex, random, shamir};

/// What a rekey under way is about.
pub struct Rekey {
    request: InitRequest,
    /// The new keys count only after [`Core::verify_rekey`].
    verify: bool,
    verification: Verification,
}

/// How far the holders of the new keys have shown that they have them.
#[derive(Default)]
struct Verification {
    /// Empty until it can begin, or was told to begin anew.
    nonce: String,
    /// The new root key, once it was told in shares.
    root_key: Option<Key>,
    shares: Vec<Share>,
}

impl Core {
    /// The body of `sys/rekey/init`.
    ///
    /// # Errors
    /// 503 while sealed.
    pub fn rekey_status(&self) -> Result<Value, Error> {
        self.unsealed("node is not active")?;
        let required = self.needed()?;
        let ceremonies = self.ceremonies();
        let Some(rekey) = &ceremonies.rekey else {
            return Ok(status_body("", false, (0, 0), 0, required, false));
        };
        let detail = &rekey.detail;
        let (shares, threshold) = (detail.request.shares, detail.request.threshold);
        let mut body =
            status_body(&rekey.nonce, true, (shares, threshold), rekey.shares.len(), required, detail.verify);
        if !detail.verification.nonce.is_empty() {
            body["verification_nonce"] = json!(detail.verification.nonce);
        }
        Ok(body)
    }

    /// Begins a rekey.
    ///
    /// # Errors
    /// 400 when one is under way.
    pub fn start_rekey(&self, request: InitRequest, verify: bool) -> Result<(), Error> {
        self.unsealed("node is not active")?;
        let mut ceremonies = self.ceremonies();
        if ceremonies.rekey.is_some() {
            return Err(Error::bad_request("rekey already in progress"));
        }
        ceremonies.rekey =
            Some(Gathering::start(Rekey { request, verify, verification: Verification::default() }));
        Ok(())
    }

    /// Gives a rekey up.
    pub fn cancel_rekey(&self) {
        self.ceremonies().rekey = None;
    }

    /// Takes a key for the rekey; the last one needed makes the new keys.
    ///
    /// # Errors
    /// 400 without a rekey, for a wrong nonce, and for wrong keys (gathering then starts anew).
    pub async fn update_rekey(&self, nonce: &str, share: Share) -> Result<Value, Error> {
        self.unsealed("node is not active")?;
        let needed = self.needed()?;
        let gathered = {
            let mut ceremonies = self.ceremonies();
            let rekey = ceremonies
                .rekey
                .as_mut()
                .ok_or_else(|| Error::bad_request("no barrier rekey in progress"))?;
            if rekey.detail.verification.root_key.is_some() {
                return Err(Error::bad_request(format!(
                    "rekey operation already finished; verification must be performed; nonce for the verification operation is {:?}",
                    rekey.detail.verification.nonce
                )));
            }
            rekey.add("rekey", nonce, share, needed)?.map(|shares| (shares, rekey.detail.request.clone()))
        };
        let Some((shares, request)) = gathered else {
            return self.rekey_status();
        };
        self.verify_shares(&shares).map_err(|error| {
            let text = match error {
                WrongKeys::Apart(_) => error.to_string(),
                WrongKeys::Others => format!("failed to read root key: {}", error.told("")),
            };
            Error::coded(500, text)
        })?;
        let root_key = Key::generate();
        let keys = shamir::split_unseal_key(root_key.expose(), request.shares, request.threshold)
            .map_err(|error| Error::internal(format!("failed to split the root key: {error}")))?;
        let mut body = json!({
            "nonce": nonce,
            "complete": true,
            "keys": keys.iter().map(|key| hex::encode(key)).collect::<Vec<_>>(),
            "keys_base64": keys.iter().map(|key| to_base64(key)).collect::<Vec<_>>(),
            "pgp_fingerprints": null,
            "backup": false,
            "verification_required": false,
        });
        {
            let mut ceremonies = self.ceremonies();
            let rekey = ceremonies.rekey.as_mut().filter(|rekey| rekey.nonce == nonce);
            let rekey = rekey.ok_or_else(|| Error::bad_request("no barrier rekey in progress"))?;
            if rekey.detail.verify {
                let verification = &mut rekey.detail.verification;
                verification.restart();
                verification.root_key = Some(root_key);
                body["verification_required"] = json!(true);
                body["verification_nonce"] = json!(verification.nonce);
                return Ok(body);
            }
        }
        self.put_in_use(&root_key, &request).await?;
        Ok(body)
    }

    async fn put_in_use(&self, root_key: &Key, request: &InitRequest) -> Result<(), Error> {
        let config = SealConfig { secret_shares: request.shares, secret_threshold: request.threshold };
        self.barrier.rekey(root_key, &config).await.map_err(barrier_error)?;
        self.cancel_rekey();
        Ok(())
    }

    /// The body of `sys/rekey/verify`.
    ///
    /// # Errors
    /// 400 without a rekey; 503 while sealed.
    pub fn rekey_verification_status(&self) -> Result<Value, Error> {
        self.unsealed("node is not active")?;
        let ceremonies = self.ceremonies();
        let rekey = ceremonies.rekey.as_ref().ok_or_else(no_configuration)?;
        let verification = &rekey.detail.verification;
        Ok(json!({
            "nonce": verification.nonce,
            "started": verification.root_key.is_some(),
            "t": rekey.detail.request.threshold,
            "n": rekey.detail.request.shares,
            "progress": verification.shares.len(),
        }))
    }

    /// Begins the verification anew.
    ///
    /// # Errors
    /// As [`Core::rekey_verification_status`].
    pub fn restart_rekey_verification(&self) -> Result<Value, Error> {
        self.unsealed("node is not active")?;
        self.ceremonies().rekey.as_mut().ok_or_else(no_configuration)?.detail.verification.restart();
        self.rekey_verification_status()
    }

    /// Takes one of the new keys; the last one needed puts them in use.
    ///
    /// # Errors
    /// 400 where no new keys wait for it, for a wrong nonce, and for wrong keys (which begins anew).
    pub async fn verify_rekey(&self, nonce: &str, share: Share) -> Result<Value, Error> {
        self.unsealed("node is not active")?;
        let verified = {
            let mut ceremonies = self.ceremonies();
            let rekey =
                ceremonies.rekey.as_mut().ok_or_else(|| Error::bad_request("no rekey in progress"))?;
            let Rekey { request, verification, .. } = &mut rekey.detail;
            let expected = verification
                .root_key
                .as_ref()
                .ok_or_else(|| Error::bad_request("no rekey verification in progress"))?;
            if nonce != verification.nonce {
                return Err(Error::bad_request(format!(
                    "incorrect nonce supplied; nonce for this verify operation is {:?}",
                    verification.nonce
                )));
            }
            if verification.shares.contains(&share) {
                return Err(Error::bad_request(
                    "given key has already been provided during this verify operation",
                ));
            }
            verification.shares.push(share);
            if verification.shares.len() < usize::from(request.threshold) {
                None
            } else {
                let shares = std::mem::take(&mut verification.shares);
                let key = shamir::combine_unseal_keys(&shares).ok();
                let key = key.and_then(|key| Key::from_bytes(&key).ok());
                let is_right = |key: &Key| bool::from(subtle(key.expose(), expected.expose()));
                if !key.as_ref().is_some_and(is_right) {
                    verification.restart();
                    return Err(Error::bad_request(
                        "rekey verification failed; incorrect key shares supplied",
                    ));
                }
                key.map(|key| (key, request.clone()))
            }
        };
        let Some((root_key, request)) = verified else {
            return self.rekey_verification_status();
        };
        self.put_in_use(&root_key, &request).await?;
        Ok(json!({ "nonce": nonce, "complete": true }))
    }
}

impl Verification {
    fn restart(&mut self) {
        self.nonce = random::uuid();
        self.shares.clear();
    }
}

fn subtle(left: &[u8], right: &[u8]) -> subtle::Choice {
    subtle::ConstantTimeEq::ct_eq(left, right)
}

fn no_configuration() -> Error {
    Error::bad_request("no rekey configuration found")
}

fn status_body(
    nonce: &str,
    started: bool,
    (shares, threshold): (u8, u8),
    progress: usize,
    required: usize,
    verify: bool,
) -> Value {
    json!({
        "nonce": nonce,
        "started": started,
        "t": threshold,
        "n": shares,
        "progress": progress,
        "required": required,
        "pgp_fingerprints": null,
        "backup": false,
        "verification_required": verify,
    })
}
