//! Initialise, unseal, seal.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Core;
use super::active::Active;
use super::router::Engine;
use super::unseal::{Share, to_base64};
use crate::barrier::{BarrierError, Key, SealConfig};
use crate::logical::Error;
use crate::{expiration, hex, shamir, token};

/// What `sys/init` asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct InitRequest {
    /// Unseal keys to make.
    pub shares: u8,
    /// Unseal keys needed.
    pub threshold: u8,
}

impl InitRequest {
    /// Checks the numbers as Vault does.
    ///
    /// # Errors
    /// 400 with Vault's text.
    pub fn check(shares: i64, threshold: i64) -> Result<Self, Error> {
        let fail = |text: &str| Err(Error::bad_request(format!("invalid seal configuration: {text}")));
        if shares < 1 {
            return fail("shares must be at least one");
        }
        if threshold < 1 {
            return fail("threshold must be at least one");
        }
        if shares > 1 && threshold == 1 {
            return fail("threshold must be greater than one for multiple shares");
        }
        if shares > 255 {
            return fail("shares must be less than 256");
        }
        if threshold > 255 {
            return fail("threshold must be less than 256");
        }
        if threshold > shares {
            return fail("threshold cannot be larger than shares");
        }
        Ok(Self { shares: shares as u8, threshold: threshold as u8 })
    }
}

impl Core {
    /// Makes the keys, the first mounts and the root token; stays sealed. The answer is the body
    /// of `sys/init`.
    ///
    /// # Errors
    /// 400 when already initialised; 500 when storage fails.
    pub async fn initialise(&self, request: &InitRequest) -> Result<Value, Error> {
        let _transition = self.transition.lock().await;
        if self.barrier.is_initialised() {
            return Err(Error::bad_request("Vault is already initialized"));
        }
        let root_key = Key::generate();
        let shares = shamir::split_unseal_key(root_key.expose(), request.shares, request.threshold)
            .map_err(|error| Error::internal(format!("failed to split the root key: {error}")))?;
        let config = SealConfig { secret_shares: request.shares, secret_threshold: request.threshold };
        self.barrier.initialise(&root_key, &config).await.map_err(barrier_error)?;
        self.barrier.unseal(&root_key).await.map_err(barrier_error)?;
        let made = self.first_root_token().await;
        self.barrier.seal();
        let root_token = made?;
        Ok(json!({
            "keys": shares.iter().map(|share| hex::encode(share)).collect::<Vec<_>>(),
            "keys_base64": shares.iter().map(|share| to_base64(share)).collect::<Vec<_>>(),
            "root_token": root_token,
        }))
    }

    async fn first_root_token(&self) -> Result<String, Error> {
        let active = Active::load(Arc::clone(&self.settings), self.barrier.view(""), &self.registry).await?;
        token::create_root(&active).await
    }

    /// Takes one unseal key; at the threshold opens the barrier and starts serving.
    ///
    /// # Errors
    /// 400 when not initialised, or at the threshold when the keys are wrong (progress then starts
    /// again); 500 when what is stored cannot be loaded.
    pub async fn unseal(self: &Arc<Self>, share: Share) -> Result<(), Error> {
        let _transition = self.transition.lock().await;
        let config = self
            .barrier
            .seal_config()
            .map_err(barrier_error)?
            .ok_or_else(|| Error::bad_request("Vault is not initialized"))?;
        if self.active().is_some() {
            return Ok(());
        }
        let Some(shares) = self.progress().add(share, usize::from(config.secret_threshold)) else {
            return Ok(());
        };
        let wrong = |cause: String| Error::bad_request(format!("invalid key: {cause}"));
        let root_key = shamir::combine_unseal_keys(&shares)
            .map_err(|error| wrong(format!("failed to generate key from shares: {error}")))?;
        let root_key = Key::from_bytes(&root_key).map_err(|error| wrong(error.to_string()))?;
        match self.barrier.unseal(&root_key).await {
            Ok(()) => {}
            Err(error @ BarrierError::WrongKey) => {
                return Err(wrong(format!("failed to decrypt the keyring: {error}")));
            }
            Err(error) => return Err(barrier_error(error)),
        }
        let started = self.start_serving().await;
        if started.is_err() {
            self.barrier.seal();
        }
        started
    }

    async fn start_serving(self: &Arc<Self>) -> Result<(), Error> {
        let active = Active::load(Arc::clone(&self.settings), self.barrier.view(""), &self.registry).await?;
        for mounted in active.router.snapshot().values() {
            if let Engine::Backend(backend) = &mounted.engine
                && let Err(error) = backend.initialize().await
            {
                tracing::error!(path = mounted.entry().full_path(), %error, "backend failed to initialise");
            }
        }
        expiration::start(&active);
        super::mounting::start_ticking(&active);
        self.set_active(Some(active));
        tracing::info!("vault is unsealed");
        Ok(())
    }

    /// Stops serving, lets requests under way finish and wipes the keys. Sealing a sealed server
    /// does nothing.
    pub async fn seal(&self) {
        self.seal_from(0).await;
    }

    /// [`Core::seal`] asked for by a request, which cannot wait for itself.
    pub async fn seal_by_request(&self) {
        self.seal_from(1).await;
    }

    async fn seal_from(&self, own_requests: u32) {
        let _transition = self.transition.lock().await;
        self.progress().reset();
        *self.ceremonies() = super::ceremony::Ceremonies::default();
        let Some(active) = self.set_active(None) else {
            return;
        };
        active.drain(own_requests).await;
        active.closing.send_replace(true);
        for mounted in active.router.snapshot().values() {
            if let Engine::Backend(backend) = &mounted.engine {
                backend.unload().await;
            }
        }
        self.barrier.seal();
        tracing::info!("vault is sealed");
    }

    /// Forgets the unseal keys given so far.
    pub fn reset_unseal(&self) {
        self.progress().reset();
    }

    /// Number of unseal keys given, and the nonce of the attempt.
    pub fn unseal_progress(&self) -> (usize, String) {
        let progress = self.progress();
        (progress.count(), progress.nonce.clone())
    }
}

/// An error of the barrier as a client sees it.
pub fn barrier_error(error: BarrierError) -> Error {
    match error {
        BarrierError::Sealed => Error::Sealed,
        BarrierError::NotInitialised | BarrierError::AlreadyInitialised => {
            Error::bad_request(error.to_string())
        }
        other => Error::internal(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_counts_are_checked_as_vault_does() {
        assert_eq!(InitRequest::check(5, 3), Ok(InitRequest { shares: 5, threshold: 3 }));
        assert_eq!(InitRequest::check(1, 1), Ok(InitRequest { shares: 1, threshold: 1 }));
        for (shares, threshold, words) in [
            (0, 0, "shares must be at least one"),
            (1, 0, "threshold must be at least one"),
            (2, 1, "greater than one"),
            (256, 3, "less than 256"),
            (2, 3, "larger than shares"),
        ] {
            let error = InitRequest::check(shares, threshold).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
