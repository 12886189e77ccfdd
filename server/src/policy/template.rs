//! Identity templates in policy paths: `secret/{{identity.entity.id}}/*`.

use std::collections::BTreeMap;

use crate::logical::Entity;

/// Who a token belongs to, for templated paths.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// The entity.
    pub entity: Entity,
    /// The entity's names at the auth methods.
    pub aliases: Vec<MountAlias>,
    /// The groups it is a member of.
    pub groups: Vec<Group>,
}

/// An entity's name at one auth method.
#[derive(Debug, Clone, Default)]
pub struct MountAlias {
    /// The accessor of the auth method's mount.
    pub mount_accessor: String,
    /// Its ID.
    pub id: String,
    /// The name at that mount, such as a role_id or a user name.
    pub name: String,
    /// Metadata set by the auth method.
    pub metadata: BTreeMap<String, String>,
    /// Metadata set by an operator.
    pub custom_metadata: BTreeMap<String, String>,
}

/// A group of entities.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
}

/// Vault's message for braces that don't pair up.
pub(super) const UNBALANCED: &str = "unbalanced templating characters";

/// Whether `path` has templates; `None` if its braces don't pair up.
pub(super) fn is_templated(path: &str) -> Option<bool> {
    let mut pieces = path.split("{{");
    if pieces.next().is_some_and(|first| first.contains("}}")) {
        return None;
    }
    let mut templated = false;
    for piece in pieces {
        templated = true;
        if piece.matches("}}").count() != 1 {
            return None;
        }
    }
    Some(templated)
}

/// `path` with its templates replaced; `None` if one has no value, in which case
/// the rule does not apply.
///
/// A value with a wildcard in it is refused, as OpenBao does: a name chosen by its
/// owner must not widen a rule.
pub(super) fn resolve(path: &str, identity: Option<&Identity>) -> Option<String> {
    let mut pieces = path.split("{{");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (selector, rest) = piece.split_once("}}")?;
        let value = lookup(selector.trim(), identity?)?;
        if value.contains(['*', '+']) {
            return None;
        }
        out.push_str(value);
        out.push_str(rest);
    }
    Some(out)
}

fn lookup<'a>(selector: &str, identity: &'a Identity) -> Option<&'a str> {
    let selector = selector.strip_prefix("identity.")?;
    let value = if let Some(selector) = selector.strip_prefix("entity.") {
        entity_value(selector, identity)
    } else {
        group_value(selector.strip_prefix("groups.")?, &identity.groups)
    };
    value.filter(|value| !value.is_empty())
}

fn entity_value<'a>(selector: &str, identity: &'a Identity) -> Option<&'a str> {
    if let Some(rest) = selector.strip_prefix("aliases.") {
        let (accessor, selector) = rest.split_once('.')?;
        let alias = identity.aliases.iter().find(|alias| alias.mount_accessor == accessor)?;
        return named(selector, &alias.id, &alias.name, &alias.metadata).or_else(|| {
            let key = selector.strip_prefix("custom_metadata.")?;
            alias.custom_metadata.get(key).map(String::as_str)
        });
    }
    let entity = &identity.entity;
    named(selector, &entity.id, &entity.name, &entity.metadata)
}

/// `ids.<id>.<what>` or `names.<name>.<what>` of a group the entity belongs to.
fn group_value<'a>(selector: &str, groups: &'a [Group]) -> Option<&'a str> {
    let (by, rest) = selector.split_once('.')?;
    let (wanted, selector) = rest.split_once('.')?;
    let group = groups.iter().find(|group| match by {
        "ids" => group.id == wanted,
        "names" => group.name == wanted,
        _ => false,
    })?;
    named(selector, &group.id, &group.name, &group.metadata)
}

fn named<'a>(
    selector: &str,
    id: &'a str,
    name: &'a str,
    metadata: &'a BTreeMap<String, String>,
) -> Option<&'a str> {
    match selector {
        "id" => Some(id),
        "name" => Some(name),
        _ => metadata.get(selector.strip_prefix("metadata.")?).map(String::as_str),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn someone() -> Identity {
        let map = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        Identity {
            entity: Entity { id: "e-1".to_owned(), name: "alice".to_owned(), metadata: map("team", "blue") },
            aliases: vec![MountAlias {
                mount_accessor: "auth_approle_1".to_owned(),
                id: "a-1".to_owned(),
                name: "role-id".to_owned(),
                metadata: map("role_name", "webapp"),
                custom_metadata: map("any.thing", "x*"),
            }],
            groups: vec![Group {
                id: "g-1".to_owned(),
                name: "ops".to_owned(),
                metadata: map("tier", "one"),
            }],
        }
    }

    #[test]
    fn replaces_what_it_finds() {
        let identity = someone();
        for (path, want) in [
            ("plain", Some("plain")),
            ("a/{{identity.entity.id}}/b", Some("a/e-1/b")),
            ("{{ identity.entity.name }}", Some("alice")),
            ("{{identity.entity.metadata.team}}/*", Some("blue/*")),
            ("{{identity.entity.aliases.auth_approle_1.name}}", Some("role-id")),
            ("{{identity.entity.aliases.auth_approle_1.id}}", Some("a-1")),
            ("{{identity.entity.aliases.auth_approle_1.metadata.role_name}}", Some("webapp")),
            ("{{identity.entity.aliases.auth_approle_1.custom_metadata.any.thing}}", None),
            ("{{identity.entity.aliases.other.name}}", None),
            ("{{identity.entity.metadata.none}}", None),
            ("{{identity.groups.names.ops.id}}", Some("g-1")),
            ("{{identity.groups.ids.g-1.metadata.tier}}", Some("one")),
            ("{{identity.groups.names.dev.id}}", None),
            ("{{something.else}}", None),
            ("{{identity.entity.id}}/{{identity.entity.name}}", Some("e-1/alice")),
        ] {
            assert_eq!(resolve(path, Some(&identity)).as_deref(), want, "{path}");
        }
        assert_eq!(resolve("{{identity.entity.id}}", None), None);
        assert_eq!(resolve("plain", None).as_deref(), Some("plain"));
    }

    #[test]
    fn braces_must_pair_up() {
        for (path, want) in [
            ("plain", Some(false)),
            ("a/{{x}}/{{y}}", Some(true)),
            ("a/{{x", None),
            ("a/x}}", None),
            ("{{x}}}}", None),
            ("{{{{x}}", None),
        ] {
            assert_eq!(is_templated(path), want, "{path}");
        }
    }
}
