use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::storage::SyncPolicy;

fn parse(text: &str) -> (Config, Vec<String>) {
    let (config, warnings) =
        Config::parse(Path::new("v.hcl"), text).unwrap_or_else(|error| panic!("{text}: {error}"));
    (config, warnings.iter().map(ToString::to_string).collect())
}

fn config(text: &str) -> Config {
    let (config, warnings) = parse(text);
    assert_eq!(warnings, Vec::<String>::new(), "{text}");
    config
}

fn refused(text: &str) -> String {
    match Config::parse(Path::new("v.hcl"), text) {
        Ok((config, _)) => panic!("{text} was read as {config:?}"),
        Err(error) => error.to_string(),
    }
}

fn listener(text: &str) -> Listener {
    config(&format!("listener \"tcp\" {{ {text} }}")).listeners[0].clone()
}

#[test]
fn a_usual_server() {
    let config = config(
        r#"
        ui            = true
        disable_mlock = "true"
        api_addr      = "http://127.0.0.1:8200"
        cluster_addr  = "https://127.0.0.1:8201"
        cluster_name  = "lab"
        log_level     = "Debug"
        default_lease_ttl = "768h"
        max_lease_ttl     = 3600
        pid_file      = "/tmp/vault.pid"
        plugin_directory = ""

        storage "file" { path = "/vault/file" }

        listener "tcp" {
          address     = "127.0.0.1:8200"
          tls_disable = 1
          telemetry { unauthenticated_metrics_access = true }
        }
        telemetry {
          prometheus_retention_time = "30s"
          disable_hostname = true
        }
        audit "file" "to-file/" {
          description = "all of it"
          options = { file_path = "/tmp/audit.log", log_raw = true }
        }
        user_lockout "all" { lockout_threshold = "10" }
        user_lockout "approle" { disable_lockout = true }
        "#,
    );
    assert!(config.ui && config.disable_mlock);
    assert_eq!(config.api_addr.as_deref(), Some("http://127.0.0.1:8200"));
    assert_eq!(config.cluster_name.as_deref(), Some("lab"));
    assert_eq!(config.log_level.as_deref(), Some("debug"));
    assert_eq!(config.default_lease_ttl, Some(Duration::from_hours(768)));
    assert_eq!(config.max_lease_ttl, Some(Duration::from_hours(1)));
    assert_eq!(config.plugin_directory, None);
    assert_eq!(
        config.storage.unwrap().kind,
        StorageKind::File { path: "/vault/file".into(), sync: SyncPolicy::Critical }
    );
    let listener = &config.listeners[0];
    assert_eq!(listener.address, Address::Tcp("127.0.0.1:8200".to_owned()));
    assert_eq!(listener.tls, None);
    assert!(listener.unauthenticated_metrics_access);
    assert_eq!(config.telemetry.unwrap().prometheus_retention_time, Duration::from_secs(30));
    let audit = &config.audit[0];
    assert_eq!((audit.kind.as_str(), audit.path.as_str()), ("file", "to-file"));
    assert_eq!(audit.options["file_path"], "/tmp/audit.log");
    assert_eq!(audit.options["log_raw"], "true");
    assert_eq!(config.user_lockout.for_method("userpass").threshold, 10);
    let approle = config.user_lockout.for_method("approle");
    assert!(approle.disabled);
    assert_eq!(approle.threshold, 10);
}

#[test]
fn json_says_the_same() {
    let hcl = config(
        r#"listener "tcp" {
          address = "0.0.0.0:8200"
          tls_disable = true
          custom_response_headers {
            "default" = { "X-A" = ["1", "2"] }
            "404" = { "X-B" = ["3"] }
          }
        }
        listener "tcp" { address = "127.0.0.1:0" tls_disable = true }
        storage "inmem" {}
        max_lease_ttl = "1h""#,
    );
    let json = config(
        r#"{"listener": [
            {"tcp": {"address": "0.0.0.0:8200", "tls_disable": true, "custom_response_headers":
                {"default": {"X-A": ["1", "2"]}, "404": {"X-B": ["3"]}}}},
            {"tcp": {"address": "127.0.0.1:0", "tls_disable": true}}],
          "storage": {"inmem": {}},
          "max_lease_ttl": "1h"}"#,
    );
    assert_eq!(hcl.listeners[0].custom_response_headers["default"]["X-A"], "1; 2");
    assert_eq!(hcl.listeners[0].custom_response_headers["404"]["X-B"], "3");
    let strip = |mut config: Config| {
        for listener in &mut config.listeners {
            listener.raw.clear();
        }
        config
    };
    assert_eq!(strip(hcl), strip(json));
}

#[test]
fn listener_details() {
    let tls = listener(
        r#"address = ":8200" tls_cert_file = "c.pem" tls_key_file = "k.pem"
           tls_min_version = "tls13" tls_client_ca_file = "ca.pem"
           tls_require_and_verify_client_cert = "true" max_request_size = 1024
           http_idle_timeout = "5m" x_forwarded_for_authorized_addrs = "10.0.0.0/8,::1""#,
    );
    assert_eq!(tls.address, Address::Tcp("0.0.0.0:8200".to_owned()));
    assert_eq!(
        tls.tls,
        Some(Tls {
            cert_file: "c.pem".into(),
            key_file: "k.pem".into(),
            min_version: TlsVersion::Tls13,
            max_version: TlsVersion::Tls13,
            client_ca_file: Some("ca.pem".into()),
            require_client_cert: true,
        })
    );
    assert_eq!(tls.max_request_size, 1024);
    assert_eq!(tls.http_idle_timeout, Some(Duration::from_mins(5)));
    let nets: Vec<_> = tls.x_forwarded_for.iter().map(ToString::to_string).collect();
    assert_eq!(nets, ["10.0.0.0/8", "::1/128"]);

    let plain = listener("tls_disable = true");
    assert_eq!(plain.address, Address::Tcp("127.0.0.1:8200".to_owned()));
    assert_eq!(plain.max_request_size, 32 << 20);

    let unix = config(r#"listener "unix" { address = "/run/v.sock" socket_mode = "0660" }"#);
    assert_eq!(unix.listeners[0].address, Address::Unix { path: "/run/v.sock".into(), mode: Some(0o660) });
}

#[test]
fn what_is_unknown_or_without_effect_is_warned_of() {
    let (config, warnings) = parse(
        "ui = true\nuii = true\nservice_registration \"consul\" {}\nlicense_path = \"x\"\n\
         listener \"tcp\" {\n  tls_disable = true\n  adress = \"x\"\n  cluster_address = \"y\"\n}\n\
         storage \"raft\" {\n  path = \"/r\"\n  node_id = \"n1\"\n}\n\
         listener \"tcp\" { tls_cert_file = \"a\" tls_key_file = \"b\" tls_min_version = \"tls10\" }",
    );
    assert_eq!(
        warnings,
        [
            "unknown or unsupported field uii found in configuration at v.hcl:2:1",
            "field service_registration has no effect in this server at v.hcl:3:1",
            "unknown or unsupported field adress found in configuration at v.hcl:7:3",
            "field cluster_address has no effect in this server at v.hcl:8:3",
            "storage raft is kept by this one node: there is no cluster at v.hcl:10:1",
            "tls_min_version: TLS before 1.2 is not spoken, 1.2 is used at v.hcl:14:75",
        ]
    );
    assert_eq!(
        config.storage.unwrap().kind,
        StorageKind::Raft { path: "/r".into(), sync: SyncPolicy::Critical }
    );
}

#[test]
fn wrong_values_are_refused_with_their_place() {
    for (text, want) in [
        ("ui = \"perhaps\"", "v.hcl:1:6: ui: expected true or false, found \"perhaps\""),
        ("ui = [true]", "v.hcl:1:6: ui: expected true or false, found a list"),
        ("api_addr = true", "v.hcl:1:12: api_addr: expected a string, found true or false"),
        ("\nmax_lease_ttl = \"long\"", "v.hcl:2:17: max_lease_ttl: time: invalid duration \"long\""),
        ("log_level = \"loud\"", "v.hcl:1:13: unknown log level: loud"),
        ("log_format = \"xml\"", "v.hcl:1:14: unknown log format: xml"),
        ("ui = ", "v.hcl:1:6: EOF token found"),
        ("listener \"tcp\" {", "v.hcl:1:16: object expected closing RBRACE got: EOF"),
        (
            "storage \"consul\" {}",
            "v.hcl:1:9: unsupported storage type \"consul\": this server has file, inmem and raft (one node)",
        ),
        ("storage \"file\" {}", "v.hcl:1:1: storage \"file\": 'path' must be set"),
        (
            "storage \"file\" { path = \"x\" sync = \"maybe\" }",
            "v.hcl:1:36: sync: expected always, critical or never, found \"maybe\"",
        ),
        ("storage \"inmem\" {}\nstorage \"inmem\" {}", "v.hcl:2:1: only one \"storage\" block is permitted"),
        ("storage {}", "v.hcl:1:1: storage type must be specified: storage \"TYPE\" { … }"),
        ("storage = \"file\"", "v.hcl:1:11: storage: expected a block, found a string"),
        (
            "listener \"udp\" {}",
            "v.hcl:1:10: unsupported listener type \"udp\": this server has tcp and unix",
        ),
        (
            "listener \"tcp\" {}",
            "v.hcl:1:1: listener \"tcp\": 'tls_cert_file' must be set unless tls_disable is true",
        ),
        (
            "listener \"tcp\" { address = \"localhost\" }",
            "v.hcl:1:28: address \"localhost\": missing port in address",
        ),
        ("listener \"tcp\" { address = \"x:99999\" }", "v.hcl:1:28: address \"x:99999\": invalid port"),
        (
            "listener \"tcp\" { address = \"::1:8200\" }",
            "v.hcl:1:28: address \"::1:8200\": an IPv6 address needs brackets before its port",
        ),
        ("listener \"unix\" {}", "v.hcl:1:1: listener \"unix\": 'address' must be set"),
        (
            "listener \"tcp\" { x_forwarded_for_authorized_addrs = [\"x\"] }",
            "v.hcl:1:53: x_forwarded_for_authorized_addrs: invalid address \"x\"",
        ),
        (
            "listener \"tcp\" { tls_disable = 0 tls_min_version = \"ssl3\" }",
            "v.hcl:1:52: tls_min_version: expected tls12 or tls13, found \"ssl3\"",
        ),
        ("seal \"awskms\" {}", "v.hcl:1:6: unsupported seal type \"awskms\": this server has shamir"),
        ("audit \"file\" {}", "v.hcl:1:1: audit type must be specified: audit \"TYPE\" \"PATH\" { … }"),
        ("user_lockout \"github\" {}", "v.hcl:1:1: unsupported auth type \"github\""),
        (
            "user_lockout \"all\" { lockout_threshold = -1 }",
            "v.hcl:1:42: lockout_threshold: must not be negative",
        ),
        ("{\"ui\": {\"a\": 1}}", "v.hcl:1:8: ui: expected true or false, found a block"),
    ] {
        assert_eq!(refused(text), want, "{text}");
    }
}

#[test]
fn shamir_and_disabled_seals_are_fine() {
    config("seal \"shamir\" {}");
    config("seal \"awskms\" { disabled = \"true\" }");
}

#[test]
fn files_and_folders_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    let one =
        write("one.hcl", "ui = true\nmax_lease_ttl = \"2h\"\nlog_level = \"info\"\napi_addr = \"http://a\"");
    write(
        "d/b.json",
        r#"{"storage": {"inmem": {}}, "ui": false, "max_lease_ttl": "1h", "log_level": "warn"}"#,
    );
    let first =
        write("d/a.hcl", "listener \"tcp\" { tls_disable = true }\nstorage \"file\" { path = \"x\" }");
    write("d/ignored.txt", "{{{");
    write("d/.#lock.hcl", "{{{");
    write("d/sub/nested.hcl", "{{{");

    let (config, warnings) = Config::load(&[one, dir.path().join("d"), first]).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.listeners.len(), 1, "a file in a folder already given counts once");
    assert_eq!(config.storage.unwrap().kind, StorageKind::Inmem);
    assert!(config.ui);
    assert_eq!(config.max_lease_ttl, Some(Duration::from_hours(2)));
    assert_eq!(config.log_level.as_deref(), Some("warn"));
    assert_eq!(config.api_addr.as_deref(), Some("http://a"));
}

#[test]
fn what_is_missing_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let error = |paths: &[PathBuf]| Config::load(paths).unwrap_err();
    assert!(matches!(error(&[]), ConfigError::NoFiles));
    assert!(matches!(error(&[dir.path().to_owned()]), ConfigError::NoFiles));
    assert!(matches!(error(&[path("none.hcl")]), ConfigError::Read { .. }));
    fs::write(path("a.hcl"), "listener \"tcp\" { tls_disable = true }").unwrap();
    assert!(matches!(error(&[path("a.hcl")]), ConfigError::NoStorage));
    fs::write(path("a.hcl"), "storage \"inmem\" {}").unwrap();
    assert!(matches!(error(&[path("a.hcl")]), ConfigError::NoListener));
    fs::write(path("a.hcl"), [0xff, 0xfe]).unwrap();
    assert!(matches!(error(&[path("a.hcl")]), ConfigError::Read { .. }));
    fs::write(path("a.hcl"), "\n  ui = maybe").unwrap();
    let ConfigError::Invalid { span, .. } = error(&[path("a.hcl")]) else {
        panic!("wrong kind of error");
    };
    assert_eq!((span.line, span.column), (2, 8));
}

#[test]
fn sanitized_shows_no_options() {
    let config = config(
        r#"storage "file" { path = "/data" }
           listener "tcp" { address = "127.0.0.1:8200" tls_disable = 1 }
           default_lease_ttl = "1h" ui = true api_addr = "http://x""#,
    );
    let shown = Json::Object(config.sanitized());
    assert_eq!(
        shown["storage"],
        json!({"cluster_addr": "", "disable_clustering": false, "redirect_addr": "http://x", "type": "file"})
    );
    assert_eq!(
        shown["listeners"],
        json!([{"config": {"address": "127.0.0.1:8200", "tls_disable": 1}, "type": "tcp"}])
    );
    assert_eq!(shown["default_lease_ttl"], 3600);
    assert_eq!(shown["enable_ui"], true);
    assert!(!shown.to_string().contains("/data"));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(
        text in r#"(listener|storage|seal|audit|ui|telemetry|user_lockout|max_lease_ttl|address|"tcp"|"file"|"x:1"|[{}=\[\],]|true|[0-9]{1,3}|\n| ){0,30}"#,
    ) {
        let _ = Config::parse(Path::new("x"), &text);
    }
}
