//! `sys/leases/*` and the older `sys/renew`, `sys/revoke`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::Endpoint;
use crate::core::active::Active;
use crate::expiration::token_lease_id;
use crate::framework::Call;
use crate::logical::{Error, Object, Response};
use crate::token::{StoredToken, TokenKey};

/// Leases an irrevocable list shows at most, unless asked for more.
const LIST_LIMIT: usize = 10_000;

/// Serves the lease endpoints.
///
/// # Errors
/// 400 with Vault's texts; when a backend or storage fails.
pub async fn handle(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    match call.endpoint {
        Endpoint::LeaseLookup => lookup(active, call).map(Some),
        Endpoint::LeaseList => list(active, call.path_field("prefix")),
        Endpoint::LeaseRenew => renew(active, call).await.map(Some),
        Endpoint::LeaseRevoke => revoke(active, call).await,
        Endpoint::RevokePrefix => {
            let prefix = required_prefix(call)?;
            if is_lease(active, call)? {
                return revoke_one(active, call.path_field("prefix"), is_lazy(call)?, false).await;
            }
            if is_lazy(call)? {
                active.end_leases(&prefix);
                for key in active.tokens_below(&prefix)? {
                    active.revoke_token_tree(&key).await?;
                }
                return Ok(Some(Response::accepted()));
            }
            active.revoke_prefix(&prefix, false).await?;
            Ok(None)
        }
        Endpoint::RevokeForce => {
            let prefix = required_prefix(call)?;
            if is_lease(active, call)? {
                return revoke_one(active, call.path_field("prefix"), false, true).await;
            }
            active.revoke_prefix(&prefix, true).await?;
            Ok(None)
        }
        Endpoint::LeaseTidy => {
            tidy(active);
            Ok(Some(
                Response::warning("Tidy operation successfully started. Any information from the operation will be printed to Vault's server logs.")
                    .with_status(202),
            ))
        }
        Endpoint::LeaseCount => {
            if !is_irrevocable(call)? {
                return Ok(None);
            }
            let (total, counts) = irrevocable(active, usize::MAX).1;
            Ok(Some(Response::json(json!({ "lease_count": total, "counts": counts }))))
        }
        _ => {
            if !is_irrevocable(call)? {
                return Ok(None);
            }
            let limit = match call.fields().string("limit")?.as_deref() {
                Some("none") => usize::MAX,
                None | Some("") => LIST_LIMIT,
                Some(text) => text
                    .parse()
                    .ok()
                    .filter(|limit| *limit > 0)
                    .ok_or_else(|| Error::bad_request("invalid 'limit' value"))?,
            };
            let (leases, (total, _)) = irrevocable(active, limit);
            let mut response = Response::json(json!({ "lease_count": total, "leases": leases }));
            if total > limit {
                response.warnings.push("Command halted because many irrevocable leases were found. To emit the entire list, re-run the command with force set true.".to_owned());
            }
            Ok(Some(response))
        }
    }
}

fn prefix(call: &Call<'_, Endpoint>) -> String {
    let prefix = call.path_field("prefix");
    if prefix.ends_with('/') || prefix.is_empty() { prefix.to_owned() } else { format!("{prefix}/") }
}

/// The prefix of what is to be revoked; without one there is no such path.
fn required_prefix(call: &Call<'_, Endpoint>) -> Result<String, Error> {
    Some(prefix(call)).filter(|prefix| !prefix.is_empty()).ok_or(Error::UnsupportedPath)
}

/// Whether the prefix is the whole id of a lease, which then is revoked.
fn is_lease(active: &Active, call: &Call<'_, Endpoint>) -> Result<bool, Error> {
    let id = call.path_field("prefix");
    Ok(active.load_lease(id)?.is_some() || token_of(active, id)?.is_some())
}

fn is_lazy(call: &Call<'_, Endpoint>) -> Result<bool, Error> {
    Ok(call.fields().bool("sync")? == Some(false))
}

/// Whether the type asked for is the one there is; Vault answers 404 otherwise.
fn is_irrevocable(call: &Call<'_, Endpoint>) -> Result<bool, Error> {
    Ok(call.fields().string("type")?.as_deref() == Some("irrevocable"))
}

fn lease_id(call: &Call<'_, Endpoint>) -> Result<String, Error> {
    let given = call.fields().string("lease_id")?.filter(|id| !id.is_empty());
    let id = given.unwrap_or_else(|| call.path_field("url_lease_id").to_owned());
    if id.is_empty() {
        return Err(Error::bad_request("lease_id must be specified"));
    }
    Ok(id)
}

/// A token by the lease id it has, `<path>/h<key>`.
fn token_of(active: &Active, id: &str) -> Result<Option<(TokenKey, Arc<StoredToken>)>, Error> {
    let key = id.rsplit_once("/h").and_then(|(_, hex)| TokenKey::from_hex(hex));
    let Some(key) = key else {
        return Ok(None);
    };
    let found = active.lookup_key(&key)?;
    Ok(found.filter(|token| token_lease_id(token, &key) == id).map(|token| (key, token)))
}

fn lookup(active: &Active, call: &Call<'_, Endpoint>) -> Result<Response, Error> {
    let id = lease_id(call)?;
    let now = Timestamp::now();
    let shown = |issued: Timestamp,
                 expires: Option<Timestamp>,
                 renewed: Option<Timestamp>,
                 renewable,
                 ttl: Duration| {
        Response::json(json!({
            "expire_time": expires.map(|at| at.to_string()),
            "id": id,
            "issue_time": issued.to_string(),
            "last_renewal": renewed.map(|at| at.to_string()),
            "renewable": renewable,
            "ttl": ttl.as_secs(),
        }))
    };
    if let Some(lease) = active.load_lease(&id)? {
        let left = Duration::try_from(lease.expires.duration_since(now)).unwrap_or_default();
        return Ok(shown(lease.issued, Some(lease.expires), lease.renewed, lease.renewable, left));
    }
    if let Some((_, token)) = token_of(active, &id)? {
        let lease = &token.lease;
        let left = token.remaining(now).unwrap_or_default();
        return Ok(shown(lease.issued, lease.expires, lease.renewed, lease.renewable, left));
    }
    Err(Error::bad_request("invalid lease"))
}

fn list(active: &Active, prefix: &str) -> Result<Option<Response>, Error> {
    let mut children = BTreeSet::new();
    let mut add = |id: &str| {
        if let Some(rest) = id.strip_prefix(prefix) {
            children.insert(rest.split_inclusive('/').next().unwrap_or(rest).to_owned());
        }
    };
    {
        let index = active.index();
        for (id, _) in index.leases_below(prefix) {
            add(id);
        }
    }
    // Those of wrapped responses are below the path that was asked.
    for key in active.tokens_below(prefix)? {
        if let Some(token) = active.lookup_key(&key)? {
            add(&token_lease_id(&token, &key));
        }
    }
    Ok(Response::list(children.into_iter().collect()))
}

async fn renew(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Response, Error> {
    let id = lease_id(call)?;
    let increment = call.fields().duration("increment")?.unwrap_or_default();
    active.renew_lease(&id, increment).await
}

async fn revoke(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let id = lease_id(call)?;
    let lazy = is_lazy(call)?;
    revoke_one(active, &id, lazy, false).await
}

async fn revoke_one(
    active: &Arc<Active>,
    id: &str,
    lazy: bool,
    force: bool,
) -> Result<Option<Response>, Error> {
    if let Some((key, _)) = token_of(active, id)? {
        active.revoke_token_tree(&key).await?;
        return Ok(None);
    }
    if lazy {
        active.index().end_lease(id, Timestamp::now());
        active.reschedule();
        return Ok(Some(Response::accepted()));
    }
    active.revoke_lease(id, force).await?;
    Ok(None)
}

/// Ends leases whose token is gone; there are none unless something went wrong.
fn tidy(active: &Arc<Active>) {
    let mut index = active.index();
    let now = Timestamp::now();
    let orphaned: Vec<Arc<str>> = index
        .leases_below("")
        .filter(|(_, node)| !node.ended && !index.has_token(&node.owner))
        .map(|(id, _)| Arc::clone(id))
        .collect();
    for id in &orphaned {
        index.end_lease(id, now);
    }
    drop(index);
    active.reschedule();
    tracing::info!(leases = orphaned.len(), "tidied leases");
}

type Counts = (usize, Object);

/// The irrevocable leases, their number, and their number by mount.
fn irrevocable(active: &Active, limit: usize) -> (Vec<serde_json::Value>, Counts) {
    let ids: Vec<Arc<str>> = {
        let index = active.index();
        index.leases_below("").filter(|(_, node)| node.irrevocable).map(|(id, _)| Arc::clone(id)).collect()
    };
    let mut counts = Object::new();
    let mut shown = Vec::new();
    for id in &ids {
        let mount = active.router.find(id).map(|(mounted, _)| mounted.entry().accessor.clone());
        let count = counts.entry(mount.unwrap_or_default()).or_insert(json!(0));
        *count = json!(count.as_u64().unwrap_or_default() + 1);
        if shown.len() < limit {
            let cause = active.load_lease(id).ok().flatten().and_then(|lease| lease.irrevocable);
            shown.push(json!({ "lease_id": id, "error": cause.unwrap_or_default() }));
        }
    }
    (shown, (ids.len(), counts))
}
