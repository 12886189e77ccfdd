//! URLs that go into certificates, and how long revocation lists are valid.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use yasna::Tag;
use yasna::models::ObjectIdentifier;

use crate::duration;
use crate::logical::{Error, Fields};

const CA_ISSUERS: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 2];
const OCSP: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1];

/// `config/urls`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Urls {
    /// Where the authority's certificate can be had.
    pub issuing_certificates: Vec<String>,
    /// Where the revocation list can be had.
    pub crl_distribution_points: Vec<String>,
    /// OCSP servers.
    pub ocsp_servers: Vec<String>,
}

impl Urls {
    /// Takes over what a request sends.
    pub fn update(&mut self, fields: Fields<'_>) -> Result<(), Error> {
        if fields.bool("enable_templating")? == Some(true) {
            return Err(Error::bad_request("enable_templating is not supported by this server"));
        }
        let lists = [
            ("issuing_certificates", &mut self.issuing_certificates),
            ("crl_distribution_points", &mut self.crl_distribution_points),
            ("ocsp_servers", &mut self.ocsp_servers),
        ];
        for (name, list) in lists {
            if let Some(urls) = fields.comma_strings(name)? {
                if let Some(url) = urls.iter().find(|url| !is_url(url)) {
                    return Err(Error::bad_request(format!(
                        "invalid URL found in Authority Information Access (AIA) parameter {name}: {url}"
                    )));
                }
                *list = urls;
            }
        }
        Ok(())
    }

    /// What a read answers.
    pub fn describe(&self) -> Value {
        json!({
            "crl_distribution_points": self.crl_distribution_points,
            "enable_templating": false,
            "issuing_certificates": self.issuing_certificates,
            "ocsp_servers": self.ocsp_servers,
        })
    }

    /// Vault's warning where no address is set.
    pub fn unset_warning(&self) -> Option<String> {
        let set = [&self.issuing_certificates, &self.crl_distribution_points, &self.ocsp_servers];
        set.iter().all(|urls| urls.is_empty()).then(|| {
            "This mount hasn't configured any authority information access (AIA) fields; this may make it harder \
             for systems to find missing certificates in the chain or to validate revocation status of \
             certificates. Consider updating /config/urls or the newly generated issuer with this information."
                .to_owned()
        })
    }

    /// The content of the authority information access extension (RFC 5280, 4.2.2.1).
    pub fn authority_information(&self) -> Option<Vec<u8>> {
        let ocsp = self.ocsp_servers.iter().map(|url| (OCSP, url));
        let issuers = self.issuing_certificates.iter().map(|url| (CA_ISSUERS, url));
        let entries: Vec<_> = ocsp.chain(issuers).collect();
        if entries.is_empty() {
            return None;
        }
        Some(yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                for (method, url) in entries {
                    writer.next().write_sequence(|writer| {
                        writer.next().write_oid(&ObjectIdentifier::from_slice(method));
                        writer.next().write_tagged_implicit(Tag::context(6), |writer| {
                            writer.write_ia5_string(url);
                        });
                    });
                }
            });
        }))
    }
}

/// Whether this can stand in a certificate: ASCII with a scheme and something behind it.
fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").filter(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    scheme.is_some() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `config/crl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CrlSettings {
    /// Life of a revocation list.
    pub expiry: Duration,
    /// The same as it was sent, which is how it is read.
    #[serde(default)]
    expiry_text: String,
    /// Whether the list is empty whatever was revoked.
    pub disable: bool,
    /// Whether the list is made anew before it is out of date, not when it is.
    #[serde(default)]
    auto_rebuild: bool,
    /// `ocsp_disable`, which has no effect here.
    #[serde(default)]
    ocsp_disable: Option<bool>,
    /// `max_crl_entries`, which has no effect here; -1 for no limit.
    #[serde(default)]
    max_entries: Option<i64>,
    /// Durations that say how long before, or have no effect here, as they were sent.
    #[serde(default)]
    others: BTreeMap<String, String>,
}

const GRACE: &str = "auto_rebuild_grace_period";
const GRACE_DEFAULT: &str = "12h";

/// `max_crl_entries` where it is not set.
const MAX_ENTRIES: i64 = 100_000;

/// How far below zero a duration is.
fn below_zero(text: &str) -> Option<Duration> {
    let below = duration::parse(text.strip_prefix('-')?).ok()?;
    (!below.is_zero()).then_some(below)
}

/// Durations beside the list's own life, with their defaults.
const OTHER_DURATIONS: [(&str, &str); 3] =
    [(GRACE, GRACE_DEFAULT), ("delta_rebuild_interval", "15m"), ("ocsp_expiry", "12h")];

impl Default for CrlSettings {
    fn default() -> Self {
        Self {
            expiry: Duration::from_hours(72),
            expiry_text: "72h".to_owned(),
            disable: false,
            auto_rebuild: false,
            ocsp_disable: None,
            max_entries: None,
            others: BTreeMap::new(),
        }
    }
}

impl CrlSettings {
    /// Takes over what a request sends.
    pub fn update(&mut self, fields: Fields<'_>) -> Result<(), Error> {
        for (name, refusal) in [
            ("enable_delta", "enable_delta is not supported by this server"),
            (
                "unified_crl_on_existing_paths",
                "unified_crl_on_existing_paths cannot be enabled if unified_crl is disabled",
            ),
            (
                "cross_cluster_revocation",
                "Global, cross-cluster revocation queue (cross_cluster_revocation) can only be enabled on Vault \
                 Enterprise.",
            ),
            ("unified_crl", "unified_crl can only be enabled on Vault Enterprise"),
        ] {
            // Whether there are lists of all clusters decides what is wrong about showing them.
            let without =
                name != "unified_crl_on_existing_paths" || fields.bool("unified_crl")? != Some(true);
            if fields.bool(name)? == Some(true) && without {
                return Err(Error::bad_request(refusal));
            }
        }
        // Read as a text first, so its errors are not those of a field.
        let unreadable = |error| Error::bad_request(format!("given expiry could not be decoded: {error}"));
        if let Some(expiry) = fields.text_duration("expiry").map_err(unreadable)? {
            if expiry.is_zero() {
                return Err(Error::bad_request("given expiry could not be decoded: it must not be zero"));
            }
            self.expiry = expiry;
            self.expiry_text = fields.string("expiry")?.unwrap_or_default();
        }
        if let Some(disable) = fields.bool("disable")? {
            self.disable = disable;
        }
        self.auto_rebuild = fields.bool("auto_rebuild")?.unwrap_or(self.auto_rebuild);
        self.ocsp_disable = fields.bool("ocsp_disable")?.or(self.ocsp_disable);
        // Others than these two values leave it as it is.
        let limit = fields.int("max_crl_entries")?.filter(|limit| *limit == -1 || *limit > 0);
        self.max_entries = limit.or(self.max_entries);
        if let Some(below) = fields.string("ocsp_expiry")?.and_then(|text| below_zero(&text)) {
            return Err(Error::bad_request(format!(
                "ocsp_expiry must be greater than or equal to 0 got: -{}",
                duration::format(below)
            )));
        }
        for (name, _) in OTHER_DURATIONS {
            let unreadable =
                |error| Error::bad_request(format!("given {name} could not be decoded: {error}"));
            if fields.text_duration(name).map_err(unreadable)?.is_some() {
                self.others.insert(name.to_owned(), fields.string(name)?.unwrap_or_default());
            }
        }
        if self.auto_rebuild && self.grace() >= self.expiry {
            return Err(Error::bad_request(format!(
                "CRL auto-rebuilding grace period ({}) must be strictly shorter than CRL expiry ({}) value when \
                 auto-rebuilding of CRLs is enabled",
                self.other(GRACE, GRACE_DEFAULT),
                self.expiry_text(),
            )));
        }
        Ok(())
    }

    /// How long before it is out of date the list is made anew.
    pub fn grace(&self) -> Duration {
        let text = self.other(GRACE, GRACE_DEFAULT);
        if self.auto_rebuild { duration::parse(text).unwrap_or_default() } else { Duration::ZERO }
    }

    fn other<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.others.get(name).map_or(default, String::as_str)
    }

    fn expiry_text(&self) -> String {
        if self.expiry_text.is_empty() {
            duration::format_short(self.expiry)
        } else {
            self.expiry_text.clone()
        }
    }

    /// What a read answers.
    pub fn describe(&self) -> Value {
        let mut shown = json!({
            "auto_rebuild": self.auto_rebuild,
            "cross_cluster_revocation": false,
            "disable": self.disable,
            "enable_delta": false,
            "expiry": self.expiry_text(),
            "max_crl_entries": self.max_entries.unwrap_or(MAX_ENTRIES),
            "ocsp_disable": self.ocsp_disable.unwrap_or_default(),
            "unified_crl": false,
            "unified_crl_on_existing_paths": false,
        });
        for (name, default) in OTHER_DURATIONS {
            shown[name] = json!(self.other(name, default));
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_and_kept_one_by_one() {
        let mut urls = Urls::default();
        assert!(urls.authority_information().is_none());
        let update = |urls: &mut Urls, body: Value| urls.update(Fields::new(body.as_object().unwrap()));
        update(&mut urls, json!({"issuing_certificates": "http://a/ca,http://b/ca"})).unwrap();
        update(&mut urls, json!({"ocsp_servers": "http://o"})).unwrap();
        assert_eq!(urls.describe()["issuing_certificates"], json!(["http://a/ca", "http://b/ca"]));
        assert!(urls.authority_information().unwrap().windows(8).any(|part| part == b"http://o"));
        for bad in ["ftp", "://x", "http://", "http://ä", "http://a b"] {
            assert_eq!(update(&mut urls, json!({"ocsp_servers": [bad]})).unwrap_err().status(), 400, "{bad}");
        }
        assert_eq!(update(&mut urls, json!({"enable_templating": true})).unwrap_err().status(), 400);
    }

    #[test]
    fn crl_settings() {
        let mut settings = CrlSettings::default();
        assert_eq!(settings.describe()["expiry"], "72h");
        let mut update = |body: Value| settings.update(Fields::new(body.as_object().unwrap()));
        update(json!({"expiry": "1h", "disable": true})).unwrap();
        assert!(update(json!({"expiry": 0})).is_err());
        for (name, text) in [
            ("enable_delta", "not supported by this server"),
            ("unified_crl", "only be enabled on Vault Enterprise"),
            ("cross_cluster_revocation", "only be enabled on Vault Enterprise"),
            ("unified_crl_on_existing_paths", "if unified_crl is disabled"),
        ] {
            let error = update(json!({ name: true })).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
            update(json!({ name: false })).unwrap();
        }
        let error = update(json!({"ocsp_expiry": "-90m"})).unwrap_err();
        assert_eq!(error.to_string(), "ocsp_expiry must be greater than or equal to 0 got: -1h30m0s");
        for limit in [5, 0, -7] {
            update(json!({ "max_crl_entries": limit })).unwrap();
        }
        update(json!({"ocsp_expiry": "2h", "ocsp_disable": false})).unwrap();
        let error = update(json!({"delta_rebuild_interval": "x"})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "given delta_rebuild_interval could not be decoded: time: invalid duration \"x\""
        );
        let shown = settings.describe();
        assert_eq!((&shown["ocsp_expiry"], &shown["ocsp_disable"]), (&json!("2h"), &json!(false)));
        assert_eq!(shown["auto_rebuild_grace_period"], "12h");
        assert_eq!(shown["max_crl_entries"], 5);
        assert_eq!(settings.expiry, Duration::from_hours(1));
    }
    #[test]
    fn a_list_rebuilt_by_itself_is_so_before_it_is_out_of_date() {
        let mut settings = CrlSettings::default();
        assert_eq!(settings.grace(), Duration::ZERO);
        let mut update = |body: Value| settings.update(Fields::new(body.as_object().unwrap()));
        update(json!({"auto_rebuild": true, "auto_rebuild_grace_period": "1h"})).unwrap();
        let too_long = update(json!({"auto_rebuild_grace_period": "72h"})).unwrap_err();
        assert_eq!(
            too_long.to_string(),
            "CRL auto-rebuilding grace period (72h) must be strictly shorter than CRL expiry (72h) value when \
             auto-rebuilding of CRLs is enabled"
        );
        update(json!({"auto_rebuild_grace_period": "1h"})).unwrap();
        assert_eq!(settings.grace(), Duration::from_hours(1));
        assert_eq!(settings.describe()["auto_rebuild"], true);
    }
}
