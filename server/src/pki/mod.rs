//! The PKI secrets engine, as labs use it: a root or an intermediate, roles, certificates,
//! revocation.
//!
//! One issuer per mount. Keys are RSA (2048, 3072, 4096 bits), P-256, P-384 or Ed25519. What this
//! engine doesn't do (templates, other SANs, delta lists, OCSP, ACME …) it refuses.

mod authority;
mod ca_paths;
mod certificate;
mod error;
mod issue;
mod key;
mod names;
mod output;
mod read_paths;
mod revoke;
mod role;
mod rsa;
mod subject;
#[cfg(test)]
mod tests;
mod urls;
mod validity;

use std::sync::Arc;

use async_trait::async_trait;

use self::authority::Authority;
use self::certificate::{CertificateInfo, pem_text, serial_key};
use self::role::Role;
use self::subject::{NAME_PARAMETERS, SUBJECT_PARAMETERS};
use self::urls::{CrlSettings, Urls};
use crate::framework::{Call, Route, Router, Row, route};
use crate::logical::{
    Backend, BackendContext, Error, Operation, Request, Response, SecretLease, SpecialPaths, System, View,
    Write,
};

/// What requests answer.
type Answer = Result<Option<Response>, Error>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Ca,
    Certificate,
    Certificates,
    ConfigCa,
    ConfigCrl,
    ConfigIssuers,
    ConfigUrls,
    Crl,
    GenerateIntermediate,
    GenerateRoot,
    Issue,
    Issuer,
    Issuers,
    Revoke,
    Revoked,
    Role,
    Roles,
    Root,
    RotateCrl,
    SetSigned,
    Sign,
    SignIntermediate,
    SignVerbatim,
    Tidy,
}

/// A PKI mount.
pub struct Pki {
    view: View,
    system: Arc<dyn System>,
    router: Router<Endpoint>,
    /// Held while the authority, the settings or the revocation list change.
    changes: tokio::sync::Mutex<()>,
}

const LEASES: &str = "it is encouraged to disable generate_lease and rely on PKI's native capabilities when possible; this option can cause Vault-wide issues with large numbers of issued certificates";
const NO_LEASES: &str = "mutually exclusive values no_store=true and generate_lease=true were both specified; no_store=true takes priority";

impl Pki {
    /// Makes the backend of a mount, for [`crate::logical::Factory`].
    ///
    /// # Errors
    /// None; the signature is the factory's.
    pub fn factory(context: BackendContext) -> Result<Arc<dyn Backend>, Error> {
        Ok(Arc::new(Self::new(context)))
    }

    fn new(context: BackendContext) -> Self {
        Self {
            view: context.storage,
            system: context.system,
            router: Router::new(routes()),
            changes: tokio::sync::Mutex::default(),
        }
    }

    fn authority(&self) -> Result<Option<Authority>, Error> {
        Ok(self.view.get_json("authority")?)
    }

    fn require_authority(&self) -> Result<Authority, Error> {
        self.authority()?.ok_or_else(|| {
            Error::internal(
                "could not fetch the CA certificate (was one set?): no default issuer currently configured",
            )
        })
    }

    /// Stores the authority with its certificate, and a first revocation list.
    async fn store_authority(&self, authority: &Authority, certificate: &[u8]) -> Result<(), Error> {
        let info = CertificateInfo::parse(certificate)?;
        let writes = vec![Write::put_json("authority", authority)?, certificate_write(&info, certificate)];
        self.view.batch(writes).await?;
        self.rebuild_crl().await?;
        Ok(())
    }

    async fn store_certificate(&self, der: &[u8]) -> Result<CertificateInfo, Error> {
        self.store_unless(false, der).await
    }

    async fn store_unless(&self, no_store: bool, der: &[u8]) -> Result<CertificateInfo, Error> {
        let info = CertificateInfo::parse(der)?;
        if !no_store {
            self.view.batch(vec![certificate_write(&info, der)]).await?;
        }
        Ok(info)
    }

    /// A stored certificate (DER) by its serial number, with colons or hyphens.
    fn certificate(&self, serial: &str) -> Result<Option<Vec<u8>>, Error> {
        let stored = self.view.get(&format!("cert/{}", serial_key(serial)))?;
        Ok(stored.map(|der| der.to_vec()))
    }

    fn urls(&self) -> Result<Urls, Error> {
        Ok(self.view.get_json("config/urls")?.unwrap_or_default())
    }

    fn crl_settings(&self) -> Result<CrlSettings, Error> {
        Ok(self.view.get_json("config/crl")?.unwrap_or_default())
    }

    fn stored_role(&self, name: &str) -> Result<Option<Role>, Error> {
        Ok(self.view.get_json(&format!("role/{name}"))?)
    }

    async fn role(&self, call: &Call<'_, Endpoint>) -> Answer {
        let name = call.path_field("name");
        match call.operation() {
            Operation::Read => Ok(self.stored_role(name)?.map(|role| Response::data(role.describe()))),
            Operation::Delete => {
                self.view.delete(&format!("role/{name}")).await?;
                Ok(None)
            }
            operation => {
                // A patch keeps what it doesn't send; a write sets it to its default.
                let mut sent = match (operation, self.stored_role(name)?) {
                    (Operation::Patch, Some(role)) => role.describe(),
                    (Operation::Patch, None) => {
                        return Err(Error::bad_request("Unable to fetch role entry to patch"));
                    }
                    _ => crate::logical::Object::new(),
                };
                sent.extend(call.request.data.clone());
                let role = Role::from_request(&sent)?;
                self.view.put_json(&format!("role/{name}"), &role).await?;
                let leases = sent.get("generate_lease").is_some_and(|sent| sent.as_bool() != Some(false));
                let warning = match (leases, role.flag("generate_lease")) {
                    (true, true) => Some(LEASES),
                    (true, false) => Some(NO_LEASES),
                    _ => None,
                };
                let warnings = warning.into_iter().map(str::to_owned).collect();
                Ok(Some(Response { warnings, ..Response::data(role.describe()) }))
            }
        }
    }

    async fn config_urls(&self, call: &Call<'_, Endpoint>) -> Answer {
        let _changes = self.changes.lock().await;
        let mut urls = self.urls()?;
        if call.operation() != Operation::Read {
            urls.update(call.fields())?;
            self.view.put_json("config/urls", &urls).await?;
        }
        Ok(Some(Response::json(urls.describe())))
    }

    async fn config_crl(&self, call: &Call<'_, Endpoint>) -> Answer {
        let _changes = self.changes.lock().await;
        let mut settings = self.crl_settings()?;
        if call.operation() != Operation::Read {
            settings.update(call.fields())?;
            self.view.put_json("config/crl", &settings).await?;
            self.rebuild_crl().await?;
        }
        let mut response = Response::json(settings.describe());
        if call.fields().bool("ocsp_disable")? == Some(false) {
            response
                .warnings
                .push("this server answers no OCSP requests, whatever ocsp_disable says".to_owned());
        }
        Ok(Some(response))
    }
}

/// The write that stores a certificate under its serial number.
fn certificate_write(info: &CertificateInfo, der: &[u8]) -> Write {
    let key = format!("cert/{}", serial_key(&info.serial));
    Write::Put(key, zeroize::Zeroizing::new(der.to_vec()))
}

/// Paths that need sudo, or no token.
pub(crate) const SPECIAL_PATHS: SpecialPaths = SpecialPaths {
    root: &["root"],
    unauthenticated: &[
        "ca",
        "ca/pem",
        "ca_chain",
        "cert/*",
        "crl",
        "crl/pem",
        "issuer/+/der",
        "issuer/+/json",
        "issuer/+/pem",
    ],
};

/// The table of endpoints, for help and documentation.
pub(crate) fn reference() -> Vec<Row> {
    routes().iter().map(Route::row).collect()
}

fn routes() -> Vec<Route<Endpoint>> {
    const READ: &[Operation] = &[Operation::Read];
    const WRITE: &[Operation] = &[Operation::Update];
    const READ_WRITE: &[Operation] = &[Operation::Read, Operation::Update];
    const LIST: &[Operation] = &[Operation::List];
    const ROLE: &[Operation] = &[Operation::Read, Operation::Update, Operation::Patch, Operation::Delete];
    const LIFE: &[&str] = &["not_after", "ttl"];
    const FORMAT: &[&str] = &["format", "private_key_format"];
    const GENERATE: &[&str] = &[
        "add_basic_constraints",
        "issuer_name",
        "key_bits",
        "key_type",
        "max_path_length",
        "not_before_duration",
        "other_sans",
        "permitted_dns_domains",
        "signature_bits",
    ];
    const ISSUE: &[&str] = &["other_sans", "remove_roots_from_chain", "serial_number", "user_ids"];
    const URLS: &[&str] =
        &["crl_distribution_points", "enable_templating", "issuing_certificates", "ocsp_servers"];
    const CRL: &[&str] = &[
        "auto_rebuild",
        "auto_rebuild_grace_period",
        "cross_cluster_revocation",
        "delta_rebuild_interval",
        "disable",
        "enable_delta",
        "expiry",
        "max_crl_entries",
        "ocsp_disable",
        "ocsp_expiry",
        "unified_crl",
        "unified_crl_on_existing_paths",
    ];
    const TIDY: &[&str] = &["safety_buffer", "tidy_cert_store", "tidy_revoked_certs"];
    const VERBATIM: &[&str] =
        &["csr", "ext_key_usage", "key_usage", "remove_roots_from_chain", "signature_bits"];
    const ISSUERS: &[&str] = &["default", "default_follows_latest_issuer"];
    let generate: &[&[&str]] = &[SUBJECT_PARAMETERS, NAME_PARAMETERS, LIFE, FORMAT, GENERATE];
    let sign_intermediate: &[&[&str]] =
        &[SUBJECT_PARAMETERS, NAME_PARAMETERS, LIFE, FORMAT, GENERATE, &["csr", "use_csr_values"]];
    let issue: &[&[&str]] = &[SUBJECT_PARAMETERS, LIFE, FORMAT, ISSUE];
    let sign: &[&[&str]] = &[SUBJECT_PARAMETERS, LIFE, FORMAT, ISSUE, &["csr"]];
    vec![
        route("issue/{role}", WRITE, issue, Endpoint::Issue),
        route("sign/{role}", WRITE, sign, Endpoint::Sign),
        route("sign-verbatim", WRITE, &[LIFE, FORMAT, VERBATIM], Endpoint::SignVerbatim),
        route("sign-verbatim/{role}", WRITE, &[LIFE, FORMAT, VERBATIM], Endpoint::SignVerbatim),
        route("roles/?", LIST, &[], Endpoint::Roles),
        route("roles/{name}", ROLE, &[&role::parameter_names()], Endpoint::Role),
        route("root", &[Operation::Delete], &[], Endpoint::Root),
        route("root/generate/{exported}", WRITE, generate, Endpoint::GenerateRoot),
        route("root/sign-intermediate", WRITE, sign_intermediate, Endpoint::SignIntermediate),
        route("intermediate/generate/{exported}", WRITE, generate, Endpoint::GenerateIntermediate),
        route("intermediate/set-signed", WRITE, &[&["certificate"]], Endpoint::SetSigned),
        route("config/ca", WRITE, &[&["pem_bundle"]], Endpoint::ConfigCa),
        route("config/urls", READ_WRITE, &[URLS], Endpoint::ConfigUrls),
        route("config/crl", READ_WRITE, &[CRL], Endpoint::ConfigCrl),
        route("config/issuers", READ_WRITE, &[ISSUERS], Endpoint::ConfigIssuers),
        route("ca", READ, &[], Endpoint::Ca),
        route("ca/pem", READ, &[], Endpoint::Ca),
        route("ca_chain", READ, &[], Endpoint::Ca),
        route("crl", READ, &[], Endpoint::Crl),
        route("crl/pem", READ, &[], Endpoint::Crl),
        route("crl/rotate", READ, &[], Endpoint::RotateCrl),
        route("certs/?", LIST, &[], Endpoint::Certificates),
        route("certs/revoked/?", LIST, &[], Endpoint::Revoked),
        route("cert/{serial+}", READ, &[], Endpoint::Certificate),
        route("cert/{serial+}/raw", READ, &[], Endpoint::Certificate),
        route("cert/{serial+}/raw/pem", READ, &[], Endpoint::Certificate),
        route("issuers/?", LIST, &[], Endpoint::Issuers),
        route("issuer/{issuer_ref}", READ, &[], Endpoint::Issuer),
        route("issuer/{issuer_ref}/{form}", READ, &[], Endpoint::Issuer),
        route("revoke", WRITE, &[&["certificate", "serial_number"]], Endpoint::Revoke),
        route("tidy", WRITE, &[TIDY], Endpoint::Tidy),
    ]
}

#[async_trait]
impl Backend for Pki {
    fn endpoints(&self) -> Vec<Row> {
        reference()
    }

    fn special_paths(&self) -> SpecialPaths {
        SPECIAL_PATHS
    }

    async fn handle(&self, request: &Request) -> Answer {
        let call = self.router.resolve(request)?;
        let response = match call.endpoint {
            Endpoint::Ca => self.read_ca(&request.path)?,
            Endpoint::Certificate => self.read_certificate(&call).await?,
            Endpoint::Certificates => self.list_certificates("cert/")?,
            Endpoint::ConfigCa => self.set_ca(&call).await?,
            Endpoint::ConfigCrl => self.config_crl(&call).await?,
            Endpoint::ConfigIssuers => self.issuers_config(&call).await?,
            Endpoint::ConfigUrls => self.config_urls(&call).await?,
            Endpoint::Crl => self.read_crl(&request.path).await?,
            Endpoint::GenerateIntermediate => self.generate_intermediate(&call).await?,
            Endpoint::GenerateRoot => self.generate_root(&call).await?,
            Endpoint::Issue => self.issue(&call).await?,
            Endpoint::Issuer => self.read_issuer(&call)?,
            Endpoint::Issuers => self.list_issuers()?,
            Endpoint::Revoke => self.revoke_certificate(&call).await?,
            Endpoint::Revoked => self.list_certificates("revoked/")?,
            Endpoint::Role => self.role(&call).await?,
            Endpoint::Roles => Response::list(self.view.list("role/")?),
            Endpoint::Root => self.delete_root().await?,
            Endpoint::RotateCrl => self.rotate_crl().await?,
            Endpoint::SetSigned => self.set_signed(&call).await?,
            Endpoint::Sign => self.sign(&call).await?,
            Endpoint::SignIntermediate => self.sign_intermediate(&call).await?,
            Endpoint::SignVerbatim => self.sign_verbatim(&call).await?,
            // Vault does not get as far as to warn of parameters it ignored.
            Endpoint::Tidy => return self.tidy(&call).await,
        };
        Ok(call.finish(response))
    }

    async fn revoke(&self, lease: &SecretLease) -> Result<(), Error> {
        self.revoke_lease(lease).await
    }
}
