//! Revoking certificates, and the list of those revoked.

use jiff::Timestamp;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::authority::{date, sign_error};
use super::certificate::{CertificateInfo, serial_bytes, serial_key};
use super::{Answer, Endpoint, Pki};
use crate::framework::Call;
use crate::logical::{Error, Response, SecretLease, Write};

/// What is kept about a revoked certificate.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Revocation {
    /// When it was revoked.
    pub time: Timestamp,
    /// When it expires anyway.
    pub expires: Timestamp,
}

/// The list as it is stored.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredCrl {
    number: u64,
    /// When a newer one is due.
    next_update: Timestamp,
    /// DER.
    pub der: Vec<u8>,
}

impl Pki {
    /// `revoke`.
    pub(super) async fn revoke_certificate(&self, call: &Call<'_, Endpoint>) -> Answer {
        let fields = call.fields();
        let text = |name| fields.string(name).map(|text| text.filter(|text| !text.is_empty()));
        let serial = match (text("serial_number")?, text("certificate")?) {
            (Some(_), Some(_)) => {
                return Err(Error::bad_request(
                    "Must provide either the certificate or the serial to revoke; not both.",
                ));
            }
            (Some(serial), None) => serial,
            (None, Some(certificate)) => {
                let block = pem::parse(certificate.as_bytes())
                    .map_err(|_| Error::bad_request("certificate contains no PEM data"))?;
                let info = CertificateInfo::parse(block.contents()).map_err(|error| {
                    Error::bad_request(format!("certificate could not be parsed: {error}"))
                })?;
                info.serial
            }
            (None, None) => {
                return Err(Error::bad_request(
                    "The serial number or certificate to revoke must be provided.",
                ));
            }
        };
        let _changes = self.changes.lock().await;
        let Some(der) = self.certificate(&serial)? else {
            return Err(Error::bad_request(format!("certificate with serial {serial} not found.")));
        };
        let info = CertificateInfo::parse(&der)?;
        if info.is_ca && info.is_self_issued {
            let id = self.authority()?.map(|authority| authority.issuer_id).unwrap_or_default();
            return Err(Error::bad_request(format!(
                "adding issuer (id: {id}) to its own CRL is not allowed"
            )));
        }
        let revocation = self.add_revocation(&info).await?;
        Ok(Some(Response::json(json!({
            "revocation_time": revocation.time.as_second(),
            "revocation_time_rfc3339": revocation.time.to_string(),
            "state": "revoked",
        }))))
    }

    /// Revokes the certificate of a lease; gone or expired ones are no error.
    pub(super) async fn revoke_lease(&self, lease: &SecretLease) -> Result<(), Error> {
        let serial = lease.internal.get("serial_number").and_then(|serial| serial.as_str());
        let serial = serial.ok_or_else(|| Error::internal("the lease names no certificate"))?;
        let _changes = self.changes.lock().await;
        if let Some(der) = self.certificate(serial)? {
            self.add_revocation(&CertificateInfo::parse(&der)?).await?;
        }
        Ok(())
    }

    /// Records a revocation, once, and makes the list anew. The caller holds the lock.
    async fn add_revocation(&self, info: &CertificateInfo) -> Result<Revocation, Error> {
        let key = format!("revoked/{}", serial_key(&info.serial));
        if let Some(known) = self.view.get_json::<Revocation>(&key)? {
            return Ok(known);
        }
        let revocation = Revocation { time: self.system.now(), expires: info.not_after };
        self.view.put_json(&key, &revocation).await?;
        self.rebuild_crl().await?;
        Ok(revocation)
    }

    /// What is known about the revocation of a certificate.
    pub(super) fn revocation(&self, serial: &str) -> Result<Option<Revocation>, Error> {
        Ok(self.view.get_json(&format!("revoked/{}", serial_key(serial)))?)
    }

    /// The list, made anew where there is none or it is out of date; none without an authority.
    pub(super) async fn crl(&self) -> Result<Option<Vec<u8>>, Error> {
        let stored = self.view.get_json::<StoredCrl>("crl")?;
        let fresh_until =
            self.system.now().saturating_add(self.crl_settings()?.grace()).unwrap_or(Timestamp::MAX);
        if let Some(stored) = stored.filter(|stored| stored.next_update > fresh_until) {
            return Ok(Some(stored.der));
        }
        let _changes = self.changes.lock().await;
        self.rebuild_crl().await
    }

    /// `crl/rotate`.
    pub(super) async fn rotate_crl(&self) -> Answer {
        let _changes = self.changes.lock().await;
        self.require_authority()?;
        self.rebuild_crl().await?;
        Ok(Some(Response::json(json!({"success": true}))))
    }

    /// Makes and stores the list. The caller holds the lock.
    pub(super) async fn rebuild_crl(&self) -> Result<Option<Vec<u8>>, Error> {
        let Some(authority) = self.authority()? else {
            return Ok(None);
        };
        let (now, settings) = (self.system.now(), self.crl_settings()?);
        let number = self.view.get_json::<StoredCrl>("crl")?.map_or(1, |stored| stored.number + 1);
        let next_update = now.saturating_add(settings.expiry).unwrap_or(Timestamp::MAX);
        let mut revoked_certs = Vec::new();
        if !settings.disable {
            for serial in self.view.list("revoked/")? {
                if let Some(revocation) = self.revocation(&serial)? {
                    revoked_certs.push(RevokedCertParams {
                        serial_number: serial_bytes(&serial).into(),
                        revocation_time: date(revocation.time)?,
                        reason_code: None,
                        invalidity_date: None,
                    });
                }
            }
        }
        let params = CertificateRevocationListParams {
            this_update: date(now)?,
            next_update: date(next_update)?,
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = authority.issuer(0)?;
        let list = params.signed_by(&issuer).map_err(sign_error("revocation list"))?;
        let stored = StoredCrl { number, next_update, der: list.der().to_vec() };
        self.view.put_json("crl", &stored).await?;
        Ok(Some(stored.der))
    }

    /// `tidy`: removes certificates and revocations that expired longer ago than the safety buffer.
    pub(super) async fn tidy(&self, call: &Call<'_, Endpoint>) -> Answer {
        let fields = call.fields();
        let buffer = fields.duration("safety_buffer")?.unwrap_or(std::time::Duration::from_hours(72));
        if buffer.is_zero() {
            return Err(Error::bad_request("safety_buffer must be greater than zero"));
        }
        let before = self.system.now().saturating_sub(buffer).unwrap_or(Timestamp::MIN);
        let store = fields.bool("tidy_cert_store")?.unwrap_or(false);
        let revoked = fields.bool("tidy_revoked_certs")?.unwrap_or(false);
        let _changes = self.changes.lock().await;
        let mut writes = Vec::new();
        for serial in self.view.list("revoked/")? {
            if revoked && self.revocation(&serial)?.is_some_and(|r| r.expires < before) {
                writes.push(Write::delete(format!("revoked/{serial}")));
                writes.push(Write::delete(format!("cert/{serial}")));
            }
        }
        for serial in self.view.list("cert/")? {
            let Some(der) = self.certificate(&serial)?.filter(|_| store) else {
                continue;
            };
            if CertificateInfo::parse(&der)?.not_after < before && self.revocation(&serial)?.is_none() {
                writes.push(Write::delete(format!("cert/{serial}")));
            }
        }
        let changed = !writes.is_empty();
        self.view.batch(writes).await?;
        if changed && revoked {
            self.rebuild_crl().await?;
        }
        let text = if store || revoked {
            "Tidy operation successfully started. Any information from the operation will be printed to Vault's server logs."
        } else {
            "Manual tidy requested but no tidy operations were set. Enable at least one tidy operation to be run (tidy_cert_store / tidy_revoked_certs)."
        };
        Ok(Some(Response::warning(text).with_status(202)))
    }
}
