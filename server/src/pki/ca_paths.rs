//! Making the mount's authority: a root of its own, an intermediate, or one brought along.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, GeneralSubtree, NameConstraints};
use serde_json::{Value, json};

use super::authority::{Authority, common_params, make_ca, sign_error};
use super::certificate::{CertificateInfo, certificate_pem, pem_text};
use super::issue::refuse_unsupported;
use super::key::{KeyKind, PrivateKey};
use super::output::{Format, add_private_key};
use super::subject::{Csr, Subject, distinguished_name};
use super::validity::{Limits, validity};
use super::{Answer, Endpoint, Pki};
use crate::framework::{Call, is_name};
use crate::logical::{Error, Fields, Object, Response};
use crate::random;

/// What is shorter cannot be PEM.
const SHORTEST_PEM: usize = 75;

const NO_SUBJECT: &str = "This issuer certificate was generated without a Subject; this makes it likely that issuing leaf certs with this certificate will cause TLS validation libraries to reject this certificate.";

const OUTLIVES: &str = "The expiration time for the signed certificate is after the CA's expiration time. If the new certificate is not treated as a root, validation paths with the certificate past the issuing CA's expiration time will fail.";

impl Pki {
    /// `root/generate/<kind>`: a new key with a certificate signed by itself.
    pub(super) async fn generate_root(&self, call: &Call<'_, Endpoint>) -> Answer {
        let fields = call.fields();
        let (exported, format) = (is_exported(call)?, Format::from_fields(fields)?);
        refuse_unsupported(fields, &["other_sans"])?;
        let subject = Subject::from_fields(fields)?;
        let name = distinguished_name(&subject.common_name, |list| names(fields, list))?;
        let limits = Limits { not_before: not_before(fields)?, ..Limits::default() };
        let (begin, end, warnings) = validity(&*self.system, fields, &limits)?;
        let issuer_name = issuer_name(fields)?;
        let max_path_length = max_path_length(fields)?;
        let signature_bits = signature_bits(fields)?;
        let key = PrivateKey::generate(KeyKind::from_fields(fields)?).await?;
        let pair = key.pair(signature_bits)?;

        let _changes = self.changes.lock().await;
        if self.authority()?.is_some() {
            return Err(Error::bad_request(
                "this mount has an issuer already; this server keeps one per mount: delete it first (DELETE root)",
            ));
        }
        let mut params = common_params(&pair, begin, end, &self.urls()?)?;
        set_names(&mut params, &subject, name)?;
        params.name_constraints = name_constraints(fields)?;
        make_ca(&mut params, max_path_length);
        let certificate = params.self_signed(&pair).map_err(sign_error("root certificate"))?;
        let der = certificate.der().to_vec();
        let authority = Authority::new(key, std::slice::from_ref(&der), issuer_name);
        self.store_authority(&authority, &der).await?;

        let info = CertificateInfo::parse(&der)?;
        let mut data = Object::new();
        data.insert("expiration".to_owned(), json!(info.not_after.as_second()));
        data.insert("serial_number".to_owned(), json!(info.serial));
        data.insert("certificate".to_owned(), json!(format.certificate(&der)));
        data.insert("issuing_ca".to_owned(), json!(format.certificate(&der)));
        data.insert("issuer_id".to_owned(), json!(authority.issuer_id));
        data.insert("issuer_name".to_owned(), json!(authority.issuer_name));
        data.insert("key_id".to_owned(), json!(authority.key_id));
        data.insert("key_name".to_owned(), json!(""));
        if exported {
            add_private_key(&mut data, &authority.key, format, fields)?;
        }
        let mut warnings = warnings;
        if params.distinguished_name.iter().next().is_none() {
            warnings.push(NO_SUBJECT.to_owned());
        }
        warnings.extend(self.urls()?.unset_warning());
        Ok(Some(Response { warnings, ..Response::data(data) }))
    }

    /// `intermediate/generate/<kind>`: a new key that waits for its certificate, and a request.
    pub(super) async fn generate_intermediate(&self, call: &Call<'_, Endpoint>) -> Answer {
        let fields = call.fields();
        let (exported, format) = (is_exported(call)?, Format::from_fields(fields)?);
        refuse_unsupported(fields, &["other_sans"])?;
        refuse_unsupported(fields, &["other_sans"])?;
        let subject = Subject::from_fields(fields)?;
        let name = distinguished_name(&subject.common_name, |list| names(fields, list))?;
        validity(&*self.system, fields, &Limits::default())?;
        let key = PrivateKey::generate(KeyKind::from_fields(fields)?).await?;
        let pair = key.pair(signature_bits(fields)?)?;
        let mut params = CertificateParams::default();
        set_names(&mut params, &subject, name)?;
        if fields.bool("add_basic_constraints")?.unwrap_or(false) {
            make_ca(&mut params, None);
        }
        let request = params.serialize_request(&pair).map_err(sign_error("certificate request"))?;
        let _changes = self.changes.lock().await;
        self.view.put_json("pending", &key).await?;
        let mut data = Object::new();
        let csr = match format {
            Format::Der => STANDARD.encode(request.der()),
            Format::Pem | Format::PemBundle => pem_text("CERTIFICATE REQUEST", request.der()),
        };
        data.insert("csr".to_owned(), json!(csr));
        data.insert("key_id".to_owned(), json!(random::uuid()));
        if exported {
            add_private_key(&mut data, &key, format, fields)?;
        }
        let mut response = Response::data(data);
        response.warnings.extend(self.urls()?.unset_warning().map(|warning| {
            warning
                + " Since this certificate is an intermediate, it might be useful to regenerate this certificate \
                   after fixing this problem for the root mount."
        }));
        Ok(Some(response))
    }

    /// `intermediate/set-signed`: the certificate for the key that waits, with those above it.
    pub(super) async fn set_signed(&self, call: &Call<'_, Endpoint>) -> Answer {
        let text = sent_pem(call.fields(), "certificate")?;
        let blocks = pem_blocks(&text)?;
        let chain = certificates(&blocks);
        let _changes = self.changes.lock().await;
        let Some(key) = self.view.get_json::<PrivateKey>("pending")? else {
            return Err(Error::bad_request(
                "no key is waiting for a certificate: generate an intermediate first",
            ));
        };
        let authority = self.import(key, chain, String::new()).await?;
        self.view.delete("pending").await?;
        let mut response = imported(&authority, false);
        response.warnings.extend(self.urls()?.unset_warning());
        Ok(Some(response))
    }

    /// `config/ca`: a key and its certificates brought along in `pem_bundle`.
    pub(super) async fn set_ca(&self, call: &Call<'_, Endpoint>) -> Answer {
        let text = sent_pem(call.fields(), "pem_bundle")?;
        let blocks = pem_blocks(&text)?;
        let key = blocks.iter().find(|block| block.tag().ends_with("PRIVATE KEY"));
        let key = key.ok_or_else(|| Error::bad_request("pem_bundle holds no private key"))?;
        let key = PrivateKey::from_pem(key).map_err(|error| Error::bad_request(error.to_string()))?;
        let _changes = self.changes.lock().await;
        let authority = self.import(key, certificates(&blocks), String::new()).await?;
        Ok(Some(imported(&authority, true)))
    }

    /// Makes an authority of a key and certificates, one of which must be the key's.
    async fn import(
        &self,
        key: PrivateKey,
        mut chain: Vec<Vec<u8>>,
        name: String,
    ) -> Result<Authority, Error> {
        use rcgen::PublicKeyData;
        let refuse = |text: &str| Err(Error::bad_request(text));
        if self.authority()?.is_some() {
            return refuse(
                "this mount has an issuer already; this server keeps one per mount: delete it first (DELETE root)",
            );
        }
        let public = key.pair(0)?.subject_public_key_info();
        let mut own = None;
        for (index, der) in chain.iter().enumerate() {
            let info = CertificateInfo::parse(der).map_err(|error| Error::bad_request(error.to_string()))?;
            if info.public_key == public {
                own = Some((index, info));
            }
        }
        let Some((index, info)) = own else {
            return refuse("no certificate belongs to the private key");
        };
        if !info.is_ca {
            return refuse(
                "the given certificate is not marked for CA use and cannot be used with this backend",
            );
        }
        let certificate = chain.remove(index);
        chain.insert(0, certificate.clone());
        let authority = Authority::new(key, &chain, name);
        self.store_authority(&authority, &certificate).await?;
        Ok(authority)
    }

    /// `root/sign-intermediate`: an authority's certificate for someone else's request.
    pub(super) async fn sign_intermediate(&self, call: &Call<'_, Endpoint>) -> Answer {
        let fields = call.fields();
        let format = Format::from_fields(fields)?;
        refuse_unsupported(fields, &["other_sans"])?;
        let csr = Csr::from_fields(fields)?;
        let authority = self.require_authority()?;
        let use_csr = fields.bool("use_csr_values")?.unwrap_or(false);
        let subject = if use_csr { csr.subject } else { Subject::from_fields(fields)? };
        let name = distinguished_name(&subject.common_name, |list| {
            if use_csr { Ok(Vec::new()) } else { names(fields, list) }
        })?;
        // As in Vault, an intermediate may outlive the authority that signs it.
        let limits = Limits { not_before: not_before(fields)?, ..Limits::default() };
        let (begin, end, capped) = validity(&*self.system, fields, &limits)?;
        let mut warnings = Vec::new();
        if end > authority.not_after()? {
            warnings.push(OUTLIVES.to_owned());
        }
        warnings.extend(self.urls()?.unset_warning());
        warnings.extend(capped);
        let mut params = common_params(&csr.key, begin, end, &self.urls()?)?;
        set_names(&mut params, &subject, name)?;
        params.name_constraints = name_constraints(fields)?;
        make_ca(&mut params, max_path_length(fields)?);
        let certificate = authority.sign(&params, &csr.key, signature_bits(fields)?)?;
        let der = certificate.der().to_vec();
        let info = self.store_certificate(&der).await?;
        let chain = authority.chain()?;
        let bundle = if format == Format::PemBundle {
            joined(&std::iter::once(der.clone()).chain(chain.clone()).collect::<Vec<_>>())
        } else {
            format.certificate(&der)
        };
        let mut data = Object::new();
        data.insert("expiration".to_owned(), json!(info.not_after.as_second()));
        data.insert("serial_number".to_owned(), json!(info.serial));
        data.insert("certificate".to_owned(), json!(bundle));
        data.insert("issuing_ca".to_owned(), json!(chain.first().map(|der| format.certificate(der))));
        let above: Vec<String> =
            std::iter::once(&der).chain(&chain).map(|der| format.certificate(der)).collect();
        data.insert("ca_chain".to_owned(), json!(above));
        Ok(Some(Response { warnings, ..Response::data(data) }))
    }

    /// `DELETE root`: forgets the authority. Certificates stay, and stay revocable in name only.
    pub(super) async fn delete_root(&self) -> Answer {
        let _changes = self.changes.lock().await;
        self.view.delete("authority").await?;
        self.view.delete("crl").await?;
        Ok(Some(Response::warning(
            "DELETE /root deletes all keys and issuers; prefer the new DELETE /key/:key_ref and DELETE \
             /issuer/:issuer_ref for finer granularity, unless removal of all keys and issuers is desired.",
        )))
    }
}

/// The PEM text in a field, as `config/ca` and `set-signed` take it.
fn sent_pem(fields: Fields<'_>, name: &str) -> Result<String, Error> {
    let text = fields.string(name)?.filter(|text| !text.is_empty());
    let text =
        text.ok_or_else(|| Error::bad_request("'pem_bundle' and 'certificate' parameters were empty"))?;
    if text.len() < SHORTEST_PEM {
        return Err(Error::bad_request(
            "provided data for import was too short; perhaps a path was passed to the API rather than the \
             contents of a PEM file",
        ));
    }
    Ok(text)
}

/// Whether the path asks for the private key: `exported` or `internal`.
fn is_exported(call: &Call<'_, Endpoint>) -> Result<bool, Error> {
    match call.path_field("exported") {
        "internal" => Ok(false),
        "exported" => Ok(true),
        other => Err(Error::bad_request(format!(
            "{other:?}: only internal and exported keys are supported by this server"
        ))),
    }
}

fn names(fields: Fields<'_>, list: &str) -> Result<Vec<String>, Error> {
    Ok(fields.comma_strings(list)?.unwrap_or_default())
}

pub(super) fn set_names(
    params: &mut CertificateParams,
    subject: &Subject,
    name: DistinguishedName,
) -> Result<(), Error> {
    params.distinguished_name = name;
    params.subject_alt_names = subject.alternative_names()?;
    Ok(())
}

fn not_before(fields: Fields<'_>) -> Result<std::time::Duration, Error> {
    let given = fields.duration("not_before_duration")?;
    Ok(given.unwrap_or(std::time::Duration::from_secs(30)))
}

fn issuer_name(fields: Fields<'_>) -> Result<String, Error> {
    let name = fields.string("issuer_name")?.unwrap_or_default();
    if name == "default" {
        return Err(Error::bad_request("reserved keyword 'default' can not be used as issuer name"));
    }
    if !(name.is_empty() || is_name(&name)) {
        return Err(Error::bad_request("issuer name contained invalid characters"));
    }
    Ok(name)
}

/// `max_path_length`; -1 and absent are unlimited.
fn max_path_length(fields: Fields<'_>) -> Result<Option<u8>, Error> {
    match fields.int("max_path_length")? {
        None | Some(-1) => Ok(None),
        Some(length) => u8::try_from(length)
            .map(Some)
            .map_err(|_| Error::bad_request("max_path_length must be between -1 and 255")),
    }
}

fn signature_bits(fields: Fields<'_>) -> Result<u32, Error> {
    match fields.int("signature_bits")?.unwrap_or(0) {
        0 | 256 => Ok(0),
        384 => Ok(384),
        512 => Ok(512),
        bits => Err(Error::bad_request(format!("unsupported hash signature algorithm: {bits}"))),
    }
}

fn name_constraints(fields: Fields<'_>) -> Result<Option<NameConstraints>, Error> {
    let domains = names(fields, "permitted_dns_domains")?;
    Ok((!domains.is_empty()).then(|| NameConstraints {
        permitted_subtrees: domains.into_iter().map(GeneralSubtree::DnsName).collect(),
        excluded_subtrees: Vec::new(),
    }))
}

fn pem_blocks(text: &str) -> Result<Vec<pem::Pem>, Error> {
    match pem::parse_many(text.as_bytes()) {
        Ok(blocks) if !blocks.is_empty() => Ok(blocks),
        _ => Err(Error::bad_request("no data found in PEM block")),
    }
}

fn certificates(blocks: &[pem::Pem]) -> Vec<Vec<u8>> {
    let own = blocks.iter().filter(|block| block.tag() == "CERTIFICATE");
    own.map(|block| block.contents().to_vec()).collect()
}

fn imported(authority: &Authority, with_key: bool) -> Response {
    let keys = if with_key { json!([authority.key_id]) } else { Value::Null };
    Response::json(json!({
        "existing_issuers": null,
        "existing_keys": null,
        "imported_issuers": [authority.issuer_id],
        "imported_keys": keys,
        "mapping": { authority.issuer_id.clone(): authority.key_id },
    }))
}

/// PEM of a list of certificates, one after the other.
pub(super) fn joined(chain: &[Vec<u8>]) -> String {
    let pems: Vec<String> = chain.iter().map(|der| certificate_pem(der)).collect();
    pems.join("\n")
}
