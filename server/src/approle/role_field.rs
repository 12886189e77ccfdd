//! The single fields of a role that have a path of their own, such as `role/web/token-ttl`.

use std::time::Duration;

use serde_json::{Value, json};

use super::role::{Role, check_period};
use crate::framework::network;
use crate::logical::{Error, Fields, Object, Operation, Response};

/// A field with its own path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoleField {
    BindSecretId,
    BoundCidrList,
    LocalSecretIds,
    Period,
    Policies,
    RoleId,
    SecretIdBoundCidrs,
    SecretIdNumUses,
    SecretIdTtl,
    TokenBoundCidrs,
    TokenMaxTtl,
    TokenNumUses,
    TokenTtl,
}

/// A field's path and what it takes.
pub(super) struct RoleFieldPath {
    pub field: RoleField,
    pub pattern: &'static str,
    pub operations: &'static [Operation],
    pub parameters: &'static [&'static str],
}

const ALL: &[Operation] = &[Operation::Update, Operation::Read, Operation::Delete];

const fn path(
    field: RoleField,
    pattern: &'static str,
    operations: &'static [Operation],
    parameters: &'static [&'static str],
) -> RoleFieldPath {
    RoleFieldPath { field, pattern, operations, parameters }
}

/// All fields with a path.
pub(super) const ROLE_FIELD_PATHS: &[RoleFieldPath] = &[
    path(RoleField::BindSecretId, "role/{role_name}/bind-secret-id", ALL, &["bind_secret_id"]),
    path(RoleField::BoundCidrList, "role/{role_name}/bound-cidr-list", ALL, &["bound_cidr_list"]),
    path(RoleField::LocalSecretIds, "role/{role_name}/local-secret-ids", &[Operation::Read], &[]),
    path(RoleField::Period, "role/{role_name}/period", ALL, &["period", "token_period"]),
    path(RoleField::Policies, "role/{role_name}/policies", ALL, &["policies", "token_policies"]),
    path(RoleField::RoleId, "role/{role_name}/role-id", &[Operation::Update, Operation::Read], &["role_id"]),
    path(
        RoleField::SecretIdBoundCidrs,
        "role/{role_name}/secret-id-bound-cidrs",
        ALL,
        &["secret_id_bound_cidrs"],
    ),
    path(RoleField::SecretIdNumUses, "role/{role_name}/secret-id-num-uses", ALL, &["secret_id_num_uses"]),
    path(RoleField::SecretIdTtl, "role/{role_name}/secret-id-ttl", ALL, &["secret_id_ttl"]),
    path(RoleField::TokenBoundCidrs, "role/{role_name}/token-bound-cidrs", ALL, &["token_bound_cidrs"]),
    path(RoleField::TokenMaxTtl, "role/{role_name}/token-max-ttl", ALL, &["token_max_ttl"]),
    path(RoleField::TokenNumUses, "role/{role_name}/token-num-uses", ALL, &["token_num_uses"]),
    path(RoleField::TokenTtl, "role/{role_name}/token-ttl", ALL, &["token_ttl"]),
];

impl RoleField {
    /// What a read of the field answers.
    pub fn read(self, role: &Role) -> Response {
        let one = |name: &str, value: Value| Response::data(Object::from_iter([(name.to_owned(), value)]));
        match self {
            Self::BindSecretId => one("bind_secret_id", json!(role.bind_secret_id)),
            Self::BoundCidrList => {
                let mut response = one("bound_cidr_list", role.secret_id_bound_cidrs_json());
                response.warnings.push(
                    "The \"bound_cidr_list\" field is deprecated and will be removed. Please use \"secret_id_bound_cidrs\" instead."
                        .to_owned(),
                );
                response
            }
            Self::LocalSecretIds => one("local_secret_ids", json!(role.local_secret_ids)),
            Self::Period => {
                let mut response = one("token_period", json!(role.token.period.as_secs()));
                if let Some(data) = response.data.as_mut().filter(|_| !role.legacy_period.is_zero()) {
                    data.insert("period".to_owned(), json!(role.legacy_period.as_secs()));
                }
                response
            }
            Self::Policies => {
                let mut response = one("token_policies", json!(role.token.policies));
                if let Some(data) = response.data.as_mut().filter(|_| !role.legacy_policies.is_empty()) {
                    data.insert("policies".to_owned(), json!(role.legacy_policies));
                }
                response
            }
            Self::RoleId => one("role_id", json!(role.role_id)),
            Self::SecretIdBoundCidrs => one("secret_id_bound_cidrs", role.secret_id_bound_cidrs_json()),
            Self::SecretIdNumUses => one("secret_id_num_uses", json!(role.secret_id_num_uses)),
            Self::SecretIdTtl => one("secret_id_ttl", json!(role.secret_id_ttl.as_secs())),
            Self::TokenBoundCidrs => one("token_bound_cidrs", network::to_json(&role.token.bound_cidrs)),
            Self::TokenMaxTtl => one("token_max_ttl", json!(role.token.max_ttl.as_secs())),
            Self::TokenNumUses => one("token_num_uses", json!(role.token.num_uses)),
            Self::TokenTtl => one("token_ttl", json!(role.token.ttl.as_secs())),
        }
    }

    /// Sets the field from a request.
    ///
    /// # Errors
    /// Vault's error responses: `missing …` where it isn't sent, and those for wrong values.
    pub fn write(self, role: &mut Role, fields: Fields<'_>, max_ttl: Duration) -> Result<(), Error> {
        match self {
            Self::BindSecretId => {
                role.bind_secret_id = sent("bind_secret_id", fields.bool("bind_secret_id")?)?;
            }
            Self::BoundCidrList => set_bound_cidrs(role, fields, "bound_cidr_list")?,
            Self::LocalSecretIds => return Err(Error::UnsupportedOperation),
            Self::Period => {
                if !role.update_period(fields)? {
                    return Err(missing("period"));
                }
                check_period(role.token.period, max_ttl)?;
            }
            Self::Policies => {
                if !role.update_policies(fields)? {
                    return Err(missing("token_policies"));
                }
            }
            Self::RoleId => {
                let role_id = fields.string("role_id")?.filter(|id| !id.is_empty());
                role.set_role_id(sent("role_id", role_id)?)?;
            }
            Self::SecretIdBoundCidrs => set_bound_cidrs(role, fields, "secret_id_bound_cidrs")?,
            Self::SecretIdNumUses => {
                role.set_secret_id_num_uses(sent("secret_id_num_uses", fields.int("secret_id_num_uses")?)?)?;
            }
            Self::SecretIdTtl => {
                role.secret_id_ttl = sent("secret_id_ttl", fields.duration("secret_id_ttl")?)?;
            }
            Self::TokenBoundCidrs => {
                let texts = sent("token_bound_cidrs", fields.comma_strings("token_bound_cidrs")?)?;
                role.token.bound_cidrs = network::parse_addresses(&texts).map_err(|cause| {
                    Error::bad_request(format!("failed to parse token_bound_cidrs: {cause}"))
                })?;
            }
            Self::TokenMaxTtl => {
                let max = sent("token_max_ttl", fields.duration("token_max_ttl")?)?;
                if !max.is_zero() && max < role.token.ttl {
                    return Err(Error::bad_request(
                        "token_max_ttl should be greater than or equal to token_ttl",
                    ));
                }
                role.token.max_ttl = max;
            }
            Self::TokenNumUses => {
                let uses = sent("token_num_uses", fields.int("token_num_uses")?)?;
                if uses < 0 {
                    return Err(Error::bad_request("'token_num_uses' cannot be negative"));
                }
                role.token.num_uses = uses;
            }
            Self::TokenTtl => {
                let ttl = sent("token_ttl", fields.duration("token_ttl")?)?;
                if !role.token.max_ttl.is_zero() && ttl > role.token.max_ttl {
                    return Err(Error::bad_request("token_ttl should not be greater than token_max_ttl"));
                }
                role.token.ttl = ttl;
            }
        }
        Ok(())
    }

    /// Sets the field back to its default.
    pub fn reset(self, role: &mut Role) {
        match self {
            Self::BindSecretId => role.bind_secret_id = true,
            Self::BoundCidrList | Self::SecretIdBoundCidrs => role.secret_id_bound_cidrs.clear(),
            // They have no delete operation.
            Self::LocalSecretIds | Self::RoleId => {}
            Self::Period => {
                role.token.period = Duration::ZERO;
                role.legacy_period = Duration::ZERO;
            }
            Self::Policies => {
                role.token.policies.clear();
                role.legacy_policies.clear();
            }
            Self::SecretIdNumUses => role.secret_id_num_uses = 0,
            Self::SecretIdTtl => role.secret_id_ttl = Duration::ZERO,
            Self::TokenBoundCidrs => role.token.bound_cidrs.clear(),
            Self::TokenMaxTtl => role.token.max_ttl = Duration::ZERO,
            Self::TokenNumUses => role.token.num_uses = 0,
            Self::TokenTtl => role.token.ttl = Duration::ZERO,
        }
    }
}

fn missing(name: &str) -> Error {
    Error::bad_request(format!("missing {name}"))
}

fn sent<T>(name: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| missing(name))
}

fn set_bound_cidrs(role: &mut Role, fields: Fields<'_>, name: &str) -> Result<(), Error> {
    let texts = fields
        .comma_strings(name)?
        .filter(|texts| !texts.is_empty())
        .ok_or_else(|| missing("bound_cidr_list"))?;
    role.secret_id_bound_cidrs = network::parse_cidrs(&texts)
        .map_err(|cause| Error::bad_request(format!("failed to validate CIDR blocks: {cause}")))?;
    Ok(())
}
