//! `identity/`: entities and aliases to read, as far as logins make them.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use crate::core::active::Active;
use crate::core::identity::StoredEntity;
use crate::framework::{Router, route};
use crate::logical::Operation::{List, Read, Update};
use crate::logical::{Error, Request, Response};

/// Endpoints.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Endpoint {
    Entities,
    Entity,
    Names,
    Name,
    Lookup,
}

static ROUTER: LazyLock<Router<Endpoint>> = LazyLock::new(|| {
    Router::new(vec![
        route("entity/id/?", &[List], &[&[]], Endpoint::Entities),
        route("entity/id/{id}", &[Read], &[&[]], Endpoint::Entity),
        route("entity/name/?", &[List], &[&[]], Endpoint::Names),
        route("entity/name/{name}", &[Read], &[&[]], Endpoint::Name),
        route(
            "lookup/entity",
            &[Update],
            &[&["id", "name", "alias_name", "alias_mount_accessor"]],
            Endpoint::Lookup,
        ),
    ])
});

/// Serves a request below `identity/`.
///
/// # Errors
/// Unsupported paths and operations; when storage cannot be read.
pub fn handle(active: &Arc<Active>, request: &Request) -> Result<Option<Response>, Error> {
    let call = ROUTER.resolve(request)?;
    let found = match call.endpoint {
        Endpoint::Entities => return Ok(Response::list(active.identity.ids()?)),
        Endpoint::Names => {
            let names = all(active)?.into_iter().map(|entity| entity.name).collect();
            return Ok(Response::list(names));
        }
        Endpoint::Entity => active.identity.get(call.path_field("id"))?,
        Endpoint::Name => by_name(active, call.path_field("name"))?,
        Endpoint::Lookup => {
            let fields = call.fields();
            if let Some(id) = fields.string("id")? {
                active.identity.get(&id)?
            } else if let Some(name) = fields.string("name")? {
                by_name(active, &name)?
            } else {
                let name = fields.required_string("alias_name")?;
                let accessor = fields.required_string("alias_mount_accessor")?;
                active.identity.find_stored(&accessor, &name)?
            }
        }
    };
    Ok(call.finish(found.map(|entity| shown(active, &entity))))
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

fn shown(active: &Active, entity: &StoredEntity) -> Response {
    let mount = active.router.by_accessor(&entity.mount_accessor).map(|mounted| mounted.entry());
    let alias = json!({
        "id": entity.alias_id,
        "canonical_id": entity.id,
        "name": entity.alias_name,
        "mount_accessor": entity.mount_accessor,
        "mount_path": mount.as_ref().map(|entry| entry.full_path()).unwrap_or_default(),
        "mount_type": mount.as_ref().map(|entry| entry.kind.clone()).unwrap_or_default(),
        "metadata": if entity.alias_metadata.is_empty() { Value::Null } else { json!(entity.alias_metadata) },
        "custom_metadata": null,
        "local": false,
    });
    Response::json(json!({
        "aliases": [alias],
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
