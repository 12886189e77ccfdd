//! The way of a request: token, policies, audit, backend, lease or login, wrapping, audit.

use std::sync::Arc;

use super::Core;
use super::active::Active;
use super::identity::StoredEntity;
use super::login;
use super::router::{Engine, Mounted};
use crate::audit::{LogInput, PolicyDecision};
use crate::logical::{Error, Operation, Request, Response};
use crate::policy::{self, Acl};
use crate::token::TokenKey;
use crate::{help, identity, sys, token, wrapping};

/// What a request comes to. `mount_type` goes into the envelope.
pub struct Outcome {
    /// The answer.
    pub result: Result<Option<Response>, Error>,
    /// Type of the mount that answered; empty when none did.
    pub mount_type: String,
}

/// A caller whose token was accepted.
struct Caller {
    key: TokenKey,
    acl: Arc<Acl>,
    entity: Option<Arc<StoredEntity>>,
    /// This was the token's last use.
    last_use: bool,
}

/// Serves one request.
pub async fn handle(core: &Arc<Core>, mut request: Request) -> Outcome {
    let sealed = || Outcome { result: Err(Error::Sealed), mount_type: String::new() };
    let Some(active) = core.active() else {
        return sealed();
    };
    let Some(_under_way) = active.enter() else {
        return sealed();
    };
    let result = serve(core, &active, &mut request).await;
    Outcome { result, mount_type: std::mem::take(&mut request.mount_type) }
}

async fn serve(
    core: &Arc<Core>,
    active: &Arc<Active>,
    request: &mut Request,
) -> Result<Option<Response>, Error> {
    if request.path.ends_with('/') && matches!(request.operation, Operation::Update | Operation::Patch) {
        return Err(Error::bad_request("cannot write to a path ending in '/'"));
    }
    // What few requests need is boxed here and below: the room for it would be part of every request.
    let mounted = active.router.find(&request.path);
    if let Some((mounted, cut)) = &mounted
        && wrapping::is_special(active, request)
    {
        return Box::pin(unwrapping(active, mounted, *cut, request)).await;
    }
    wrapping::verify_named(active, request)?;
    if let Some((mounted, cut)) = &mounted
        && mounted.is_login(&request.path[*cut..])
    {
        enter_mount(request, mounted, *cut);
        return Box::pin(login_request(core, active, mounted, request)).await;
    }
    authenticated(core, active, mounted, request).await
}

/// A request about wrapping tokens that has rules of its own.
async fn unwrapping(
    active: &Arc<Active>,
    mounted: &Mounted,
    cut: usize,
    request: &mut Request,
) -> Result<Option<Response>, Error> {
    let caller = unwrapping_caller(active, request).await;
    enter_mount(request, mounted, cut);
    let caller = match caller {
        Ok(caller) => caller,
        Err(error) => return refused(active, Some(mounted), request, None, error).await,
    };
    audit_request(active, Some(mounted), request, None, None).await?;
    let result = wrapping::answer(active, request).await;
    if let Some(caller) = caller.filter(|caller| caller.last_use) {
        active.revoke_token_tree(&caller.key).await?;
    }
    audit_response(active, Some(mounted), request, None, result).await
}

/// The caller who unwraps with another token than the wrapping token; it must be valid and allowed to.
async fn unwrapping_caller(active: &Arc<Active>, request: &mut Request) -> Result<Option<Caller>, Error> {
    if !wrapping::named_by_another(active, request)? {
        return Ok(None);
    }
    let caller = authenticate(active, request).await?;
    let check = policy::Request {
        operation: request.operation,
        path: &request.path,
        data: Some(&request.data),
        wrap_ttl: request.wrap_ttl,
    };
    if caller.acl.check(&check).allowed { Ok(Some(caller)) } else { Err(Error::PermissionDenied) }
}

/// Makes the request's path relative to its mount.
fn enter_mount(request: &mut Request, mounted: &Mounted, cut: usize) {
    let entry = mounted.entry();
    request.mount_point = entry.full_path();
    request.mount_type.clone_from(&entry.kind);
    request.mount_accessor.clone_from(&entry.accessor);
    request.path.drain(..cut.min(request.path.len()));
}

async fn login_request(
    core: &Arc<Core>,
    active: &Arc<Active>,
    mounted: &Arc<Mounted>,
    request: &mut Request,
) -> Result<Option<Response>, Error> {
    audit_request(active, Some(mounted), request, None, None).await?;
    let mut result = dispatch(core, active, mounted, request, None).await;
    if let Ok(Some(response)) = &mut result
        && response.auth.is_some()
        && let Err(error) = login::register(active, mounted, request, response).await
    {
        result = Err(error);
    }
    let result = wrap(active, request, result.map_err(Error::unwrapped)).await;
    audit_response(active, Some(mounted), request, None, result).await
}

async fn authenticated(
    core: &Arc<Core>,
    active: &Arc<Active>,
    mounted: Option<(Arc<Mounted>, usize)>,
    request: &mut Request,
) -> Result<Option<Response>, Error> {
    let caller = match authenticate(active, request).await {
        Ok(caller) => caller,
        Err(error) => {
            let mounted = mounted.as_ref().map(|(mounted, cut)| {
                enter_mount(request, mounted, *cut);
                &**mounted
            });
            return Box::pin(refused(active, mounted, request, None, error)).await;
        }
    };
    let result = authorised(core, active, mounted, request, &caller).await;
    if !caller.last_use {
        return result;
    }
    Box::pin(active.revoke_token_tree(&caller.key)).await?;
    if let Ok(Some(response)) = &result
        && response.secret.as_ref().is_some_and(|secret| !secret.lease_id.is_empty())
    {
        return Err(Error::bad_request(
            "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.",
        ));
    }
    result
}

async fn authorised(
    core: &Arc<Core>,
    active: &Arc<Active>,
    mounted: Option<(Arc<Mounted>, usize)>,
    request: &mut Request,
    caller: &Caller,
) -> Result<Option<Response>, Error> {
    let full_path = request.path.clone();
    let mounted = mounted.filter(|(mounted, _)| !mounted.is_tainted());
    let mut root_path = false;
    if let Some((mounted, cut)) = &mounted {
        root_path = mounted.is_root(&request.path[*cut..]);
        enter_mount(request, mounted, *cut);
        if request.operation == Operation::Update && exists(active, mounted, request)? == Some(false) {
            request.operation = Operation::Create;
        }
    }
    let check = policy::Request {
        operation: request.operation,
        path: &full_path,
        data: Some(&request.data),
        wrap_ttl: request.wrap_ttl,
    };
    let decision = caller.acl.check(&check);
    let allowed = decision.allowed && (!root_path || decision.sudo);
    let granting = if active.audit.is_empty() {
        Vec::new()
    } else {
        let names = caller.acl.granting_policies(request.operation, &full_path);
        names.into_iter().map(str::to_owned).collect()
    };
    let record = PolicyDecision { allowed, granting_policies: granting };
    let known = Some((caller, &record));
    if !allowed {
        let mounted = mounted.as_ref().map(|(mounted, _)| &**mounted);
        return Box::pin(refused(active, mounted, request, known, Error::PermissionDenied)).await;
    }
    let Some((mounted, _)) = &mounted else {
        return Box::pin(refused(active, None, request, known, Error::NoRoute(full_path))).await;
    };
    let audited = !active.audit.is_empty();
    if audited {
        Box::pin(audit_request(active, Some(mounted), request, known, None)).await?;
    }
    let mut result = dispatch(core, active, mounted, request, Some((&caller.key, decision.sudo))).await;
    if let Ok(Some(response)) = &mut result
        && let Some(secret) = &response.secret
        && secret.lease_id.is_empty()
        && request.mount_type != "kv"
        && let Err(error) = Box::pin(active.register_lease(request, response)).await
    {
        result = Err(error);
    }
    if request.wrap_ttl.is_some() {
        result = Box::pin(wrap(active, request, result)).await;
    }
    if audited || !active.audit.is_empty() {
        return Box::pin(audit_response(active, Some(mounted), request, known, result)).await;
    }
    result
}

/// Finds the token of a request and counts the use.
async fn authenticate(active: &Arc<Active>, request: &mut Request) -> Result<Caller, Error> {
    if request.client_token.is_empty() {
        return Err(Error::coded(403, "permission denied"));
    }
    let key = active.tokens.key(&request.client_token);
    let mut token = active.lookup_key(&key)?.ok_or(Error::InvalidToken)?;
    if token.entry.num_uses != 0 {
        token = Box::pin(active.use_token(&key)).await?;
    }
    let entry = Arc::clone(&token.entry);
    // A root token that never ends is bound to no network, as in Vault.
    if !entry.bound_cidrs.is_empty() && !entry.ttl.is_zero() {
        let within = request
            .remote_addr
            .is_some_and(|address| entry.bound_cidrs.iter().any(|cidr| cidr.contains(&address)));
        if !within {
            return Err(Error::coded(403, "permission denied"));
        }
    }
    let entity = match entry.entity_id.as_str() {
        "" => None,
        id => active.identity.shared(id)?,
    };
    if entity.as_ref().is_some_and(|entity| entity.disabled) {
        return Err(Error::PermissionDenied);
    }
    let acl = active.acl_of(&entry, entity.as_deref());
    let last_use = entry.num_uses < 0;
    request.token = Some(entry);
    Ok(Caller { key, acl, entity, last_use })
}

fn exists(active: &Arc<Active>, mounted: &Mounted, request: &Request) -> Result<Option<bool>, Error> {
    match &mounted.engine {
        Engine::Backend(backend) => backend.exists(request),
        Engine::Token => token::exists(active, &request.path),
        Engine::System | Engine::Identity | Engine::Unavailable => Ok(None),
    }
}

async fn dispatch(
    core: &Arc<Core>,
    active: &Arc<Active>,
    mounted: &Arc<Mounted>,
    request: &Request,
    // Key of the caller's token, and whether the policies give sudo.
    caller: Option<(&TokenKey, bool)>,
) -> Result<Option<Response>, Error> {
    if request.operation == Operation::Help {
        return help(mounted, &request.path).map(Some);
    }
    match &mounted.engine {
        Engine::Backend(backend) => backend.handle(request).await,
        Engine::Token => token::handle(active, request, caller).await,
        Engine::System => Box::pin(sys::handle(core, active, request)).await,
        Engine::Identity => Box::pin(identity::handle(active, request)).await,
        Engine::Unavailable => Err(Error::internal(format!(
            "this server has no backend of type {:?}, which {} was mounted with",
            request.mount_type, request.mount_point
        ))),
    }
}

/// What there is at a path of a mount.
fn help(mounted: &Mounted, path: &str) -> Result<Response, Error> {
    let entry = mounted.entry();
    let mount = help::Mount { kind: &entry.kind, rows: &mounted.endpoints(), special: &mounted.special };
    mount.answer(path)
}

/// Wraps an answer where the client asked for it.
async fn wrap(
    active: &Arc<Active>,
    request: &Request,
    result: Result<Option<Response>, Error>,
) -> Result<Option<Response>, Error> {
    match (request.wrap_ttl, result) {
        (Some(ttl), Ok(Some(response))) if response.wrap_info.is_none() && response.raw.is_none() => {
            wrapping::wrap(active, request, response, ttl).await.map(Some)
        }
        (_, result) => result,
    }
}

fn log_input<'a>(
    mounted: Option<&'a crate::core::mounts::MountEntry>,
    request: &'a Request,
    caller: Option<(&'a Caller, &'a PolicyDecision)>,
) -> LogInput<'a> {
    let mut input = LogInput::new(request);
    if let Some(mounted) = mounted {
        input.plain_request_keys = &mounted.config.audit_non_hmac_request_keys;
        input.plain_response_keys = &mounted.config.audit_non_hmac_response_keys;
    }
    if let Some((caller, decision)) = caller {
        input.decision = Some(decision);
        if let Some(entity) = &caller.entity {
            input.identity_policies = &entity.membership.policies;
        }
    }
    input
}

/// The end of a request that is not served: it is recorded like any other, with the error.
async fn refused(
    active: &Arc<Active>,
    mounted: Option<&Mounted>,
    request: &Request,
    caller: Option<(&Caller, &PolicyDecision)>,
    error: Error,
) -> Result<Option<Response>, Error> {
    audit_request(active, mounted, request, caller, Some(&error)).await?;
    audit_response(active, mounted, request, caller, Err(error)).await
}

async fn audit_request(
    active: &Arc<Active>,
    mounted: Option<&Mounted>,
    request: &Request,
    caller: Option<(&Caller, &PolicyDecision)>,
    error: Option<&Error>,
) -> Result<(), Error> {
    if active.audit.is_empty() {
        return Ok(());
    }
    let entry = mounted.map(Mounted::entry);
    let text = error.map(Error::client_text);
    let mut input = log_input(entry.as_deref(), request, caller);
    input.error = text.as_deref();
    active.audit.log_request(&input).await.map_err(|error| {
        tracing::error!(path = request.full_path(), %error, "failed to audit request");
        Error::internal("internal error")
    })
}

async fn audit_response(
    active: &Arc<Active>,
    mounted: Option<&Mounted>,
    request: &Request,
    caller: Option<(&Caller, &PolicyDecision)>,
    mut result: Result<Option<Response>, Error>,
) -> Result<Option<Response>, Error> {
    if active.audit.is_empty() {
        return result;
    }
    // Devices mask it value by value.
    if let Ok(Some(response)) = &mut result {
        response.unfold()?;
    }
    let entry = mounted.map(Mounted::entry);
    let text = result.as_ref().err().map(Error::client_text);
    let mut input = log_input(entry.as_deref(), request, caller);
    input.error = text.as_deref();
    input.response = result.as_ref().ok().and_then(Option::as_ref);
    if let Err(error) = active.audit.log_response(&input).await {
        tracing::error!(path = request.full_path(), %error, "failed to audit response");
        return Err(Error::internal("internal error"));
    }
    result
}

impl Active {
    /// What a token may do: its own policies and those of its entity and the entity's groups.
    pub fn acl_of(&self, entry: &crate::logical::TokenEntry, entity: Option<&StoredEntity>) -> Arc<Acl> {
        match entity {
            Some(entity) if !entity.membership.policies.is_empty() => {
                let mut names = entry.policies.clone();
                names.extend(entity.membership.policies.iter().cloned());
                names.sort_unstable();
                names.dedup();
                self.policies.acl(&names, Some(entity))
            }
            entity => self.policies.acl(&entry.policies, entity),
        }
    }
}
