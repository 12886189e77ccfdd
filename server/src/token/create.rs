//! Making tokens: the root token, and children asked for over the API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::roles::Role;
use super::store::{StoredToken, TokenLease};
use crate::core::active::Active;
use crate::core::policies::NOT_ASSIGNABLE;
use crate::logical::{
    Alias, Auth, Error, Fields, LeaseOptions, Request, Response, TokenEntry, TokenType, TtlRequest,
    calculate_at,
};

/// Makes the first root token; returns it.
///
/// # Errors
/// When storage fails.
pub async fn create_root(active: &Active) -> Result<String, Error> {
    let now = Timestamp::now();
    let entry = TokenEntry {
        policies: vec!["root".to_owned()],
        path: "auth/token/root".to_owned(),
        display_name: "root".to_owned(),
        creation_time: now.as_second(),
        ..TokenEntry::default()
    };
    let lease = TokenLease { mount: "auth/token/".to_owned(), issued: now, ..TokenLease::default() };
    Ok(active.create_token(entry, lease).await?.entry.id.clone())
}

/// Policies in their one form: lower case, without blanks and duplicates, sorted. `root` stands
/// alone; `default` is added on request.
pub fn sanitize_policies(names: &[String], add_default: bool) -> Vec<String> {
    let mut policies: BTreeSet<String> =
        names.iter().map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty()).collect();
    if policies.contains("root") {
        return vec!["root".to_owned()];
    }
    if add_default {
        policies.insert("default".to_owned());
    }
    policies.into_iter().collect()
}

/// What a request to create a token asks for.
#[derive(Debug, Default)]
pub struct ChildRequest {
    id: String,
    policies: Option<Vec<String>>,
    meta: BTreeMap<String, String>,
    no_parent: bool,
    no_default_policy: bool,
    ttl: Duration,
    explicit_max_ttl: Duration,
    period: Duration,
    display_name: String,
    num_uses: i64,
    renewable: bool,
    entity_alias: String,
}

/// Vault's warning about tokens whose id the client chose.
const CUSTOM_ID_WARNING: &str = "Supplying a custom ID for the token uses the weaker SHA1 hashing instead of the more secure SHA2-256 HMAC for token obfuscation. SHA1 hashed tokens on the wire leads to less secure lookups.";

/// Fields of `auth/token/create`.
pub const FIELDS: &[&str] = &[
    "id",
    "policies",
    "meta",
    "no_parent",
    "no_default_policy",
    "lease",
    "ttl",
    "explicit_max_ttl",
    "period",
    "display_name",
    "num_uses",
    "renewable",
    "type",
    "entity_alias",
];

impl ChildRequest {
    /// Reads the fields.
    ///
    /// # Errors
    /// 400 for wrong types, a negative number of uses, and batch tokens.
    pub fn read(fields: Fields<'_>) -> Result<Self, Error> {
        let kind = fields.string("type")?.unwrap_or_default();
        match kind.as_str() {
            "" | "service" => {}
            "batch" => {
                return Err(Error::bad_request(
                    "batch tokens are not supported by this server; use type \"service\"",
                ));
            }
            _ => return Err(Error::bad_request("invalid 'token_type' value")),
        }
        let duration = |name: &str| {
            let is_negative = fields.string(name)?.is_some_and(|text| text.trim_start().starts_with('-'));
            if is_negative && fields.text_duration(name).is_err() {
                return Err(Error::bad_request(format!("{name} must be positive")));
            }
            Ok(fields.text_duration(name)?.unwrap_or_default())
        };
        let num_uses = fields.int("num_uses")?.unwrap_or_default();
        if num_uses < 0 {
            return Err(Error::bad_request("number of uses cannot be negative"));
        }
        let ttl = duration("ttl")?;
        Ok(Self {
            id: fields.string("id")?.unwrap_or_default(),
            policies: fields.strings("policies")?,
            meta: fields.string_map("meta")?.unwrap_or_default(),
            no_parent: fields.bool("no_parent")?.unwrap_or_default(),
            no_default_policy: fields.bool("no_default_policy")?.unwrap_or_default(),
            ttl: if ttl.is_zero() { duration("lease")? } else { ttl },
            explicit_max_ttl: duration("explicit_max_ttl")?,
            period: duration("period")?,
            display_name: fields.string("display_name")?.unwrap_or_default(),
            num_uses,
            renewable: fields.bool("renewable")?.unwrap_or(true),
            entity_alias: fields.string("entity_alias")?.unwrap_or_default(),
        })
    }

    /// What needs `sudo` (or a role that grants it).
    fn check_privileges(&self, sudo: bool, through_role: bool) -> Result<(), Error> {
        let needed = |what: &str| Error::bad_request(format!("root or sudo privileges required to {what}"));
        if sudo {
            if self.id.starts_with("s.") {
                return Err(Error::bad_request("custom token ID cannot have the 's.' prefix"));
            }
            if self.id.contains('.') {
                return Err(Error::bad_request("custom token ID cannot have a '.' in the value"));
            }
            return Ok(());
        }
        if !self.id.is_empty() {
            return Err(needed("specify token id"));
        }
        if self.no_parent && !through_role {
            return Err(needed("create orphan token"));
        }
        if !self.period.is_zero() {
            return Err(needed("create periodic token"));
        }
        Ok(())
    }

    fn display_name(&self) -> String {
        if self.display_name.is_empty() {
            return "token".to_owned();
        }
        let clean: String = self
            .display_name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' })
            .collect();
        let name = format!("token-{clean}");
        name.strip_suffix('-').unwrap_or(&name).to_owned()
    }

    /// The policies of the new token.
    fn final_policies(
        &self,
        parent: &TokenEntry,
        sudo: bool,
        role: Option<&Role>,
    ) -> Result<Vec<String>, Error> {
        let asked = self.policies.as_deref().filter(|asked| !asked.is_empty());
        let mut policies = match (role.filter(|role| role.limits_policies()), asked) {
            (Some(role), _) => role.policies(asked, parent, self.no_default_policy)?,
            // What the parent has, `default` only if the parent has it.
            (None, None) => parent.policies.clone(),
            (None, Some(asked)) if sudo => sanitize_policies(asked, !self.no_default_policy),
            (None, Some(asked)) => {
                let wanted = sanitize_policies(asked, false);
                let allowed = sanitize_policies(&parent.policies, false);
                if wanted.iter().any(|name| !allowed.contains(name)) {
                    return Err(Error::bad_request("child policies must be subset of parent"));
                }
                let has_default = parent.policies.iter().any(|name| name == "default");
                sanitize_policies(asked, has_default && !self.no_default_policy)
            }
        };
        if self.no_default_policy {
            policies.retain(|name| name != "default");
        }
        if let Some(name) = policies.iter().find(|name| NOT_ASSIGNABLE.contains(&name.as_str())) {
            return Err(Error::bad_request(format!("cannot assign policy {name:?}")));
        }
        Ok(policies)
    }
}

/// How a token is created.
pub struct Creation<'a> {
    /// The request.
    pub request: &'a Request,
    /// The token it comes with.
    pub parent: &'a TokenEntry,
    /// Whether that token has `sudo` here.
    pub sudo: bool,
    /// Asked for at `create-orphan`.
    pub orphan: bool,
    /// Through this role.
    pub role: Option<&'a Role>,
}

/// Creates a token as `auth/token/create` does.
///
/// # Errors
/// 400 with Vault's text for what is not allowed; when storage fails.
pub async fn create(active: &Active, creation: &Creation<'_>) -> Result<Response, Error> {
    let parent = creation.parent;
    if parent.num_uses < 0 {
        // This request was the token's last.
        return Err(Error::bad_request("parent token lookup failed: no parent found"));
    }
    if parent.num_uses > 0 {
        return Err(Error::bad_request("restricted use token cannot generate child tokens"));
    }
    let asked = ChildRequest::read(creation.request.fields())?;
    // A role alone says whether its tokens have a parent.
    let orphan = creation.role.map_or(creation.orphan || asked.no_parent, |role| role.orphan);
    let explicit_entity = entity_of_alias(active, creation, &asked.entity_alias).await?;
    asked.check_privileges(creation.sudo, creation.role.is_some())?;
    let policies = asked.final_policies(parent, creation.sudo, creation.role)?;
    let root = policies.iter().any(|name| name == "root");
    if root && !parent.is_root() {
        return Err(Error::bad_request("root tokens may not be created without parent token being root"));
    }
    let entity_id = match explicit_entity {
        Some(id) => id,
        None if orphan => String::new(),
        None => parent.entity_id.clone(),
    };
    let now = Timestamp::now();
    let mut warnings = Vec::new();
    let life = Life::resolve(active, &asked, creation.role, root, now, &mut warnings)?;
    if root && life.ttl.is_zero() && !parent.ttl.is_zero() {
        return Err(Error::bad_request("expiring root tokens cannot create non-expiring root tokens"));
    }
    if !asked.id.is_empty() {
        warnings.push(CUSTOM_ID_WARNING.to_owned());
    }
    warnings.extend(missing_policies(active, &policies));
    let num_uses = match creation.role.map_or(0, |role| role.token_num_uses) {
        0 => asked.num_uses,
        limit if asked.num_uses == 0 => limit,
        limit => limit.min(asked.num_uses),
    };
    let renewable = asked.renewable && creation.role.is_none_or(|role| role.renewable) && !life.ttl.is_zero();
    let entry = TokenEntry {
        id: asked.id.clone(),
        parent: if orphan { String::new() } else { parent.id.clone() },
        policies: policies.clone(),
        path: match creation.role {
            Some(role) if !role.path_suffix.is_empty() => {
                format!("auth/token/create/{}/{}", role.name, role.path_suffix)
            }
            _ => format!("auth/token/{}", creation.request.path.trim_end_matches('/')),
        },
        meta: asked.meta.clone(),
        display_name: asked.display_name(),
        num_uses,
        creation_time: now.as_second(),
        ttl: life.ttl,
        explicit_max_ttl: life.explicit_max_ttl,
        period: life.period,
        role: creation.role.map(|role| role.name.clone()).unwrap_or_default(),
        entity_id,
        // A root token that never ends is bound to nothing; a child without a role is bound as its parent.
        bound_cidrs: match creation.role {
            _ if life.ttl.is_zero() => Vec::new(),
            Some(role) => role.token_bound_cidrs.clone(),
            None if orphan => Vec::new(),
            None => parent.bound_cidrs.clone(),
        },
        token_type: TokenType::Service,
        ..TokenEntry::default()
    };
    let lease = TokenLease {
        mount: "auth/token/".to_owned(),
        renewable,
        issued: now,
        expires: (!life.ttl.is_zero()).then(|| now + life.ttl),
        ..TokenLease::default()
    };
    let token = active.create_token(entry, lease).await?;
    Ok(Response { auth: Some(Box::new(auth_of(&token, renewable))), warnings, ..Response::default() })
}

/// The entity of the alias that is asked for, if one is.
async fn entity_of_alias(
    active: &Active,
    creation: &Creation<'_>,
    alias: &str,
) -> Result<Option<String>, Error> {
    if alias.is_empty() {
        return Ok(None);
    }
    let Some(role) = creation.role else {
        return Err(Error::bad_request("'entity_alias' is only allowed in combination with token role"));
    };
    if !role.allows_alias(&alias.to_lowercase()) {
        return Err(Error::bad_request("invalid 'entity_alias' value"));
    }
    let alias = Alias { name: alias.to_owned(), ..Alias::default() };
    let entity = active.identity.ensure(&creation.request.mount_accessor, &alias).await?;
    if entity.disabled {
        return Err(Error::coded(403, "entity from given entity alias is disabled"));
    }
    Ok(Some(entity.id.clone()))
}

/// A token's life as resolved from request, role and mount.
struct Life {
    ttl: Duration,
    explicit_max_ttl: Duration,
    period: Duration,
}

impl Life {
    fn resolve(
        active: &Active,
        asked: &ChildRequest,
        role: Option<&Role>,
        root: bool,
        now: Timestamp,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Error> {
        let (default, max) = super::endpoints::token_mount_ttls(active);
        let shortest = |a: Duration, b: Duration| match (a.is_zero(), b.is_zero()) {
            (true, _) => b,
            (_, true) => a,
            _ => a.min(b),
        };
        let role_explicit = role.map_or(Duration::ZERO, |role| role.token_explicit_max_ttl);
        let role_period = role.map_or(Duration::ZERO, |role| role.token_period);
        let explicit_max_ttl = shortest(asked.explicit_max_ttl, role_explicit);
        let period = shortest(asked.period, role_period);
        let mut both_given = |what, asked: Duration, role: Duration, used: Duration| {
            if !asked.is_zero() && !role.is_zero() {
                warnings.push(format!(
                    "{what} specified both during creation call and in role; using the lesser value of {} seconds",
                    used.as_secs()
                ));
            }
        };
        both_given("Explicit max TTL", asked.explicit_max_ttl, role_explicit, explicit_max_ttl);
        both_given("Period", asked.period, role_period, period);
        if root && asked.ttl.is_zero() && period.is_zero() {
            // A root token lives for as long as it may, which without a limit is for ever.
            return Ok(Self { ttl: explicit_max_ttl, explicit_max_ttl, period });
        }
        let request = TtlRequest { role_ttl: asked.ttl, period, explicit_max_ttl, ..TtlRequest::default() };
        let (ttl, capped) = calculate_at(now, default, max, &request)?;
        warnings.extend(capped);
        Ok(Self { ttl, explicit_max_ttl, period })
    }
}

fn missing_policies(active: &Active, policies: &[String]) -> Vec<String> {
    policies
        .iter()
        .filter(|name| *name != "root" && active.policies.get(name).is_none())
        .map(|name| format!("Policy {name:?} does not exist"))
        .collect()
}

/// The `auth` block of a token.
pub fn auth_of(token: &Arc<StoredToken>, renewable: bool) -> Auth {
    let entry = &token.entry;
    Auth {
        lease: LeaseOptions { ttl: entry.ttl, renewable, ..LeaseOptions::default() },
        display_name: entry.display_name.clone(),
        policies: entry.policies.clone(),
        token_policies: entry.policies.clone(),
        metadata: entry.meta.clone(),
        // A token of an earlier version knows only what is left.
        num_uses: token.lease.num_uses.max(entry.num_uses),
        period: entry.period,
        explicit_max_ttl: entry.explicit_max_ttl,
        client_token: entry.id.clone(),
        accessor: entry.accessor.clone(),
        entity_id: entry.entity_id.clone(),
        orphan: entry.is_orphan(),
        token_type: entry.token_type,
        ..Auth::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn policies_have_one_form() {
        assert_eq!(sanitize_policies(&names(&["B", "a ", "b", ""]), true), ["a", "b", "default"]);
        assert_eq!(sanitize_policies(&names(&["a", "root"]), true), ["root"]);
        assert!(sanitize_policies(&[], false).is_empty());
    }

    #[test]
    fn without_sudo_a_child_gets_a_subset() {
        let parent = TokenEntry { policies: names(&["a", "default"]), ..TokenEntry::default() };
        let ask = |list: &[&str]| ChildRequest { policies: Some(names(list)), ..ChildRequest::default() };
        assert_eq!(ask(&[]).final_policies(&parent, false, None).unwrap(), ["a", "default"]);
        assert_eq!(ask(&["a"]).final_policies(&parent, false, None).unwrap(), ["a", "default"]);
        let error = ask(&["b"]).final_policies(&parent, false, None).unwrap_err();
        assert_eq!(error.to_string(), "child policies must be subset of parent");
        assert_eq!(ask(&["b"]).final_policies(&parent, true, None).unwrap(), ["b", "default"]);
    }

    #[test]
    fn display_names_are_cleaned() {
        let request = ChildRequest { display_name: "my app!".to_owned(), ..ChildRequest::default() };
        assert_eq!(request.display_name(), "token-my-app");
        let request = ChildRequest { display_name: "my app??".to_owned(), ..ChildRequest::default() };
        assert_eq!(request.display_name(), "token-my-app-", "one hyphen at the end is taken off");
        assert_eq!(ChildRequest::default().display_name(), "token");
    }
}
