//! Issuing certificates under a role: with a new key, or for a request.

use jiff::Timestamp;
use rcgen::PublicKeyData;
use serde_json::json;

use super::authority::common_params;
use super::ca_paths::{joined, set_names};
use super::certificate::CertificateInfo;
use super::key::{KeyKind, PrivateKey};
use super::names::{glob, is_allowed};
use super::output::{Format, add_private_key};
use super::role::Role;
use super::subject::{Csr, Subject, distinguished_name};
use super::validity::{Limits, validity};
use super::{Answer, Endpoint, Pki};
use crate::framework::Call;
use crate::logical::{Error, Fields, LeaseOptions, Object, Response, Secret};

/// Refuses parameters rather than ignoring them.
pub(super) fn refuse_unsupported(fields: Fields<'_>, names: &[&str]) -> Result<(), Error> {
    for name in names {
        if !fields.comma_strings(name)?.unwrap_or_default().is_empty() {
            return Err(Error::bad_request(format!("{name} is not supported by this server")));
        }
    }
    Ok(())
}

/// Refuses what cannot be read, which comes before what is asked of the role.
fn check_types(fields: Fields<'_>) -> Result<(), Error> {
    for name in ["alt_names", "common_name", "csr", "format", "not_after", "private_key_format"] {
        fields.string(name)?;
    }
    for name in ["exclude_cn_from_sans", "remove_roots_from_chain"] {
        fields.bool(name)?;
    }
    for name in ["ip_sans", "uri_sans"] {
        fields.comma_strings(name)?;
    }
    fields.duration("ttl").map(drop)
}

impl Pki {
    /// `issue/<role>`: a new key and its certificate.
    pub(super) async fn issue(&self, call: &Call<'_, Endpoint>) -> Answer {
        let role = self.require_role(call)?;
        if role.text("key_type") == "any" {
            return Err(Error::bad_request(
                "role key type \"any\" not allowed for issuing certificates, only signing",
            ));
        }
        let subject = Subject::from_fields(call.fields())?;
        check_names(&role, &subject, call)?;
        let key =
            PrivateKey::generate(KeyKind::parse(role.text("key_type"), role.number("key_bits"))?).await?;
        let pair = key.pair(0)?;
        self.certify(call, &role, &subject, &pair, Some(&key)).await
    }

    /// `sign/<role>`: a certificate for a request.
    pub(super) async fn sign(&self, call: &Call<'_, Endpoint>) -> Answer {
        let role = self.require_role(call)?;
        let csr = Csr::from_fields(call.fields())?;
        let wanted = role.text("key_type");
        if wanted != "any" && wanted != csr.key_type {
            return Err(Error::bad_request(format!("role requires keys of type {wanted}")));
        }
        let subject = csr_subject(&role, &csr, call)?;
        check_names(&role, &subject, call)?;
        let answer = self.certify(call, &role, &subject, &csr.key, None).await;
        answer.map(|response| with_name_warning(&role, call, response))
    }

    /// `sign-verbatim[/<role>]`: a certificate for a request with the names it has.
    pub(super) async fn sign_verbatim(&self, call: &Call<'_, Endpoint>) -> Answer {
        let csr = Csr::from_fields(call.fields())?;
        let mut sent = match call.path_field("role") {
            "" => Object::new(),
            name => self.role_named(name)?.describe(),
        };
        for name in ["key_usage", "ext_key_usage", "ttl", "signature_bits"] {
            if let Some(value) = call.request.data.get(name) {
                sent.insert(name.to_owned(), value.clone());
            }
        }
        sent.insert("key_type".to_owned(), json!("any"));
        for flag in ["server_flag", "client_flag"] {
            sent.insert(flag.to_owned(), json!(false));
        }
        let role = Role::from_request(&sent)?;
        let subject = csr.subject.clone();
        let answer = self.certify(call, &role, &subject, &csr.key, None).await;
        answer.map(|response| with_name_warning(&role, call, response))
    }

    /// Signs, stores and answers. `key` is the private key to hand out, if it was made here.
    async fn certify(
        &self,
        call: &Call<'_, Endpoint>,
        role: &Role,
        subject: &Subject,
        public: &impl PublicKeyData,
        key: Option<&PrivateKey>,
    ) -> Answer {
        let fields = call.fields();
        let format = Format::from_fields(fields)?;
        let authority = self.require_authority()?;
        let limits = Limits {
            ttl: role.seconds("ttl"),
            max_ttl: role.seconds("max_ttl"),
            not_after: role.text("not_after"),
            not_before: role.seconds("not_before_duration"),
            authority: Some(authority.not_after()?),
        };
        let (begin, end, warnings) = validity(&*self.system, fields, &limits)?;
        let name = distinguished_name(&subject.common_name, |list| Ok(role.list(list)))?;
        let mut params = common_params(public, begin, end, &self.urls()?)?;
        set_names(&mut params, subject, name)?;
        params.key_usages = role.key_usages();
        params.extended_key_usages = role.extended_key_usages();
        let bits = u32::try_from(role.number("signature_bits")).unwrap_or(0);
        let der = authority.sign(&params, public, bits)?.der().to_vec();
        let info = self.store_unless(role.flag("no_store"), &der).await?;

        let mut data = Object::new();
        let mut chain = authority.chain()?;
        data.insert("issuing_ca".to_owned(), json!(chain.first().map(|der| format.certificate(der))));
        if fields.bool("remove_roots_from_chain")?.unwrap_or(false) {
            chain.retain(|der| !CertificateInfo::parse(der).is_ok_and(|info| info.is_self_issued));
        }
        let bundle = if format == Format::PemBundle {
            let all: Vec<Vec<u8>> = std::iter::once(der.clone()).chain(chain.clone()).collect();
            joined(&all)
        } else {
            format.certificate(&der)
        };
        let chain: Vec<String> = chain.iter().map(|der| format.certificate(der)).collect();
        data.insert("certificate".to_owned(), json!(bundle));
        if !chain.is_empty() {
            data.insert("ca_chain".to_owned(), json!(chain));
        }
        data.insert("expiration".to_owned(), json!(info.not_after.as_second()));
        data.insert("serial_number".to_owned(), json!(info.serial));
        if let Some(key) = key {
            add_private_key(&mut data, key, format, fields)?;
        }
        let secret = role.flag("generate_lease").then(|| self.lease(&info.serial, info.not_after));
        Ok(Some(Response { secret: secret.map(Box::new), warnings, ..Response::data(data) }))
    }

    /// A lease that ends with the certificate; revoking it revokes the certificate.
    fn lease(&self, serial: &str, not_after: Timestamp) -> Secret {
        let left = not_after.duration_since(self.system.now());
        Secret {
            lease: LeaseOptions { ttl: left.try_into().unwrap_or_default(), ..LeaseOptions::default() },
            internal: Object::from_iter([("serial_number".to_owned(), json!(serial))]),
            ..Secret::default()
        }
    }

    fn require_role(&self, call: &Call<'_, Endpoint>) -> Result<Role, Error> {
        check_types(call.fields())?;
        refuse_unsupported(call.fields(), &["other_sans", "serial_number", "user_ids"])?;
        self.role_named(call.path_field("role"))
    }

    fn role_named(&self, name: &str) -> Result<Role, Error> {
        self.stored_role(name)?.ok_or_else(|| Error::bad_request(format!("unknown role: {name}")))
    }
}

/// Warns of a common name sent in vain: the one in the CSR counts.
fn with_name_warning(
    role: &Role,
    call: &Call<'_, Endpoint>,
    mut response: Option<Response>,
) -> Option<Response> {
    let sent = call.request.data.get("common_name").is_some_and(|name| name.as_str() != Some(""));
    if let Some(response) = response.as_mut().filter(|_| sent && role.flag("use_csr_common_name")) {
        response.warnings.push(
            "the common_name field was provided but the role is set with \"use_csr_common_name\" set to true"
                .to_owned(),
        );
    }
    response
}

/// Names of a request and a CSR together, as the role wants them.
fn csr_subject(role: &Role, csr: &Csr, call: &Call<'_, Endpoint>) -> Result<Subject, Error> {
    let sent = Subject::from_fields(call.fields())?;
    let mut subject = if role.flag("use_csr_sans") {
        Subject { common_name: String::new(), ..csr.subject.clone() }
    } else {
        sent.clone()
    };
    subject.common_name = if role.flag("use_csr_common_name") && !csr.subject.common_name.is_empty() {
        csr.subject.common_name.clone()
    } else {
        sent.common_name
    };
    if !call.fields().bool("exclude_cn_from_sans")?.unwrap_or(false) {
        subject.add_common_name();
    }
    Ok(subject)
}

/// Refuses names the role doesn't allow, with Vault's texts.
fn check_names(role: &Role, subject: &Subject, call: &Call<'_, Endpoint>) -> Result<(), Error> {
    let refuse = |text: String| Err(Error::bad_request(text));
    let display_name = call.request.display_name();
    let common_name = subject.common_name.as_str();
    if common_name.is_empty() && role.flag("require_cn") {
        return refuse(
            "the common_name field is required, or must be provided in a CSR with \"use_csr_common_name\" set to true, unless \"require_cn\" is set to false"
                .to_owned(),
        );
    }
    let validations = role.list("cn_validations");
    let validates = |kind: &str| validations.iter().any(|v| v == kind);
    let form_is_right = (validates("email") && common_name.contains('@'))
        || (validates("hostname") && !common_name.contains('@'));
    let common_name_is_right = common_name.is_empty()
        || validates("disabled")
        || (form_is_right && is_allowed(role, common_name, display_name));
    if !common_name_is_right {
        return refuse(format!("common name {common_name} not allowed by this role"));
    }
    for name in &subject.dns {
        if !is_allowed(role, name, display_name) {
            return refuse(format!("subject alternate name {name} not allowed by this role"));
        }
    }
    for address in &subject.emails {
        if !is_allowed(role, address, display_name) {
            return refuse(format!("email address {address} not allowed by this role"));
        }
    }
    if !subject.ips.is_empty() && !role.flag("allow_ip_sans") {
        return refuse(
            "IP Subject Alternative Names are not allowed in this role, but was provided some via the API"
                .to_owned(),
        );
    }
    let allowed = role.list("allowed_uri_sans");
    if !subject.uris.is_empty() && allowed.is_empty() {
        return refuse(
            "URI Subject Alternative Names are not allowed in this role, but were provided via the API"
                .to_owned(),
        );
    }
    for uri in &subject.uris {
        if !allowed.iter().any(|pattern| glob(pattern, uri)) {
            return refuse(
                "URI Subject Alternative Names were provided via the API which are not valid for this role"
                    .to_owned(),
            );
        }
    }
    Ok(())
}
