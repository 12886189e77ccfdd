//! `listener "tcp" { … }` and `listener "unix" { … }`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Map, Value as Json};

use super::error::{Fault, Warnings};
use super::values;
use crate::hcl::{self, Body, Item, ValueKind};

/// Vault's address when a listener gives none.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8200";
/// Vault's limit of a request's body: 32 MiB.
const DEFAULT_MAX_REQUEST_SIZE: u64 = 32 << 20;

/// One listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Where it listens.
    pub address: Address,
    /// Certificate and key; `None` for plain HTTP.
    pub tls: Option<Tls>,
    /// Largest body of a request in bytes; zero for no limit.
    pub max_request_size: u64,
    /// How long a request may take, if other than the server's.
    pub max_request_duration: Option<Duration>,
    /// How long reading a request may take.
    pub http_read_timeout: Option<Duration>,
    /// How long reading a request's header may take.
    pub http_read_header_timeout: Option<Duration>,
    /// How long writing an answer may take.
    pub http_write_timeout: Option<Duration>,
    /// How long a connection may stay idle.
    pub http_idle_timeout: Option<Duration>,
    /// Whether requests without `X-Vault-Request: true` are refused.
    pub require_request_header: bool,
    /// Whether `sys/metrics` needs no token here.
    pub unauthenticated_metrics_access: bool,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub x_forwarded_for: Vec<IpNet>,
    /// Headers added to answers, by status (`default`, `4xx`, `404`).
    pub custom_response_headers: BTreeMap<String, BTreeMap<String, String>>,
    /// The stanza as written, for `sys/config/state/sanitized`.
    pub raw: Map<String, Json>,
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `HOST:PORT`; port 0 lets the system choose.
    Tcp(String),
    /// A socket in the file system.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Its permission bits.
        mode: Option<u32>,
    },
}

/// A listener's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the certificate and its chain.
    pub cert_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
    /// Oldest version spoken.
    pub min_version: TlsVersion,
    /// Newest version spoken.
    pub max_version: TlsVersion,
    /// PEM file with the authorities of client certificates.
    pub client_ca_file: Option<PathBuf>,
    /// Whether a client must show a certificate of those authorities.
    pub require_client_cert: bool,
}

/// The versions of TLS this server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2
    Tls12,
    /// TLS 1.3
    Tls13,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            address: Address::Tcp(DEFAULT_ADDRESS.to_owned()),
            tls: None,
            max_request_size: DEFAULT_MAX_REQUEST_SIZE,
            max_request_duration: None,
            http_read_timeout: None,
            http_read_header_timeout: None,
            http_write_timeout: None,
            http_idle_timeout: None,
            require_request_header: false,
            unauthenticated_metrics_access: false,
            x_forwarded_for: Vec::new(),
            custom_response_headers: BTreeMap::new(),
            raw: Map::new(),
        }
    }
}

impl Listener {
    /// The type as written in the stanza.
    pub const fn kind(&self) -> &'static str {
        match self.address {
            Address::Tcp(_) => "tcp",
            Address::Unix { .. } => "unix",
        }
    }
}

/// Vault's keys without a use here.
const NO_EFFECT: &[&str] = &[
    "cluster_address",
    "tls_cipher_suites",
    "tls_prefer_server_cipher_suites",
    "tls_disable_client_certs",
    "tls_acme_cache_path",
    "proxy_protocol_behavior",
    "proxy_protocol_authorized_addrs",
    "x_forwarded_for_hop_skips",
    "x_forwarded_for_reject_not_present",
    "x_forwarded_for_reject_not_authorized",
    "socket_user",
    "socket_group",
    "role",
    "agent_api",
    "proxy_api",
    "profiling",
    "inflight_requests_logging",
    "chroot_namespace",
    "redact_addresses",
    "redact_cluster_name",
    "redact_version",
    "disable_replication_status_endpoints",
    "disable_request_limiter",
    "disable_unauthed_rekey_endpoints",
    "max_request_json_memory",
    "max_request_json_strings",
    "max_json_depth",
    "max_json_string_value_length",
    "max_json_object_entry_count",
    "max_json_array_element_count",
    "cors_enabled",
    "cors_allowed_origins",
    "cors_allowed_headers",
];

/// The TLS attributes before it is known whether TLS is on.
#[derive(Default)]
struct TlsFields {
    disable: bool,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    min_version: Option<TlsVersion>,
    max_version: Option<TlsVersion>,
    client_ca_file: Option<PathBuf>,
    require_client_cert: bool,
}

/// Reads a `listener` stanza.
pub(super) fn read(item: &Item, warnings: &mut Warnings) -> Result<Listener, Fault> {
    let body = values::block(item)?;
    let kind = values::stanza_type(item, body)?;
    let mut listener = Listener { raw: hcl::object_to_json(body), ..Listener::default() };
    match kind.as_str() {
        "tcp" => {}
        "unix" => listener.address = Address::Unix { path: PathBuf::new(), mode: None },
        other => {
            let span = item.labels().first().map_or(item.key_span(), |label| label.span);
            return Err(Fault::new(
                span,
                format!("unsupported listener type {other:?}: this server has tcp and unix"),
            ));
        }
    }
    let mut tls = TlsFields::default();
    for field in &body.items {
        if !listener.read_field(field, warnings)? && !tls.read_field(field, warnings)? {
            match field.name() {
                "type" => {}
                name if NO_EFFECT.contains(&name) => warnings.no_effect(field),
                _ => warnings.unknown(field),
            }
        }
    }
    match &listener.address {
        Address::Tcp(_) => listener.tls = tls.resolve(item)?,
        Address::Unix { path, .. } if path.as_os_str().is_empty() => {
            return Err(Fault::new(item.key_span(), "listener \"unix\": 'address' must be set"));
        }
        Address::Unix { .. } => {}
    }
    Ok(listener)
}

impl Listener {
    /// Takes an attribute other than TLS; `false` if it is none of those.
    fn read_field(&mut self, item: &Item, warnings: &mut Warnings) -> Result<bool, Fault> {
        match item.name() {
            "address" => match &mut self.address {
                Address::Tcp(address) => *address = tcp_address(item)?,
                Address::Unix { path, .. } => *path = values::string(item)?.into(),
            },
            "socket_mode" => {
                let Address::Unix { mode, .. } = &mut self.address else {
                    warnings.no_effect(item);
                    return Ok(true);
                };
                *mode = Some(socket_mode(item)?);
            }
            "max_request_size" => {
                // Vault reads a negative size as no limit.
                self.max_request_size = u64::try_from(values::integer(item)?).unwrap_or(0);
            }
            "max_request_duration" => self.max_request_duration = Some(values::duration(item)?),
            "http_read_timeout" => self.http_read_timeout = Some(values::duration(item)?),
            "http_read_header_timeout" => {
                self.http_read_header_timeout = Some(values::duration(item)?);
            }
            "http_write_timeout" => self.http_write_timeout = Some(values::duration(item)?),
            "http_idle_timeout" => self.http_idle_timeout = Some(values::duration(item)?),
            "require_request_header" => self.require_request_header = values::boolean(item)?,
            "x_forwarded_for_authorized_addrs" => self.x_forwarded_for = networks(item)?,
            "custom_response_headers" => self.read_headers(item)?,
            "telemetry" => {
                for item in &values::block(item)?.items {
                    match item.name() {
                        "unauthenticated_metrics_access" => {
                            self.unauthenticated_metrics_access = values::boolean(item)?;
                        }
                        _ => warnings.unknown(item),
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `"404" = { "X-Header" = ["a", "b"] }`; several values join with `; `.
    fn read_headers(&mut self, stanza: &Item) -> Result<(), Fault> {
        let body = values::block(stanza)?;
        if let [status, ..] = stanza.labels() {
            // JSON input makes the status a label.
            return self.read_status_headers(&status.name, body);
        }
        for status in &body.items {
            self.read_status_headers(status.name(), values::block(status)?)?;
        }
        Ok(())
    }

    fn read_status_headers(&mut self, status: &str, body: &Body) -> Result<(), Fault> {
        let headers = self.custom_response_headers.entry(status.to_owned()).or_default();
        for header in &body.items {
            headers.insert(header.name().to_owned(), values::strings(header)?.join("; "));
        }
        Ok(())
    }
}

impl TlsFields {
    /// Takes a TLS attribute; `false` if it is none.
    fn read_field(&mut self, item: &Item, warnings: &mut Warnings) -> Result<bool, Fault> {
        match item.name() {
            "tls_disable" => self.disable = values::boolean(item)?,
            "tls_cert_file" => self.cert_file = values::optional_path(item)?,
            "tls_key_file" => self.key_file = values::optional_path(item)?,
            "tls_min_version" => self.min_version = tls_version(item, warnings)?,
            "tls_max_version" => self.max_version = tls_version(item, warnings)?,
            "tls_client_ca_file" => self.client_ca_file = values::optional_path(item)?,
            "tls_require_and_verify_client_cert" => {
                self.require_client_cert = values::boolean(item)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn resolve(self, listener: &Item) -> Result<Option<Tls>, Fault> {
        if self.disable {
            return Ok(None);
        }
        let missing = |name: &str| {
            Fault::new(
                listener.key_span(),
                format!("listener \"tcp\": '{name}' must be set unless tls_disable is true"),
            )
        };
        let min_version = self.min_version.unwrap_or(TlsVersion::Tls12);
        let max_version = self.max_version.unwrap_or(TlsVersion::Tls13);
        if max_version < min_version {
            return Err(Fault::new(
                listener.key_span(),
                "listener \"tcp\": tls_max_version is lower than tls_min_version",
            ));
        }
        if self.require_client_cert && self.client_ca_file.is_none() {
            return Err(Fault::new(
                listener.key_span(),
                "listener \"tcp\": tls_require_and_verify_client_cert needs tls_client_ca_file",
            ));
        }
        Ok(Some(Tls {
            cert_file: self.cert_file.ok_or_else(|| missing("tls_cert_file"))?,
            key_file: self.key_file.ok_or_else(|| missing("tls_key_file"))?,
            min_version,
            max_version,
            client_ca_file: self.client_ca_file,
            require_client_cert: self.require_client_cert,
        }))
    }
}

/// `HOST:PORT`; as in Go, no host means every address.
fn tcp_address(item: &Item) -> Result<String, Fault> {
    let address = values::string(item)?;
    let fault = |what: &str| Fault::new(item.value.span, format!("address {address:?}: {what}"));
    let (host, port) = address.rsplit_once(':').ok_or_else(|| fault("missing port in address"))?;
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err(fault("an IPv6 address needs brackets before its port"));
    }
    if port.parse::<u16>().is_err() {
        return Err(fault("invalid port"));
    }
    if host.is_empty() {
        return Ok(format!("0.0.0.0:{port}"));
    }
    Ok(address)
}

/// An octal number such as `"0660"`.
fn socket_mode(item: &Item) -> Result<u32, Fault> {
    let text = values::string(item)?;
    u32::from_str_radix(&text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| Fault::new(item.value.span, format!("socket_mode: invalid permission bits {text:?}")))
}

fn tls_version(item: &Item, warnings: &mut Warnings) -> Result<Option<TlsVersion>, Fault> {
    match values::string(item)?.as_str() {
        "" => Ok(None),
        "tls10" | "tls11" => {
            let message = format!("{}: TLS before 1.2 is not spoken, 1.2 is used", item.name());
            warnings.add(item.value.span, message);
            Ok(Some(TlsVersion::Tls12))
        }
        "tls12" => Ok(Some(TlsVersion::Tls12)),
        "tls13" => Ok(Some(TlsVersion::Tls13)),
        other => Err(Fault::new(
            item.value.span,
            format!("{}: expected tls12 or tls13, found {other:?}", item.name()),
        )),
    }
}

/// Networks or single addresses.
fn networks(item: &Item) -> Result<Vec<IpNet>, Fault> {
    // Vault also takes the list's elements with commas in them.
    let list = match &item.value.kind {
        ValueKind::List(_) => values::strings(item)?.join(","),
        _ => values::string(item)?,
    };
    list.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            part.parse::<IpNet>().or_else(|_| part.parse::<std::net::IpAddr>().map(IpNet::from)).map_err(
                |_| Fault::new(item.value.span, format!("{}: invalid address {part:?}", item.name())),
            )
        })
        .collect()
}
