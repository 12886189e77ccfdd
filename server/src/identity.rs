//! `identity/`: the entities and aliases that logins make, to read, change and remove.
//!
//! An entity has one alias, that of its login; merging, groups and OIDC are not there.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use crate::core::active::Active;
use crate::core::identity::StoredEntity;
use crate::framework::{Call, Router, route};
use crate::logical::Operation::{Delete, List, Read, Update};
use crate::logical::{Error, Request, Response};
use crate::token::sanitize_policies;

/// Endpoints.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Endpoint {
    Entities,
    Entity,
    Names,
    Name,
    Lookup,
    Aliases,
    Alias,
}

/// What a write to an entity may send.
const CHANGES: &[&str] = &["disabled", "metadata", "name", "policies"];

static ROUTER: LazyLock<Router<Endpoint>> = LazyLock::new(|| {
    Router::new(vec![
        route("entity/id/?", &[List], &[&[]], Endpoint::Entities),
        route("entity/id/{id}", &[Read, Update, Delete], &[CHANGES], Endpoint::Entity),
        route("entity/name/?", &[List], &[&[]], Endpoint::Names),
        route("entity/name/{name}", &[Read, Update, Delete], &[CHANGES], Endpoint::Name),
        route(
            "lookup/entity",
            &[Update],
            &[&["id", "name", "alias_id", "alias_name", "alias_mount_accessor"]],
            Endpoint::Lookup,
        ),
        route("entity-alias/id/?", &[List], &[&[]], Endpoint::Aliases),
        route("entity-alias/id/{id}", &[Read], &[&[]], Endpoint::Alias),
    ])
});

/// Serves a request below `identity/`.
///
/// # Errors
/// Unsupported paths and operations; when storage cannot be read.
pub async fn handle(active: &Arc<Active>, request: &Request) -> Result<Option<Response>, Error> {
    let call = ROUTER.resolve(request)?;
    let found = match call.endpoint {
        Endpoint::Entities => return Ok(Response::list(active.identity.ids()?)),
        Endpoint::Names => {
            let names = all(active)?.into_iter().map(|entity| entity.name).collect();
            return Ok(Response::list(names));
        }
        Endpoint::Aliases => {
            let aliases = all(active)?.iter().map(|e| (e.alias_id.clone(), alias(active, e))).collect();
            return Ok(Response::list_with_info(aliases));
        }
        Endpoint::Alias => {
            let found = by_alias(active, call.path_field("id"))?;
            return Ok(call.finish(found.map(|entity| Response::json(alias(active, &entity)))));
        }
        Endpoint::Entity => active.identity.get(call.path_field("id"))?,
        Endpoint::Name => by_name(active, call.path_field("name"))?,
        Endpoint::Lookup => {
            let found = lookup(active, &call)?;
            return Ok(call.finish(found.map(|entity| shown(active, &entity))));
        }
    };
    match call.operation() {
        Update => change(active, &call, found).await,
        Delete => {
            if let Some(entity) = found {
                active.identity.remove(&entity).await?;
                active.policies.forget_acls();
            }
            Ok(None)
        }
        _ => Ok(call.finish(found.map(|entity| shown(active, &entity)))),
    }
}

fn lookup(active: &Active, call: &Call<'_, Endpoint>) -> Result<Option<StoredEntity>, Error> {
    let fields = call.fields();
    if let Some(id) = fields.string("id")? {
        active.identity.get(&id)
    } else if let Some(name) = fields.string("name")? {
        by_name(active, &name)
    } else if let Some(id) = fields.string("alias_id")? {
        by_alias(active, &id)
    } else {
        let name = fields.required_string("alias_name")?;
        let accessor = fields.required_string("alias_mount_accessor")?;
        active.identity.find_stored(&accessor, &name)
    }
}

/// Changes name, metadata and policies of an entity.
async fn change(
    active: &Arc<Active>,
    call: &Call<'_, Endpoint>,
    found: Option<StoredEntity>,
) -> Result<Option<Response>, Error> {
    let fields = call.fields();
    let Some(found) = found else {
        return Err(Error::bad_request("entity not found: this server makes entities at logins only"));
    };
    if fields.bool("disabled")? == Some(true) {
        return Err(Error::bad_request("disabled entities are not supported by this server"));
    }
    let name = fields.string("name")?.filter(|name| !name.is_empty());
    if let Some(name) = &name
        && by_name(active, name)?.is_some_and(|other| other.id != found.id)
    {
        return Err(Error::bad_request("entity name is already in use"));
    }
    let (metadata, policies) = (fields.string_map("metadata")?, fields.comma_strings("policies")?);
    let changed = active.identity.change(&found.id, |entity| {
        entity.name = name.unwrap_or_else(|| entity.name.clone());
        entity.metadata = metadata.unwrap_or_else(|| entity.metadata.clone());
        if let Some(policies) = policies {
            entity.policies = sanitize_policies(&policies, false);
        }
        Ok(())
    });
    changed.await?;
    active.policies.forget_acls();
    Ok(None)
}

fn all(active: &Active) -> Result<Vec<StoredEntity>, Error> {
    let mut entities = Vec::new();
    for id in active.identity.ids()? {
        entities.extend(active.identity.get(&id)?);
    }
    Ok(entities)
}

fn by_name(active: &Active, name: &str) -> Result<Option<StoredEntity>, Error> {
    Ok(all(active)?.into_iter().find(|entity| entity.name == name))
}

fn by_alias(active: &Active, id: &str) -> Result<Option<StoredEntity>, Error> {
    Ok(all(active)?.into_iter().find(|entity| entity.alias_id == id))
}

fn alias(active: &Active, entity: &StoredEntity) -> Value {
    let mount = active.router.by_accessor(&entity.mount_accessor).map(|mounted| mounted.entry());
    json!({
        "id": entity.alias_id,
        "canonical_id": entity.id,
        "name": entity.alias_name,
        "mount_accessor": entity.mount_accessor,
        "mount_path": mount.as_ref().map(|entry| entry.full_path()).unwrap_or_default(),
        "mount_type": mount.as_ref().map(|entry| entry.kind.clone()).unwrap_or_default(),
        "metadata": if entity.alias_metadata.is_empty() { Value::Null } else { json!(entity.alias_metadata) },
        "custom_metadata": null,
        "local": false,
    })
}

fn shown(active: &Active, entity: &StoredEntity) -> Response {
    Response::json(json!({
        "aliases": [alias(active, entity)],
        "disabled": false,
        "direct_group_ids": [],
        "group_ids": [],
        "inherited_group_ids": [],
        "id": entity.id,
        "merged_entity_ids": null,
        "metadata": if entity.metadata.is_empty() { Value::Null } else { json!(entity.metadata) },
        "name": entity.name,
        "namespace_id": "root",
        "policies": entity.policies,
    }))
}
