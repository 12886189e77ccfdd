//! Leased secrets: registered when issued, extended on request.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::active::Active;
use crate::core::router::Engine;
use crate::core::system::mount_ttls;
use crate::logical::{
    Backend, Error, LeaseOptions, Object, Request, Response, Secret, SecretLease, TtlRequest, View,
    calculate_at,
};
use crate::random;
use crate::token::TokenKey;

/// A lease as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredLease {
    /// Token that asked for it.
    pub token: TokenKey,
    /// Full path that issued it.
    pub path: String,
    /// What the backend keeps with it.
    pub internal: Object,
    /// Data it was issued with.
    pub data: Object,
    /// TTL it was last granted.
    pub ttl: Duration,
    /// Longest life the role allowed at the time.
    pub max_ttl: Duration,
    /// Whether it may be renewed.
    pub renewable: bool,
    /// Issued.
    pub issued: Timestamp,
    /// Ends.
    pub expires: Timestamp,
    /// Last renewal.
    #[serde(default)]
    pub renewed: Option<Timestamp>,
    /// Why it was given up.
    #[serde(default)]
    pub irrevocable: Option<String>,
}

impl StoredLease {
    /// The lease as its backend sees it.
    pub fn for_backend(&self, id: &str, path: &str, increment: Duration) -> SecretLease {
        SecretLease {
            lease_id: id.to_owned(),
            path: path.to_owned(),
            internal: self.internal.clone(),
            data: self.data.clone(),
            lease: LeaseOptions {
                ttl: self.ttl,
                max_ttl: self.max_ttl,
                renewable: self.renewable,
                increment,
                issue_time: Some(self.issued),
            },
        }
    }
}

impl Active {
    /// Storage of the leases.
    pub(crate) fn leases(&self) -> View {
        self.storage.sub("sys/expire/id/")
    }

    /// A stored lease.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load_lease(&self, id: &str) -> Result<Option<StoredLease>, Error> {
        Ok(self.leases().get_json(id)?)
    }

    /// Registers the secret of a response: caps its TTL, stores the lease, schedules its end. When
    /// that fails the secret is taken back at once.
    ///
    /// # Errors
    /// When the lease cannot be stored, or the token was revoked meanwhile.
    pub(crate) async fn register_lease(
        &self,
        request: &Request,
        response: &mut Response,
    ) -> Result<(), Error> {
        let Some(secret) = &mut response.secret else {
            return Ok(());
        };
        let now = Timestamp::now();
        let (ttl, warnings) = self.cap_secret(&request.full_path(), secret, now)?;
        response.warnings.extend(warnings);
        secret.lease.ttl = ttl;
        secret.lease.issue_time = Some(now);
        let id = format!("{}/{}", request.full_path().trim_end_matches('/'), random::base62(24));
        let lease = StoredLease {
            token: self.tokens.key(&request.client_token),
            path: request.full_path(),
            internal: secret.internal.clone(),
            data: response.data.clone().unwrap_or_default(),
            ttl,
            max_ttl: secret.lease.max_ttl,
            renewable: secret.lease.renewable,
            issued: now,
            expires: now + ttl,
            renewed: None,
            irrevocable: None,
        };
        let stored = self.leases().put_json(&id, &lease).await.map_err(Error::from);
        let registered = stored.and_then(|()| {
            if self.index().add_lease(&id, lease.token, lease.expires) {
                Ok(())
            } else {
                Err(Error::PermissionDenied)
            }
        });
        if let Err(error) = registered {
            self.take_back(&id, lease).await;
            return Err(error);
        }
        self.reschedule();
        secret.lease_id = id;
        Ok(())
    }

    /// Revokes a secret that could not be registered; if that fails, keeps it as a lease to retry.
    async fn take_back(&self, id: &str, lease: StoredLease) {
        if let Err(error) = self.revoke_at_backend(id, &lease).await {
            tracing::error!(lease_id = id, %error, "secret without a lease could not be revoked; will retry");
            self.index().restore_lease(id, lease.token, Timestamp::now() + Duration::from_secs(10), false);
            self.reschedule();
        } else if let Err(error) = self.leases().delete(id).await {
            tracing::warn!(lease_id = id, %error, "lease of a revoked secret could not be removed");
        }
    }

    fn cap_secret(
        &self,
        path: &str,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<(Duration, Vec<String>), Error> {
        let (mounted, _) = self.router.find(path).ok_or_else(|| Error::NoRoute(path.to_owned()))?;
        let (default, max) = mount_ttls(mounted.cell(), &self.settings);
        let request = TtlRequest {
            role_ttl: secret.lease.ttl,
            role_max_ttl: secret.lease.max_ttl,
            ..TtlRequest::default()
        };
        calculate_at(now, default, max, &request)
    }

    /// Extends a lease.
    ///
    /// # Errors
    /// 400 when it is unknown, has ended or is not renewable; the backend's refusal.
    pub async fn renew_lease(&self, id: &str, increment: Duration) -> Result<Response, Error> {
        let not_found = || Error::bad_request("lease not found");
        let mut lease = self.load_lease(id)?.ok_or_else(not_found)?;
        let now = Timestamp::now();
        if self.index().lease(id).is_none_or(|node| node.ended) || lease.expires <= now {
            return Err(Error::bad_request("lease expired"));
        }
        if !lease.renewable {
            return Err(Error::bad_request("lease is not renewable"));
        }
        let (mounted, cut) = self.router.find(&lease.path).ok_or_else(not_found)?;
        let Engine::Backend(backend) = &mounted.engine else {
            return Err(Error::bad_request("lease is not renewable"));
        };
        let view = lease.for_backend(id, &lease.path[cut..], increment);
        let renewal = backend.renew(&view).await.map_err(|error| {
            Error::bad_request(match error {
                Error::Internal(text) => {
                    format!("failed to renew entry: resp: (*logical.Response)(nil) err: {text}")
                }
                other => format!("failed to renew entry: {other}"),
            })
        })?;
        let (default, max) = mount_ttls(mounted.cell(), &self.settings);
        let request = TtlRequest {
            role_ttl: renewal.ttl,
            role_max_ttl: renewal.max_ttl,
            issue_time: Some(lease.issued),
            ..TtlRequest::default()
        };
        let (ttl, mut warnings) = calculate_at(now, default, max, &request)
            .map_err(|error| Error::bad_request(error.to_string()))?;
        warnings.extend(renewal.warnings);
        lease.ttl = ttl;
        lease.expires = now + ttl;
        lease.renewed = Some(now);
        if let Some(internal) = renewal.internal {
            lease.internal = internal;
        }
        self.leases().put_json(id, &lease).await?;
        if !self.index().extend_lease(id, lease.expires) {
            return Err(Error::bad_request("lease expired"));
        }
        self.reschedule();
        Ok(Response {
            secret: Some(Box::new(Secret {
                lease: LeaseOptions { ttl, renewable: true, ..LeaseOptions::default() },
                lease_id: id.to_owned(),
                ..Secret::default()
            })),
            warnings,
            ..Response::default()
        })
    }

    /// The backend of a lease and the lease's path inside it.
    pub(super) fn lease_backend(&self, lease: &StoredLease) -> Option<(Arc<dyn Backend>, String)> {
        let (mounted, cut) = self.router.find(&lease.path)?;
        let Engine::Backend(backend) = &mounted.engine else {
            return None;
        };
        Some((Arc::clone(backend), lease.path[cut..].to_owned()))
    }

    /// Ends the leases whose id starts with a prefix: they are revoked soon, by the worker.
    pub fn end_leases(&self, prefix: &str) -> usize {
        let mut index = self.index();
        let now = Timestamp::now();
        let ids: Vec<Arc<str>> = index.leases_below(prefix).map(|(id, _)| Arc::clone(id)).collect();
        for id in &ids {
            index.end_lease(id, now);
        }
        drop(index);
        self.reschedule();
        ids.len()
    }
}
