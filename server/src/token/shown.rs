//! What a lookup shows of a token.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::store::StoredToken;
use crate::core::active::Active;
use crate::framework::network;
use crate::logical::{Error, Response, TokenType};

/// The answer; its keys stand in the order in which they are sent.
#[derive(Serialize)]
struct Shown<'a> {
    accessor: &'a str,
    creation_time: i64,
    creation_ttl: u64,
    display_name: &'a str,
    entity_id: &'a str,
    expire_time: Option<Timestamp>,
    explicit_max_ttl: u64,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issue_time: Option<Timestamp>,
    meta: Option<&'a BTreeMap<String, String>>,
    num_uses: i64,
    orphan: bool,
    path: &'a str,
    policies: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    renewable: Option<bool>,
    ttl: u64,
    r#type: TokenType,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_renewal: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_renewal_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_cidrs: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_namespace_policies: Option<Nothing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity_policies: Option<&'a [String]>,
}

/// An empty object.
#[derive(Serialize)]
struct Nothing {}

/// The answer of a lookup; by accessor it does not show the token.
///
/// # Errors
/// When the token's entity cannot be read.
pub(super) fn shown(active: &Active, token: &StoredToken, hide_id: bool) -> Result<Response, Error> {
    let entry = &token.entry;
    let entity = match entry.entity_id.as_str() {
        "" => None,
        id => active.identity.shared(id)?.filter(|entity| !entity.membership.policies.is_empty()),
    };
    // The first root token has no lease to tell some of it from.
    let leased = entry.path != "auth/token/root";
    Response::text(&Shown {
        accessor: &entry.accessor,
        creation_time: entry.creation_time,
        creation_ttl: entry.ttl.as_secs(),
        display_name: &entry.display_name,
        entity_id: &entry.entity_id,
        expire_time: token.lease.expires,
        explicit_max_ttl: entry.explicit_max_ttl.as_secs(),
        id: if hide_id { "" } else { &entry.id },
        issue_time: leased.then_some(token.lease.issued),
        meta: Some(&entry.meta).filter(|meta| !meta.is_empty()),
        num_uses: entry.num_uses,
        orphan: entry.is_orphan(),
        path: &entry.path,
        policies: &entry.policies,
        renewable: leased.then_some(token.lease.renewable),
        ttl: token.remaining(Timestamp::now()).unwrap_or_default().as_secs(),
        r#type: entry.token_type,
        last_renewal: token.lease.renewed,
        last_renewal_time: token.lease.renewed.map(Timestamp::as_second),
        period: Some(entry.period.as_secs()).filter(|_| !entry.period.is_zero()),
        role: &entry.role,
        bound_cidrs: (!entry.bound_cidrs.is_empty()).then(|| network::to_json(&entry.bound_cidrs)),
        external_namespace_policies: entity.as_ref().map(|_| Nothing {}),
        identity_policies: entity.as_ref().map(|entity| entity.membership.policies.as_slice()),
    })
}
