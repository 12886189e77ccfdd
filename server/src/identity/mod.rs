//! `identity/`: entities and their aliases, made by logins or ahead of them, and groups of entities. Merging,
//! external groups and OIDC are not there.

mod alias;
mod entity;
mod group;

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use crate::core::active::Active;
use crate::core::groups::StoredGroup;
use crate::core::identity::{StoredAlias, StoredEntity};
use crate::framework::{Router, route};
use crate::logical::Operation::{Delete, List, Read, Update};
use crate::logical::{Error, Object, Request, Response};

/// Endpoints.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Endpoint {
    NewEntity,
    Entities,
    Entity,
    BatchDelete,
    Names,
    Name,
    Lookup,
    NewAlias,
    Aliases,
    Alias,
    NewGroup,
    Groups,
    Group,
    GroupNames,
    GroupName,
    LookupGroup,
}

/// What a write to an entity may send.
const ENTITY: &[&str] = &["disabled", "id", "metadata", "name", "policies"];
/// What a write to an alias may send.
const ALIAS: &[&str] = &["canonical_id", "custom_metadata", "entity_id", "id", "mount_accessor", "name"];
/// What a write to a group may send.
const GROUP: &[&str] =
    &["id", "member_entity_ids", "member_group_ids", "metadata", "name", "policies", "type"];

static ROUTER: LazyLock<Router<Endpoint>> = LazyLock::new(|| {
    const LOOKUP: &[&str] = &["id", "name", "alias_id", "alias_name", "alias_mount_accessor"];
    Router::new(vec![
        route("entity", &[Update], &[ENTITY], Endpoint::NewEntity),
        route("entity/id/?", &[List], &[&[]], Endpoint::Entities),
        route("entity/id/{id}", &[Read, Update, Delete], &[ENTITY], Endpoint::Entity),
        route("entity/batch-delete", &[Update], &[&["entity_ids"]], Endpoint::BatchDelete),
        route("entity/name/?", &[List], &[&[]], Endpoint::Names),
        route("entity/name/{name+}", &[Read, Update, Delete], &[ENTITY], Endpoint::Name),
        route("lookup/entity", &[Update], &[LOOKUP], Endpoint::Lookup),
        route("entity-alias", &[Update], &[ALIAS], Endpoint::NewAlias),
        route("entity-alias/id/?", &[List], &[&[]], Endpoint::Aliases),
        route("entity-alias/id/{id}", &[Read, Update, Delete], &[ALIAS], Endpoint::Alias),
        route("group", &[Update], &[GROUP], Endpoint::NewGroup),
        route("group/id/?", &[List], &[&[]], Endpoint::Groups),
        route("group/id/{id}", &[Read, Update, Delete], &[GROUP], Endpoint::Group),
        route("group/name/?", &[List], &[&[]], Endpoint::GroupNames),
        route("group/name/{name+}", &[Read, Update, Delete], &[GROUP], Endpoint::GroupName),
        route("lookup/group", &[Update], &[LOOKUP], Endpoint::LookupGroup),
    ])
});

/// The table of endpoints, for help and documentation.
pub(crate) fn reference() -> Vec<crate::framework::Row> {
    ROUTER.routes().iter().map(crate::framework::Route::row).collect()
}

/// Serves a request below `identity/`.
///
/// # Errors
/// Unsupported paths and operations; 400 with Vault's texts; when storage fails.
pub async fn handle(active: &Arc<Active>, request: &Request) -> Result<Option<Response>, Error> {
    let call = ROUTER.resolve(request)?;
    let response = match call.endpoint {
        Endpoint::NewEntity | Endpoint::Entity | Endpoint::Name => match call.operation() {
            Update => entity::write(active, &call).await?,
            Delete => entity::remove(active, &call).await?,
            _ => entity::named(active, &call)?.map(|entity| shown(active, &entity)),
        },
        Endpoint::BatchDelete => entity::remove_several(active, &call).await?,
        Endpoint::NewAlias | Endpoint::Alias => match call.operation() {
            Update => alias::write(active, &call).await?,
            Delete => alias::remove(active, &call).await?,
            _ => alias::find(active, call.path_field("id"))?.map(|(entity, at)| {
                let mut shown = alias_json(active, &entity, &entity.aliases[at]);
                shown["namespace_id"] = json!("root");
                Response::json(shown)
            }),
        },
        Endpoint::Entities => {
            let info = active.identity.all()?;
            Response::list_with_info(info.iter().map(|e| (e.id.clone(), summary(active, e))).collect())
        }
        Endpoint::Names => Response::list(active.identity.all()?.into_iter().map(|e| e.name).collect()),
        Endpoint::Aliases => {
            let all = active.identity.all()?;
            let aliases = all.iter().flat_map(|entity| {
                entity.aliases.iter().map(|alias| (alias.id.clone(), alias_summary(active, entity, alias)))
            });
            Response::list_with_info(aliases.collect())
        }
        Endpoint::NewGroup | Endpoint::Group | Endpoint::GroupName if call.operation() == Update => {
            group::write(active, &call).await?
        }
        Endpoint::Group | Endpoint::GroupName if call.operation() == Delete => {
            group::remove(active, &call).await?
        }
        Endpoint::NewGroup
        | Endpoint::Group
        | Endpoint::GroupName
        | Endpoint::Groups
        | Endpoint::GroupNames
        | Endpoint::LookupGroup => group::read(active, &call)?,
        Endpoint::Lookup => entity::lookup(active, &call)?.map(|entity| shown(active, &entity)),
    };
    Ok(call.finish(response))
}

/// Path and type of the mount with this accessor.
fn mount_of(active: &Active, accessor: &str) -> (String, String) {
    let mount = active.router.by_accessor(accessor).map(|mounted| mounted.entry());
    mount.map(|entry| (entry.full_path(), entry.kind.clone())).unwrap_or_default()
}

fn alias_json(active: &Active, entity: &StoredEntity, alias: &StoredAlias) -> Value {
    let (path, kind) = mount_of(active, &alias.mount_accessor);
    json!({
        "canonical_id": entity.id,
        "creation_time": alias.created.to_string(),
        "custom_metadata": json!(alias.custom_metadata),
        "id": alias.id,
        "last_update_time": alias.updated.to_string(),
        "local": false,
        "merged_from_canonical_ids": null,
        "metadata": null_if_empty(json!(alias.metadata)),
        "mount_accessor": alias.mount_accessor,
        "mount_path": path,
        "mount_type": kind,
        "name": alias.name,
    })
}

fn null_if_empty(value: Value) -> Value {
    if value.as_object().is_some_and(Object::is_empty) { Value::Null } else { value }
}

/// An entity in a list.
fn summary(active: &Active, entity: &StoredEntity) -> Value {
    let aliases: Vec<Value> = entity
        .aliases
        .iter()
        .map(|alias| {
            let (path, kind) = mount_of(active, &alias.mount_accessor);
            json!({
                "id": alias.id,
                "mount_accessor": alias.mount_accessor,
                "mount_path": path,
                "mount_type": kind,
                "name": alias.name,
            })
        })
        .collect();
    if aliases.is_empty() {
        return json!({ "name": entity.name });
    }
    json!({ "aliases": aliases, "name": entity.name })
}

/// An alias in a list.
fn alias_summary(active: &Active, entity: &StoredEntity, alias: &StoredAlias) -> Value {
    let (path, kind) = mount_of(active, &alias.mount_accessor);
    json!({
        "canonical_id": entity.id,
        "custom_metadata": json!(alias.custom_metadata),
        "local": false,
        "mount_accessor": alias.mount_accessor,
        "mount_path": path,
        "mount_type": kind,
        "name": alias.name,
    })
}

fn shown(active: &Active, entity: &StoredEntity) -> Response {
    let aliases: Vec<Value> = entity.aliases.iter().map(|alias| alias_json(active, entity, alias)).collect();
    let ids = |groups: &[Arc<StoredGroup>]| json!(groups.iter().map(|group| &group.id).collect::<Vec<_>>());
    let membership = &entity.membership;
    Response::json(json!({
        "aliases": aliases,
        "creation_time": entity.created.to_string(),
        "direct_group_ids": ids(&membership.direct),
        "disabled": entity.disabled,
        "group_ids": json!(membership.all().map(|group| &group.id).collect::<Vec<_>>()),
        "id": entity.id,
        "inherited_group_ids": ids(&membership.inherited),
        "last_update_time": entity.updated.to_string(),
        "merged_entity_ids": null,
        "metadata": null_if_empty(json!(entity.metadata)),
        "name": entity.name,
        "namespace_id": "root",
        "policies": entity.policies,
    }))
}
