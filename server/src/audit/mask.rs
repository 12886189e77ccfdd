//! What keeps secrets out of audit logs: a salt per device, and values written as their HMAC.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use sha2::Sha256;

use crate::logical::{Object, View};
use crate::random;

use super::AuditError;

const SALT_KEY: &str = "salt";

/// A device's keyed hash. As in Vault the key is the text of a random UUID kept in the
/// device's storage, and a hash reads `hmac-sha256:<hex>`.
#[derive(Clone)]
pub struct Salt {
    keyed: Hmac<Sha256>,
}

impl Salt {
    /// The salt kept in `view`, made and kept first if there is none.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn load_or_create(view: &View) -> Result<Self, AuditError> {
        if let Some(salt) = view.get(SALT_KEY)? {
            return Ok(Self::new(&salt));
        }
        let salt = random::uuid();
        view.put(SALT_KEY, salt.clone().into_bytes()).await?;
        Ok(Self::new(salt.as_bytes()))
    }

    fn new(salt: &[u8]) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let keyed = Hmac::new_from_slice(salt).expect("any key length");
        Self { keyed }
    }

    /// `hmac-sha256:<hex>` of `text`.
    pub fn hash(&self, text: &str) -> String {
        let mut mac = self.keyed.clone();
        mac.update(text.as_bytes());
        let digest = mac.finalize().into_bytes();
        let mut out = String::with_capacity(76);
        out.push_str("hmac-sha256:");
        for byte in digest {
            // Writing to a String cannot fail.
            let _ = write!(out, "{byte:02x}");
        }
        out
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(redacted)")
    }
}

/// How the strings of a request's or response's data are written.
#[derive(Clone, Copy)]
pub(super) struct Masking<'a> {
    /// `None` writes everything as it is (`log_raw`).
    pub(super) salt: Option<&'a Salt>,
    /// Keys whose values are written as they are, wherever they stand.
    pub(super) plain_keys: &'a [String],
    /// Writes only how many `keys` and how much `key_info` a listing returned.
    pub(super) elide_listing: bool,
}

/// Data whose string values are masked when it is serialized. Keys, numbers and booleans
/// stay readable.
pub(super) struct MaskedData<'a> {
    pub(super) data: &'a Object,
    pub(super) masking: Masking<'a>,
}

impl Serialize for MaskedData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.data.len()))?;
        for (key, value) in self.data {
            let elided = match value {
                Value::Array(keys) if key == "keys" => Some(keys.len()),
                Value::Object(info) if key == "key_info" => Some(info.len()),
                _ => None,
            };
            match elided {
                Some(count) if self.masking.elide_listing => map.serialize_entry(key, &count)?,
                _ => map.serialize_entry(key, &self.masking.value(key, value))?,
            }
        }
        map.end()
    }
}

impl<'a> Masking<'a> {
    fn value(self, key: &'a str, value: &'a Value) -> MaskedValue<'a> {
        MaskedValue { key, value, masking: self }
    }
}

struct MaskedValue<'a> {
    /// The nearest key above the value.
    key: &'a str,
    value: &'a Value,
    masking: Masking<'a>,
}

impl Serialize for MaskedValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.value, self.masking.salt) {
            (Value::String(text), Some(salt))
                if !self.masking.plain_keys.iter().any(|key| key == self.key) =>
            {
                serializer.serialize_str(&salt.hash(text))
            }
            (Value::Array(items), Some(_)) => {
                serializer.collect_seq(items.iter().map(|item| self.masking.value(self.key, item)))
            }
            (Value::Object(members), Some(_)) => serializer
                .collect_map(members.iter().map(|(key, value)| (key, self.masking.value(key, value)))),
            (plain, _) => plain.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::logical::testing;

    fn masked(data: &Value, plain_keys: &[&str], elide_listing: bool) -> Value {
        let salt = Salt::new(b"salt");
        let plain_keys: Vec<String> = plain_keys.iter().map(ToString::to_string).collect();
        let masked = MaskedData {
            data: data.as_object().unwrap(),
            masking: Masking { salt: Some(&salt), plain_keys: &plain_keys, elide_listing },
        };
        serde_json::to_value(masked).unwrap()
    }

    #[test]
    fn hashes_are_hmac_sha256_of_rfc_4231() {
        // RFC 4231, test case 2.
        assert_eq!(
            Salt::new(b"Jefe").hash("what do ya want for nothing?"),
            "hmac-sha256:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn strings_are_hashed_at_every_depth_and_nothing_else() {
        let salt = Salt::new(b"salt");
        let data = json!({
            "text": "s1", "number": 5, "flag": true, "nothing": null,
            "list": ["s2", 7, ["s3"]],
            "deep": {"er": {"text": "s4"}},
        });
        assert_eq!(
            masked(&data, &[], false),
            json!({
                "text": salt.hash("s1"), "number": 5, "flag": true, "nothing": null,
                "list": [salt.hash("s2"), 7, [salt.hash("s3")]],
                "deep": {"er": {"text": salt.hash("s4")}},
            })
        );
    }

    #[test]
    fn listed_keys_stay_plain_wherever_they_stand() {
        let salt = Salt::new(b"salt");
        let data = json!({"a": "1", "b": {"a": ["2"], "c": "3"}, "d": {"x": "4"}});
        assert_eq!(
            masked(&data, &["a", "d"], false),
            json!({"a": "1", "b": {"a": ["2"], "c": salt.hash("3")}, "d": {"x": salt.hash("4")}})
        );
    }

    #[test]
    fn a_listing_can_be_shortened_to_its_size() {
        let data = json!({"keys": ["a", "b"], "key_info": {"a": {}, "b": {}, "c": {}}});
        assert_eq!(masked(&data, &[], true), json!({"keys": 2, "key_info": 3}));
        let other = json!({"keys": {"not": 1}, "key_info": [1]});
        assert_eq!(masked(&other, &[], true), other);
    }

    #[tokio::test]
    async fn a_salt_is_made_once_and_kept() {
        let view = testing::context("", "").0.storage;
        let first = Salt::load_or_create(&view).await.unwrap();
        let second = Salt::load_or_create(&view).await.unwrap();
        assert_eq!(first.hash("x"), second.hash("x"));
        let other = Salt::load_or_create(&view.sub("other/")).await.unwrap();
        assert_ne!(first.hash("x"), other.hash("x"));
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i32>().prop_map(Value::from),
            "secret-[a-z]{4}".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec(("[a-z]{1,4}", inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_string_value_ever_shows(value in json_value()) {
            let data = json!({"data": value});
            prop_assert!(!masked(&data, &[], false).to_string().contains("secret-"));
        }
    }
}
