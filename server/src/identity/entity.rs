//! Entities: made, changed, found, removed.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Endpoint, alias};
use crate::core::active::Active;
use crate::core::identity::StoredEntity;
use crate::framework::Call;
use crate::logical::{Error, Response};
use crate::token::sanitize_policies;

/// The entity that a path or, at `identity/entity`, the body names.
///
/// # Errors
/// When storage cannot be read; wrong types.
pub fn named(active: &Active, call: &Call<'_, Endpoint>) -> Result<Option<StoredEntity>, Error> {
    let (id, name) = match call.endpoint {
        Endpoint::Name => (String::new(), call.path_field("name").to_owned()),
        Endpoint::Entity => (call.path_field("id").to_owned(), String::new()),
        _ => {
            let fields = call.fields();
            (fields.string("id")?.unwrap_or_default(), fields.string("name")?.unwrap_or_default())
        }
    };
    if id.is_empty() { by_name(active, &name) } else { active.identity.get(&id) }
}

/// Makes or changes an entity.
///
/// # Errors
/// 400 with Vault's texts; when storage fails.
pub async fn write(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let fields = call.fields();
    let name = match call.endpoint {
        Endpoint::Name => Some(call.path_field("name").to_owned()),
        _ => fields.string("name")?.filter(|name| !name.is_empty()),
    };
    let (metadata, policies) = (fields.string_map("metadata")?, fields.comma_strings("policies")?);
    let policies = policies.map(|policies| sanitize_policies(&policies, false));
    if policies.as_ref().is_some_and(|policies| policies.iter().any(|name| name == "root")) {
        return Err(Error::bad_request("policies cannot contain root"));
    }
    let disabled = fields.bool("disabled")?;

    let changing = active.identity.change().await;
    let found = named(active, call)?;
    let by_id = call.endpoint == Endpoint::Entity || fields.string("id")?.is_some_and(|id| !id.is_empty());
    if by_id && found.is_none() {
        return Err(Error::bad_request("entity not found from id"));
    }
    let is_new = found.is_none();
    let mut entity = found.unwrap_or_else(StoredEntity::named_by_itself);
    if let Some(name) = name {
        if by_name(active, &name)?.is_some_and(|other| other.id != entity.id) {
            return Err(Error::bad_request("entity name is already in use"));
        }
        entity.name = name;
    }
    entity.metadata = metadata.unwrap_or(entity.metadata);
    entity.policies = policies.unwrap_or(entity.policies);
    entity.disabled = disabled.unwrap_or(entity.disabled);
    entity.updated = Timestamp::now();
    active.identity.put(&changing, &[&entity], &[]).await?;
    active.policies.forget_acls();
    Ok(is_new
        .then(|| Response::json(json!({ "aliases": Value::Null, "id": entity.id, "name": entity.name }))))
}

/// Removes an entity with its aliases; nothing there is fine.
///
/// # Errors
/// When storage fails.
pub async fn remove(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    if call.endpoint == Endpoint::NewEntity {
        return Err(Error::UnsupportedOperation);
    }
    let changing = active.identity.change().await;
    if let Some(entity) = named(active, call)? {
        active.identity.remove(&changing, &entity).await?;
        active.policies.forget_acls();
    }
    Ok(None)
}

/// `identity/entity/batch-delete`: removes entities; those that are not there are passed over.
///
/// # Errors
/// 400 without ids; when storage fails.
pub async fn remove_several(
    active: &Arc<Active>,
    call: &Call<'_, Endpoint>,
) -> Result<Option<Response>, Error> {
    let ids = call.fields().comma_strings("entity_ids")?.filter(|ids| !ids.is_empty());
    let ids = ids.ok_or_else(|| Error::bad_request("missing entity ids to delete"))?;
    let changing = active.identity.change().await;
    for id in ids {
        // Read one after the other: what is removed with one, a group's members, changes the next.
        if let Some(entity) = active.identity.get(&id)? {
            active.identity.remove(&changing, &entity).await?;
        }
    }
    active.policies.forget_acls();
    Ok(None)
}

/// `identity/lookup/entity`.
///
/// # Errors
/// 400 without anything to look for.
pub fn lookup(active: &Active, call: &Call<'_, Endpoint>) -> Result<Option<StoredEntity>, Error> {
    let fields = call.fields();
    let given = |name: &str| Ok::<_, Error>(fields.string(name)?.filter(|text| !text.is_empty()));
    if let Some(id) = given("id")? {
        active.identity.get(&id)
    } else if let Some(name) = given("name")? {
        by_name(active, &name)
    } else if let Some(id) = given("alias_id")? {
        Ok(alias::find(active, &id)?.map(|(entity, _)| entity))
    } else {
        match (given("alias_name")?, given("alias_mount_accessor")?) {
            (Some(name), Some(accessor)) => active.identity.find_stored(&accessor, &name),
            (Some(_), None) | (None, Some(_)) => {
                Err(Error::bad_request("both 'alias_name' and 'alias_mount_accessor' needs to be set"))
            }
            (None, None) => Err(Error::bad_request("query parameter not supplied")),
        }
    }
}

/// Names are compared without regard to case, as in Vault.
fn by_name(active: &Active, name: &str) -> Result<Option<StoredEntity>, Error> {
    if name.is_empty() {
        return Ok(None);
    }
    Ok(active.identity.all()?.into_iter().find(|entity| entity.name.eq_ignore_ascii_case(name)))
}
