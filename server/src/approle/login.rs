//! Logins and their renewal.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;

use super::AppRole;
use super::role::Role;
use super::secret_id::{SecretId, check_subset};
use crate::framework::{Call, network};
use crate::logical::{Alias, Auth, Deferred, Error, Object, Request, Response};

/// What a login with a wrong role_id or secret_id is told.
fn invalid() -> Error {
    Error::bad_request("invalid role or secret ID")
}

impl AppRole {
    /// `login`.
    pub(super) async fn login<E>(&self, call: &Call<'_, E>) -> Result<Option<Response>, Error> {
        let fields = call.fields();
        let role_id = fields.string("role_id")?.unwrap_or_default();
        let role_id = role_id.trim();
        if role_id.is_empty() {
            return Err(Error::bad_request("missing role_id"));
        }
        let (rules, now) = (self.system.lockout(), self.system.now());
        self.failures.check(role_id, &rules, now)?;
        let role = self.store.role_by_id(role_id).ok_or_else(invalid)?;

        let mut metadata = BTreeMap::new();
        let mut deferred = Deferred::default();
        let mut bound_cidrs = role.token.bound_cidrs.clone();
        if role.bind_secret_id {
            let secret_id = fields.string("secret_id")?.unwrap_or_default();
            let secret_id = secret_id.trim();
            if secret_id.is_empty() {
                return Err(Error::bad_request("missing secret_id"));
            }
            let Some((entry, counted)) = self.use_secret_id(&role, secret_id).await? else {
                self.failures.record(role_id, &rules, now);
                return Err(invalid());
            };
            deferred = counted;
            let from_there = check_subset(&entry.cidr_list, &role.secret_id_bound_cidrs).and_then(|()| {
                check_source(call.request, &entry.cidr_list, "through CIDR restrictions on the secret ID")
            });
            if let Err(error) = from_there {
                deferred.store().await?;
                return Err(error);
            }
            if !entry.token_bound_cidrs.is_empty() {
                bound_cidrs = entry.token_bound_cidrs;
            }
            metadata = entry.metadata;
        }
        if let Err(error) =
            check_source(call.request, &role.secret_id_bound_cidrs, "by CIDR restrictions on the role")
        {
            deferred.store().await?;
            return Err(error);
        }

        self.failures.clear(role_id);
        metadata.insert("role_name".to_owned(), role.name.clone());
        let auth = Auth {
            internal: Object::from_iter([("role_name".to_owned(), json!(role.name))]),
            alias: Some(Alias { name: role.role_id.clone(), metadata: metadata.clone() }),
            metadata,
            bound_cidrs,
            ..role.token.auth()
        };
        Ok(Some(Response { auth: Some(Box::new(auth)), deferred, ..Response::default() }))
    }

    /// Counts a use of a secret_id: its record, and what has to be stored of the count; none where it
    /// isn't valid.
    ///
    /// As in Vault the use counts even when the login is refused afterwards. Reading, counting and
    /// storing happen under the secret_id's lock, so that n uses are exactly n logins.
    async fn use_secret_id(
        &self,
        role: &Role,
        secret_id: &str,
    ) -> Result<Option<(SecretId, Deferred)>, Error> {
        let hmac = role.secret_id_hmac(secret_id)?;
        match self.live_secret_id(role, &hmac)? {
            None => return Ok(None),
            Some(entry) if entry.num_uses == 0 => return Ok(Some((entry, Deferred::default()))),
            Some(_) => {}
        }
        let held = self.store.hold_secret_id(&hmac).await;
        let Some(mut entry) = self.live_secret_id(role, &hmac)? else {
            return Ok(None);
        };
        entry.num_uses -= 1;
        entry.last_updated_time = self.system.now();
        let counted = self.store.count_use(role, &hmac, &entry, held)?;
        Ok(Some((entry, counted)))
    }

    /// What a renewal of a login is granted: the role's limits as they are now.
    pub(super) fn renew_login(&self, auth: &Auth) -> Result<Auth, Error> {
        let name = auth
            .internal
            .get("role_name")
            .and_then(|name| name.as_str())
            .ok_or_else(|| Error::internal("failed to fetch role_name during renewal"))?;
        let role = self
            .store
            .role(name)
            .ok_or_else(|| Error::internal(format!("role {name:?} does not exist during renewal")))?;
        Ok(role.token.renewed(auth))
    }
}

/// Refuses a login from outside the networks its role or secret_id is bound to.
fn check_source(request: &Request, networks: &[IpNet], by_what: &str) -> Result<(), Error> {
    if networks.is_empty() {
        return Ok(());
    }
    let address: IpAddr =
        request.remote_addr.ok_or_else(|| Error::internal("failed to get connection information"))?;
    if network::any_contains(networks, address) {
        return Ok(());
    }
    Err(Error::bad_request(format!("source address {:?} unauthorized {by_what}", address.to_string())))
}
