//! A PKI role: what certificates issued under it may hold.

use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::key::KeyKind;
use crate::logical::{Error, Fields, Object};

/// How a parameter is read, with its default.
enum Kind {
    Flag(bool),
    Text(&'static str),
    List(&'static [&'static str]),
    Seconds(u64),
    Number(i64),
}

/// The parameters of a role, in the order a read shows them.
const PARAMETERS: &[(&str, Kind)] = &[
    ("allow_any_name", Kind::Flag(false)),
    ("allow_bare_domains", Kind::Flag(false)),
    ("allow_glob_domains", Kind::Flag(false)),
    ("allow_ip_sans", Kind::Flag(true)),
    ("allow_localhost", Kind::Flag(true)),
    ("allow_subdomains", Kind::Flag(false)),
    ("allow_token_displayname", Kind::Flag(false)),
    ("allow_wildcard_certificates", Kind::Flag(true)),
    ("allowed_domains", Kind::List(&[])),
    ("allowed_uri_sans", Kind::List(&[])),
    ("client_flag", Kind::Flag(true)),
    ("cn_validations", Kind::List(&["email", "hostname"])),
    ("code_signing_flag", Kind::Flag(false)),
    ("country", Kind::List(&[])),
    ("email_protection_flag", Kind::Flag(false)),
    ("enforce_hostnames", Kind::Flag(true)),
    ("ext_key_usage", Kind::List(&[])),
    ("generate_lease", Kind::Flag(false)),
    ("issuer_ref", Kind::Text("default")),
    ("key_bits", Kind::Number(0)),
    ("key_type", Kind::Text("rsa")),
    ("key_usage", Kind::List(&["DigitalSignature", "KeyAgreement", "KeyEncipherment"])),
    ("locality", Kind::List(&[])),
    ("max_ttl", Kind::Seconds(0)),
    ("no_store", Kind::Flag(false)),
    ("not_after", Kind::Text("")),
    ("not_before_duration", Kind::Seconds(30)),
    ("organization", Kind::List(&[])),
    ("ou", Kind::List(&[])),
    ("postal_code", Kind::List(&[])),
    ("province", Kind::List(&[])),
    ("require_cn", Kind::Flag(true)),
    ("server_flag", Kind::Flag(true)),
    ("signature_bits", Kind::Number(0)),
    ("street_address", Kind::List(&[])),
    ("ttl", Kind::Seconds(0)),
    ("use_csr_common_name", Kind::Flag(true)),
    ("use_csr_sans", Kind::Flag(true)),
];

/// Parameters of Vault's that this server does not honour, with the defaults a read shows. Setting
/// one to anything else is refused rather than ignored.
const UNSUPPORTED: &[(&str, Kind)] = &[
    ("allowed_domains_template", Kind::Flag(false)),
    ("allowed_other_sans", Kind::List(&[])),
    ("allowed_serial_numbers", Kind::List(&[])),
    ("allowed_uri_sans_template", Kind::Flag(false)),
    ("allowed_user_ids", Kind::List(&[])),
    ("basic_constraints_valid_for_non_ca", Kind::Flag(false)),
    ("ext_key_usage_oids", Kind::List(&[])),
    ("policy_identifiers", Kind::List(&[])),
    ("use_pss", Kind::Flag(false)),
];

/// Names of all parameters, for the routes.
pub(super) fn parameter_names() -> Vec<&'static str> {
    PARAMETERS.iter().chain(UNSUPPORTED).map(|(name, _)| *name).collect()
}

/// A role as it is stored and shown: every parameter with its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Role(Object);

impl Role {
    /// A role of a request; what it doesn't send has its default.
    ///
    /// # Errors
    /// 400 for wrong values and for parameters this server does not honour.
    pub fn from_request(sent: &Object) -> Result<Self, Error> {
        let fields = Fields::new(sent);
        let mut values = Object::new();
        for (name, kind) in PARAMETERS {
            values.insert((*name).to_owned(), kind.read(fields, name)?);
        }
        for (name, kind) in UNSUPPORTED {
            let default = kind.default();
            if kind.read(fields, name)? != default {
                return Err(Error::bad_request(format!("{name} is not supported by this server")));
            }
            values.insert((*name).to_owned(), default);
        }
        let mut role = Self(values);
        role.check()?;
        Ok(role)
    }

    fn check(&mut self) -> Result<(), Error> {
        let refuse = |text: &str| Err(Error::bad_request(text));
        if self.text("key_type") != "any" {
            let kind = KeyKind::parse(self.text("key_type"), self.number("key_bits"))?;
            self.0.insert("key_bits".to_owned(), json!(kind.bits()));
        }
        if !matches!(self.number("signature_bits"), 0 | 256 | 384 | 512) {
            return refuse(&format!(
                "unsupported hash signature algorithm: {}",
                self.number("signature_bits")
            ));
        }
        let (ttl, max) = (self.seconds("ttl"), self.seconds("max_ttl"));
        if !max.is_zero() && ttl > max {
            return refuse("\"ttl\" value must be less than \"max_ttl\" value");
        }
        if self.text("issuer_ref") != "default" {
            return refuse("issuer_ref: only the issuer \"default\" is supported by this server");
        }
        if self.flag("no_store") {
            self.0.insert("generate_lease".to_owned(), json!(false));
        }
        let validations = self.list("cn_validations");
        if !validations.iter().all(|v| matches!(v.as_str(), "email" | "hostname" | "disabled")) {
            return refuse("cn_validations must be email, hostname or disabled");
        }
        Ok(())
    }

    /// What a read answers.
    pub fn describe(&self) -> Object {
        let mut shown = self.0.clone();
        // 0 stands for it, and only RSA has the choice.
        if self.text("key_type") == "rsa" && self.number("signature_bits") == 0 {
            shown.insert("signature_bits".to_owned(), 256.into());
        }
        shown
    }

    /// A boolean parameter.
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A text parameter.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number.
    pub fn number(&self, name: &str) -> i64 {
        self.0.get(name).and_then(Value::as_i64).unwrap_or_default()
    }

    /// A duration.
    pub fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs(self.0.get(name).and_then(Value::as_u64).unwrap_or_default())
    }

    /// A list.
    pub fn list(&self, name: &str) -> Vec<String> {
        let items = self.0.get(name).and_then(Value::as_array);
        let texts = items.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    }

    /// The key usages of its certificates; as in Vault, names that are none are passed over.
    pub fn key_usages(&self) -> Vec<KeyUsagePurpose> {
        self.list("key_usage").iter().filter_map(|name| key_usage(name)).collect()
    }

    /// The extended key usages of its certificates; as in Vault, names that are none are passed over.
    pub fn extended_key_usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        let flags = [
            ("server_flag", ExtendedKeyUsagePurpose::ServerAuth),
            ("client_flag", ExtendedKeyUsagePurpose::ClientAuth),
            ("code_signing_flag", ExtendedKeyUsagePurpose::CodeSigning),
            ("email_protection_flag", ExtendedKeyUsagePurpose::EmailProtection),
        ];
        let mut usages = Vec::new();
        for (flag, usage) in flags {
            if self.flag(flag) {
                usages.push(usage);
            }
        }
        for usage in self.list("ext_key_usage").iter().filter_map(|name| extended_key_usage(name)) {
            if !usages.contains(&usage) {
                usages.push(usage);
            }
        }
        usages
    }
}

impl Kind {
    fn default(&self) -> Value {
        match self {
            Self::Flag(flag) => json!(flag),
            Self::Text(text) => json!(text),
            Self::List(items) => json!(items),
            Self::Seconds(seconds) => json!(seconds),
            Self::Number(number) => json!(number),
        }
    }

    fn read(&self, fields: Fields<'_>, name: &str) -> Result<Value, Error> {
        let sent = match self {
            Self::Flag(_) => fields.bool(name)?.map(|flag| json!(flag)),
            Self::Text(_) => fields.string(name)?.map(|text| json!(text)),
            Self::List(_) => fields.comma_strings(name)?.map(|items| json!(items)),
            Self::Seconds(_) => fields.duration(name)?.map(|duration| json!(duration.as_secs())),
            Self::Number(_) => fields.int(name)?.map(|number| json!(number)),
        };
        Ok(sent.unwrap_or_else(|| self.default()))
    }
}

/// A key usage by Go's name, with or without its prefix, in any case.
fn key_usage(name: &str) -> Option<KeyUsagePurpose> {
    let lower = name.to_lowercase();
    Some(match lower.strip_prefix("keyusage").unwrap_or(&lower) {
        "digitalsignature" => KeyUsagePurpose::DigitalSignature,
        "contentcommitment" => KeyUsagePurpose::ContentCommitment,
        "keyencipherment" => KeyUsagePurpose::KeyEncipherment,
        "dataencipherment" => KeyUsagePurpose::DataEncipherment,
        "keyagreement" => KeyUsagePurpose::KeyAgreement,
        "certsign" => KeyUsagePurpose::KeyCertSign,
        "crlsign" => KeyUsagePurpose::CrlSign,
        "encipheronly" => KeyUsagePurpose::EncipherOnly,
        "decipheronly" => KeyUsagePurpose::DecipherOnly,
        _ => return None,
    })
}

fn extended_key_usage(name: &str) -> Option<ExtendedKeyUsagePurpose> {
    let lower = name.to_lowercase();
    Some(match lower.strip_prefix("extkeyusage").unwrap_or(&lower) {
        "any" => ExtendedKeyUsagePurpose::Any,
        "serverauth" => ExtendedKeyUsagePurpose::ServerAuth,
        "clientauth" => ExtendedKeyUsagePurpose::ClientAuth,
        "codesigning" => ExtendedKeyUsagePurpose::CodeSigning,
        "emailprotection" => ExtendedKeyUsagePurpose::EmailProtection,
        "timestamping" => ExtendedKeyUsagePurpose::TimeStamping,
        "ocspsigning" => ExtendedKeyUsagePurpose::OcspSigning,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(body: Value) -> Result<Role, Error> {
        Role::from_request(&serde_json::from_value(body).unwrap())
    }

    #[test]
    fn defaults_are_vaults() {
        let role = role(json!({})).unwrap();
        assert!(role.flag("allow_localhost") && role.flag("server_flag") && !role.flag("allow_any_name"));
        assert_eq!((role.text("key_type"), role.number("key_bits")), ("rsa", 2048));
        assert_eq!(role.seconds("not_before_duration"), Duration::from_secs(30));
        assert_eq!(role.key_usages().len(), 3);
        assert_eq!(role.extended_key_usages().len(), 2);
        assert_eq!(role.describe().len(), PARAMETERS.len() + UNSUPPORTED.len());
    }

    #[test]
    fn values_are_checked() {
        for (body, text) in [
            (json!({"key_type": "dsa"}), "unknown key type"),
            (json!({"key_bits": 1024}), "RSA keys < 2048 bits"),
            (json!({"ttl": "2h", "max_ttl": "1h"}), "must be less than"),
            (json!({"key_type": "ec", "key_bits": 2048}), "unsupported bit length for EC key: 2048"),
            (json!({"signature_bits": 100}), "unsupported hash signature algorithm: 100"),
            (json!({"use_pss": true}), "use_pss is not supported"),
            (json!({"allowed_other_sans": "*"}), "not supported"),
            (json!({"issuer_ref": "other"}), "only the issuer"),
            (json!({"allow_any_name": "maybe"}), "Field validation failed"),
        ] {
            let error = role(body).unwrap_err();
            assert_eq!(error.status(), 400);
            assert!(error.to_string().contains(text), "{error}");
        }
        role(json!({"key_type": "any", "use_pss": false})).unwrap();
    }

    #[test]
    fn usages_that_are_none_are_kept_but_not_certified() {
        let role = role(json!({"key_usage": "Odd,CertSign", "ext_key_usage": "Odd"})).unwrap();
        assert_eq!(role.describe()["key_usage"], json!(["Odd", "CertSign"]));
        assert_eq!(role.key_usages(), [KeyUsagePurpose::KeyCertSign]);
        assert_eq!(role.extended_key_usages().len(), 2, "those of the flags");
    }

    #[test]
    fn a_role_that_stores_nothing_gives_no_leases() {
        let role = role(json!({"no_store": true, "generate_lease": true})).unwrap();
        assert_eq!(role.describe()["generate_lease"], false);
    }
}
