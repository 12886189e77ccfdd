//! From a backend's `auth` to a token.

use std::sync::Arc;

use jiff::Timestamp;

use super::active::Active;
use super::router::Mounted;
use super::system::mount_ttls;
use crate::logical::{
    Auth, Deferred, Error, Request, Response, TokenEntry, TokenType, TtlRequest, calculate_at,
};
use crate::token::{TokenLease, sanitize_policies};

/// Turns the login of a response into a token and fills in what the client sees.
///
/// # Errors
/// 400 when the method asks for the root policy; when storage fails.
pub async fn register(
    active: &Arc<Active>,
    mounted: &Mounted,
    request: &Request,
    response: &mut Response,
) -> Result<(), Error> {
    let mut deferred = std::mem::take(&mut response.deferred);
    let result = make_token(active, mounted, request, response, &mut deferred).await;
    // A login that is refused has used what it used all the same.
    deferred.store().await?;
    result
}

async fn make_token(
    active: &Arc<Active>,
    mounted: &Mounted,
    request: &Request,
    response: &mut Response,
    deferred: &mut Deferred,
) -> Result<(), Error> {
    let Some(auth) = &mut response.auth else {
        return Ok(());
    };
    let policies = sanitize_policies(&auth.policies, !auth.no_default_policy);
    if policies.iter().any(|name| name == "root") {
        return Err(Error::bad_request("auth methods cannot create root tokens"));
    }
    if auth.token_type == TokenType::Batch {
        return Err(Error::bad_request("batch tokens are not supported by this server"));
    }
    let now = Timestamp::now();
    let (default, max) = mount_ttls(mounted.cell(), &active.settings);
    let limits = TtlRequest {
        role_ttl: auth.lease.ttl,
        period: auth.period,
        role_max_ttl: auth.lease.max_ttl,
        explicit_max_ttl: auth.explicit_max_ttl,
        ..TtlRequest::default()
    };
    let (ttl, warnings) = calculate_at(now, default, max, &limits)?;
    response.warnings.extend(warnings);
    if let Some(alias) = &auth.alias {
        let entity = active.identity.ensure(&request.mount_accessor, alias).await?;
        if entity.disabled {
            return Err(Error::coded(403, "permission denied"));
        }
        auth.entity_id.clone_from(&entity.id);
        auth.identity_policies = sanitize_policies(&entity.membership.policies, false);
    }
    auth.display_name = display_name(&request.mount_point, &auth.display_name);
    auth.lease.ttl = ttl;
    auth.lease.renewable &= !ttl.is_zero();
    auth.orphan = true;
    let (entry, lease) = (entry(auth, request, policies, now), lease(auth, request, now));
    let (others, held) = deferred.take();
    let token = active.create_token_with(entry, lease, others).await;
    drop(held);
    let token = token?;
    auth.token_policies.clone_from(&token.entry.policies);
    auth.policies.clone_from(&token.entry.policies);
    auth.policies.extend(auth.identity_policies.iter().cloned());
    auth.policies.sort_unstable();
    auth.policies.dedup();
    auth.client_token.clone_from(&token.entry.id);
    auth.accessor.clone_from(&token.entry.accessor);
    Ok(())
}

fn entry(auth: &Auth, request: &Request, policies: Vec<String>, now: Timestamp) -> TokenEntry {
    TokenEntry {
        policies,
        path: request.full_path(),
        meta: auth.metadata.clone(),
        display_name: auth.display_name.clone(),
        num_uses: auth.num_uses,
        creation_time: now.as_second(),
        ttl: auth.lease.ttl,
        explicit_max_ttl: auth.explicit_max_ttl,
        period: auth.period,
        entity_id: auth.entity_id.clone(),
        bound_cidrs: auth.bound_cidrs.clone(),
        ..TokenEntry::default()
    }
}

fn lease(auth: &Auth, request: &Request, now: Timestamp) -> TokenLease {
    TokenLease {
        mount: request.mount_point.clone(),
        internal: auth.internal.clone(),
        renewable: auth.lease.renewable,
        max_ttl: auth.lease.max_ttl,
        issued: now,
        expires: Some(now + auth.lease.ttl),
        ..TokenLease::default()
    }
}

/// `approle` for a mount `auth/approle/`, `userpass-bob` for a user there.
fn display_name(mount_point: &str, name: &str) -> String {
    let source = mount_point.trim_start_matches("auth/").replace('/', "-");
    format!("{source}{name}").trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_start_with_the_mount() {
        assert_eq!(display_name("auth/approle/", ""), "approle");
        assert_eq!(display_name("auth/userpass/", "bob"), "userpass-bob");
        assert_eq!(display_name("auth/team/ldap/", "bob"), "team-ldap-bob");
    }
}
