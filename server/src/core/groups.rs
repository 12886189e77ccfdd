//! Groups of entities: their members get their policies, those of groups in groups too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::identity::StoredEntity;
use crate::{policy, random};

/// A stored group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredGroup {
    /// UUID.
    pub id: String,
    /// Name; of those made without one `group_` and eight digits.
    pub name: String,
    /// Metadata.
    pub metadata: BTreeMap<String, String>,
    /// Policies its members get.
    pub policies: Vec<String>,
    /// Ids of the entities in it.
    pub member_entity_ids: Vec<String>,
    /// Ids of the groups in it.
    pub member_group_ids: Vec<String>,
    /// How often it was written.
    pub modify_index: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

impl StoredGroup {
    /// A new group without members, with a name of its own.
    pub fn named_by_itself() -> Self {
        let now = Timestamp::now();
        Self {
            id: random::uuid(),
            name: format!("group_{:08x}", u32::from_be_bytes(random::bytes())),
            metadata: BTreeMap::new(),
            policies: Vec::new(),
            member_entity_ids: Vec::new(),
            member_group_ids: Vec::new(),
            modify_index: 0,
            created: now,
            updated: now,
        }
    }
}

/// All groups by id.
pub type Groups = BTreeMap<String, Arc<StoredGroup>>;

/// The groups that have this one as a member.
pub fn parents<'a>(groups: &'a Groups, id: &'a str) -> impl Iterator<Item = &'a Arc<StoredGroup>> {
    groups.values().filter(move |group| group.member_group_ids.iter().any(|member| member == id))
}

/// The ids of these groups and of all they are members of, however indirectly.
pub fn with_ancestors(groups: &Groups, of: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = of.into_iter().collect();
    while let Some(id) = open.pop() {
        if found.insert(id.clone()) {
            open.extend(parents(groups, &id).map(|parent| parent.id.clone()));
        }
    }
    found
}

/// What an entity is a member of, and gets from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Membership {
    /// The groups it is in itself.
    pub direct: Vec<Arc<StoredGroup>>,
    /// The groups these are in.
    pub inherited: Vec<Arc<StoredGroup>>,
    /// Its own policies and those of all its groups.
    pub policies: Vec<String>,
}

impl Membership {
    /// That of an entity.
    pub fn of(groups: &Groups, entity: &StoredEntity) -> Self {
        let in_it = |group: &StoredGroup| group.member_entity_ids.contains(&entity.id);
        let direct = groups.values().filter(|group| in_it(group)).map(|group| group.id.clone());
        let all = with_ancestors(groups, direct);
        let all = all.iter().filter_map(|id| groups.get(id));
        let mut policies: BTreeSet<String> = entity.policies.iter().cloned().collect();
        policies.extend(all.clone().flat_map(|group| group.policies.iter().cloned()));
        let (direct, inherited) = all.cloned().partition(|group| in_it(group));
        Self { direct, inherited, policies: policies.into_iter().collect() }
    }

    /// All groups, direct ones first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<StoredGroup>> {
        self.direct.iter().chain(&self.inherited)
    }

    /// The form policy templates take.
    pub fn for_policies(&self) -> Vec<policy::Group> {
        let group = |group: &Arc<StoredGroup>| policy::Group {
            id: group.id.clone(),
            name: group.name.clone(),
            metadata: group.metadata.clone(),
        };
        self.all().map(group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_gets_what_its_groups_and_theirs_have_even_in_a_circle() {
        let group = |id: &str, entities: &[&str], members: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let group = StoredGroup {
                id: id.to_owned(),
                policies: vec![format!("p-{id}")],
                member_entity_ids: owned(entities),
                member_group_ids: owned(members),
                ..StoredGroup::named_by_itself()
            };
            (id.to_owned(), Arc::new(group))
        };
        let groups = Groups::from([
            group("team", &["e"], &["all"]),
            group("unit", &[], &["team"]),
            group("all", &[], &["unit"]),
            group("other", &[], &[]),
        ]);
        let mut entity = StoredEntity::named_by_itself();
        entity.id = "e".to_owned();
        entity.policies = vec!["own".to_owned()];
        let membership = Membership::of(&groups, &entity);
        let ids: Vec<&str> = membership.all().map(|group| group.id.as_str()).collect();
        assert_eq!(ids, ["team", "all", "unit"]);
        assert_eq!(membership.policies, ["own", "p-all", "p-team", "p-unit"]);
    }
}
