//! Operations that need the unseal keys again: what they share, and generate-root.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Core;
use super::lifecycle::barrier_error;
use super::rekey::Rekey;
use super::unseal::Share;
use crate::barrier::Key;
use crate::logical::Error;
use crate::shamir::{self, ShamirError};
use crate::{random, token};

/// Characters of a token this server makes: `hvs.` and 24 more.
const TOKEN_LEN: usize = 28;

/// Keys gathered for one operation under way.
pub struct Gathering<T> {
    pub(super) nonce: String,
    pub(super) shares: Vec<Share>,
    pub(super) detail: T,
}

impl<T> Gathering<T> {
    pub(super) fn start(detail: T) -> Self {
        Self { nonce: random::uuid(), shares: Vec::new(), detail }
    }

    /// Takes a key; hands all over when there are enough, and starts gathering anew.
    pub(super) fn add(
        &mut self,
        what: &str,
        nonce: &str,
        share: Share,
        needed: usize,
    ) -> Result<Option<Vec<Share>>, Error> {
        if nonce != self.nonce {
            return Err(Error::bad_request(format!(
                "incorrect nonce supplied; nonce for this {what} operation is {:?}",
                self.nonce
            )));
        }
        if self.shares.contains(&share) {
            return Err(Error::bad_request(
                "given key has already been provided during this generation operation",
            ));
        }
        self.shares.push(share);
        Ok((self.shares.len() >= needed).then(|| std::mem::take(&mut self.shares)))
    }
}

/// Why keys do not authorise an operation, in Vault's words.
#[derive(Debug, thiserror::Error)]
pub enum WrongKeys {
    /// They cannot be of one set.
    #[error("failed to compute root key: {0}")]
    Apart(ShamirError),
    /// They are not those of this server.
    #[error("invalid key: failed to decrypt keys from storage")]
    Others,
}

impl WrongKeys {
    /// The cause, with the name the keys have in an operation.
    pub(super) fn told(&self, name: &str) -> String {
        match self {
            Self::Apart(_) => self.to_string(),
            Self::Others => format!(
                "{self}: error decrypting seal wrapped value\nerror decrypting using seal {name}: cipher: message \
                 authentication failed"
            ),
        }
    }
}

/// The operations under way.
#[derive(Default)]
pub struct Ceremonies {
    pub(super) rekey: Option<Gathering<Rekey>>,
    /// With the one-time pad that hides the token.
    generate_root: Option<Gathering<Zeroizing<String>>>,
}

impl Core {
    pub(super) fn needed(&self) -> Result<usize, Error> {
        let config = self.barrier.seal_config().map_err(barrier_error)?;
        Ok(config.map_or(0, |config| usize::from(config.secret_threshold)))
    }

    /// Refuses what only an unsealed server can do.
    ///
    /// # Errors
    /// 503 with this text.
    pub(crate) fn unsealed(&self, error: &str) -> Result<(), Error> {
        match self.active() {
            Some(_) => Ok(()),
            None => Err(Error::coded(503, error)),
        }
    }

    /// Checks that keys make up the root key.
    pub(super) fn verify_shares(&self, shares: &[Share]) -> Result<(), WrongKeys> {
        let key = shamir::combine_unseal_keys(shares).map_err(WrongKeys::Apart)?;
        let key = Key::from_bytes(&key).map_err(|_| WrongKeys::Others)?;
        self.barrier.verify_root_key(&key).map_err(|_| WrongKeys::Others)
    }

    /// The body of `sys/generate-root/attempt`.
    ///
    /// # Errors
    /// 503 while sealed.
    pub fn generate_root_status(&self) -> Result<Value, Error> {
        self.unsealed("Vault is sealed")?;
        let ceremonies = self.ceremonies();
        let under_way = ceremonies.generate_root.as_ref();
        let nonce = under_way.map(|attempt| attempt.nonce.as_str()).unwrap_or_default();
        let progress = under_way.map_or(0, |attempt| attempt.shares.len());
        Ok(generate_root_body(nonce, under_way.is_some(), progress, self.needed()?, TOKEN_LEN))
    }

    /// Begins to generate a root token. Without a one-time pad it makes one and tells it, once.
    ///
    /// # Errors
    /// 400 for a pad of the wrong length, and when an attempt is under way.
    pub fn start_generate_root(&self, otp: Option<String>) -> Result<Value, Error> {
        self.unsealed("Vault is sealed")?;
        let made = otp.is_none();
        let otp = Zeroizing::new(otp.unwrap_or_else(|| random::base62(TOKEN_LEN)));
        if otp.len() != TOKEN_LEN {
            return Err(Error::bad_request("OTP string is wrong length"));
        }
        {
            let mut ceremonies = self.ceremonies();
            if ceremonies.generate_root.is_some() {
                return Err(Error::bad_request("root generation already in progress"));
            }
            ceremonies.generate_root = Some(Gathering::start(otp.clone()));
        }
        let mut status = self.generate_root_status()?;
        if made {
            status["otp"] = json!(otp.as_str());
        }
        Ok(status)
    }

    /// Gives an attempt up.
    pub fn cancel_generate_root(&self) {
        self.ceremonies().generate_root = None;
    }

    /// Takes a key; the last one needed makes the token.
    ///
    /// # Errors
    /// 400 without an attempt, for a wrong nonce, and for wrong keys (gathering then starts anew).
    pub async fn update_generate_root(&self, nonce: &str, share: Share) -> Result<Value, Error> {
        let active = self.active().ok_or(Error::Sealed)?;
        let needed = self.needed()?;
        let (gathered, progress) = {
            let mut ceremonies = self.ceremonies();
            let attempt = ceremonies
                .generate_root
                .as_mut()
                .ok_or_else(|| Error::bad_request("no root generation in progress"))?;
            let gathered = attempt.add("root generation", nonce, share, needed)?;
            (gathered.map(|shares| (shares, attempt.detail.clone())), attempt.shares.len())
        };
        let Some((shares, otp)) = gathered else {
            return Ok(generate_root_body(nonce, true, progress, needed, 0));
        };
        self.verify_shares(&shares).map_err(|error| match error {
            WrongKeys::Apart(_) => Error::bad_request(error.to_string()),
            WrongKeys::Others => Error::bad_request(format!(
                "root generation aborted: unable to authenticate: unable to retrieve stored keys: {}",
                error.told("shamir")
            )),
        })?;
        let token = Zeroizing::new(token::create_root(&active).await?);
        self.cancel_generate_root();
        let hidden: Vec<u8> = token.bytes().zip(otp.bytes()).map(|(a, b)| a ^ b).collect();
        let encoded = STANDARD_NO_PAD.encode(hidden);
        let mut body = generate_root_body(nonce, true, needed, needed, 0);
        body["complete"] = json!(true);
        body["encoded_token"] = json!(encoded);
        body["encoded_root_token"] = json!(encoded);
        Ok(body)
    }
}

fn generate_root_body(
    nonce: &str,
    started: bool,
    progress: usize,
    required: usize,
    otp_length: usize,
) -> Value {
    json!({
        "nonce": nonce,
        "started": started,
        "progress": progress,
        "required": required,
        "complete": false,
        "encoded_token": "",
        "encoded_root_token": "",
        "pgp_fingerprint": "",
        "otp": "",
        "otp_length": otp_length,
    })
}
