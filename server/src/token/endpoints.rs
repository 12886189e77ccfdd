//! The endpoints of `auth/token/`.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::create::{self, Creation, auth_of};
use super::key::TokenKey;
use super::roles::{self, Role};
use super::store::StoredToken;
use crate::core::active::Active;
use crate::core::router::Engine;
use crate::core::system::mount_ttls;
use crate::framework::{Call, Router, network, route};
use crate::logical::Operation::{Create, Delete, List, Read, Update};
use crate::logical::{
    Auth, Error, LeaseOptions, Object, Request, Response, SpecialPaths, TokenEntry, TtlRequest, calculate_at,
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

/// Serves a request below `auth/token/`.
///
/// # Errors
/// As each endpoint says, with Vault's texts.
pub async fn handle(active: &Arc<Active>, request: &Request, sudo: bool) -> Result<Option<Response>, Error> {
    let call = ROUTER.resolve(request)?;
    let caller = request.token.as_deref().ok_or(Error::PermissionDenied)?;
    let response = match call.endpoint {
        Endpoint::Create => create_child(active, request, caller, sudo, false, None).await?,
        Endpoint::CreateOrphan => create_child(active, request, caller, sudo, true, None).await?,
        Endpoint::CreateRole => {
            let name = call.path_field("role_name").to_lowercase();
            let role: Role = active
                .tokens
                .roles()
                .get_json(&name)?
                .ok_or_else(|| Error::bad_request(format!("unknown role {name}")))?;
            create_child(active, request, caller, sudo, false, Some(&role)).await?
        }
        Endpoint::Accessors => Response::list(active.index().accessors()),
        Endpoint::Lookup | Endpoint::LookupSelf => lookup(active, &call)?,
        Endpoint::LookupAccessor => {
            let (_, token) = by_accessor(active, &call)?;
            Some(shown(active, &token, true)?)
        }
        Endpoint::Renew | Endpoint::RenewSelf => {
            let id = given_token(&call, call.endpoint == Endpoint::RenewSelf)?;
            let key = active.tokens.key(&id);
            let found = active.lookup_key(&key)?.ok_or_else(|| Error::bad_request("token not found"))?;
            Some(renew(active, &call, &key, &found).await?)
        }
        Endpoint::RenewAccessor => {
            let (key, token) = by_accessor(active, &call)?;
            let mut response = renew(active, &call, &key, &token).await?;
            if let Some(auth) = &mut response.auth {
                auth.client_token.clear();
            }
            Some(response)
        }
        Endpoint::Revoke | Endpoint::RevokeSelf | Endpoint::RevokeOrphan => {
            let id = given_token(&call, call.endpoint == Endpoint::RevokeSelf)?;
            let key = active.tokens.key(&id);
            if call.endpoint == Endpoint::RevokeOrphan {
                if active.lookup_key(&key)?.is_none() {
                    return Err(Error::bad_request("token to revoke not found"));
                }
                active.revoke_orphan(&key).await?;
            } else {
                active.revoke_token_tree(&key).await?;
            }
            None
        }
        Endpoint::RevokeAccessor => {
            let (key, _) = by_accessor(active, &call)?;
            active.revoke_token_tree(&key).await?;
            None
        }
        Endpoint::Roles => Response::list(active.tokens.roles().list("")?),
        Endpoint::Role => role(active, &call).await?,
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
fn given_token(call: &Call<'_, Endpoint>, own: bool) -> Result<String, Error> {
    if own {
        return Ok(call.request.client_token.clone());
    }
    call.fields()
        .string("token")?
        .filter(|token| !token.is_empty())
        .ok_or_else(|| Error::bad_request("missing token ID"))
}

fn lookup(active: &Active, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let given = call.fields().string("token")?.filter(|token| !token.is_empty());
    let id = match given {
        Some(token) if call.endpoint == Endpoint::Lookup => token,
        _ => call.request.client_token.clone(),
    };
    let key = active.tokens.key(&id);
    let token = active.lookup_key(&key)?.ok_or_else(|| Error::coded(403, "bad token"))?;
    Ok(Some(shown(active, &token, false)?))
}

fn by_accessor(active: &Active, call: &Call<'_, Endpoint>) -> Result<(TokenKey, Arc<StoredToken>), Error> {
    let accessor = call.fields().string("accessor")?.unwrap_or_default();
    if accessor.is_empty() {
        return Err(Error::raw_bad_request("missing accessor"));
    }
    active.lookup_accessor(&accessor)?.ok_or_else(|| Error::raw_bad_request("invalid accessor"))
}

/// The answer of a lookup; by accessor it does not show the token.
fn shown(active: &Active, token: &StoredToken, hide_id: bool) -> Result<Response, Error> {
    let entry = &token.entry;
    let now = Timestamp::now();
    // The most frequent of all answers: built with its size known and nothing copied twice.
    let mut data = Object::from_iter([
        field("accessor", entry.accessor.as_str()),
        field("creation_time", entry.creation_time),
        field("creation_ttl", entry.ttl.as_secs()),
        field("display_name", entry.display_name.as_str()),
        field("entity_id", entry.entity_id.as_str()),
        field("expire_time", token.lease.expires.map(|at| at.to_string())),
        field("explicit_max_ttl", entry.explicit_max_ttl.as_secs()),
        field("id", if hide_id { "" } else { &entry.id }),
        field("issue_time", token.lease.issued.to_string()),
        field("meta", if entry.meta.is_empty() { Value::Null } else { json!(entry.meta) }),
        field("num_uses", entry.num_uses),
        field("orphan", entry.is_orphan()),
        field("path", entry.path.as_str()),
        field("policies", entry.policies.as_slice()),
        field("renewable", token.lease.renewable),
        field("ttl", token.remaining(now).unwrap_or_default().as_secs()),
        field("type", entry.token_type.to_string()),
    ]);
    if entry.path == "auth/token/root" {
        // The first root token has no lease to tell these from.
        data.shift_remove("issue_time");
        data.shift_remove("renewable");
    }
    if let Some(renewed) = token.lease.renewed {
        data.insert("last_renewal".into(), json!(renewed.to_string()));
        data.insert("last_renewal_time".into(), json!(renewed.as_second()));
    }
    if !entry.period.is_zero() {
        data.insert("period".into(), json!(entry.period.as_secs()));
    }
    if !entry.role.is_empty() {
        data.insert("role".into(), json!(entry.role));
    }
    if !entry.bound_cidrs.is_empty() {
        data.insert("bound_cidrs".into(), network::to_json(&entry.bound_cidrs));
    }
    let entity = match entry.entity_id.as_str() {
        "" => None,
        id => active.identity.shared(id)?,
    };
    if let Some(entity) = entity {
        data.insert("external_namespace_policies".into(), json!({}));
        data.insert("identity_policies".into(), json!(entity.membership.policies));
    }
    Ok(Response::data(data))
}

fn field(name: &str, value: impl Into<Value>) -> (String, Value) {
    (name.to_owned(), value.into())
}

async fn renew(
    active: &Active,
    call: &Call<'_, Endpoint>,
    key: &TokenKey,
    token: &Arc<StoredToken>,
) -> Result<Response, Error> {
    let increment = call.fields().duration("increment")?.unwrap_or_default();
    if token.entry.path == "auth/token/root" {
        // The first root token has no lease.
        return Err(Error::bad_request("invalid lease ID"));
    }
    if !token.lease.renewable || token.lease.expires.is_none() {
        return Err(Error::bad_request("lease is not renewable"));
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
    Ok(Response { auth: Some(auth), warnings, ..Response::default() })
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
            role.update(call.fields())?;
            roles.put_json(&name, &role).await?;
            let longest = token_mount_ttls(active).1;
            Ok((role.token_explicit_max_ttl > longest).then(|| {
                Response::warning(format!(
                    "Given explicit max TTL of {} is greater than system/mount allowed value of {} seconds; until this is fixed attempting to create tokens against this role will result in an error",
                    role.token_explicit_max_ttl.as_secs(),
                    longest.as_secs()
                ))
            }))
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
