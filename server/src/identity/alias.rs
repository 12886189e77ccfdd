//! Aliases: made ahead of a login, moved to another entity, removed.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::Endpoint;
use crate::core::active::Active;
use crate::core::identity::{StoredAlias, StoredEntity};
use crate::core::mounts::Table;
use crate::framework::Call;
use crate::logical::{Error, Response};

/// The entity of an alias, and the alias' place in it.
///
/// # Errors
/// When storage cannot be read.
pub fn find(active: &Active, id: &str) -> Result<Option<(StoredEntity, usize)>, Error> {
    for entity in active.identity.all()? {
        if let Some(at) = entity.aliases.iter().position(|alias| alias.id == id) {
            return Ok(Some((entity, at)));
        }
    }
    Ok(None)
}

/// Makes or changes an alias.
///
/// # Errors
/// 400 with Vault's texts; when storage fails.
pub async fn write(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let fields = call.fields();
    let given = |name: &str| Ok::<_, Error>(fields.string(name)?.unwrap_or_default());
    let id = match call.endpoint {
        Endpoint::Alias => call.path_field("id").to_owned(),
        _ => given("id")?,
    };
    let (mut name, mut accessor) = (given("name")?, given("mount_accessor")?);
    let owner = Some(given("canonical_id")?).filter(|id| !id.is_empty());
    let owner = owner.map_or_else(|| given("entity_id"), Ok)?;
    let custom_metadata = fields.string_map("custom_metadata")?;

    let changing = active.identity.change().await;
    let existing = if id.is_empty() {
        None
    } else {
        Some(find(active, &id)?.ok_or_else(|| Error::bad_request("invalid alias ID provided"))?)
    };
    if let Some((entity, at)) = &existing {
        let alias = &entity.aliases[*at];
        name = if name.is_empty() { alias.name.clone() } else { name };
        accessor = if accessor.is_empty() { alias.mount_accessor.clone() } else { accessor };
    }
    if name.is_empty() || accessor.is_empty() {
        return Err(Error::bad_request("'id' or 'mount_accessor' and 'name' must be provided"));
    }
    let mount = active.router.by_accessor(&accessor).filter(|mounted| mounted.entry().table == Table::Auth);
    if mount.is_none() {
        return Err(Error::bad_request(format!("invalid mount accessor {accessor:?}")));
    }
    let taken = active.identity.find_stored(&accessor, &name)?.and_then(|entity| {
        let at = entity.aliases.iter().position(|a| a.mount_accessor == accessor && a.name == name)?;
        Some((entity, at))
    });
    let existing = match (existing, taken) {
        (Some(named), Some(taken)) if named.0.aliases[named.1].id != taken.0.aliases[taken.1].id => {
            return Err(Error::bad_request(
                "alias with combination of mount accessor and name already exists",
            ));
        }
        (Some(named), _) => Some(named),
        (None, taken) => taken,
    };
    let Some((mut from, at)) = existing else {
        let mut entity = match owner.as_str() {
            "" => StoredEntity::named_by_itself(),
            id => active.identity.get(id)?.ok_or_else(|| Error::bad_request("invalid canonical ID"))?,
        };
        let mut alias = StoredAlias::new(&name, &accessor);
        alias.custom_metadata = Some(custom_metadata.unwrap_or_default());
        let made = json!({ "canonical_id": entity.id, "id": alias.id });
        add(&mut entity, alias)?;
        active.identity.put(&changing, &[&entity], &[]).await?;
        active.policies.forget_acls();
        return Ok(Some(Response::json(made)));
    };
    let before = from.aliases.remove(at);
    let mut alias =
        StoredAlias { name, mount_accessor: accessor, updated: Timestamp::now(), ..before.clone() };
    alias.custom_metadata = custom_metadata.or(alias.custom_metadata);
    let alias_id = alias.id.clone();
    let canonical_id = if owner.is_empty() || owner == from.id {
        add(&mut from, alias)?;
        active.identity.put(&changing, &[&from], &[&before]).await?;
        from.id
    } else {
        let mut to = active
            .identity
            .get(&owner)?
            .ok_or_else(|| Error::bad_request("given 'canonical_id' is not associated with an entity"))?;
        add(&mut to, alias)?;
        active.identity.put(&changing, &[&from, &to], &[&before]).await?;
        to.id
    };
    active.policies.forget_acls();
    Ok(Some(Response::json(json!({ "canonical_id": canonical_id, "id": alias_id }))))
}

/// An entity has one alias at each mount.
fn add(entity: &mut StoredEntity, alias: StoredAlias) -> Result<(), Error> {
    if entity.aliases.iter().any(|other| other.mount_accessor == alias.mount_accessor) {
        return Err(Error::bad_request(
            "entity already has an alias for this mount accessor; an entity has one alias at each mount",
        ));
    }
    entity.aliases.push(alias);
    Ok(())
}

/// Removes an alias; nothing there is fine.
///
/// # Errors
/// When storage fails.
pub async fn remove(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    if call.endpoint == Endpoint::NewAlias {
        return Err(Error::UnsupportedOperation);
    }
    let changing = active.identity.change().await;
    if let Some((mut entity, at)) = find(active, call.path_field("id"))? {
        let gone = entity.aliases.remove(at);
        active.identity.put(&changing, &[&entity], &[&gone]).await?;
        active.policies.forget_acls();
    }
    Ok(None)
}
