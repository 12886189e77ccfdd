//! The endpoints of `auth/token/`.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;

use super::create::{self, Creation, auth_of};
use super::key::TokenKey;
use super::roles::{self, Role};
use super::shown;
use super::store::StoredToken;
use crate::core::active::Active;
use crate::core::router::Engine;
use crate::core::system::mount_ttls;
use crate::framework::{Call, Router, route};
use crate::logical::Operation::{Create, Delete, List, Read, Update};
use crate::logical::{
    Auth, Error, LeaseOptions, Request, Response, SpecialPaths, TokenEntry, TtlRequest, calculate_at,
};

/// Endpoints.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Endpoint {
    Accessors,
    Create,
    CreateOrphan,
    CreateRole,
    Lookup,
    LookupSelf,
    LookupAccessor,
    Renew,
    RenewSelf,
    RenewAccessor,
    Revoke,
    RevokeSelf,
    RevokeAccessor,
    RevokeOrphan,
    Roles,
    Role,
    Tidy,
}

static ROUTER: LazyLock<Router<Endpoint>> = LazyLock::new(|| {
    let write: &[_] = &[Update];
    Router::new(vec![
        route("accessors/?", &[List], &[&[]], Endpoint::Accessors),
        route("create", write, &[create::FIELDS], Endpoint::Create),
        route("create-orphan", write, &[create::FIELDS], Endpoint::CreateOrphan),
        route("create/{role_name}", write, &[create::FIELDS], Endpoint::CreateRole),
        route("lookup", &[Read, Update], &[&["token"]], Endpoint::Lookup),
        route("lookup-self", &[Read, Update], &[&["token"]], Endpoint::LookupSelf),
        route("lookup-accessor", write, &[&["accessor"]], Endpoint::LookupAccessor),
        route("renew", write, &[&["token", "increment"]], Endpoint::Renew),
        route("renew-self", write, &[&["token", "increment"]], Endpoint::RenewSelf),
        route("renew-accessor", write, &[&["accessor", "increment"]], Endpoint::RenewAccessor),
        route("revoke", write, &[&["token"]], Endpoint::Revoke),
        route("revoke-self", write, &[&["token"]], Endpoint::RevokeSelf),
        route("revoke-accessor", write, &[&["accessor"]], Endpoint::RevokeAccessor),
        route("revoke-orphan", write, &[&["token"]], Endpoint::RevokeOrphan),
        route("roles/?", &[List], &[&[]], Endpoint::Roles),
        route("roles/{role_name}", &[Read, Create, Update, Delete], &[roles::FIELDS], Endpoint::Role),
        route("tidy", write, &[&[]], Endpoint::Tidy),
    ])
});

/// The table of endpoints, for help and documentation.
pub(crate) fn reference() -> Vec<crate::framework::Row> {
    ROUTER.routes().iter().map(crate::framework::Route::row).collect()
}

/// Paths that need sudo.
pub fn special_paths() -> SpecialPaths {
    SpecialPaths {
        root: &["revoke-orphan", "revoke-orphan/*", "accessors", "accessors/*"],
        unauthenticated: &[],
    }
}

/// Serves a request below `auth/token/`; `by` is the key of the caller's token and whether it has sudo.
///
/// # Errors
/// As each endpoint says, with Vault's texts.
pub async fn handle(
    active: &Arc<Active>,
    request: &Request,
    by: Option<(&TokenKey, bool)>,
) -> Result<Option<Response>, Error> {
    let call = ROUTER.resolve(request)?;
    let (Some(caller), Some((own, sudo))) = (request.token.as_deref(), by) else {
        return Err(Error::PermissionDenied);
    };
    // Boxed is all but what is asked for most: the room for it would be part of every request.
    let response = match call.endpoint {
        Endpoint::Create => Box::pin(create_child(active, request, caller, sudo, false, None)).await?,
        Endpoint::CreateOrphan => Box::pin(create_child(active, request, caller, sudo, true, None)).await?,
        Endpoint::CreateRole => {
            let name = call.path_field("role_name").to_lowercase();
            let role: Role = active
                .tokens
                .roles()
                .get_json(&name)?
                .ok_or_else(|| Error::bad_request(format!("unknown role {name}")))?;
            Box::pin(create_child(active, request, caller, sudo, false, Some(&role))).await?
        }
        Endpoint::Accessors => Response::list(active.index().accessors()),
        Endpoint::Lookup | Endpoint::LookupSelf => lookup(active, &call, own)?,
        Endpoint::LookupAccessor => {
            let (_, token) = by_accessor(active, &call)?;
            Some(shown::shown(active, &token, true)?)
        }
        Endpoint::Renew | Endpoint::RenewSelf => {
            let key = given_token(active, &call, own, call.endpoint == Endpoint::RenewSelf)?;
            let found = active.lookup_key(&key)?.ok_or_else(|| Error::bad_request("token not found"))?;
            let not_renewable = Error::bad_request("lease is not renewable");
            Some(Box::pin(renew(active, &call, &key, &found, not_renewable)).await?)
        }
        Endpoint::RenewAccessor => {
            let (key, token) = by_accessor(active, &call)?;
            // Vault does not pass on why.
            let not_renewable = Error::raw_bad_request("invalid request");
            let mut response = Box::pin(renew(active, &call, &key, &token, not_renewable)).await?;
            if let Some(auth) = &mut response.auth {
                auth.client_token.clear();
            }
            Some(response)
        }
        Endpoint::Revoke | Endpoint::RevokeSelf | Endpoint::RevokeOrphan => {
            let key = given_token(active, &call, own, call.endpoint == Endpoint::RevokeSelf)?;
            if call.endpoint == Endpoint::RevokeOrphan {
                if active.lookup_key(&key)?.is_none() {
                    return Err(Error::bad_request("token to revoke not found"));
                }
                Box::pin(active.revoke_orphan(&key)).await?;
            } else {
                Box::pin(active.revoke_token_tree(&key)).await?;
            }
            None
        }
        Endpoint::RevokeAccessor => {
            let accessor = accessor_of(&call)?;
            match active.lookup_accessor(&accessor)? {
                Some((key, _)) => {
                    Box::pin(active.revoke_token_tree(&key)).await?;
                    None
                }
                None => Some(Response::warning("No token found with this accessor")),
            }
        }
        Endpoint::Roles => Response::list(active.tokens.roles().list("")?),
        Endpoint::Role => Box::pin(role(active, &call)).await?,
        Endpoint::Tidy => Some(
            Response::warning("Tidy operation successfully started. Any information from the operation will be printed to Vault's server logs.")
                .with_status(202),
        ),
    };
    Ok(call.finish(response))
}

/// The TTLs of the mount `auth/token/`.
pub fn token_mount_ttls(active: &Active) -> (Duration, Duration) {
    match active.router.find("auth/token/") {
        Some((mounted, _)) => mount_ttls(mounted.cell(), &active.settings),
        None => (active.settings.default_lease_ttl, active.settings.max_lease_ttl),
    }
}

async fn create_child(
    active: &Active,
    request: &Request,
    parent: &TokenEntry,
    sudo: bool,
    orphan: bool,
    role: Option<&Role>,
) -> Result<Option<Response>, Error> {
    create::create(active, &Creation { request, parent, sudo, orphan, role }).await.map(Some)
}

/// The token named in the body, or the caller's own.
fn given_token(
    active: &Active,
    call: &Call<'_, Endpoint>,
    own: &TokenKey,
    itself: bool,
) -> Result<TokenKey, Error> {
    if itself {
        return Ok(*own);
    }
    call.fields()
        .string("token")?
        .filter(|token| !token.is_empty())
        .map(|token| active.tokens.key(&token))
        .ok_or_else(|| Error::bad_request("missing token ID"))
}

fn lookup(active: &Active, call: &Call<'_, Endpoint>, own: &TokenKey) -> Result<Option<Response>, Error> {
    let given = call.fields().string("token")?.filter(|token| !token.is_empty());
    let key = match given {
        Some(token) if call.endpoint == Endpoint::Lookup => active.tokens.key(&token),
        _ => *own,
    };
    let token = active.lookup_key(&key)?.ok_or_else(|| Error::coded(403, "bad token"))?;
    Ok(Some(shown::shown(active, &token, false)?))
}

fn accessor_of(call: &Call<'_, Endpoint>) -> Result<String, Error> {
    let accessor = call.fields().string("accessor")?.filter(|accessor| !accessor.is_empty());
    accessor.ok_or_else(|| Error::raw_bad_request("missing accessor"))
}

fn by_accessor(active: &Active, call: &Call<'_, Endpoint>) -> Result<(TokenKey, Arc<StoredToken>), Error> {
    active.lookup_accessor(&accessor_of(call)?)?.ok_or_else(|| Error::raw_bad_request("invalid accessor"))
}

async fn renew(
    active: &Active,
    call: &Call<'_, Endpoint>,
    key: &TokenKey,
    token: &Arc<StoredToken>,
    not_renewable: Error,
) -> Result<Response, Error> {
    let increment = call.fields().duration("increment")?.unwrap_or_default();
    if token.entry.path == "auth/token/root" {
        // The first root token has no lease.
        return Err(Error::bad_request("invalid lease ID"));
    }
    if !token.lease.renewable || token.lease.expires.is_none() {
        return Err(not_renewable);
    }
    let (granted, mount_default, mount_max) = renewed_auth(active, token, increment).await?;
    let now = Timestamp::now();
    let request = TtlRequest {
        increment,
        role_ttl: granted.lease.ttl,
        period: granted.period,
        role_max_ttl: granted.lease.max_ttl,
        explicit_max_ttl: granted.explicit_max_ttl,
        issue_time: Some(token.lease.issued),
    };
    let (ttl, warnings) = calculate_at(now, mount_default, mount_max, &request)?;
    let mut renewed = StoredToken::clone(token);
    renewed.lease.expires = Some(now + ttl);
    renewed.lease.renewed = Some(now);
    let stored = active.update_token(key, renewed).await?;
    let mut auth = auth_of(&stored, true);
    auth.lease.ttl = ttl;
    Ok(Response { auth: Some(Box::new(auth)), warnings, ..Response::default() })
}

/// What the auth method that issued the token grants now, with the TTLs of its mount.
async fn renewed_auth(
    active: &Active,
    token: &StoredToken,
    increment: Duration,
) -> Result<(Auth, Duration, Duration), Error> {
    let entry = &token.entry;
    let by_token_store = token.lease.mount == "auth/token/";
    let (mut period, mut explicit_max_ttl) = (entry.period, entry.explicit_max_ttl);
    if by_token_store && !entry.role.is_empty() {
        let role: Role = active.tokens.roles().get_json(&entry.role)?.ok_or_else(|| {
            Error::internal(format!(
                "failed to renew entry: original token role {:?} could not be found, not renewing",
                entry.role
            ))
        })?;
        (period, explicit_max_ttl) = (role.token_period, role.token_explicit_max_ttl);
    }
    let auth = Auth {
        lease: LeaseOptions {
            ttl: if by_token_store { token.lease.granted() } else { entry.ttl },
            max_ttl: token.lease.max_ttl,
            renewable: true,
            increment,
            issue_time: Some(token.lease.issued),
        },
        internal: token.lease.internal.clone(),
        display_name: entry.display_name.clone(),
        policies: entry.policies.clone(),
        metadata: entry.meta.clone(),
        period,
        explicit_max_ttl,
        num_uses: entry.num_uses,
        ..Auth::default()
    };
    let (mounted, _) = active
        .router
        .find(&token.lease.mount)
        .ok_or_else(|| Error::bad_request("the auth method that issued the token is gone"))?;
    let (default, max) = mount_ttls(mounted.cell(), &active.settings);
    let granted = match &mounted.engine {
        Engine::Backend(backend) => backend.renew_auth(&auth).await.map_err(|error| match error {
            Error::Internal(text) => Error::Internal(format!("failed to renew entry: {text}")),
            other => other,
        })?,
        _ => auth,
    };
    Ok((granted, default, max))
}

async fn role(active: &Active, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let name = call.path_field("role_name").to_lowercase();
    let roles = active.tokens.roles();
    match call.operation() {
        Read => Ok(roles.get_json::<Role>(&name)?.map(|role| Response::json(role.shown()))),
        Delete => {
            roles.delete(&name).await?;
            Ok(None)
        }
        _ => {
            let mut role = roles.get_json(&name)?.unwrap_or_else(|| Role::new(&name));
            let mut warnings = role.update(call.fields())?;
            roles.put_json(&name, &role).await?;
            let longest = token_mount_ttls(active).1;
            if role.token_explicit_max_ttl > longest {
                warnings.push(format!(
                    "Given explicit max TTL of {} is greater than system/mount allowed value of {} seconds; until this is fixed attempting to create tokens against this role will result in an error",
                    role.token_explicit_max_ttl.as_secs(),
                    longest.as_secs()
                ));
            }
            Ok((!warnings.is_empty()).then(|| Response { warnings, ..Response::default() }))
        }
    }
}

/// Whether what a write addresses exists.
///
/// # Errors
/// When storage cannot be read.
pub fn exists(active: &Active, path: &str) -> Result<Option<bool>, Error> {
    match path.strip_prefix("roles/") {
        Some(name) => Ok(Some(active.tokens.roles().get(&name.to_lowercase())?.is_some())),
        None => Ok(None),
    }
}
