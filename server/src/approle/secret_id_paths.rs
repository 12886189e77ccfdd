//! Requests about secret_ids.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::AppRole;
use super::role::Role;
use super::secret_id::SecretId;
use crate::framework::Call;
use crate::logical::{Error, Fields, Operation, Response};
use crate::random;

type Answer = Result<Option<Response>, Error>;

/// `role "x" does not exist`, which is an error response in some places and a raw error in others.
fn no_such_role(name: &str) -> String {
    format!("role {name:?} does not exist")
}

impl AppRole {
    /// `role/<name>/secret-id`: a new random one, or the list of accessors.
    pub(super) async fn secret_id<E>(&self, call: &Call<'_, E>) -> Answer {
        if call.operation() == Operation::List {
            let name = call.path_field("role_name");
            let role = self.store.role(name).ok_or_else(|| Error::bad_request(no_such_role(name)))?;
            return Ok(Response::list(self.store.accessors(&role)?));
        }
        self.create_secret_id(call, random::uuid()).await
    }

    /// `role/<name>/custom-secret-id`: one the client chose.
    pub(super) async fn custom_secret_id<E>(&self, call: &Call<'_, E>) -> Answer {
        let secret_id = call.fields().required_string("secret_id")?;
        self.create_secret_id(call, secret_id).await
    }

    async fn create_secret_id<E>(&self, call: &Call<'_, E>, secret_id: String) -> Answer {
        let name = call.path_field("role_name");
        let _roles = self.store.hold_roles().await;
        let role = self.store.role(name).ok_or_else(|| Error::coded(404, no_such_role(name)))?;
        let max_ttl = self.system.max_lease_ttl();
        let entry = SecretId::from_request(&role, call.fields(), self.system.now(), max_ttl)?;
        let hmac = role.secret_id_hmac(&secret_id)?;
        let _lock = self.store.lock_secret_id(&hmac).await;
        if self.live_secret_id(&role, &hmac)?.is_some() {
            return Err(Error::internal("failed to store secret_id: SecretID is already registered"));
        }
        self.store.add_secret_id(&role, &hmac, &entry).await?;
        Ok(Some(entry.created(&secret_id, max_ttl)))
    }

    /// `role/<name>/secret-id/lookup`; an unknown one is an empty answer.
    pub(super) fn lookup_secret_id<E>(&self, call: &Call<'_, E>) -> Answer {
        let (role, hmac) = self.named_secret_id(call)?;
        let entry = self.live_secret_id(&role, &hmac)?;
        Ok(entry.map(|entry| entry.describe()))
    }

    /// `role/<name>/secret-id/destroy`; an unknown one is no error.
    pub(super) async fn destroy_secret_id<E>(&self, call: &Call<'_, E>) -> Answer {
        let _roles = self.store.hold_roles().await;
        let (role, hmac) = self.named_secret_id(call)?;
        self.destroy(&role, &hmac).await?;
        Ok(None)
    }

    /// `role/<name>/secret-id-accessor/lookup`; an unknown one is a 404 with `data.error`.
    pub(super) fn lookup_accessor<E>(&self, call: &Call<'_, E>) -> Answer {
        let accessor = accessor_field(call.fields())?;
        let role = self.named_role(call)?;
        let Some(hmac) = self.store.hmac_of_accessor(&accessor)? else {
            let message = no_such_accessor(&accessor);
            return Ok(Some(Response::json(json!({ "error": message })).with_status(404)));
        };
        let entry = self.live_secret_id(&role, &hmac)?;
        Ok(entry.map(|entry| entry.describe()))
    }

    /// `role/<name>/secret-id-accessor/destroy`; an unknown one is a raw error.
    pub(super) async fn destroy_accessor<E>(&self, call: &Call<'_, E>) -> Answer {
        let _roles = self.store.hold_roles().await;
        let accessor = accessor_field(call.fields())?;
        let role = self.named_role(call)?;
        let hmac = self
            .store
            .hmac_of_accessor(&accessor)?
            .ok_or_else(|| Error::internal(no_such_accessor(&accessor)))?;
        if !self.destroy(&role, &hmac).await? {
            // The accessor is one of another role.
            return Err(Error::coded(403, "invalid secret id accessor"));
        }
        Ok(None)
    }

    /// `tidy/secret-id`: removes expired secret_ids in the background.
    pub(super) fn tidy(&self) -> Response {
        if self.tidying.swap(true, Ordering::AcqRel) {
            return Response::warning("Tidy operation already in progress.");
        }
        let (store, tidying) = (Arc::clone(&self.store), Arc::clone(&self.tidying));
        let now = self.system.now();
        tokio::spawn(async move {
            match store.remove_expired(now).await {
                Ok(removed) => tracing::info!(removed, "approle: expired secret_ids removed"),
                Err(error) => tracing::warn!(%error, "approle: tidy failed"),
            }
            tidying.store(false, Ordering::Release);
        });
        Response::warning(
            "Tidy operation successfully started. Any information from the operation will be printed to Vault's server logs.",
        )
        .with_status(202)
    }

    /// The secret_id with this HMAC unless it has expired.
    pub(super) fn live_secret_id(&self, role: &Role, hmac: &str) -> Result<Option<SecretId>, Error> {
        let now = self.system.now();
        let entry = self.store.secret_id(role, hmac)?;
        Ok(entry.filter(|entry| !entry.is_expired(now)))
    }

    /// Removes a secret_id; returns whether it was there.
    async fn destroy(&self, role: &Role, hmac: &str) -> Result<bool, Error> {
        let _lock = self.store.lock_secret_id(hmac).await;
        let Some(entry) = self.store.secret_id(role, hmac)? else {
            return Ok(false);
        };
        self.store.remove_secret_id(role, hmac, &entry).await?;
        Ok(true)
    }

    fn named_role<E>(&self, call: &Call<'_, E>) -> Result<Arc<Role>, Error> {
        let name = call.path_field("role_name");
        self.store.role(name).ok_or_else(|| Error::internal(no_such_role(name)))
    }

    fn named_secret_id<E>(&self, call: &Call<'_, E>) -> Result<(Arc<Role>, String), Error> {
        let secret_id = call.fields().required_string("secret_id")?;
        let role = self.named_role(call)?;
        let hmac = role.secret_id_hmac(&secret_id)?;
        Ok((role, hmac))
    }
}

fn accessor_field(fields: Fields<'_>) -> Result<String, Error> {
    fields.required_string("secret_id_accessor")
}

fn no_such_accessor(accessor: &str) -> String {
    format!("failed to find accessor entry for secret_id_accessor: {accessor:?}")
}
