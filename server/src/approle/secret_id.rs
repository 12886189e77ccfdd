//! A secret_id's record: how often, how long and from where it may be used.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::role::Role;
use crate::framework::network;
use crate::logical::{Error, Fields, Response};
use crate::random;

/// Parameters of a new secret_id.
pub(super) const SECRET_ID_PARAMETERS: &[&str] =
    &["cidr_list", "metadata", "num_uses", "token_bound_cidrs", "ttl"];

/// What is stored about a secret_id. The secret_id itself is not: its HMAC is the storage key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SecretId {
    /// Names it to those who must not know it.
    pub accessor: String,
    /// Uses left; 0 is unlimited. At the last use the record is removed.
    pub num_uses: i64,
    /// Life asked for; zero is unlimited.
    pub ttl: Duration,
    /// When it was made.
    pub creation_time: Timestamp,
    /// When it ends; none is never.
    pub expiration_time: Option<Timestamp>,
    /// When a use was last counted.
    pub last_updated_time: Timestamp,
    /// Goes into the tokens.
    pub metadata: BTreeMap<String, String>,
    /// Networks logins with it may come from; empty is any.
    pub cidr_list: Vec<IpNet>,
    /// Networks its tokens may be used from; empty leaves it to the role.
    pub token_bound_cidrs: Vec<IpNet>,
}

impl SecretId {
    /// A record for a request to make a secret_id of `role`.
    ///
    /// # Errors
    /// Vault's error responses for values beyond what the role allows.
    pub fn from_request(
        role: &Role,
        fields: Fields<'_>,
        now: Timestamp,
        max_ttl: Duration,
    ) -> Result<Self, Error> {
        if !role.bind_secret_id {
            return Err(Error::bad_request("bind_secret_id is not set on the role"));
        }
        let cidr_list = cidrs(fields, "cidr_list", "failed to validate CIDR blocks")?;
        check_subset(&cidr_list, &role.secret_id_bound_cidrs)?;
        let token_bound_cidrs = cidrs(fields, "token_bound_cidrs", "failed to validate token CIDR blocks")?;
        check_subset(&token_bound_cidrs, &role.token.bound_cidrs)?;
        let num_uses = num_uses(role, fields)?;
        let ttl = ttl(role, fields)?;
        let metadata = parse_metadata(&fields.string("metadata")?.unwrap_or_default())
            .map_err(|cause| Error::bad_request(format!("failed to parse metadata: {cause}")))?;
        let life = ttl.min(max_ttl);
        let expiration_time = (!life.is_zero()).then(|| now.saturating_add(life).unwrap_or(Timestamp::MAX));
        Ok(Self {
            accessor: random::uuid(),
            num_uses,
            ttl,
            creation_time: now,
            expiration_time,
            last_updated_time: now,
            metadata,
            cidr_list,
            token_bound_cidrs,
        })
    }

    /// Whether its time has ended.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expiration_time.is_some_and(|end| end <= now)
    }

    /// What making it answers, `secret_id` being the only time it is shown.
    pub fn created(&self, secret_id: &str, max_ttl: Duration) -> Response {
        Response::json(json!({
            "secret_id": secret_id,
            "secret_id_accessor": self.accessor,
            "secret_id_num_uses": self.num_uses,
            "secret_id_ttl": self.ttl.min(max_ttl).as_secs(),
        }))
    }

    /// What a lookup answers.
    pub fn describe(&self) -> Response {
        let expiration =
            self.expiration_time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |end| end.to_string());
        Response::json(json!({
            "cidr_list": network::cidrs_to_json(&self.cidr_list),
            "creation_time": self.creation_time.to_string(),
            "expiration_time": expiration,
            "last_updated_time": self.last_updated_time.to_string(),
            "metadata": self.metadata,
            "secret_id_accessor": self.accessor,
            "secret_id_num_uses": self.num_uses,
            "secret_id_ttl": self.ttl.as_secs(),
            "token_bound_cidrs": network::cidrs_to_json(&self.token_bound_cidrs),
        }))
    }
}

fn cidrs(fields: Fields<'_>, name: &str, complaint: &str) -> Result<Vec<IpNet>, Error> {
    let texts = fields.comma_strings(name)?.unwrap_or_default();
    network::parse_cidrs(&texts).map_err(|cause| Error::internal(format!("{complaint}: {cause}")))
}

/// Refuses networks of a secret_id that reach beyond those of its role.
pub(super) fn check_subset(secret_id: &[IpNet], role: &[IpNet]) -> Result<(), Error> {
    if role.is_empty() || network::is_subset(secret_id, role) {
        return Ok(());
    }
    Err(Error::internal(format!(
        "failed to verify subset relationship between CIDR blocks on the role {} and CIDR blocks on the secret ID {}",
        network::cidrs_to_json(role),
        network::cidrs_to_json(secret_id)
    )))
}

fn num_uses(role: &Role, fields: Fields<'_>) -> Result<i64, Error> {
    let Some(uses) = fields.int("num_uses")? else {
        return Ok(role.secret_id_num_uses);
    };
    if uses < 0 {
        return Err(Error::bad_request("num_uses cannot be negative"));
    }
    let limit = role.secret_id_num_uses;
    if limit > 0 && (uses == 0 || uses > limit) {
        return Err(Error::bad_request("num_uses cannot be higher than the role's secret_id_num_uses"));
    }
    Ok(uses)
}

fn ttl(role: &Role, fields: Fields<'_>) -> Result<Duration, Error> {
    let Some(ttl) = fields.duration("ttl")? else {
        return Ok(role.secret_id_ttl);
    };
    let limit = role.secret_id_ttl;
    if !limit.is_zero() && (ttl.is_zero() || ttl > limit) {
        return Err(Error::bad_request("ttl cannot be longer than the role's secret_id_ttl"));
    }
    Ok(ttl)
}

/// Metadata from JSON text or `key=value,…`, either possibly in base64.
///
/// Vault's `ParseArbitraryKeyValues`; like there, the second form is turned to lower case.
fn parse_metadata(text: &str) -> Result<BTreeMap<String, String>, String> {
    let text = text.trim();
    let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = decoded.as_deref().unwrap_or(text);
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let pairs = match serde_json::from_str::<BTreeMap<String, String>>(text) {
        Ok(pairs) => pairs,
        Err(_) => key_values(text)?,
    };
    match pairs.iter().find(|(key, value)| !key.is_empty() && value.is_empty()) {
        Some((key, _)) => Err(format!("invalid value for key {key:?}")),
        None => Ok(pairs),
    }
}

fn key_values(text: &str) -> Result<BTreeMap<String, String>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let lower = pair.to_lowercase();
            match lower.split_once('=') {
                Some((key, value)) if !value.contains('=') => {
                    let (key, value) = (key.trim(), value.trim());
                    if key.is_empty() || value.is_empty() {
                        return Err("failed to parse the input: invalid <key,value> pair".to_owned());
                    }
                    Ok((key.to_owned(), value.to_owned()))
                }
                _ => Err("failed to parse the input: invalid <key,value> format".to_owned()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    const MAX: Duration = Duration::from_hours(768);

    fn make(role: &Role, body: &Value) -> Result<SecretId, Error> {
        let now = Timestamp::from_second(1000).unwrap();
        SecretId::from_request(role, Fields::new(body.as_object().unwrap()), now, MAX)
    }

    #[test]
    fn defaults_come_from_the_role() {
        let mut role = Role::new("web");
        role.secret_id_num_uses = 3;
        role.secret_id_ttl = Duration::from_mins(1);
        let made = make(&role, &json!({})).unwrap();
        assert_eq!((made.num_uses, made.ttl), (3, Duration::from_mins(1)));
        assert!(!made.is_expired(Timestamp::from_second(1059).unwrap()));
        assert!(made.is_expired(Timestamp::from_second(1060).unwrap()));
        let unlimited = make(&Role::new("free"), &json!({})).unwrap();
        assert_eq!((unlimited.num_uses, unlimited.expiration_time), (0, None));
        assert_eq!(unlimited.describe().data.unwrap()["expiration_time"], "0001-01-01T00:00:00Z");
    }

    #[test]
    fn the_mount_caps_the_life_but_not_what_is_kept() {
        let made = make(&Role::new("web"), &json!({"ttl": "1000h"})).unwrap();
        assert_eq!(made.ttl, Duration::from_hours(1000));
        assert_eq!(made.expiration_time, Some(Timestamp::from_second(1000 + 768 * 3600).unwrap()));
        assert_eq!(made.created("s", MAX).data.unwrap()["secret_id_ttl"], 768 * 3600);
    }

    #[test]
    fn what_exceeds_the_role_is_refused() {
        let mut role = Role::new("web");
        role.secret_id_num_uses = 3;
        role.secret_id_ttl = Duration::from_mins(1);
        role.secret_id_bound_cidrs = vec!["10.0.0.0/8".parse().unwrap()];
        for (body, status, text) in [
            (json!({"num_uses": 4}), 400, "num_uses cannot be higher than the role's secret_id_num_uses"),
            (json!({"num_uses": 0}), 400, "num_uses cannot be higher"),
            (json!({"num_uses": -1}), 400, "num_uses cannot be negative"),
            (json!({"ttl": 61}), 400, "ttl cannot be longer than the role's secret_id_ttl"),
            (json!({"ttl": 0}), 400, "ttl cannot be longer"),
            (json!({"cidr_list": "11.0.0.0/8"}), 500, "failed to verify subset relationship"),
            (json!({"cidr_list": "here"}), 500, "failed to validate CIDR blocks: invalid CIDR address: here"),
            (json!({"metadata": "odd"}), 400, "failed to parse metadata"),
            (json!({"metadata": {"a": "b"}}), 400, "Field validation failed"),
        ] {
            let error = make(&role, &body).unwrap_err();
            assert_eq!(error.status(), status, "{body}");
            assert!(error.to_string().contains(text), "{error}");
        }
        make(&role, &json!({"num_uses": 3, "ttl": 60, "cidr_list": "10.1.0.0/16"})).unwrap();
        role.bind_secret_id = false;
        assert_eq!(make(&role, &json!({})).unwrap_err().to_string(), "bind_secret_id is not set on the role");
    }

    #[test]
    fn metadata_forms() {
        let want = BTreeMap::from([("host".to_owned(), "a".to_owned())]);
        for text in [r#"{"host":"a"}"#, "host=a", " host = A ,", "eyJob3N0IjoiYSJ9"] {
            assert_eq!(parse_metadata(text).unwrap(), want, "{text}");
        }
        assert!(parse_metadata("").unwrap().is_empty());
        for bad in [r#"{"host":""}"#, r#"{"host":1}"#, "host", "host=a=b", "=a", "host="] {
            assert!(parse_metadata(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_metadata_text_is_answered(text: String) {
            let _ = parse_metadata(&text);
        }

        #[test]
        fn json_metadata_reads_back(
            pairs in proptest::collection::btree_map("[a-z]{1,8}", "[ -~]{1,8}", 0..4)
        ) {
            let text = serde_json::to_string(&pairs).unwrap();
            prop_assert_eq!(parse_metadata(&text).unwrap(), pairs);
        }
    }
}
