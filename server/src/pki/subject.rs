//! Whom a certificate is for: names from a request or from a CSR.

use std::net::IpAddr;

use rcgen::{DistinguishedName, DnType, DnValue, SanType, SubjectPublicKeyInfo};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::names::is_hostname;
use crate::logical::{Error, Fields};

/// Request parameters that name a subject.
pub(super) const SUBJECT_PARAMETERS: &[&str] =
    &["alt_names", "common_name", "exclude_cn_from_sans", "ip_sans", "uri_sans"];

/// Parameters of the subject's distinguished name, on generate and on roles.
pub(super) const NAME_PARAMETERS: &[&str] =
    &["country", "locality", "organization", "ou", "postal_code", "province", "street_address"];

/// Names for a certificate.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Subject {
    /// Common name; empty for none.
    pub common_name: String,
    /// DNS names.
    pub dns: Vec<String>,
    /// E-mail addresses.
    pub emails: Vec<String>,
    /// IP addresses.
    pub ips: Vec<IpAddr>,
    /// URIs.
    pub uris: Vec<String>,
}

/// Whether Go reads this as a URI.
fn is_uri(text: &str) -> bool {
    let first = text.split(['/', '?', '#']).next().unwrap_or_default();
    let scheme = first.split_once(':').map(|(scheme, _)| scheme);
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    let mut escapes = text.split('%').skip(1).map(|rest| rest.as_bytes().get(..2));
    scheme.is_none_or(is_scheme)
        && !text.chars().any(char::is_control)
        && escapes.all(|digits| digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

impl Subject {
    /// The names a request sends.
    ///
    /// # Errors
    /// 400 for addresses that are none.
    pub fn from_fields(fields: Fields<'_>) -> Result<Self, Error> {
        let mut subject =
            Self { common_name: fields.string("common_name")?.unwrap_or_default(), ..Self::default() };
        // Unlike the other names these are one text.
        let names = fields.string("alt_names")?.unwrap_or_default();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            subject.add_name(name.to_owned());
        }
        for text in fields.comma_strings("ip_sans")?.unwrap_or_default() {
            let address = text
                .parse()
                .map_err(|_| Error::bad_request(format!("the value {text:?} is not a valid IP address")))?;
            subject.ips.push(address);
        }
        subject.uris = fields.comma_strings("uri_sans")?.unwrap_or_default();
        if let Some(uri) = subject.uris.iter().find(|uri| !is_uri(uri)) {
            return Err(Error::bad_request(format!(
                "the provided URI Subject Alternative Name {uri:?} is not a valid URI"
            )));
        }
        if !fields.bool("exclude_cn_from_sans")?.unwrap_or(false) {
            subject.add_common_name();
        }
        Ok(subject)
    }

    /// Adds the common name to the alternative names, if it can be one.
    pub fn add_common_name(&mut self) {
        let name = self.common_name.clone();
        if name.contains('@') || is_hostname(name.trim_start_matches("*.")) {
            self.add_name(name);
        }
    }

    fn add_name(&mut self, name: String) {
        let list = if name.contains('@') { &mut self.emails } else { &mut self.dns };
        if !list.contains(&name) {
            list.push(name);
        }
    }

    /// The alternative names as a certificate holds them.
    pub fn alternative_names(&self) -> Result<Vec<SanType>, Error> {
        let ascii = |name: &String| {
            name.as_str().try_into().map_err(|_| Error::bad_request(format!("name {name:?} is not ASCII")))
        };
        let mut names = Vec::new();
        for name in &self.dns {
            names.push(SanType::DnsName(ascii(name)?));
        }
        for name in &self.emails {
            names.push(SanType::Rfc822Name(ascii(name)?));
        }
        names.extend(self.ips.iter().copied().map(SanType::IpAddress));
        for uri in &self.uris {
            names.push(SanType::URI(ascii(uri)?));
        }
        Ok(names)
    }
}

/// A distinguished name of a common name and the lists for each of [`NAME_PARAMETERS`].
pub(super) fn distinguished_name(
    common_name: &str,
    list: impl Fn(&str) -> Result<Vec<String>, Error>,
) -> Result<DistinguishedName, Error> {
    let mut name = DistinguishedName::new();
    let parts: [(&str, DnType); 7] = [
        ("country", DnType::CountryName),
        ("organization", DnType::OrganizationName),
        ("ou", DnType::OrganizationalUnitName),
        ("locality", DnType::LocalityName),
        ("province", DnType::StateOrProvinceName),
        ("street_address", DnType::CustomDnType(vec![2, 5, 4, 9])),
        ("postal_code", DnType::CustomDnType(vec![2, 5, 4, 17])),
    ];
    for (parameter, kind) in parts {
        let mut values = list(parameter)?;
        values.retain(|value| !value.is_empty());
        match values.as_slice() {
            [] => {}
            [value] => name.push(kind, DnValue::Utf8String(value.clone())),
            _ => {
                return Err(Error::bad_request(format!(
                    "{parameter}: more than one value is not supported by this server"
                )));
            }
        }
    }
    if !common_name.is_empty() {
        name.push(DnType::CommonName, common_name);
    }
    Ok(name)
}

/// A certificate signing request whose signature is right.
pub(super) struct Csr {
    /// Its names.
    pub subject: Subject,
    /// Its public key.
    pub key: SubjectPublicKeyInfo,
    /// Type of its key, in Vault's words.
    pub key_type: &'static str,
}

impl Csr {
    /// Reads `csr` of a request (PEM).
    ///
    /// # Errors
    /// 400 for what is no request, is not signed by its own key, or has a key this server lacks.
    pub fn from_fields(fields: Fields<'_>) -> Result<Self, Error> {
        let text = fields
            .string("csr")?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Error::bad_request("\"csr\" is empty"))?;
        let block = pem::parse(text.as_bytes()).map_err(|_| Error::bad_request("csr contains no data"))?;
        Self::parse(block.contents())
    }

    fn parse(der: &[u8]) -> Result<Self, Error> {
        let refuse =
            |cause: String| Error::bad_request(format!("certificate request could not be parsed: {cause}"));
        let (_, csr) = X509CertificationRequest::from_der(der).map_err(|error| refuse(error.to_string()))?;
        csr.verify_signature()
            .map_err(|error| Error::bad_request(format!("request signature invalid: {error}")))?;
        let info = &csr.certification_request_info;
        let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw)
            .map_err(|_| Error::bad_request("the type of the CSR's key is not supported by this server"))?;
        let key_type = match info.subject_pki.algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.1" => "rsa",
            "1.3.101.112" => "ed25519",
            _ => "ec",
        };
        let mut subject = Subject {
            common_name: info
                .subject
                .iter_common_name()
                .next()
                .and_then(|name| name.as_str().ok())
                .unwrap_or_default()
                .to_owned(),
            ..Subject::default()
        };
        for extension in csr.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                for name in &names.general_names {
                    subject.add_general_name(name).map_err(refuse)?;
                }
            }
        }
        Ok(Self { subject, key, key_type })
    }
}

impl Subject {
    fn add_general_name(&mut self, name: &GeneralName<'_>) -> Result<(), String> {
        match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => {
                self.add_name((*name).to_owned());
            }
            GeneralName::URI(uri) => self.uris.push((*uri).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let address = <[u8; 4]>::try_from(*bytes)
                    .map(IpAddr::from)
                    .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
                    .map_err(|_| "an IP address has the wrong length".to_owned())?;
                self.ips.push(address);
            }
            other => return Err(format!("unsupported alternative name {other}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use serde_json::{Value, json};

    use super::*;

    fn subject(body: &Value) -> Result<Subject, Error> {
        Subject::from_fields(Fields::new(body.as_object().unwrap()))
    }

    #[test]
    fn names_are_sorted_by_their_form() {
        let body = json!({
            "common_name": "a.example.com", "alt_names": "b.example.com, bob@example.com,a.example.com",
            "ip_sans": "127.0.0.1,::1", "uri_sans": "spiffe://x/y",
        });
        let subject = subject(&body).unwrap();
        assert_eq!(subject.dns, ["b.example.com", "a.example.com"]);
        assert_eq!(subject.emails, ["bob@example.com"]);
        assert_eq!((subject.ips.len(), subject.uris.len()), (2, 1));
        assert_eq!(subject.alternative_names().unwrap().len(), 6);
    }

    #[test]
    fn the_common_name_joins_unless_told_otherwise() {
        let of = |body: Value| subject(&body).unwrap().dns;
        assert_eq!(of(json!({"common_name": "a"})), ["a"]);
        assert_eq!(of(json!({"common_name": "*.a"})), ["*.a"]);
        assert!(of(json!({"common_name": "a", "exclude_cn_from_sans": true})).is_empty());
        assert!(of(json!({"common_name": "My Root CA"})).is_empty());
        let error = subject(&json!({"ip_sans": "localhost"})).unwrap_err();
        assert_eq!(error.to_string(), "the value \"localhost\" is not a valid IP address");
    }

    #[test]
    fn a_csr_is_read_and_its_signature_checked() {
        let mut params =
            CertificateParams::new(vec!["a.example.com".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "cn.example.com");
        let key = KeyPair::generate().unwrap();
        let text = params.serialize_request(&key).unwrap().pem().unwrap();
        let body = json!({ "csr": text });
        let csr = Csr::from_fields(Fields::new(body.as_object().unwrap())).unwrap();
        assert_eq!(csr.subject.common_name, "cn.example.com");
        assert_eq!((csr.subject.dns, csr.subject.ips.len()), (vec!["a.example.com".to_owned()], 1));
        assert_eq!(csr.key_type, "ec");

        let mut der = pem::parse(text).unwrap().into_contents();
        let last = der.len() - 1;
        der[last] ^= 1;
        assert_eq!(Csr::parse(&der).err().unwrap().status(), 400);
        for body in [json!({}), json!({"csr": "x"})] {
            assert_eq!(Csr::from_fields(Fields::new(body.as_object().unwrap())).err().unwrap().status(), 400);
        }
    }
}
