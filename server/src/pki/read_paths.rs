//! Reading the authority, its chain, certificates and the revocation list.

use serde_json::json;

use super::ca_paths::joined;
use super::certificate::{certificate_pem, pem_text};
use super::{Answer, Endpoint, Pki};
use crate::framework::Call;
use crate::logical::{Error, Operation, RawBody, Response};

const CERTIFICATE: &str = "application/pkix-cert";
const CHAIN: &str = "application/pem-certificate-chain";
const CRL: &str = "application/pkix-crl";
const CRL_PEM: &str = "application/x-pem-file";

/// A body that is not an envelope; 204 where there is nothing.
fn raw(content_type: &'static str, body: Option<Vec<u8>>) -> Response {
    let status = if body.is_some() { 200 } else { 204 };
    Response {
        raw: Some(RawBody { status, content_type, body: body.unwrap_or_default().into() }),
        ..Response::default()
    }
}

impl Pki {
    /// `ca`, `ca/pem`, `ca_chain`.
    pub(super) fn read_ca(&self, path: &str) -> Answer {
        let chain = match self.authority()? {
            Some(authority) => authority.chain()?,
            None => Vec::new(),
        };
        let first = chain.first();
        Ok(Some(match path {
            "ca" => raw(CERTIFICATE, first.cloned()),
            "ca/pem" => raw(CHAIN, first.map(|der| certificate_pem(der).into_bytes())),
            _ => raw(CERTIFICATE, first.map(|_| joined(&chain).into_bytes())),
        }))
    }

    /// `crl`, `crl/pem`.
    pub(super) async fn read_crl(&self, path: &str) -> Answer {
        let der = self.crl().await?;
        Ok(Some(if path == "crl" {
            raw(CRL, der)
        } else {
            raw(CRL_PEM, der.map(|der| pem_text("X509 CRL", &der).into_bytes()))
        }))
    }

    /// `cert/<serial>`, where `ca`, `ca_chain` and `crl` stand for those; `…/raw` and `…/raw/pem`.
    pub(super) async fn read_certificate(&self, call: &Call<'_, Endpoint>) -> Answer {
        let serial = call.path_field("serial");
        let form = call.request.path.split_once("/raw").map(|(_, rest)| rest);
        let authority = match serial {
            "ca" | "ca_chain" => self.authority()?,
            _ => None,
        };
        if form.is_none() && matches!(serial, "ca" | "crl") && self.authority()?.is_none() {
            let status = if serial == "ca" { 400 } else { 500 };
            return Err(Error::coded(status, "no default issuer currently configured"));
        }
        let (der, text) = match (serial, authority) {
            ("ca", Some(authority)) => {
                let der = authority.certificate()?;
                let text = certificate_pem(&der);
                (der, text)
            }
            ("ca_chain", Some(authority)) => {
                let chain = authority.chain()?;
                (chain.concat(), joined(&chain))
            }
            ("crl", _) => match self.crl().await? {
                Some(der) => {
                    let text = pem_text("X509 CRL", &der);
                    (der, text)
                }
                None => return Ok(None),
            },
            _ => match self.certificate(serial)? {
                Some(der) => {
                    let text = certificate_pem(&der);
                    (der, text)
                }
                None => return Ok(None),
            },
        };
        if let Some(form) = form {
            return Ok(Some(match form {
                "/pem" => raw(CHAIN, Some(text.into_bytes())),
                _ => raw(CERTIFICATE, Some(der)),
            }));
        }
        let revocation = self.revocation(serial)?;
        let mut data = json!({
            "certificate": text,
            "revocation_time": revocation.as_ref().map_or(0, |r| r.time.as_second()),
            "revocation_time_rfc3339": revocation.map(|r| r.time.to_string()).unwrap_or_default(),
        });
        if serial == "ca_chain" {
            data["ca_chain"] = json!(text);
        }
        Ok(Some(Response::json(data)))
    }

    /// `certs`, `certs/revoked`: serial numbers.
    pub(super) fn list_certificates(&self, folder: &str) -> Answer {
        let serials = self.view.list(folder)?;
        Ok(Response::list(serials.iter().map(|serial| serial.replace('-', ":")).collect()))
    }

    /// `issuers`.
    pub(super) fn list_issuers(&self) -> Answer {
        let Some(authority) = self.authority()? else {
            return Ok(None);
        };
        let info = json!({
            "is_default": true,
            "issuer_name": authority.issuer_name,
            "key_id": authority.key_id,
        });
        Ok(Response::list_with_info(vec![(authority.issuer_id, info)]))
    }

    /// `issuer/<ref>` and its forms `json`, `der`, `pem`.
    pub(super) fn read_issuer(&self, call: &Call<'_, Endpoint>) -> Answer {
        let reference = call.path_field("issuer_ref");
        let known = self.authority()?.filter(|authority| {
            reference == "default"
                || reference == authority.issuer_id
                || (!reference.is_empty() && reference == authority.issuer_name)
        });
        let Some(authority) = known else {
            return Err(Error::bad_request(format!("unable to find PKI issuer for reference: {reference}")));
        };
        Ok(Some(match call.path_field("form") {
            "der" => raw(CERTIFICATE, Some(authority.certificate()?)),
            "pem" => raw(CHAIN, Some(certificate_pem(&authority.certificate()?).into_bytes())),
            "json" => {
                let described = authority.describe()?;
                Response::json(json!({
                    "ca_chain": described["ca_chain"],
                    "certificate": described["certificate"],
                    "issuer_id": described["issuer_id"],
                    "issuer_name": described["issuer_name"],
                }))
            }
            "" => Response::json(authority.describe()?),
            _ => return Err(Error::UnsupportedPath),
        }))
    }

    /// `config/issuers`: the default is the one there is.
    pub(super) async fn issuers_config(&self, call: &Call<'_, Endpoint>) -> Answer {
        const FOLLOWS: &str = "config/issuers/default_follows_latest_issuer";
        let _changes = self.changes.lock().await;
        let authority = self.authority()?;
        let mut follows = self.view.get_json(FOLLOWS)?.unwrap_or(false);
        if call.operation() != Operation::Read {
            let wanted = call.fields().string("default")?.unwrap_or_default();
            if wanted.is_empty() || wanted == "default" {
                return Err(Error::bad_request(
                    "Invalid issuer specification; must be non-empty and can't be 'default'.",
                ));
            }
            if !authority.as_ref().is_some_and(|it| it.issuer_id == wanted || it.issuer_name == wanted) {
                return Err(Error::bad_request(format!(
                    "Error resolving issuer reference: unable to find PKI issuer for reference: {wanted}"
                )));
            }
            if let Some(given) = call.fields().bool("default_follows_latest_issuer")? {
                follows = given;
                self.view.put_json(FOLLOWS, &follows).await?;
            }
        }
        Ok(Some(Response::json(json!({
            "default": authority.map(|it| it.issuer_id).unwrap_or_default(),
            "default_follows_latest_issuer": follows,
        }))))
    }
}
