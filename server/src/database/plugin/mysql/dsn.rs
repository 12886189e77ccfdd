//! Connection strings of Go's MySQL driver:
//! `[user[:password]@][protocol[(address)]]/dbname[?parameter=value&…]`, with `{{username}}` and `{{password}}`.

use std::time::Duration;

use mysql_async::{ClientIdentity, OptsBuilder, SslOpts};
use zeroize::Zeroizing;

use crate::database::PluginError;
use crate::database::plugin::percent;
use crate::database::plugin::settings::Settings;
use crate::database::statements::substitute;
use crate::duration;

const DEFAULT_PORT: u16 = 3306;
const DEFAULT_SOCKET: &str = "/tmp/mysql.sock";
/// Parameters that only shape how Go programs see rows; they change nothing here.
const IGNORED: [&str; 15] = [
    "parseTime",
    "loc",
    "columnsWithAlias",
    "interpolateParams",
    "multiStatements",
    "allowAllFiles",
    "allowFallbackToPlaintext",
    "allowNativePasswords",
    "allowOldPasswords",
    "checkConnLiveness",
    "rejectReadOnly",
    "readTimeout",
    "writeTimeout",
    "timeTruncate",
    "connectionAttributes",
];

/// Where and how to connect.
pub struct Dsn {
    /// Hosts with their settings, in the order they are tried.
    pub targets: Vec<Target>,
    /// Whether a server without TLS is fine although TLS was asked for (`tls=preferred`).
    pub plain_fallback: bool,
    /// Limit for one host (`timeout`).
    pub timeout: Option<Duration>,
}

/// One address.
pub struct Target {
    /// Host and port, or socket, for errors.
    pub name: String,
    /// The driver's settings, with user and password.
    pub options: OptsBuilder,
}

/// Reads `connection_url` of `settings`, with user name and password put in as they are.
///
/// # Errors
/// `PluginError::Config` naming the part that is wrong; it never shows the password.
pub fn parse(settings: &Settings<'_>) -> Result<Dsn, PluginError> {
    let template = settings.text("connection_url")?;
    if template.is_empty() {
        return Err(fault("connection_url cannot be empty"));
    }
    let username = settings.text("username")?;
    let password = settings.secret("password")?;
    let values = [("username", username.as_str()), ("password", password.as_str())];
    let text = Zeroizing::new(substitute(&template, &values));

    // The last slash begins the database name: passwords and sockets may hold others.
    let (head, tail) = text
        .rsplit_once('/')
        .ok_or_else(|| unparsable("invalid DSN: missing the slash separating the database name"))?;
    let (dbname, query) = tail.split_once('?').unwrap_or((tail, ""));
    let (userinfo, address) = head.rsplit_once('@').unwrap_or(("", head));
    let (user, pass) = userinfo.split_once(':').unwrap_or((userinfo, ""));

    let mut base = OptsBuilder::default()
        .user(Some(user).filter(|u| !u.is_empty()))
        .pass(Some(pass).filter(|p| !p.is_empty()))
        .db_name(Some(percent_decode(dbname)?).filter(|d| !d.is_empty()))
        // Never swap a TCP connection for the server's socket: accounts differ by host.
        .prefer_socket(false)
        // Both would be asked of the server with every connection; they play no part here.
        .max_allowed_packet(Some(64 << 20))
        .wait_timeout(Some(28_800))
        .stmt_cache_size(0);
    let mut tls = String::new();
    let mut timeout = None;
    let mut setup = Vec::new();
    for parameter in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = parameter
            .split_once('=')
            .ok_or_else(|| unparsable(&format!("parameter {parameter:?} has no value")))?;
        let value = percent_decode(&value.replace('+', " "))?;
        match key {
            "tls" => tls = value,
            "timeout" => {
                timeout = Some(duration::parse(&value).map_err(|e| unparsable(&format!("timeout: {e}")))?);
            }
            "charset" => {
                let first = value.split(',').next().unwrap_or_default();
                if !first.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                    return Err(unparsable("invalid charset"));
                }
                setup.push(format!("SET NAMES {first}"));
            }
            "collation" => setup.push(format!("SET collation_connection={value}")),
            "clientFoundRows" => base = base.client_found_rows(value == "true"),
            "allowCleartextPasswords" => base = base.enable_cleartext_plugin(value == "true"),
            "maxAllowedPacket" | "serverPubKey" if value.is_empty() || value == "0" => {}
            "maxAllowedPacket" => {
                let bytes = value.parse().map_err(|_| unparsable("invalid maxAllowedPacket"))?;
                base = base.max_allowed_packet(Some(bytes));
            }
            "serverPubKey" => return Err(unparsable("serverPubKey is not supported")),
            key if IGNORED.contains(&key) => {}
            // Everything else is a variable of the session.
            key => setup.push(format!("SET {key}={value}")),
        }
    }
    base = base.setup(setup);
    let (ssl, plain_fallback) = ssl_options(&tls, settings)?;
    let targets = addresses(address)?
        .into_iter()
        .map(|(name, host)| {
            let options = base.clone().ssl_opts(ssl.clone());
            let options = match host {
                Host::Tcp(host, port) => options.ip_or_hostname(host).tcp_port(port),
                Host::Unix(path) => options.socket(Some(path)),
            };
            Target { name, options }
        })
        .collect();
    Ok(Dsn { targets, plain_fallback, timeout })
}

enum Host {
    Tcp(String, u16),
    Unix(String),
}

fn fault(message: impl Into<String>) -> PluginError {
    PluginError::Config(message.into())
}

fn unparsable(what: &str) -> PluginError {
    fault(format!("error verifying - connection: unable to parse connectionURL: {what}"))
}

/// `tcp(host:port,…)`, `unix(path)` or nothing, which is 127.0.0.1:3306.
fn addresses(text: &str) -> Result<Vec<(String, Host)>, PluginError> {
    let (protocol, address) = match text.split_once('(') {
        Some((protocol, rest)) => {
            let address = rest.strip_suffix(')').ok_or_else(|| {
                unparsable("invalid DSN: network address not terminated (missing closing brace)")
            })?;
            (protocol, address)
        }
        None => (text, ""),
    };
    match protocol {
        "" | "tcp" | "tcp4" | "tcp6" => address
            .split(',')
            .map(|part| {
                let (host, port) = host_and_port(part.trim())?;
                Ok((format!("{host}:{port}"), Host::Tcp(host, port)))
            })
            .collect(),
        "unix" => {
            let path = if address.is_empty() { DEFAULT_SOCKET } else { address };
            Ok(vec![(path.to_owned(), Host::Unix(path.to_owned()))])
        }
        other => Err(unparsable(&format!("default addr for network '{other}' unknown"))),
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), PluginError> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').unwrap_or("")),
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let port = match port {
        "" => DEFAULT_PORT,
        port => port.parse().map_err(|_| unparsable(&format!("invalid port {port:?}")))?,
    };
    Ok((host.to_owned(), port))
}

/// TLS after the parameter `tls` and the settings `tls_ca`, `tls_certificate_key`, `tls_server_name` and
/// `tls_skip_verify`; PEM settings switch TLS on by themselves.
fn ssl_options(tls: &str, settings: &Settings<'_>) -> Result<(Option<SslOpts>, bool), PluginError> {
    let ca = settings.text("tls_ca")?;
    let identity = settings.secret("tls_certificate_key")?;
    if !ca.is_empty() || !identity.is_empty() {
        let skip = settings.flag("tls_skip_verify")?;
        let name = settings.text("tls_server_name")?;
        let mut options = SslOpts::default().with_danger_accept_invalid_certs(skip);
        if !ca.is_empty() {
            options = options.with_disable_built_in_roots(true).with_root_certs(vec![ca.into_bytes().into()]);
        }
        if !identity.is_empty() {
            let pem = identity.as_bytes();
            let identity = ClientIdentity::new(pem.to_vec().into(), pem.to_vec().into());
            options = options.with_client_identity(Some(identity));
        }
        if !name.is_empty() {
            options = options.with_danger_tls_hostname_override(Some(name));
        }
        return Ok((Some(options), false));
    }
    let unverified = || SslOpts::default().with_danger_accept_invalid_certs(true);
    match tls {
        "" | "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok((None, false)),
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok((Some(SslOpts::default()), false)),
        "skip-verify" => Ok((Some(unverified()), false)),
        "preferred" => Ok((Some(unverified()), true)),
        other => Err(unparsable(&format!("invalid value / unknown config name: {other}"))),
    }
}

fn percent_decode(text: &str) -> Result<String, PluginError> {
    let decoded = percent::decode(text).ok_or_else(|| unparsable("invalid percent-encoding"))?;
    Ok(decoded.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mysql_async::Opts;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(url: &str, password: &str) -> Result<Dsn, PluginError> {
        let map = json!({"connection_url": url, "username": "vault", "password": password});
        parse(&Settings(map.as_object().unwrap()))
    }

    fn first(dsn: &Dsn) -> Opts {
        dsn.targets[0].options.clone().into()
    }

    #[test]
    fn the_usual_form() {
        let dsn = read("{{username}}:{{password}}@tcp(db:3307)/", "p@ss:/w").unwrap();
        let options = first(&dsn);
        assert_eq!((options.ip_or_hostname(), options.tcp_port()), ("db", 3307));
        assert_eq!((options.user(), options.pass()), (Some("vault"), Some("p@ss:/w")));
        assert_eq!((options.db_name(), options.ssl_opts()), (None, None));
        assert!(!options.prefer_socket());
        assert_eq!(dsn.targets[0].name, "db:3307");
    }

    #[test]
    fn addresses_of_all_kinds() {
        let names = |url: &str| -> Vec<String> {
            read(url, "p").unwrap().targets.into_iter().map(|t| t.name).collect()
        };
        assert_eq!(names("u@/"), ["127.0.0.1:3306"]);
        assert_eq!(names("u@tcp/x"), ["127.0.0.1:3306"]);
        assert_eq!(names("u@tcp(a,b:1)/x"), ["a:3306", "b:1"]);
        assert_eq!(names("u@tcp([::1]:5)/x"), ["::1:5"]);
        assert_eq!(names("u@unix(/run/my.sock)/x"), ["/run/my.sock"]);
    }

    #[test]
    fn parameters() {
        let url = "u@tcp(h)/notes%2Fx?tls=skip-verify&timeout=5s&charset=utf8mb4,utf8&parseTime=true&sql_mode=%27ANSI%27";
        let dsn = read(url, "p").unwrap();
        let options = first(&dsn);
        assert_eq!(options.db_name(), Some("notes/x"));
        assert!(options.ssl_opts().unwrap().accept_invalid_certs());
        assert_eq!(dsn.timeout, Some(Duration::from_secs(5)));
        assert_eq!(options.setup(), ["SET NAMES utf8mb4", "SET sql_mode='ANSI'"]);
        assert!(read("u@/?tls=preferred", "p").unwrap().plain_fallback);
    }

    #[test]
    fn faults_are_named_without_the_password() {
        for (url, expected) in [
            ("", "connection_url cannot be empty"),
            ("{{username}}:{{password}}@tcp(h:1)", "missing the slash"),
            ("{{username}}:{{password}}@tcp(h:1/", "missing closing brace"),
            ("{{username}}:{{password}}@tcp(h:x)/", "invalid port"),
            ("{{username}}:{{password}}@carrier(h)/", "carrier"),
            ("{{username}}:{{password}}@/?tls=mine", "unknown config name: mine"),
            ("{{username}}:{{password}}@/?tls", "has no value"),
            ("{{username}}:{{password}}@/?charset=a%27b", "invalid charset"),
        ] {
            let text = read(url, "sekret").err().unwrap().to_string();
            assert!(text.contains(expected) && !text.contains("sekret"), "{url}: {text}");
        }
    }

    #[test]
    fn pem_settings_switch_tls_on() {
        let map = json!({"connection_url": "u@/", "tls_ca": "PEM", "tls_server_name": "db", "tls_skip_verify": "true"});
        let dsn = parse(&Settings(map.as_object().unwrap())).unwrap();
        let options = first(&dsn);
        let ssl = options.ssl_opts().unwrap();
        assert!(ssl.disable_built_in_roots() && ssl.accept_invalid_certs());
        assert_eq!(ssl.tls_hostname_override(), Some("db"));
    }

    proptest! {
        #[test]
        fn every_password_survives(password in "[^\u{0}{]{1,40}") {
            let dsn = read("{{username}}:{{password}}@tcp(h:1)/x", &password).unwrap();
            let options = first(&dsn);
            prop_assert_eq!(options.pass(), Some(password.as_str()));
        }

        #[test]
        fn nothing_panics(url in ".{0,80}") {
            let _ = read(&url, "p");
        }
    }
}
