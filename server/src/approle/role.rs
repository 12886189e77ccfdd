//! A role: what it requires of a login and what its tokens are like.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::duration;
use crate::framework::{TokenParams, network, token_type_warning};
use crate::logical::{Error, Fields, Object, Response};
use crate::random;

/// Longest text that is hashed, in bytes; Vault's limit for role names and secret_ids.
pub(super) const MAX_HMAC_INPUT: usize = 4096;

/// Parameters of a role's own path, besides the `token_*` ones.
pub(super) const ROLE_PARAMETERS: &[&str] = &[
    "bind_secret_id",
    "bound_cidr_list",
    "local_secret_ids",
    "period",
    "policies",
    "role_id",
    "secret_id_bound_cidrs",
    "secret_id_num_uses",
    "secret_id_ttl",
];

/// A role as it is stored.
#[expect(clippy::struct_field_names, reason = "role_id is Vault's word, not a name within a role")]
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Role {
    /// Name, in lower case.
    pub name: String,
    /// What a login names it by.
    pub role_id: String,
    /// Key of the HMACs that stand for secret_ids, in hex; never shown.
    hmac_key: Zeroizing<String>,
    /// Whether a login needs a secret_id.
    pub bind_secret_id: bool,
    /// Networks logins may come from; empty is any.
    pub secret_id_bound_cidrs: Vec<IpNet>,
    /// Uses of a new secret_id; 0 is unlimited.
    pub secret_id_num_uses: i64,
    /// Life of a new secret_id; zero is unlimited.
    pub secret_id_ttl: Duration,
    /// Set at creation only; a single server makes no difference.
    pub local_secret_ids: bool,
    /// Policies set under their old name, to be shown under it too.
    pub legacy_policies: Vec<String>,
    /// Period set under its old name, to be shown under it too.
    pub legacy_period: Duration,
    /// What its tokens are like.
    pub token: TokenParams,
}

impl Role {
    /// A role with Vault's defaults and a random role_id. `name` is in lower case.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            role_id: random::uuid(),
            hmac_key: Zeroizing::new(hex(&random::bytes::<32>())),
            bind_secret_id: true,
            secret_id_bound_cidrs: Vec::new(),
            secret_id_num_uses: 0,
            secret_id_ttl: Duration::ZERO,
            local_secret_ids: false,
            legacy_policies: Vec::new(),
            legacy_period: Duration::ZERO,
            token: TokenParams::default(),
        }
    }

    /// Takes over the parameters a request sends. `new` says that the role is being created;
    /// `max_ttl` is the mount's limit. Returns warnings.
    pub fn update(&mut self, fields: Fields<'_>, new: bool, max_ttl: Duration) -> Result<Vec<String>, Error> {
        let mut warnings: Vec<String> = token_type_warning(fields)?.into_iter().collect();
        self.token.update(fields)?;
        if let Some(local) = fields.bool("local_secret_ids")? {
            if !new {
                return Err(Error::bad_request("local_secret_ids can only be modified during role creation"));
            }
            self.local_secret_ids = local;
        }
        if let Some(role_id) = fields.string("role_id")? {
            self.set_role_id(role_id)?;
        }
        if let Some(bind) = fields.bool("bind_secret_id")? {
            self.bind_secret_id = bind;
        }
        let cidrs = match fields.comma_strings("secret_id_bound_cidrs")? {
            None => fields.comma_strings("bound_cidr_list")?,
            given => given,
        };
        if let Some(cidrs) = cidrs {
            // Vault answers this one with a raw error, hence with status 500.
            self.secret_id_bound_cidrs = network::parse_cidrs(&cidrs)
                .map_err(|cause| Error::internal(format!("failed to validate CIDR blocks: {cause}")))?;
        }
        if let Some(uses) = fields.int("secret_id_num_uses")? {
            self.set_secret_id_num_uses(uses)?;
        }
        if let Some(ttl) = fields.duration("secret_id_ttl")? {
            self.secret_id_ttl = ttl;
        }
        self.update_policies(fields)?;
        self.update_period(fields)?;
        check_period(self.legacy_period, max_ttl)?;
        if self.token.max_ttl > max_ttl {
            warnings.push(
                "token_max_ttl is greater than the backend mount's maximum TTL value; issued tokens' max TTL value will be truncated"
                    .to_owned(),
            );
        }
        Ok(warnings)
    }

    /// Takes `token_policies`, or its old name `policies`; the new name wins. Returns whether
    /// either was sent.
    pub fn update_policies(&mut self, fields: Fields<'_>) -> Result<bool, Error> {
        let old = fields.comma_strings("policies")?;
        match fields.comma_strings("token_policies")? {
            Some(policies) => {
                self.legacy_policies = if old.is_some() { policies.clone() } else { Vec::new() };
                self.token.policies = policies;
                Ok(true)
            }
            None => Ok(match old {
                Some(policies) => {
                    self.token.policies = sanitize_policies(&policies);
                    self.legacy_policies.clone_from(&self.token.policies);
                    true
                }
                None => false,
            }),
        }
    }

    /// Takes `token_period`, or its old name `period`; the new name wins. Returns whether either
    /// was sent.
    pub fn update_period(&mut self, fields: Fields<'_>) -> Result<bool, Error> {
        let old = fields.duration("period")?;
        match fields.duration("token_period")? {
            Some(period) => {
                self.legacy_period = if old.is_some() { period } else { Duration::ZERO };
                self.token.period = period;
                Ok(true)
            }
            None => Ok(match old {
                Some(period) => {
                    self.token.period = period;
                    self.legacy_period = period;
                    true
                }
                None => false,
            }),
        }
    }

    /// Sets the role_id.
    pub fn set_role_id(&mut self, role_id: String) -> Result<(), Error> {
        if role_id.is_empty() {
            return Err(Error::bad_request("invalid role_id supplied, or failed to generate a role_id"));
        }
        if role_id.len() > MAX_HMAC_INPUT {
            return Err(Error::bad_request(format!(
                "role_id is longer than maximum of {MAX_HMAC_INPUT} bytes"
            )));
        }
        self.role_id = role_id;
        Ok(())
    }

    /// Sets how often a new secret_id may be used.
    pub fn set_secret_id_num_uses(&mut self, uses: i64) -> Result<(), Error> {
        if uses < 0 {
            return Err(Error::bad_request("secret_id_num_uses cannot be negative"));
        }
        self.secret_id_num_uses = uses;
        Ok(())
    }

    /// Whether a login has to satisfy anything at all besides knowing the role_id.
    pub fn is_constrained(&self) -> bool {
        self.bind_secret_id || !self.secret_id_bound_cidrs.is_empty() || !self.token.bound_cidrs.is_empty()
    }

    /// What a read answers.
    pub fn describe(&self) -> Response {
        let mut data = Object::new();
        self.token.describe(&mut data);
        let entries: [(&str, Value); 5] = [
            ("bind_secret_id", json!(self.bind_secret_id)),
            ("local_secret_ids", json!(self.local_secret_ids)),
            ("secret_id_bound_cidrs", self.secret_id_bound_cidrs_json()),
            ("secret_id_num_uses", json!(self.secret_id_num_uses)),
            ("secret_id_ttl", json!(self.secret_id_ttl.as_secs())),
        ];
        data.extend(entries.map(|(name, value)| (name.to_owned(), value)));
        if !self.legacy_period.is_zero() {
            data.insert("period".to_owned(), json!(self.legacy_period.as_secs()));
        }
        if !self.legacy_policies.is_empty() {
            data.insert("policies".to_owned(), json!(self.legacy_policies));
        }
        Response::data(data)
    }

    /// The list for a response; null where there is none, as in Vault.
    pub fn secret_id_bound_cidrs_json(&self) -> Value {
        if self.secret_id_bound_cidrs.is_empty() {
            Value::Null
        } else {
            network::cidrs_to_json(&self.secret_id_bound_cidrs)
        }
    }

    /// The HMAC that stands for a secret_id of this role in storage, in hex.
    ///
    /// Looking a secret_id up by its HMAC under a secret key also makes the comparison safe against
    /// timing: what a client can vary has no known relation to the key that is looked for.
    pub fn secret_id_hmac(&self, secret_id: &str) -> Result<String, Error> {
        if secret_id.len() > MAX_HMAC_INPUT {
            return Err(Error::bad_request(format!(
                "failed to create HMAC of secret_id: value is longer than maximum of {MAX_HMAC_INPUT} bytes"
            )));
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(self.hmac_key.as_bytes())
            .map_err(|_| Error::internal("failed to create HMAC of secret_id: invalid HMAC key"))?;
        mac.update(secret_id.as_bytes());
        Ok(hex(&mac.finalize().into_bytes()))
    }
}

/// Refuses a period beyond the mount's limit.
pub(super) fn check_period(period: Duration, max_ttl: Duration) -> Result<(), Error> {
    if period > max_ttl {
        return Err(Error::bad_request(format!(
            "period of {:?} is greater than the backend's maximum lease TTL of {:?}",
            duration::format(period),
            duration::format(max_ttl)
        )));
    }
    Ok(())
}

/// Policy names as Vault keeps them: lower case, sorted, once each; `root` stands alone.
fn sanitize_policies(policies: &[String]) -> Vec<String> {
    let mut names: Vec<String> =
        policies.iter().map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty()).collect();
    if names.iter().any(|name| name == "root") {
        return vec!["root".to_owned()];
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Lower-case hexadecimal text.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_hours(768);

    fn updated(body: &Value) -> Result<Role, Error> {
        let mut role = Role::new("web");
        role.update(Fields::new(body.as_object().unwrap()), true, MAX)?;
        Ok(role)
    }

    #[test]
    fn a_new_role_reads_as_in_vault() {
        let role = updated(&json!({})).unwrap();
        assert_eq!(
            Value::Object(role.describe().data.unwrap()),
            json!({
                "bind_secret_id": true, "local_secret_ids": false, "secret_id_bound_cidrs": null,
                "secret_id_num_uses": 0, "secret_id_ttl": 0, "token_bound_cidrs": [],
                "token_explicit_max_ttl": 0, "token_max_ttl": 0, "token_no_default_policy": false,
                "token_num_uses": 0, "token_period": 0, "token_policies": [], "token_ttl": 0,
                "token_type": "default",
            })
        );
    }

    #[test]
    fn old_names_are_taken_and_shown() {
        let role = updated(&json!({"policies": "B,a,b", "period": "1h"})).unwrap();
        assert_eq!(role.token.policies, ["a", "b"]);
        assert_eq!(role.token.period, Duration::from_hours(1));
        let data = role.describe().data.unwrap();
        assert_eq!(data["policies"], json!(["a", "b"]));
        assert_eq!(data["period"], json!(3600));
        let role = updated(&json!({"policies": "old", "token_policies": "new"})).unwrap();
        assert_eq!((role.token.policies, role.legacy_policies), (vec!["new".into()], vec!["new".into()]));
        let role = updated(&json!({"bound_cidr_list": "10.0.0.0/8"})).unwrap();
        assert_eq!(role.secret_id_bound_cidrs.len(), 1);
    }

    #[test]
    fn wrong_values_are_refused() {
        for (body, status, text) in [
            (json!({"secret_id_num_uses": -1}), 400, "secret_id_num_uses cannot be negative"),
            (json!({"role_id": ""}), 400, "invalid role_id supplied"),
            (json!({"role_id": "x".repeat(5000)}), 400, "longer than maximum"),
            (
                json!({"secret_id_bound_cidrs": "10.0.0.1"}),
                500,
                "failed to validate CIDR blocks: invalid CIDR address: 10.0.0.1",
            ),
            (
                json!({"period": "769h"}),
                400,
                "period of \"769h0m0s\" is greater than the backend's maximum lease TTL of \"768h0m0s\"",
            ),
        ] {
            let error = updated(&body).err().unwrap();
            assert_eq!(error.status(), status, "{body}");
            assert!(error.to_string().contains(text), "{error}");
        }
        let mut role = updated(&json!({"local_secret_ids": true})).unwrap();
        let body = json!({"local_secret_ids": false});
        assert!(role.update(Fields::new(body.as_object().unwrap()), false, MAX).is_err());
        assert!(role.local_secret_ids);
    }

    #[test]
    fn the_hmac_depends_on_role_and_secret_id() {
        let (one, two) = (Role::new("one"), Role::new("two"));
        let hmac = one.secret_id_hmac("s").unwrap();
        assert_eq!(hmac.len(), 64);
        assert_eq!(hmac, one.secret_id_hmac("s").unwrap());
        assert_ne!(hmac, one.secret_id_hmac("t").unwrap());
        assert_ne!(hmac, two.secret_id_hmac("s").unwrap());
        assert_eq!(one.secret_id_hmac(&"x".repeat(4097)).unwrap_err().status(), 400);
    }

    #[test]
    fn policies_are_sanitized() {
        let names = |items: &[&str]| -> Vec<String> { items.iter().map(|&i| i.to_owned()).collect() };
        assert_eq!(sanitize_policies(&names(&["B ", "a", "", "b"])), ["a", "b"]);
        assert_eq!(sanitize_policies(&names(&["a", "Root"])), ["root"]);
    }
}
