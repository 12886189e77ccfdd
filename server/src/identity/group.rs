//! Groups: made, changed, found, removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Endpoint, null_if_empty};
use crate::core::active::Active;
use crate::core::groups::{Groups, StoredGroup, parents, with_ancestors};
use crate::framework::Call;
use crate::logical::{Error, Response};
use crate::token::sanitize_policies;

/// Serves reads and lists.
///
/// # Errors
/// When storage cannot be read; wrong types.
pub fn read(active: &Active, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let groups = active.identity.groups()?;
    let info = || groups.values().map(|group| (group.id.clone(), summary(&groups, group)));
    Ok(match call.endpoint {
        Endpoint::Groups => Response::list_with_info(info().collect()),
        Endpoint::GroupNames => Response::list(groups.values().map(|group| group.name.clone()).collect()),
        Endpoint::LookupGroup => looked_up(call, &groups)?.map(|group| shown(&groups, group)),
        _ => named(call, &groups)?.map(|group| shown(&groups, group)),
    })
}

/// The group that a path or, at `identity/group`, the body names.
fn named<'a>(call: &Call<'_, Endpoint>, groups: &'a Groups) -> Result<Option<&'a Arc<StoredGroup>>, Error> {
    let given = |name: &str| Ok::<_, Error>(call.fields().string(name)?.unwrap_or_default());
    Ok(match call.endpoint {
        Endpoint::Group => groups.get(call.path_field("id")),
        Endpoint::GroupName => by_name(groups, call.path_field("name")),
        _ if call.fields().has("id") => groups.get(&given("id")?),
        _ => by_name(groups, &given("name")?),
    })
}

/// Names are compared without regard to case, as in Vault.
fn by_name<'a>(groups: &'a Groups, name: &str) -> Option<&'a Arc<StoredGroup>> {
    groups.values().find(|group| group.name.to_lowercase() == name.to_lowercase())
}

fn looked_up<'a>(
    call: &Call<'_, Endpoint>,
    groups: &'a Groups,
) -> Result<Option<&'a Arc<StoredGroup>>, Error> {
    let fields = call.fields();
    if ["alias_id", "alias_name", "alias_mount_accessor"].iter().any(|name| fields.has(name)) {
        return Err(Error::bad_request("groups have no aliases in this server"));
    }
    match (fields.has("id"), fields.has("name")) {
        (false, false) => Err(Error::bad_request("query parameter not supplied")),
        (true, true) => Err(Error::bad_request(
            "query parameter conflict; please supply distinct set of query parameters",
        )),
        _ => named(call, groups),
    }
}

/// Makes or changes a group.
///
/// # Errors
/// 400 with Vault's texts, 500 where Vault answers so to members that are not there; when storage fails.
pub async fn write(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let fields = call.fields();
    let changing = active.identity.change().await;
    let groups = active.identity.groups()?;
    let found = named(call, &groups)?;
    if found.is_none() && (call.endpoint == Endpoint::Group || fields.has("id")) {
        return Err(Error::bad_request("invalid group ID"));
    }
    let is_new = found.is_none();
    let mut group = found.map_or_else(StoredGroup::named_by_itself, |found| StoredGroup::clone(found));
    if let Some(policies) = fields.comma_strings("policies")? {
        group.policies = sanitize_policies(&policies, false);
    }
    if group.policies.iter().any(|name| name == "root") {
        return Err(Error::bad_request("policies cannot contain root"));
    }
    match fields.string("type")?.unwrap_or_default().as_str() {
        "" | "internal" => {}
        "external" if is_new => {
            return Err(Error::bad_request("external groups are not supported by this server"));
        }
        "external" => return Err(Error::bad_request("group type cannot be changed")),
        other => return Err(Error::bad_request(format!("invalid group type {other:?}"))),
    }
    let name = match call.endpoint {
        Endpoint::GroupName => Some(call.path_field("name").to_owned()),
        _ => fields.string("name")?.filter(|name| !name.is_empty()),
    };
    if let Some(name) = name {
        if by_name(&groups, &name).is_some_and(|other| other.id != group.id) {
            return Err(Error::bad_request("group name is already in use"));
        }
        group.name = name;
    }
    if let Some(metadata) = fields.string_map("metadata")? {
        group.metadata = metadata;
    }
    if let Some(ids) = fields.comma_strings("member_entity_ids")? {
        for id in &ids {
            if active.identity.shared(id)?.is_none() {
                return Err(Error::internal(format!("invalid entity ID {id:?}")));
            }
        }
        group.member_entity_ids = distinct(ids);
    }
    if let Some(ids) = fields.comma_strings("member_group_ids")? {
        for id in &ids {
            check_member(&groups, &group.id, id)?;
        }
        group.member_group_ids = distinct(ids);
    }
    group.modify_index += 1;
    group.updated = Timestamp::now();
    active.identity.put_group(&changing, &group).await?;
    active.policies.forget_acls();
    Ok(is_new.then(|| Response::json(json!({ "id": group.id, "name": group.name }))))
}

fn distinct(ids: Vec<String>) -> Vec<String> {
    ids.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

fn check_member(groups: &Groups, id: &str, member: &str) -> Result<(), Error> {
    if id == member {
        return Err(Error::internal(format!("member group ID {member:?} is same as the ID of the group")));
    }
    if !groups.contains_key(member) {
        return Err(Error::internal(format!("invalid member group ID {member:?}")));
    }
    if with_ancestors(groups, [id.to_owned()]).contains(member) {
        let text = format!("cyclic relationship detected for member group ID {member:?}");
        return Err(Error::bad_request(text));
    }
    Ok(())
}

/// Removes a group; nothing there is fine.
///
/// # Errors
/// When storage fails.
pub async fn remove(active: &Arc<Active>, call: &Call<'_, Endpoint>) -> Result<Option<Response>, Error> {
    let changing = active.identity.change().await;
    let groups = active.identity.groups()?;
    if let Some(group) = named(call, &groups)? {
        active.identity.remove_group(&changing, group).await?;
        active.policies.forget_acls();
    }
    Ok(None)
}

/// A group in a list.
fn summary(groups: &Groups, group: &StoredGroup) -> Value {
    json!({
        "name": group.name,
        "num_member_entities": group.member_entity_ids.len(),
        "num_parent_groups": parents(groups, &group.id).count(),
    })
}

fn shown(groups: &Groups, group: &StoredGroup) -> Response {
    let ids = |ids: Vec<&String>| if ids.is_empty() { Value::Null } else { json!(ids) };
    let members = group.member_group_ids.iter().filter(|id| groups.contains_key(*id));
    Response::json(json!({
        "alias": {},
        "creation_time": group.created.to_string(),
        "id": group.id,
        "last_update_time": group.updated.to_string(),
        "member_entity_ids": ids(group.member_entity_ids.iter().collect()),
        "member_group_ids": ids(members.collect()),
        "metadata": null_if_empty(json!(group.metadata)),
        "modify_index": group.modify_index,
        "name": group.name,
        "namespace_id": "root",
        "parent_group_ids": ids(parents(groups, &group.id).map(|parent| &parent.id).collect()),
        "policies": ids(group.policies.iter().collect()),
        "type": "internal",
    }))
}
