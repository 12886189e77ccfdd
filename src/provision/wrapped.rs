//! A secret_id that is delivered wrapped: its file holds a token that Vault exchanges for it, once.

use std::time::Duration;

use jiff::Timestamp;

use super::{Courier, Predecessor, ProvisionError};
use crate::report::Outcome;
use crate::secret::Secret;
use crate::vault::{AppRoleLogin, SecretIdInfo, WrappingInfo, secret_id_path};

/// Length of what tells one wrapped secret_id from another in its metadata.
const MARK: usize = 16;

/// A wrapping token with less than this part of its life left is replaced by `up`.
const RENEW_BELOW: f64 = 0.5;

/// Where its metadata has that; no other secret_ids have it.
const DELIVERY: &str = "delivery";

/// Seconds by which Vault may have made a wrapping token later than the secret_id in it.
const SAME_REQUEST: f64 = 2.0;

/// Seconds by which it seems to have made it earlier, for their fraction is left out.
const SAME_SECOND: f64 = 1.0;

/// A wrapped secret_id in its file.
#[derive(Debug, Clone)]
pub struct WrappedDelivery {
    /// The wrapping token.
    pub token: Secret,
    /// Names the secret_id.
    pub accessor: String,
    /// What Vault says of the token.
    pub info: WrappingInfo,
    /// A token got by logging in with a sibling.
    pub login: AppRoleLogin,
}

impl Courier<'_> {
    /// The wrapping token in the file with what Vault says of it; `None` when there is no file, or what is
    /// in it was unwrapped, has ended, or never was a token for a secret_id of this role.
    pub async fn wrapped(&self) -> Result<Option<(Secret, WrappingInfo)>, ProvisionError> {
        let Some(token) = self.in_file()? else { return Ok(None) };
        let info = self.vault.wrapping_info(&token).await.map_err(self.on())?;
        let info = info.filter(|info| info.creation_path == secret_id_path(&self.spec.name));
        Ok(info.map(|info| (token, info)))
    }

    /// Which of the live secret_ids a wrapping token stands for: Vault does not tell, but made both in one
    /// request, and rounds the token's time down. What is in the file is the youngest that was delivered.
    pub fn inside<'a>(&self, token: &WrappingInfo, ours: &'a [SecretIdInfo]) -> Option<&'a SecretIdInfo> {
        let after = |info: &SecretIdInfo| {
            let made: Timestamp = info.creation_time.parse().ok()?;
            Some(made.duration_since(token.creation_time).as_secs_f64())
        };
        let wrapped = ours.iter().filter(|info| mark(info).is_some());
        let near = wrapped.filter_map(|info| Some((after(info)?, info)));
        let near = near.filter(|(after, _)| (-SAME_REQUEST..SAME_SECOND).contains(after));
        near.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, info)| info)
    }

    /// Takes a secret_id out of its wrapping token before anybody else can, and destroys it: nobody had it,
    /// and nobody will. Gives its accessor; `None` when the token was used or has ended.
    pub async fn withdraw(&self, token: &Secret) -> Result<Option<String>, ProvisionError> {
        let Some(secret_id) = self.vault.try_unwrap_secret_id(token).await.map_err(self.on())? else {
            return Ok(None);
        };
        let accessor = secret_id.secret_id_accessor;
        self.vault.ensure_secret_id_destroyed(&self.spec.name, &accessor).await.map_err(self.on())?;
        Ok(Some(accessor))
    }

    /// Puts a token that is still good back into its file.
    pub fn put_back(&self, token: &Secret) -> Result<(), ProvisionError> {
        Ok(self.stage()?.publish(token.expose().as_bytes())?)
    }

    /// Makes a wrapped secret_id and puts its token into the file. That such secret_ids log in is proven
    /// with a sibling: to try this one would be to unwrap it.
    pub async fn turn_over_wrapped(
        &self,
        role_id: &Secret,
        ttl: Duration,
    ) -> Result<WrappedDelivery, ProvisionError> {
        let staged = self.stage()?;
        let login = self.log_in_with_sibling(role_id).await?;
        let made_mark = Secret::random(MARK).expose().to_owned();
        let mut metadata = self.marker.clone();
        metadata.insert(DELIVERY.into(), made_mark.clone().into());
        let made = self.vault.generate_wrapped_secret_id(&self.spec.name, &metadata, ttl).await;
        let token = made.map_err(self.on())?.token;
        let not_proven =
            |cause: &str| ProvisionError::not_proven(format!("AppRole {}", self.spec.name), cause);
        let ours = self.ours().await.map_err(self.on())?;
        let inside = ours.iter().find(|info| mark(info) == Some(&made_mark));
        let accessor =
            inside.ok_or_else(|| not_proven("Vault does not know the secret_id it has just wrapped"))?;
        let accessor = accessor.secret_id_accessor.clone();
        let publish = async {
            let info = self.vault.wrapping_info(&token).await.map_err(self.on())?;
            let info = info.filter(|info| info.creation_path == secret_id_path(&self.spec.name));
            let info =
                info.ok_or_else(|| not_proven("Vault does not know the wrapping token it has just made"))?;
            let bytes = token.clone();
            self.note_secret_id(&bytes)?;
            tokio::task::spawn_blocking(move || staged.publish(bytes.expose().as_bytes()))
                .await
                .map_err(|e| ProvisionError::not_proven("the delivery", e.to_string()))??;
            Ok(info)
        };
        match publish.await {
            Ok(info) => Ok(WrappedDelivery { token, accessor, info, login }),
            Err(error) => {
                let _ = self.destroy(&accessor).await;
                Err(error)
            }
        }
    }

    /// Revokes the token of a login that was a proof. One that is left over ends by itself.
    pub async fn revoke(&self, token: Secret) {
        let _ = self.vault.with_token(token).revoke_self().await;
    }

    /// What `up` does: leaves a token that is good for a while, else delivers one.
    pub(super) async fn deliver_wrapped(
        &self,
        role_id: &Secret,
        ttl: Duration,
        predecessor: Predecessor,
    ) -> Result<(Outcome, AppRoleLogin), ProvisionError> {
        let good = |info: &WrappingInfo| {
            info.left() > info.creation_ttl as f64 * RENEW_BELOW && info.creation_ttl == ttl.as_secs()
        };
        if let Some((_, info)) = self.wrapped().await?.filter(|(_, info)| good(info)) {
            if predecessor == Predecessor::Destroy {
                let ours = self.ours().await.map_err(self.on())?;
                let inside = self.inside(&info, &ours).map(|info| info.secret_id_accessor.as_str());
                self.destroy_others(inside).await.map_err(self.on())?;
            }
            let login = self.log_in_with_sibling(role_id).await?;
            return Ok((Outcome::proven("a wrapped one is there; logged in with its like"), login));
        }
        let fresh = self.turn_over_wrapped(role_id, ttl).await?;
        if predecessor == Predecessor::Destroy {
            self.destroy_others(Some(&fresh.accessor)).await.map_err(self.on())?;
        }
        Ok((Outcome::changed("delivered wrapped, logged in with its like"), fresh.login))
    }
}

/// What tells one wrapped secret_id from another.
fn mark(info: &SecretIdInfo) -> Option<&str> {
    info.metadata.as_ref()?.get(DELIVERY)?.as_str()
}
