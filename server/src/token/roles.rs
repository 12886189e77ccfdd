//! Token roles: named rules for `auth/token/create/<role>`.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::sanitize_policies;
use crate::framework::network;
use crate::logical::{Error, Fields, TokenEntry};

/// A token role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Role {
    /// Name.
    pub name: String,
    /// Policies that may be asked for; empty for those of the parent.
    pub allowed_policies: Vec<String>,
    /// Policies that may not.
    pub disallowed_policies: Vec<String>,
    /// The same with globs.
    pub allowed_policies_glob: Vec<String>,
    /// The same with globs.
    pub disallowed_policies_glob: Vec<String>,
    /// Tokens get no parent.
    pub orphan: bool,
    /// Tokens may be renewed.
    pub renewable: bool,
    /// Added to the path of the tokens.
    pub path_suffix: String,
    /// Period.
    pub token_period: Duration,
    /// Hard limit.
    pub token_explicit_max_ttl: Duration,
    /// What was sent under the older names: [period, explicit_max_ttl]; reads show it there.
    pub legacy: [Duration; 2],
    /// Whether the networks came under their older name; reads then show them there too.
    pub legacy_cidrs: bool,
    /// Aliases a token may be asked for with; a glob each.
    pub allowed_entity_aliases: Vec<String>,
    /// Networks.
    pub token_bound_cidrs: Vec<IpNet>,
    /// Do not add `default`.
    pub token_no_default_policy: bool,
    /// Uses.
    pub token_num_uses: i64,
    /// `default-service` or `service`.
    pub token_type: String,
}

/// Fields of a role.
pub const FIELDS: &[&str] = &[
    "allowed_policies",
    "disallowed_policies",
    "allowed_policies_glob",
    "disallowed_policies_glob",
    "orphan",
    "renewable",
    "path_suffix",
    "token_period",
    "period",
    "token_explicit_max_ttl",
    "explicit_max_ttl",
    "token_bound_cidrs",
    "bound_cidrs",
    "token_no_default_policy",
    "token_num_uses",
    "token_type",
    "allowed_entity_aliases",
];

impl Role {
    /// A new role with defaults.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            renewable: true,
            token_type: "default-service".to_owned(),
            ..Self::default()
        }
    }

    /// Takes over the fields that are given; warns where an older name is given beside the newer one.
    ///
    /// # Errors
    /// 400 for wrong types and values.
    pub fn update(&mut self, fields: Fields<'_>) -> Result<Vec<String>, Error> {
        for (name, target) in [
            ("allowed_policies", &mut self.allowed_policies),
            ("allowed_policies_glob", &mut self.allowed_policies_glob),
        ] {
            if let Some(policies) = fields.comma_strings(name)? {
                *target = sanitize_policies(&policies, false);
            }
        }
        // What is forbidden beside `root` stays forbidden.
        for (name, target) in [
            ("disallowed_policies", &mut self.disallowed_policies),
            ("disallowed_policies_glob", &mut self.disallowed_policies_glob),
            ("allowed_entity_aliases", &mut self.allowed_entity_aliases),
        ] {
            if let Some(names) = fields.comma_strings(name)? {
                let names: BTreeSet<_> = names.iter().map(|name| name.to_lowercase()).collect();
                *target = names.into_iter().collect();
            }
        }
        for (name, target) in [
            ("orphan", &mut self.orphan),
            ("renewable", &mut self.renewable),
            ("token_no_default_policy", &mut self.token_no_default_policy),
        ] {
            if let Some(flag) = fields.bool(name)? {
                *target = flag;
            }
        }
        // The older names without `token_` still work; the newer ones win.
        for (older, newer, target, legacy) in [
            ("period", "token_period", &mut self.token_period, 0),
            ("explicit_max_ttl", "token_explicit_max_ttl", &mut self.token_explicit_max_ttl, 1),
        ] {
            if let Some(value) = fields.duration(newer)? {
                (*target, self.legacy[legacy]) = (value, Duration::ZERO);
            } else if let Some(value) = fields.duration(older)? {
                (*target, self.legacy[legacy]) = (value, value);
            }
        }
        for name in ["bound_cidrs", "token_bound_cidrs"] {
            if let Some(cidrs) = fields.comma_strings(name)? {
                self.legacy_cidrs = name == "bound_cidrs";
                self.token_bound_cidrs =
                    cidrs.iter().map(|cidr| parse_cidr(cidr)).collect::<Result<_, _>>()?;
            }
        }
        if let Some(uses) = fields.int("token_num_uses")? {
            if uses < 0 {
                return Err(Error::bad_request(
                    "error parsing role fields: 'token_num_uses' cannot be negative",
                ));
            }
            self.token_num_uses = uses;
        }
        if let Some(suffix) = fields.string("path_suffix")? {
            if !suffix.is_empty() && !is_path_suffix(&suffix) {
                return Err(Error::bad_request(
                    "given role path suffix contains invalid characters; must match \\w[\\w-.]+\\w",
                ));
            }
            if suffix.contains("..") {
                return Err(Error::bad_request(
                    "error registering path suffix: path cannot contain parent references",
                ));
            }
            self.path_suffix = suffix;
        }
        if let Some(kind) = fields.string("token_type")? {
            match kind.as_str() {
                "" | "default" | "default-service" => "default-service".clone_into(&mut self.token_type),
                "service" => self.token_type = kind,
                "batch" | "default-batch" => {
                    return Err(Error::bad_request("batch tokens are not supported by this server"));
                }
                _ => return Err(Error::bad_request(format!("invalid 'token_type' value {kind:?}"))),
            }
        }
        let both = |older: &&str| fields.has(older) && fields.has(&format!("token_{older}"));
        let warning = |older| {
            format!(
                "Both 'token_{older}' and deprecated '{older}' value supplied, ignoring the deprecated value"
            )
        };
        Ok(["bound_cidrs", "explicit_max_ttl", "period"].into_iter().filter(both).map(warning).collect())
    }

    /// The role as reads show it.
    pub fn shown(&self) -> Value {
        let mut shown = json!({
            "allowed_entity_aliases": null,
            "allowed_policies": self.allowed_policies,
            "allowed_policies_glob": self.allowed_policies_glob,
            "disallowed_policies": self.disallowed_policies,
            "disallowed_policies_glob": self.disallowed_policies_glob,
            "explicit_max_ttl": self.legacy[1].as_secs(),
            "name": self.name,
            "orphan": self.orphan,
            "path_suffix": self.path_suffix,
            "period": self.legacy[0].as_secs(),
            "renewable": self.renewable,
            "token_explicit_max_ttl": self.token_explicit_max_ttl.as_secs(),
            "token_no_default_policy": self.token_no_default_policy,
            "token_period": self.token_period.as_secs(),
            "token_type": self.token_type,
        });
        if !self.allowed_entity_aliases.is_empty() {
            shown["allowed_entity_aliases"] = json!(self.allowed_entity_aliases);
        }
        if !self.token_bound_cidrs.is_empty() {
            shown["token_bound_cidrs"] = network::to_json(&self.token_bound_cidrs);
            if self.legacy_cidrs {
                shown["bound_cidrs"] = shown["token_bound_cidrs"].clone();
            }
        }
        if self.token_num_uses > 0 {
            shown["token_num_uses"] = json!(self.token_num_uses);
        }
        shown
    }

    /// Whether the role has a say in the policies of its tokens.
    pub fn limits_policies(&self) -> bool {
        self.has_allowances()
            || !self.disallowed_policies.is_empty()
            || !self.disallowed_policies_glob.is_empty()
    }

    /// The policies of a token made through this role, where it limits them.
    ///
    /// # Errors
    /// 400 when one is asked for that the role does not allow.
    pub fn policies(
        &self,
        asked: Option<&[String]>,
        parent: &TokenEntry,
        no_default: bool,
    ) -> Result<Vec<String>, Error> {
        let add_default = !no_default && !self.token_no_default_policy && !self.disallows("default");
        let allowed = sanitize_policies(&self.allowed_policies, add_default);
        let wanted = match asked {
            Some(asked) => sanitize_policies(asked, add_default),
            None if self.has_allowances() => allowed.clone(),
            None => sanitize_policies(&parent.policies, add_default),
        };
        let beyond = |name: &String| !allowed.contains(name) && !any_glob(&self.allowed_policies_glob, name);
        if asked.is_some() && self.has_allowances() && wanted.iter().any(beyond) {
            return Err(Error::bad_request(format!(
                "token policies ({}) must be subset of the role's allowed policies ({}) or glob policies ({})",
                quoted(&wanted),
                quoted(&allowed),
                quoted(&self.allowed_policies_glob)
            )));
        }
        if let Some(name) = wanted.iter().find(|name| self.disallows(name)) {
            return Err(Error::bad_request(format!("token policy {name:?} is disallowed by this role")));
        }
        Ok(wanted)
    }

    fn has_allowances(&self) -> bool {
        !self.allowed_policies.is_empty() || !self.allowed_policies_glob.is_empty()
    }

    fn disallows(&self, name: &str) -> bool {
        self.disallowed_policies.iter().any(|other| other == name)
            || any_glob(&self.disallowed_policies_glob, name)
    }

    /// Whether a token may be asked for with this alias, in lower case.
    pub fn allows_alias(&self, alias: &str) -> bool {
        any_glob(&self.allowed_entity_aliases, alias)
    }
}

/// A list of names as Go's `%q` writes it.
fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("[{}]", names.join(" "))
}

/// Vault's `\w[\w-.]+\w`, which it looks for anywhere in the text.
fn is_path_suffix(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !(word(c) || c == '-' || c == '.'))
        .map(|run| run.trim_matches(['-', '.']))
        .any(|run| run.len() >= 3)
}

fn any_glob(globs: &[String], name: &str) -> bool {
    globs.iter().any(|glob| glob_matches(glob, name))
}

/// Whether a glob with `*` anywhere covers a text.
fn glob_matches(glob: &str, text: &str) -> bool {
    let Some((head, rest)) = glob.split_once('*') else {
        return glob == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else {
            return false;
        };
        text = &text[at + part.len()..];
    }
    text.ends_with(last)
}

/// A network, or an address as a network of one.
fn parse_cidr(text: &str) -> Result<IpNet, Error> {
    text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)).map_err(|_| {
        Error::bad_request(format!("error parsing role fields: {}", network::unreadable_address(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_a_role_disallows_beside_root_stays_disallowed() {
        let sent = json!({"disallowed_policies": "A,a,root,b", "disallowed_policies_glob": ["root", "c*"],
            "allowed_entity_aliases": "B,a,b"});
        let mut role = Role::new("r");
        role.update(Fields::new(sent.as_object().unwrap())).unwrap();
        assert_eq!(role.disallowed_policies, ["a", "b", "root"]);
        assert_eq!(role.disallowed_policies_glob, ["c*", "root"]);
        assert_eq!(role.allowed_entity_aliases, ["a", "b"]);
        let parent = TokenEntry { policies: names(&["root"]), ..TokenEntry::default() };
        for policy in ["b", "c1"] {
            assert!(role.policies(Some(&names(&[policy])), &parent, true).is_err(), "{policy}");
        }
    }

    #[test]
    fn a_role_limits_policies() {
        let parent = TokenEntry { policies: names(&["p"]), ..TokenEntry::default() };
        let mut role = Role::new("r");
        role.allowed_policies = names(&["a", "b"]);
        role.allowed_policies_glob = names(&["team-*"]);
        assert_eq!(role.policies(None, &parent, false).unwrap(), ["a", "b", "default"]);
        assert_eq!(role.policies(Some(&names(&["team-x"])), &parent, true).unwrap(), ["team-x"]);
        assert!(role.policies(Some(&names(&["c"])), &parent, false).is_err());
        let error = role.policies(Some(&names(&["c"])), &parent, false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "token policies ([\"c\" \"default\"]) must be subset of the role's allowed policies \
             ([\"a\" \"b\" \"default\"]) or glob policies ([\"team-*\"])"
        );
        role.disallowed_policies_glob = names(&["team-*"]);
        assert!(role.policies(Some(&names(&["team-x"])), &parent, true).is_err());
        // Not to add `default` is enough where a role disallows it.
        role = Role::new("r");
        role.disallowed_policies = names(&["default"]);
        assert_eq!(role.policies(Some(&names(&["c"])), &parent, false).unwrap(), ["c"]);
        assert!(role.policies(Some(&names(&["default"])), &parent, false).is_err());
    }

    #[test]
    fn globs() {
        for (glob, text, expected) in [
            ("a*", "abc", true),
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*b*c", "axbyc", true),
            ("a", "ab", false),
            ("a*c", "ab", false),
            ("ab*b", "ab", false),
        ] {
            assert_eq!(glob_matches(glob, text), expected, "{glob} {text}");
        }
    }
}
