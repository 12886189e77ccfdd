//! PostgreSQL connection strings: URLs and `key=value` lists, with `{{username}}` and `{{password}}`.

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslMode, TargetSessionAttrs};
use zeroize::Zeroizing;

use super::tls::{TlsFiles, Verification};
use crate::database::PluginError;
use crate::database::plugin::percent;
use crate::database::plugin::settings::Settings;
use crate::database::statements::substitute;

/// Default `application_name`, as Vault sets it.
const APPLICATION_NAME: &str = "vault";

/// Where and how to connect.
pub struct Dsn {
    /// The driver's settings, with user and password.
    pub config: Config,
    /// How the server's certificate is checked.
    pub verification: Verification,
    /// Certificates named in the string.
    pub files: TlsFiles,
    /// Hosts and ports, for errors.
    pub target: String,
}

/// Reads `connection_url` of `settings`, with the user name and password put in.
///
/// In a URL they are percent-encoded unless `disable_escaping` is set; in a `key=value` list they replace their
/// placeholders after the list was taken apart, so that no character of theirs needs escaping.
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
    let is_template = |text: &str| text.contains("{{username}}") || text.contains("{{password}}");
    if is_template(&username) || is_template(&password) {
        return Err(fault("username and/or password cannot contain the template variables"));
    }
    let values = [("username", username.as_str()), ("password", password.as_str())];
    let pairs = match scheme_rest(&template) {
        Some(_) if settings.flag("disable_escaping")? => url_pairs(&substitute(&template, &values))?,
        Some(_) => {
            let escaped = [percent::encode(&username), percent::encode(&password)];
            let values = [("username", escaped[0].as_str()), ("password", escaped[1].as_str())];
            url_pairs(&Zeroizing::new(substitute(&template, &values)))?
        }
        None => list_pairs(&template)?
            .into_iter()
            .map(|(key, value)| (key, Zeroizing::new(substitute(&value, &values))))
            .collect(),
    };
    build(pairs)
}

type Pairs = Vec<(String, Zeroizing<String>)>;

fn fault(message: impl Into<String>) -> PluginError {
    PluginError::Config(message.into())
}

fn scheme_rest(text: &str) -> Option<&str> {
    text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"))
}

fn percent_decode(text: &str) -> Result<Zeroizing<String>, PluginError> {
    percent::decode(text).ok_or_else(|| fault("connection_url: invalid percent-encoding"))
}

/// `scheme://[user[:password]@]host[:port][,…][/dbname][?key=value&…]` as libpq's keywords.
fn url_pairs(url: &str) -> Result<Pairs, PluginError> {
    let rest = scheme_rest(url).ok_or_else(|| fault("connection_url: the scheme is not postgresql"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    // The last @ ends the user info: an unescaped @ in a literal password is forgiven, as Go does.
    let (userinfo, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    let (hosts, dbname) = rest.split_once('/').unwrap_or((rest, ""));
    let mut pairs: Pairs = Vec::new();
    let mut push = |key: &str, value: &str| -> Result<(), PluginError> {
        if !value.is_empty() {
            pairs.push((key.to_owned(), percent_decode(value)?));
        }
        Ok(())
    };
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    push("user", user)?;
    push("password", password)?;
    let (names, ports): (Vec<_>, Vec<_>) = hosts.split(',').map(split_port).unzip();
    push("host", &names.join(","))?;
    if ports.iter().any(|port| !port.is_empty()) {
        push("port", &ports.join(","))?;
    }
    push("dbname", dbname)?;
    for parameter in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        push(&percent_decode(key)?, value)?;
    }
    Ok(pairs)
}

/// `host:port` or `[v6]:port`.
fn split_port(host: &str) -> (&str, &str) {
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        return (address, rest.strip_prefix(':').unwrap_or(""));
    }
    host.rsplit_once(':').unwrap_or((host, ""))
}

/// libpq's `key = 'value'` list.
fn list_pairs(text: &str) -> Result<Vec<(String, String)>, PluginError> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, tail) =
            rest.split_once('=').ok_or_else(|| fault("connection_url: missing '=' after a keyword"))?;
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(fault("connection_url: missing '=' after a keyword"));
        }
        let (value, tail) = list_value(tail.trim_start())?;
        pairs.push((key.to_owned(), value));
        rest = tail.trim_start();
    }
    Ok(pairs)
}

/// One value: up to white space, or quoted; a backslash takes the next character as it is.
fn list_value(text: &str) -> Result<(String, &str), PluginError> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            c if !quoted && c.is_whitespace() => return Ok((value, &text[at..])),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    if quoted {
        return Err(fault("connection_url: unterminated quoted value"));
    }
    Ok((value, ""))
}

fn build(pairs: Pairs) -> Result<Dsn, PluginError> {
    let mut config = Config::new();
    config.application_name(APPLICATION_NAME).ssl_mode(SslMode::Prefer);
    let mut verification = Verification::None;
    let mut ssl_mode = String::new();
    let mut files = TlsFiles::default();
    let (mut hosts, mut ports) = (String::new(), String::new());
    // Vault keeps its sessions in UTC.
    let mut options = vec!["-c TimeZone=UTC".to_owned()];
    for (key, value) in pairs {
        let value = value.as_str();
        match key.as_str() {
            "user" => drop(config.user(value)),
            "password" => drop(config.password(value)),
            "dbname" | "database" => drop(config.dbname(value)),
            "host" => value.clone_into(&mut hosts),
            "port" => value.clone_into(&mut ports),
            "hostaddr" => {
                for address in value.split(',') {
                    config.hostaddr(number(&key, address)?);
                }
            }
            "application_name" | "fallback_application_name" => drop(config.application_name(value)),
            "connect_timeout" => {
                let seconds: u64 = number(&key, value)?;
                if seconds > 0 {
                    config.connect_timeout(std::time::Duration::from_secs(seconds));
                }
            }
            "keepalives" => drop(config.keepalives(value != "0")),
            "keepalives_idle" => {
                config.keepalives_idle(std::time::Duration::from_secs(number(&key, value)?));
            }
            "target_session_attrs" => drop(config.target_session_attrs(match value {
                "any" | "prefer-standby" => TargetSessionAttrs::Any,
                "read-write" | "primary" => TargetSessionAttrs::ReadWrite,
                "read-only" | "standby" => TargetSessionAttrs::ReadOnly,
                other => {
                    return Err(fault(format!("connection_url: unknown target_session_attrs {other:?}")));
                }
            })),
            "channel_binding" => drop(config.channel_binding(match value {
                "disable" => ChannelBinding::Disable,
                "prefer" => ChannelBinding::Prefer,
                "require" => ChannelBinding::Require,
                other => return Err(fault(format!("connection_url: unknown channel_binding {other:?}"))),
            })),
            "options" => options.push(value.to_owned()),
            "sslmode" => value.clone_into(&mut ssl_mode),
            "sslrootcert" => value.clone_into(&mut files.root),
            "sslcert" => value.clone_into(&mut files.certificate),
            "sslkey" => value.clone_into(&mut files.key),
            "sslsni" => {}
            "sslpassword" | "passfile" | "service" | "servicefile" | "krbsrvname" | "gssencmode" => {
                return Err(fault(format!("connection_url: {key} is not supported")));
            }
            // Everything else is a setting of the session.
            _ => options.push(format!("-c {key}={}", value.replace('\\', r"\\").replace(' ', r"\ "))),
        }
    }
    match ssl_mode.as_str() {
        "" | "prefer" | "allow" => {}
        "disable" => drop(config.ssl_mode(SslMode::Disable)),
        "require" => {
            // With a root certificate at hand, libpq checks it although it was not asked to.
            if !files.root.is_empty() {
                verification = Verification::Authority;
            }
            config.ssl_mode(SslMode::Require);
        }
        "verify-ca" => {
            verification = Verification::Authority;
            config.ssl_mode(SslMode::Require);
        }
        "verify-full" => {
            verification = Verification::Full;
            config.ssl_mode(SslMode::Require);
        }
        other => return Err(fault(format!("connection_url: sslmode {other:?} is invalid"))),
    }
    config.options(options.join(" "));
    let target = set_hosts(&mut config, &hosts, &ports)?;
    Ok(Dsn { config, verification, files, target })
}

/// Adds the hosts with their ports; without a host it is `localhost`.
fn set_hosts(config: &mut Config, hosts: &str, ports: &str) -> Result<String, PluginError> {
    let ports: Vec<&str> = ports.split(',').collect();
    let mut target = Vec::new();
    for (index, host) in hosts.split(',').enumerate() {
        let host = if host.is_empty() { "localhost" } else { host };
        let port = if ports.len() == 1 { ports[0] } else { ports.get(index).copied().unwrap_or("") };
        let port: u16 = if port.is_empty() { 5432 } else { number("port", port)? };
        config.host(host).port(port);
        target.push(format!("{host}:{port}"));
    }
    Ok(target.join(","))
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, PluginError> {
    value.parse().map_err(|_| fault(format!("connection_url: invalid {key} {value:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use tokio_postgres::config::Host;

    fn read(url: &str, password: &str) -> Result<Dsn, PluginError> {
        let map = json!({"connection_url": url, "username": "vault", "password": password});
        parse(&Settings(map.as_object().unwrap()))
    }

    #[test]
    fn urls_with_placeholders() {
        let dsn =
            read("postgresql://{{username}}:{{password}}@db.example:5433/notes?sslmode=disable", "p@s/s:w?%")
                .unwrap();
        assert_eq!(dsn.config.get_user(), Some("vault"));
        assert_eq!(dsn.config.get_password(), Some(b"p@s/s:w?%".as_slice()));
        assert_eq!(dsn.config.get_dbname(), Some("notes"));
        assert_eq!(dsn.config.get_ssl_mode(), SslMode::Disable);
        assert_eq!(dsn.config.get_application_name(), Some("vault"));
        assert_eq!(dsn.target, "db.example:5433");
    }

    #[test]
    fn lists_take_any_password() {
        for url in [
            "host=db port=5433 user={{username}} password={{password}} dbname=notes",
            "host='db'  port = 5433 user='{{username}}' password='{{password}}' dbname=notes",
        ] {
            let dsn = read(url, "p' s\\=%41").unwrap();
            assert_eq!(dsn.config.get_password(), Some(b"p' s\\=%41".as_slice()), "{url}");
            assert_eq!(dsn.target, "db:5433");
        }
    }

    #[test]
    fn several_hosts_sockets_and_v6() {
        let dsn = read("postgres://a,b:6000/x", "").unwrap();
        assert_eq!(dsn.target, "a:5432,b:6000");
        let dsn = read("postgres://[::1]:6000/x", "").unwrap();
        assert_eq!(dsn.target, "::1:6000");
        let dsn = read("postgres://%2Frun%2Fpg/x", "").unwrap();
        assert_eq!(dsn.config.get_hosts(), [Host::Unix("/run/pg".into())]);
        assert_eq!(read("postgres:///x", "").unwrap().target, "localhost:5432");
    }

    #[test]
    fn session_settings_become_options() {
        let dsn = read("postgres://h/x?search_path=a%20b&statement_timeout=5s", "").unwrap();
        let options = dsn.config.get_options().unwrap();
        assert_eq!(options, r"-c TimeZone=UTC -c search_path=a\ b -c statement_timeout=5s");
    }

    #[test]
    fn ssl_modes() {
        let mode = |url: &str| read(url, "").map(|d| (d.config.get_ssl_mode(), d.verification));
        assert_eq!(mode("postgres://h").unwrap(), (SslMode::Prefer, Verification::None));
        assert_eq!(mode("postgres://h?sslmode=require").unwrap(), (SslMode::Require, Verification::None));
        assert_eq!(
            mode("postgres://h?sslmode=require&sslrootcert=/ca").unwrap(),
            (SslMode::Require, Verification::Authority)
        );
        assert_eq!(mode("postgres://h?sslmode=verify-full").unwrap(), (SslMode::Require, Verification::Full));
        assert!(mode("postgres://h?sslmode=maybe").is_err());
    }

    #[test]
    fn faults_are_named_without_the_password() {
        for (url, expected) in [
            ("", "connection_url cannot be empty"),
            ("host db", "missing '='"),
            ("host='db", "unterminated"),
            ("postgres://h:port/x", "invalid port"),
            ("postgres://h/x?passfile=/x", "passfile is not supported"),
        ] {
            let text = read(url, "sekret").err().unwrap().to_string();
            assert!(text.contains(expected) && !text.contains("sekret"), "{url}: {text}");
        }
        let text = read("postgres://h", "{{username}}").err().unwrap().to_string();
        assert_eq!(text, "username and/or password cannot contain the template variables");
    }

    proptest! {
        #[test]
        fn every_password_survives_both_forms(password in "[^\u{0}{]{1,40}") {
            let url = read("postgres://{{username}}:{{password}}@h/x", &password).unwrap();
            prop_assert_eq!(url.config.get_password(), Some(password.as_bytes()));
            let list = read("host=h user={{username}} password={{password}}", &password).unwrap();
            prop_assert_eq!(list.config.get_password(), Some(password.as_bytes()));
        }

        #[test]
        fn nothing_panics(url in ".{0,80}") {
            let _ = read(&url, "p");
            let _ = read(&format!("postgres://{url}"), "p");
        }
    }
}
